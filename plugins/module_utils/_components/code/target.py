# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What the options come down to: the commit whose files are wanted, the paths, and where HEAD ends up.

Where a shallow clone lacks the target, the plan fetches it into a scratch repository, and prepare the history; only where the
operator asked for it: everything else in this collection does without a remote.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import BULK_TIMEOUT_S
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.masking import masked_output
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from ..context import PointEntry
from . import checks
from .git import Git, Head, Layout
from .scratch_repository import make_reverts, make_scratch_repository, objects_of
from .selection import ALL, PATHS, RESET, REVERT, Selection, selected_paths
from .verify import ScratchDirectory

#: Settings of a checkout that say how its remote is reached.
_REACHING = r"^(core\.sshcommand|http\.|credential\.|url\.)"
_QUIET = ("--quiet", "--no-tags")


@dataclass(frozen=True)
class Target:
    """What is to be reached.

    :param commit: the commit whose files are wanted.
    :param after: the commit that HEAD is at in the end.
    :param selection: the paths that it is about.
    :param facts: what the later phases need of it.
    :param reverted: ids of the commits that are reverted.
    """

    mode: str
    commit: str
    after: str
    selection: Selection
    facts: JsonObject
    reverted: list[str] = field(default_factory=list)


@contextmanager
def resolve_target(
    git: Git,
    layout: Layout,
    head: Head,
    options: Mapping[str, Any],
    point: PointEntry | None,
    scratch: ScratchDirectory,
    id: str,
) -> Iterator[tuple[Git, Target]]:
    """Resolve the options; changes nothing in the checkout.

    :param id: of the transaction: it gives new commits their date, so that they have the same ids each time.
    :returns: the target, and a git that sees what it takes, also commits that have yet to be made.
    :raises Refused: when it can't be reached.
    """
    mode = options.get("mode") or RESET
    _require_fitting(layout, mode, options, point)
    if mode == REVERT:
        with _revert_target(git, layout, head, options, scratch, id) as resolved:
            yield resolved
        return
    to = options.get("to") or None
    if options.get("deepen") and layout.shallow and git.resolve(checks.wanted_name(to, point)) is None:
        history = history_of(git, layout, head)
        with scratch.made() as directory:
            name = checks.wanted_name(to, point)
            extended, commit = fetch_to_scratch(git, layout, history, name, directory, scratch.owner)
            yield extended, _commit_target(extended, layout, head, options, commit, history)
    else:
        yield git, _commit_target(git, layout, head, options, checks.resolve_commit(git, layout, to, point), None)


def _commit_target(
    git: Git, layout: Layout, head: Head, options: Mapping[str, Any], commit: str, history: JsonObject | None
) -> Target:
    """The files of one commit; of some paths, or of all and the branch with them."""
    mode = options.get("mode") or RESET
    facts: JsonObject = {"mode": mode, "paths": None, "reverts": [], "date": 0, "history": history}
    if mode == RESET:
        return Target(mode, commit, commit, ALL, facts)
    paths = selected_paths(layout.top, options["paths"])
    checks.require_paths(git, commit, paths)
    return Target(mode, commit, head.commit, Selection(lambda: paths), {**facts, "paths": paths})


def _require_fitting(layout: Layout, mode: str, options: Mapping[str, Any], point: PointEntry | None) -> None:
    """No option that the mode would silently ignore."""
    if mode == REVERT and (options.get("to") or point is not None or not options.get("commits")):
        raise Refused(f"{layout.top}: mode=revert takes commits, and neither to nor a restore point.")
    if mode == PATHS and not options.get("paths"):
        raise Refused(f"{layout.top}: mode=paths needs paths.")
    for option, its_mode in (("commits", REVERT), ("paths", PATHS)):
        if options.get(option) and mode != its_mode:
            raise Refused(f"{layout.top}: {option} belongs to mode={its_mode}, and this is mode={mode}.")


@contextmanager
def _revert_target(
    git: Git, layout: Layout, head: Head, options: Mapping[str, Any], scratch: ScratchDirectory, id: str
) -> Iterator[tuple[Git, Target]]:
    reverts = checks.resolve_reverts(git, layout, head, options["commits"], int(options.get("mainline") or 1))
    facts: JsonObject = {"mode": REVERT, "paths": None, "reverts": reverts, "date": _date(id), "history": None}
    with scratch.made() as directory:
        repository = make_scratch_repository(git, layout.common_dir, directory, scratch.owner)
        commit, reverted = make_reverts(repository, layout.top, head.commit, reverts, facts["date"])
        extended = git.with_env(objects_of(repository))
        changed = extended.changed_between(head.commit, commit)
        yield extended, Target(REVERT, commit, commit, Selection(lambda: changed), facts, reverted)


def _date(id: str) -> int:
    """When a transaction was named, from its id; its beginning is the time by convention only."""
    try:
        return calendar.timegm(time.strptime(id[:16], "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return 0


def history_of(git: Git, layout: Layout, head: Head) -> JsonObject:
    """Where the checkout's history comes from: the remote of its branch, and what it follows there.

    :raises Refused: when it has no remote.
    """
    branch = (head.branch or "").replace("refs/heads/", "", 1)
    remote = git.config(f"branch.{branch}.remote") or "origin"
    if git.config(f"remote.{remote}.url") is None:
        raise Refused(
            f"{layout.top} is a shallow clone without a remote {remote!r}: there is nowhere to deepen it from."
        )
    return {"remote": remote, "follows": git.config(f"branch.{branch}.merge")}


def fetch_to_scratch(
    git: Git, layout: Layout, history: JsonObject, name: str, directory: Path, owner: User
) -> tuple[Git, str]:
    """Fetch a commit into a scratch repository; a git that sees it, and its id.

    :raises Refused: when the remote does not answer, or does not have it.
    """
    repository = make_scratch_repository(git, layout.common_dir, directory, owner)
    url = str(git.config(f"remote.{history['remote']}.url"))
    # By a setting, and not by an argument, which every account of this host can read: it may hold a password.
    reaching = repository.online([*git.settings(_REACHING), ("remote.lastgood-aside.url", url)])
    try:
        reaching.text("fetch", *_QUIET, "--depth=1", "lastgood-aside", name, attempt=f"Fetching {name}")
    except CommandFailed as error:
        raise Refused(
            f"{layout.top} has no commit {name!r}, and fetching it from the remote {history['remote']} failed: "
            f"{masked_output(error.stderr.strip(), {})} Name a branch, a tag or a whole commit id that the remote has."
        ) from error
    environment = {**objects_of(repository), "GIT_SHALLOW_FILE": str(repository.path / ".git" / "shallow")}
    return git.with_env(environment), str(repository.resolve("FETCH_HEAD"))


def deepen(git: Git, history: JsonObject, target: str) -> None:
    """Fetch all of the history, so that a pull goes on working later; no ref is moved."""
    wanted = [name for name in (history["follows"], target) if name]
    arguments = ("fetch", *_QUIET, "--unshallow", "--refmap=", "--no-write-fetch-head")
    online = git.online(limit=BULK_TIMEOUT_S)
    online.text(*arguments, history["remote"], *wanted, attempt=f"Fetching the history of {git.path}")
