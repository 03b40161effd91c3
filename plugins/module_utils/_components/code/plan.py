# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Planning the rollback of a checkout: what a reset would do, and all that can be refused before it."""

from __future__ import annotations

import hashlib
import itertools
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, acting_as
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from ..context import Context, PointEntry
from ..plan import Plan
from . import checks, local_changes
from .access import Access
from .archive import Worktree
from .checkout import describe, open_checkout
from .git import NO_OBJECT, Git, Head, Layout
from .messages import discards, shown, warnings_of
from .record import NOTHING, Survey, survey
from .selection import PATHS, REVERT
from .target import Target, resolve_target
from .verify import ScratchDirectory


def plan_checkout(context: Context, options: Mapping[str, Any], point: PointEntry | None) -> Plan:
    """Resolve the target, and refuse what would not work."""
    git, layout, owner = open_checkout(context.run, options)
    head = git.head()
    checks.require_quiet(layout, head)
    checks.require_merged(git)
    checks.require_alone(git, layout, head)
    names = _side_names(context.transaction, git, layout)
    with resolve_target(
        git, layout, head, options, point, ScratchDirectory(Path(names["scratch"]), owner), context.transaction
    ) as resolved:
        return _plan(*resolved, _Scene(layout, owner, head, names), options, point)


class _Scene(NamedTuple):
    """What is there, whatever is wanted."""

    layout: Layout
    owner: User
    head: Head
    names: JsonObject


def _plan(git: Git, target: Target, scene: _Scene, options: Mapping[str, Any], point: PointEntry | None) -> Plan:
    layout, owner, head, names = scene
    surveyed, disk_bytes = _survey(git, scene, target, verified=bool(_verify(options, target.mode)))
    wanted = local_changes.read(point.directory) if point is not None else ()
    wanted = tuple(one for one in wanted if target.selection.covers(one.path))
    moves = checks.require_submodules(git, Worktree(layout.top), target.commit, target.selection)
    discarded = target.reverted if target.mode == REVERT else [head.commit, f"^{target.after}"]
    return Plan(
        kind="code",
        name=str(layout.top),
        things=(f"checkout:{layout.top}",),
        changed=head.commit != target.after or bool(moves) or _differs(git, owner, target, wanted),
        before={
            **describe(git, head),
            "modified": shown(one.path for one in surveyed.local_changes),
            **_files(git, target, 1),
        },
        after={
            **describe(git, Head(target.after, head.branch)),
            "modified": shown(one.path for one in wanted),
            **_files(git, target, 0),
        },
        discards=discards(surveyed, git.commits([*discarded, *(["--no-walk"] if target.mode == REVERT else [])])),
        facts={
            **_place(options, layout, owner),
            "before": asdict(head),
            "target": target.commit,
            "after": target.after,
            **target.facts,
            **names,
            "emergency_ref": names["emergency_ref"] if target.mode != PATHS else None,
            "target_ref": names["target_ref"] if target.mode == REVERT else None,
            "verify": _verify(options, target.mode),
            "python": options.get("python") or sys.executable,
            "submodules": moves,
            "dirt_of_point": {"directory": str(point.directory), **point.artefacts} if wanted and point else None,
        },
        downtime={"ms": 100 + len(surveyed.writes) // 4, "grows_with": "the number of changed files"},
        disk_bytes=disk_bytes,
        warnings=warnings_of(layout, head, target, point),
    )


def _differs(git: Git, owner: User, target: Target, wanted: tuple[local_changes.LocalChange, ...]) -> bool:
    """Whether files are to be put back, besides a branch that is to be moved."""
    if target.mode == REVERT:
        return False  # local changes are none of its business
    if target.mode == PATHS and any(target.selection.covers(one.path) for one in git.index_against(target.commit)):
        return True
    now = local_changes.present(git, owner, selected=target.selection, staged=target.mode != PATHS)
    return local_changes.digest(now) != local_changes.digest(wanted)


def _files(git: Git, target: Target, side: int) -> JsonObject:
    """Of single paths, which of them change, with the ids of their content: the commit's (0), or now (1)."""
    if target.mode != PATHS:
        return {}
    against = [one for one in git.worktree_against(target.commit) if target.selection.covers(one.path)]
    sides = [((one.commit_mode, one.commit_blob), (one.index_mode, one.index_blob))[side] for one in against]
    return {"files": dict(zip(shown(one.path for one in against), itertools.starmap(_content, sides)))}


def _content(mode: str, blob: str) -> str:
    if mode == NOTHING:
        return "absent"
    return blob if blob != NO_OBJECT else "modified, never committed"


def _survey(git: Git, scene: _Scene, target: Target, *, verified: bool) -> tuple[Survey, int]:
    """What a reset would do, and the bytes that archive, reset and scratch tree take; all of it has to be possible."""
    layout, owner, head, _names = scene
    checks.require_objects(git, target.commit)
    tree = git.tree_paths(target.commit)
    checks.require_room(git, tree, target.selection)
    checks.require_filters(git, (tree, git.tree_paths(head.commit)), layout, owner)
    worktree = Worktree(layout.top)
    surveyed = survey(git, worktree, target.commit, owner, target.selection)
    with acting_as(owner):
        entries = worktree.scan(surveyed.reasons)
    access = Access(layout, owner)
    access.require_files(entries, surveyed.writes)
    access.require_git(head)
    archived = sum(one.bytes for one in entries)
    written = checks.require_space(git, tree, surveyed)
    return surveyed, archived + written + (sum(row[2] for row in tree) if verified else 0)


def _verify(options: Mapping[str, Any], mode: str) -> JsonObject:
    """The target's own checks; nothing where there is none to run. Of single paths the sources are compiled in any case."""
    verify = {"compile": [], **(options.get("verify") or {})}
    return verify if mode == PATHS or verify["compile"] or verify.get("commands") else {}


def _place(options: Mapping[str, Any], layout: Layout, owner: User) -> JsonObject:
    return {
        "path": str(layout.top),
        "owner_uid": owner.uid,
        "trust": bool(options.get("owner")),
        "timeout": options.get("timeout"),
        "git_dir": str(layout.git_dir),
        "common_dir": str(layout.common_dir),
        "index": str(layout.git_dir / "index"),
    }


def _side_names(transaction: str, git: Git, layout: Layout) -> JsonObject:
    """Names of what is ours, made from the transaction: they can't collide, and are found after a crash."""
    short = hashlib.sha256(f"{transaction}:{layout.top}".encode()).hexdigest()[:8]
    name = transaction + (f"-{short}" if layout.git_dir != layout.common_dir else "")
    # A branch named "lastgood" makes "lastgood/x" impossible.
    joint = "-" if git.ref("refs/heads/lastgood") else "/"
    shared = Path("/var/tmp")  # noqa: S108 - the directory inside is the owner's, 0700, and checked to be
    return {
        "emergency_ref": f"refs/heads/lastgood{joint}{name}",
        "staged_ref": f"refs/lastgood/staged/{name}",
        "target_ref": f"refs/lastgood/targets/{name}",
        "scratch": str((shared if shared.is_dir() else Path("/tmp")) / f"lastgood-{short}"),  # noqa: S108
    }
