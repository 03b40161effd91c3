# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Tracked files that differ from their commit: part of what ran when a restore point was made.

A restore point of a checkout is its commit *and* these files (a ``config.py`` edited on the host, say), so that going
back to it brings back what ran, not only what was committed. What was only staged comes back as a change of the
worktree.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base import files
from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, acting_as

from .archive import DIRECTORY, FILE, Entry, Worktree, sha256_below, write_archive
from .git import Git
from .record import modified
from .restore import restore
from .selection import ALL, Selection

ARCHIVE, LIST = "worktree.tar", "worktree.json"
#: A restore point's, in the workspace of a transaction that goes back to it.
POINTS_ARCHIVE, POINTS_LIST = f"point-{ARCHIVE}", f"point-{LIST}"

#: The message of the commit that keeps what was staged.
STAGED = "Staged, and never committed, before a rollback"


@dataclass(frozen=True)
class LocalChange:
    """A tracked path that differs from HEAD, and the digest of its content (nothing for a link or an absence)."""

    entry: Entry
    sha256: str | None

    @property
    def path(self) -> str:
        """Relative to the top."""
        return self.entry.path


def present(git: Git, owner: User | None, *, selected: Selection = ALL, staged: bool = True) -> tuple[LocalChange, ...]:
    """What differs now.

    :param selected: the paths to look at.
    :param staged: also what differs in the index only.
    """
    reasons = {one.path: "modified" for one in modified(git, selected) if staged or one.worktree != "."}
    found = []
    with acting_as(owner):
        for entry in Worktree(git.path).scan(reasons):
            if entry.kind == FILE:
                found.append(LocalChange(entry, sha256_below(git.path, entry.path)))
            elif entry.kind != DIRECTORY and entry.why != "parent":
                found.append(LocalChange(entry, None))
    return tuple(found)


def digest(items: Iterable[LocalChange]) -> str:
    """Equal exactly when the same paths differ in the same way."""
    rows = [
        [
            one.path,
            one.entry.kind,
            one.sha256,
            one.entry.target,
            bool(one.entry.mode & 0o100) and one.entry.kind == FILE,
        ]
        for one in items
    ]
    return hashlib.sha256(json.dumps(sorted(rows, key=str)).encode("ascii")).hexdigest()


def capture(git: Git, owner: User | None, into: Path) -> tuple[LocalChange, ...]:
    """Archive what differs now; no file is written when nothing does."""
    items = present(git, owner)
    if items:
        entries = write_archive(Worktree(git.path), [one.entry for one in items], into / ARCHIVE, owner)
        raw = [{"entry": entry.to_json(), "sha256": one.sha256} for entry, one in zip(entries, items)]
        # Escaped, not UTF-8: names of files may be no text at all.
        files.write_atomic(into / LIST, json.dumps(raw, sort_keys=True).encode("ascii"))
    return items


def read(directory: Path) -> tuple[LocalChange, ...]:
    """What differed when it was captured there."""
    try:
        raw = json.loads((directory / LIST).read_bytes())
    except FileNotFoundError:
        return ()
    return tuple(LocalChange(Entry(**one["entry"]), one["sha256"]) for one in raw)


def copy_captured(source: Mapping[str, str], workspace: Path) -> None:
    """Copy a restore point's archive, so that the switch needs no restore point any more.

    :param source: ``directory``, and the expected SHA-256 of the two files by name.
    """
    for name, copy in ((LIST, POINTS_LIST), (ARCHIVE, POINTS_ARCHIVE)):
        origin = Path(source["directory"]) / name
        files.require_checksum(origin, source[name], "Uncommitted files of the restore point")
        with origin.open("rb") as stream:
            files.copy_durably(stream, workspace / copy)


def apply(workspace: Path, top: Path, owner: User, selected: Selection) -> None:
    """Bring the restore point's uncommitted files into the worktree, those that are selected."""
    listed = [Entry(**one["entry"]) for one in json.loads((workspace / POINTS_LIST).read_bytes())]
    entries = [entry for entry in listed if selected.covers(entry.path)]
    # Captured by root it may say of another account, and what it says of a group holds for the owner's files only.
    own = [entry if entry.uid == owner.uid else replace(entry, uid=owner.uid, gid=owner.gid) for entry in entries]
    restore(top, own, workspace / POINTS_ARCHIVE, owner)


def staged_commit(git: Git, owner: User | None, index: Path, scratch: Path) -> str:
    """A commit of what is in the index, from a copy of it: the live one is not even locked."""
    copy = scratch / "staged"
    with acting_as(owner):
        shutil.copyfile(index, copy)
    indexed = git.with_env({"GIT_INDEX_FILE": str(copy)})
    tree = indexed.text("write-tree", attempt=f"Keeping what is staged in {git.path}")
    arguments = ("commit-tree", tree, "-p", "HEAD", "-m", STAGED)
    return indexed.text(*arguments, attempt=f"Keeping what is staged in {git.path}")
