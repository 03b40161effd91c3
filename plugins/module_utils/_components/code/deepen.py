# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A shallow clone that lacks the target: the plan fetches it into a scratch repository, prepare the history.

Only where the operator asked for it: everything else in this collection does without a remote.
"""

from __future__ import annotations

from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import BULK_TIMEOUT_S
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.masking import masked
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .git import Git, Head, Layout
from .scratch_repository import make_scratch_repository, objects_of

#: Settings of a checkout that say how its remote is reached.
_REACHING = r"^(core\.sshcommand|http\.|credential\.|url\.)"
_QUIET = ("--quiet", "--no-tags")


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
            f"{masked(error.stderr.strip(), {})} Name a branch, a tag or a whole commit id that the remote has."
        ) from error
    environment = {**objects_of(repository), "GIT_SHALLOW_FILE": str(repository.path / ".git" / "shallow")}
    return git.with_env(environment), str(repository.resolve("FETCH_HEAD"))


def deepen(git: Git, history: JsonObject, target: str) -> None:
    """Fetch all of the history, so that a pull goes on working later; no ref is moved."""
    wanted = [name for name in (history["follows"], target) if name]
    arguments = ("fetch", *_QUIET, "--unshallow", "--refmap=", "--no-write-fetch-head")
    online = git.online(limit=BULK_TIMEOUT_S)
    online.text(*arguments, history["remote"], *wanted, attempt=f"Fetching the history of {git.path}")
