# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A scratch repository that borrows a checkout's objects: what would leave traces there is tried here first.

Reverts are made here, once for the plan and once more, with the same ids, for good: they are commits with a fixed date,
so that the plan knows the commit that the switch moves to, and conflicts are found before anything is touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, acting_as
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, Refused

from .git import Git


def make_scratch_repository(git: Git, common_dir: Path, scratch: Path, owner: User, *, keep: bool = False) -> Git:
    """Make a repository in the scratch directory that sees all objects of the checkout.

    :param keep: what is new goes to the checkout's own objects; else it is gone with the scratch directory.
    """
    home = scratch / "aside"
    arguments = ("init", "--quiet", "--template=", "--initial-branch=main", str(home))
    git.text(*arguments, attempt=f"Making a scratch repository in {home}")
    objects = common_dir / "objects"
    with acting_as(owner):
        information = home / ".git" / "objects" / "info"
        information.mkdir(exist_ok=True)
        (information / "alternates").write_text(f"{objects}\n")
        if (common_dir / "shallow").exists():
            shutil.copyfile(common_dir / "shallow", home / ".git" / "shallow")
        # No file of the commits is written out: they are merged in the index.
        (home / ".git" / "info").mkdir(exist_ok=True)
        (home / ".git" / "info" / "sparse-checkout").write_text("/no file at all\n")
    repository = Git(git.runner, home)
    repository.text("config", "core.sparseCheckout", "true", attempt=f"Setting {home} up")
    return repository.with_env({"GIT_OBJECT_DIRECTORY": str(objects)}) if keep else repository


def objects_of(repository: Git) -> dict[str, str]:
    """Environment that lets the checkout's git see what is new in a scratch repository."""
    return {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(repository.path / ".git" / "objects")}


def make_reverts(
    repository: Git, top: Path, head: str, reverts: Sequence[Mapping[str, Any]], date: int
) -> tuple[str, list[str]]:
    """Commit the inverse of each of these on top of ``head``.

    :param reverts: newest first: ``commit``, ``subject``, and for a merge the ``parent`` whose side is kept, with its number as
        ``mainline`` (0 for any other commit).
    :returns: the last commit, and those that were reverted; what had been reverted before is neither changed nor named.
    :raises Refused: when one conflicts with what came after it.
    """
    dated = repository.with_env({"GIT_AUTHOR_DATE": f"@{date} +0000", "GIT_COMMITTER_DATE": f"@{date} +0000"})
    attempt = f"Reverting commits of {top} in {repository.path}"
    dated.text("update-ref", "--no-deref", "HEAD", head, attempt=attempt)
    dated.text("read-tree", "-m", "-u", "HEAD", attempt=attempt)
    made, tree = head, dated.text("write-tree", attempt=attempt)
    reverted = []
    for revert in reverts:
        _revert(dated, top, revert)
        after = dated.text("write-tree", attempt=attempt)
        if after != tree:
            made = dated.text("commit-tree", after, "-p", made, "-m", _message(revert), attempt=attempt)
            dated.text("update-ref", "--no-deref", "HEAD", made, attempt=attempt)
            tree = after
            reverted.append(str(revert["commit"]))
    return made, reverted


def _revert(repository: Git, top: Path, revert: Mapping[str, Any]) -> None:
    mainline = ("-m", str(revert["mainline"])) if revert["mainline"] else ()
    attempt = f"Reverting {revert['commit']} of {top}"
    try:
        repository.text("revert", "--no-commit", *mainline, revert["commit"], attempt=attempt)
    except CommandFailed as error:
        conflicts = [one.path for one in repository.changes() if one.staged == "U"]
        if not conflicts:
            raise
        raise Refused(
            f"{top}: commit {revert['commit'][:12]} ({revert['subject']}) can't be reverted: later commits changed the "
            f"same lines of {', '.join(conflicts[:5])}. Name those commits too, or go back with mode=reset."
        ) from error
    repository.delete_ref("REVERT_HEAD")


def _message(revert: Mapping[str, Any]) -> str:
    """As git itself words it."""
    merged = f", reversing\nchanges made to {revert['parent']}" if revert["mainline"] else ""
    return f'Revert "{revert["subject"]}"\n\nThis reverts commit {revert["commit"]}{merged}.'
