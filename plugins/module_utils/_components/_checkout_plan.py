# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Planning the rollback of a checkout: what a reset would do, and all that can be refused before it."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._components import _checkout_checks as checks
from ansible_collections.lastgood.rollback.plugins.module_utils._components import _checkout_dirt as dirt
from ansible_collections.lastgood.rollback.plugins.module_utils._components._base import Context, Plan, PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components._checkout import describe, open_checkout
from ansible_collections.lastgood.rollback.plugins.module_utils._components._checkout_archive import Worktree
from ansible_collections.lastgood.rollback.plugins.module_utils._components._checkout_record import Survey, survey
from ansible_collections.lastgood.rollback.plugins.module_utils._components._checkout_words import (
    discards,
    shown,
    warnings_of,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._identity import User, acting_as
from ansible_collections.lastgood.rollback.plugins.module_utils._tools.git import Git, Head, Layout
from ansible_collections.lastgood.rollback.plugins.module_utils._types import JsonObject


def plan_checkout(context: Context, wish: Mapping[str, Any], point: PointEntry | None) -> Plan:
    """Resolve the target, and refuse what would not work."""
    git, layout, owner = open_checkout(context.run, wish)
    head = git.head()
    target = checks.resolve_target(git, layout, wish.get("to") or None, point)
    checks.require_quiet(layout, head)
    checks.require_merged(git)
    checks.require_alone(git, layout, head)
    surveyed, disk_bytes = _survey(git, layout, owner, target, verified=bool(_verify(wish)))
    wanted = dirt.read(point.directory) if point is not None else ()
    moves = checks.require_submodules(git, Worktree(layout.top), target)
    same_dirt = dirt.digest(dirt.present(git, owner)) == dirt.digest(wanted)
    return Plan(
        kind="code",
        name=str(layout.top),
        things=(f"checkout:{layout.top}",),
        changed=head.commit != target or not same_dirt or bool(moves),
        before={**describe(git, head), "modified": shown(one.path for one in surveyed.dirty)},
        after={**describe(git, Head(target, head.branch)), "modified": shown(one.path for one in wanted)},
        discards=discards(surveyed, git.commits([head.commit, f"^{target}"])),
        facts={
            **_place(wish, layout, owner),
            "before": asdict(head),
            "target": target,
            **_side_names(context.transaction, git, layout),
            "verify": _verify(wish),
            "python": wish.get("python") or sys.executable,
            "submodules": moves,
            "dirt_of_point": {"directory": str(point.directory), **point.artefacts} if wanted and point else None,
        },
        downtime={"ms": 100 + len(surveyed.writes) // 4, "grows_with": "the number of changed files"},
        disk_bytes=disk_bytes,
        warnings=warnings_of(layout, head, target, point),
    )


def _survey(git: Git, layout: Layout, owner: User, target: str, *, verified: bool) -> tuple[Survey, int]:
    """What a reset would do, and the bytes that archive, reset and scratch tree take; all of it has to be possible."""
    checks.require_objects(git, target)
    tree = git.tree_paths(target)
    checks.require_filters(git, tree, os.environ.get("PATH"))
    worktree = Worktree(layout.top)
    surveyed = survey(git, worktree, target, owner)
    checks.require_writable(worktree, surveyed, owner)
    with acting_as(owner):
        archived = sum(one.bytes for one in worktree.scan(surveyed.reasons))
    written = checks.require_space(git, tree, surveyed)
    return surveyed, archived + written + (sum(row[2] for row in tree) if verified else 0)


def _verify(wish: Mapping[str, Any]) -> JsonObject:
    """The target's own checks; nothing where there is none to run."""
    verify = wish.get("verify") or {}
    return dict(verify) if verify.get("compile") or verify.get("commands") else {}


def _place(wish: Mapping[str, Any], layout: Layout, owner: User) -> JsonObject:
    return {
        "path": str(layout.top),
        "owner_uid": owner.uid,
        "trust": bool(wish.get("owner")),
        "git_dir": str(layout.git_dir),
        "common_dir": str(layout.common_dir),
        "index": str(layout.git_dir / "index"),
    }


def _side_names(transaction: str, git: Git, layout: Layout) -> JsonObject:
    """Names of what stands beside, made from the transaction: they can't collide, and are found after a crash."""
    short = hashlib.sha256(f"{transaction}:{layout.top}".encode()).hexdigest()[:8]
    name = transaction + (f"-{short}" if layout.git_dir != layout.common_dir else "")
    # A branch named "lastgood" makes "lastgood/x" impossible.
    joint = "-" if git.ref("refs/heads/lastgood") else "/"
    shared = Path("/var/tmp")  # noqa: S108 - the directory inside is the owner's, 0700, and checked to be
    return {
        "emergency_ref": f"refs/heads/lastgood{joint}{name}",
        "staged_ref": f"refs/lastgood/staged/{name}",
        "scratch": str((shared if shared.is_dir() else Path("/tmp")) / f"lastgood-{short}"),  # noqa: S108
    }
