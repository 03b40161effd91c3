# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A checkout at work: how to reach it as its owner, what a plan says of it, and trying its target in a scratch tree."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import (
    User,
    acting_as,
    user_by_name,
    user_by_uid,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import TIMEOUT_S, CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.paths import resolve
from ansible_collections.lastgood.rollback.plugins.module_utils._base.processes import MARKER
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from ..context import Context
from . import checks
from .git import Git, Head, Layout
from .hold import Hold
from .local_changes import STAGED
from .record import Recorder
from .selection import ALL, PATHS, REVERT, Selection
from .verify import ScratchDirectory, check_out, verify_tree


class Checkout:
    """A checkout as a plan describes it: where it is, and how to work in it."""

    def __init__(self, context: Context, facts: Mapping[str, Any]) -> None:
        self.facts = facts
        self.top = Path(facts["path"])
        self.owner: User = user_by_uid(int(facts["owner_uid"]))
        self.marker = f"{context.transaction}:{self.top}"
        limited = context.run.limited(float(facts.get("timeout") or TIMEOUT_S))
        self.run = limited.as_user(self.owner).with_env({MARKER: self.marker})
        self.git = Git(self.run, self.top, trust=bool(facts["trust"]))
        self.before = Head(**facts["before"])
        self.target = str(facts["target"])
        self.after = str(facts["after"])
        self.selected = _selection(self.git, facts)
        self.scratch = ScratchDirectory(Path(facts["scratch"]), self.owner)
        index = Path(facts["index"])
        self.earlier = Recorder(context.workspace / "earlier", self.git, index, self.owner)
        self.recorder = Recorder(context.workspace, self.git, index, self.owner, self.selected, self.earlier)
        self.hold = Hold(self.git, Path(facts["git_dir"]), self.owner)
        self.side_refs = [facts[name] for name in ("emergency_ref", "staged_ref", "target_ref") if facts[name]]

    def own_refs(self) -> dict[str, str]:
        """The refs of ours that are there and hold what we put there, with that."""
        facts, found = self.facts, {}
        for name in self.side_refs:
            commit = self.git.ref(name)
            ours = {facts["emergency_ref"]: self.before.commit, facts["target_ref"]: self.target}.get(name)
            if commit is not None and (commit == ours or (name == facts["staged_ref"] and self._is_staged(commit))):
                found[name] = commit
        return found

    def _is_staged(self, commit: str) -> bool:
        """Whether a commit is one of what was staged, made by us on top of what was checked out."""
        try:
            subject = self.git.commit(commit).subject
            return subject == STAGED and self.git.resolve(f"{commit}^1") == self.before.commit
        except CommandFailed:  # it is none
            return False


def _selection(git: Git, facts: Mapping[str, Any]) -> Selection:
    """The paths that a plan is about; of reverts those that they change, which is known once these are made."""
    if facts["mode"] == REVERT:
        return Selection(lambda: git.changed_between(facts["before"]["commit"], facts["target"]))
    return Selection(lambda: facts["paths"]) if facts["paths"] is not None else ALL


def open_checkout(run: CommandRunner, options: Mapping[str, Any]) -> tuple[Git, Layout, User]:
    """The checkout that the options name, before there is a plan of it.

    :raises Refused: when there is none, or this account can't act as its owner.
    """
    try:
        resolved = resolve(Path(options["path"]))
    except OSError as error:
        raise Refused(f"{options['path']} can't be reached ({error.strerror}): name the top of a checkout.") from error
    path = resolved.path
    if not stat.S_ISDIR(resolved.found.st_mode):
        raise Refused(f"{path} is not a directory: name the top of a checkout.")
    named = user_by_name(options["owner"]) if options.get("owner") else None
    owner = named or user_by_uid(resolved.found.st_uid)
    checks.require_owner(path, owner)
    resolved.require({owner.uid, resolved.found.st_uid, os.geteuid()}, "rolling it back", links=True)
    limited = run.limited(float(options.get("timeout") or TIMEOUT_S))
    git = Git(limited.as_user(owner), path, trust=named is not None)
    layout = git.layout()
    if owner.uid == 0:
        _require_roots_own(path, layout)
    return git, layout, owner


def _require_roots_own(path: Path, layout: Layout) -> None:
    """git runs what the settings of a checkout say: as root only what nobody else could have written there."""
    settings = layout.common_dir / "config"
    for place in (path, layout.git_dir, settings):
        resolve(place).require((), f"git as root in {path}")


def describe(git: Git, head: Head) -> JsonObject:
    """What is checked out there, for results and reports."""
    commit = git.commit(head.commit)
    return {"commit": commit.id, "branch": head.branch, "subject": commit.subject, "tree": commit.tree}


def verify(checkout: Checkout, secrets: Mapping[str, Any]) -> list[str]:
    """Compile and run what the plan says; what was done, one line each.

    :param secrets: ``test_environment`` of the commands; and the ``commands`` themselves where there is a secret in them.
    :raises VerificationFailed: when one of them does not hold.
    """
    options = dict(checkout.facts["verify"])
    options["commands"] = secrets.get("commands") or options.get("commands") or []
    variables = secrets.get("test_environment") or {}
    with checkout.scratch.made() as scratch:
        with acting_as(checkout.owner):
            (scratch / "tree").mkdir()
        if checkout.facts["mode"] == PATHS:
            tree = check_out(checkout.git, checkout.before.commit, scratch)
            sources = _check_out_paths(checkout, scratch, tree)
            options["compile"] = sorted({*options.get("compile", ()), *sources})
        else:
            tree = check_out(checkout.git, checkout.target, scratch)
        run = checkout.run.with_env({"HOME": str(scratch), "PWD": str(tree)})
        checker = run.with_env({str(name): str(value) for name, value in variables.items()})
        return verify_tree(tree, checker, options, checkout.facts["python"])


def _check_out_paths(checkout: Checkout, scratch: Path, tree: Path) -> list[str]:
    """Bring the selected paths into the scratch tree; those of them that are Python sources, and no links."""
    git = checkout.git.with_env({"GIT_INDEX_FILE": str(scratch / "index"), "GIT_WORK_TREE": str(tree)})
    against = [one for one in git.index_against(checkout.target) if checkout.selected.covers(one.path)]
    git.restore_paths(checkout.target, against)
    rows = checkout.git.tree_paths(checkout.target)
    files = (path for mode, _blob, _bytes, path in rows if mode != "120000" and checkout.selected.covers(path))
    return [path for path in files if path.endswith(".py")]
