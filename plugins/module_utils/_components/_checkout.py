# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A checkout at work: how to reach it as its owner, and what a plan says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._command import TIMEOUT_S, CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._components import _checkout_checks as checks
from ansible_collections.lastgood.rollback.plugins.module_utils._components._base import Context
from ansible_collections.lastgood.rollback.plugins.module_utils._components._checkout_hold import Hold
from ansible_collections.lastgood.rollback.plugins.module_utils._components._checkout_record import Recorder
from ansible_collections.lastgood.rollback.plugins.module_utils._components._checkout_selection import (
    ALL,
    REVERT,
    Selection,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components._checkout_verify import Scratch
from ansible_collections.lastgood.rollback.plugins.module_utils._components._leftovers import MARKER
from ansible_collections.lastgood.rollback.plugins.module_utils._errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._identity import (
    User,
    owner_of,
    user_by_name,
    user_by_uid,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._tools.git import Git, Head, Layout
from ansible_collections.lastgood.rollback.plugins.module_utils._types import JsonObject


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
        self.scratch = Scratch(Path(facts["scratch"]), self.owner)
        index = Path(facts["index"])
        self.earlier = Recorder(context.workspace / "earlier", self.git, index, self.owner)
        self.recorder = Recorder(context.workspace, self.git, index, self.owner, self.selected, self.earlier)
        self.hold = Hold(self.git, Path(facts["git_dir"]), self.owner)
        self.side_refs = [facts[name] for name in ("emergency_ref", "staged_ref", "target_ref") if facts[name]]


def _selection(git: Git, facts: Mapping[str, Any]) -> Selection:
    """The paths that a plan is about; of reverts those that they change, which is known once these are made."""
    if facts["mode"] == REVERT:
        return Selection(lambda: git.changed_between(facts["before"]["commit"], facts["target"]))
    return Selection(lambda: facts["paths"]) if facts["paths"] is not None else ALL


def open_checkout(run: CommandRunner, wish: Mapping[str, Any]) -> tuple[Git, Layout, User]:
    """The checkout that a wish names, before there is a plan of it.

    :raises Refused: when there is none, or this account can't act as its owner.
    """
    path = Path(wish["path"]).resolve()
    if not path.is_dir():
        raise Refused(f"{path} is not a directory: name the top of a checkout.")
    named = user_by_name(wish["owner"]) if wish.get("owner") else None
    owner = named or owner_of(path)
    checks.require_owner(path, owner)
    limited = run.limited(float(wish.get("timeout") or TIMEOUT_S))
    git = Git(limited.as_user(owner), path, trust=named is not None)
    return git, git.layout(), owner


def describe(git: Git, head: Head) -> JsonObject:
    """What is checked out there, for results and reports."""
    commit = git.commit(head.commit)
    return {"commit": commit.id, "branch": head.branch, "subject": commit.subject, "tree": commit.tree}
