# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What a reset would overwrite or delete, recorded so that the worktree and the index can come back exactly.

The record is one JSON file, replaced atomically, next to the archives that it names.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base import files
from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, acting_as
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError

from .archive import ABSENT, DIRECTORY, FILE, LINK, Entry, Worktree, stamp_of, write_archive
from .git import Change, Git, TreeChange
from .restore import remove_bytecode, restore
from .selection import ALL, Selection

SUBMODULE = "160000"
NOTHING = "000000"


@dataclass(frozen=True)
class Survey:
    """What a reset to a commit would do to the worktree.

    :param reasons: every path that it may overwrite or delete → why that matters (see `Entry`).
    :param writes: paths that it writes or deletes, for the prediction of downtime.
    :param local_changes: tracked paths that differ from HEAD.
    """

    reasons: Mapping[str, str]
    writes: tuple[str, ...]
    local_changes: tuple[Change, ...]

    def paths(self, *why: str) -> list[str]:
        """The paths with one of these reasons, sorted."""
        return sorted(path for path, reason in self.reasons.items() if reason in why)


def survey(git: Git, worktree: Worktree, commit: str, owner: User | None, selected: Selection = ALL) -> Survey:
    """Find every path that ``reset --hard`` to this commit could take something from, of those that are selected.

    git runs as the owner by itself; only the looking around is done with the owner's rights here.
    """
    against = (one for one in git.index_against(commit) if selected.covers(one.path))
    differences = [one for one in against if SUBMODULE not in (one.commit_mode, one.index_mode)]
    local_changes = modified(git, selected)
    others = dict.fromkeys(filter(selected.covers, git.hidden()), "hidden")
    reasons = {one.path: "replaced" for one in differences}
    written = [one.path for one in differences if one.commit_mode != NOTHING] + [one.path for one in local_changes]
    with acting_as(owner):
        in_the_way = _in_the_way(worktree, differences, written) - {one.path for one in local_changes}
    ignored = git.ignored(sorted(in_the_way))
    others.update({one.path: "modified" if one.staged == "." else "staged" for one in local_changes})
    others.update({path: "ignored" if path in ignored else "untracked" for path in in_the_way})
    with acting_as(owner):
        bytecode = stale_bytecode(worktree, {*reasons, *others})
    reasons = {**reasons, **dict.fromkeys(bytecode, "bytecode"), **others}
    return Survey(reasons, tuple(sorted({one.path for one in differences}.union(written))), local_changes)


def modified(git: Git, selected: Selection) -> tuple[Change, ...]:
    """Tracked paths that differ from HEAD, but for submodules, which are looked after on their own."""
    return tuple(one for one in git.changes() if not one.submodule.startswith("S") and selected.covers(one.path))


def _in_the_way(worktree: Worktree, differences: Iterable[TreeChange], written: Iterable[str]) -> set[str]:
    """Untracked or ignored paths that stand where the commit has something, or has a directory."""
    tracked = {one.path for one in differences if one.index_mode != NOTHING}
    found = {one.path for one in differences if one.index_mode == NOTHING and worktree.lstat(one.path) is not None}
    found.update(filter(None, map(worktree.obstacle, written)))
    return found - tracked


def stale_bytecode(worktree: Worktree, paths: Iterable[str]) -> list[str]:
    """Compiled files of these Python sources: of another version as soon as the sources have changed.

    A removed package whose ``__pycache__`` stays could even still be imported, as a namespace.
    """
    by_directory: dict[str, set[str]] = {}
    for path in paths:
        if path.endswith(".py"):
            directory, _slash, name = path.rpartition("/")
            by_directory.setdefault(directory, set()).add(name[: -len(".py")])
    found: list[str] = []
    for directory, stems in by_directory.items():
        cache = f"{directory}/__pycache__" if directory else "__pycache__"
        seen = worktree.lstat(cache)
        if seen is not None and stat.S_ISDIR(seen.st_mode):
            names = [path.name for path in (worktree.top / cache).glob("*.pyc") if path.is_file()]
            found.extend(f"{cache}/{name}" for name in names if name.split(".")[0] in stems)
    return found


@dataclass(frozen=True)
class Record:
    """The worktree and the index right before the reset.

    :param archive: tar file with the content of the entries.
    :param index: copy of the index, or nothing where there was none.
    :param index_mtime_ns: part of the content: git tells by it which files may have changed within one clock tick.
    :param orig_head: what ``ORIG_HEAD`` held.
    :param rest: digest of the index but for the selected paths.
    """

    entries: tuple[Entry, ...]
    archive: str
    index: str | None
    index_mtime_ns: int
    orig_head: str | None
    rest: str

    @property
    def sources(self) -> list[str]:
        """The paths whose compiled files a reset takes away: all but directories that only lead to others."""
        return [entry.path for entry in self.entries if entry.why != "parent"]


class Recorder:
    """Makes, reads and applies records in a workspace.

    :param workspace: ours, 0700.
    :param git: the checkout, as its owner.
    :param index: the path of the checkout's index.
    :param selected: the paths that it is about.
    :param earlier: holds a record that will be applied after the reset: what is at its paths now is recorded too.
    """

    def __init__(
        self,
        workspace: Path,
        git: Git,
        index: Path,
        owner: User | None,
        selected: Selection = ALL,
        earlier: Recorder | None = None,
    ) -> None:
        self._workspace = workspace
        self._git = git
        self._index = index
        self._owner = owner
        self._selected = selected
        self._file = workspace / "record.json"
        self._earlier = earlier

    def read(self) -> Record | None:
        """The newest record, or nothing."""
        try:
            raw = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return None
        return Record(**{**raw, "entries": tuple(Entry(**entry) for entry in raw["entries"])})

    def forget(self) -> None:
        """Remove the record; the archives stay, as evidence."""
        self._file.unlink(missing_ok=True)

    def archive_of(self, record: Record) -> Path:
        """Where the content of the record's entries is."""
        return self._workspace / record.archive

    def copy_from(self, origin: Path) -> None:
        """Copy another workspace's record and what it names, the record last: with it all of it is here."""
        raw = json.loads((origin / "record.json").read_bytes())
        for name in (raw["archive"], raw["index"], "record.json"):
            if name:
                with (origin / name).open("rb") as stream:
                    files.copy_durably(stream, self._workspace / name)

    def make(self, commit: str) -> Record:
        """Record all that a reset to this commit could take; earlier archives stay, as evidence."""
        number = self._next_number("before")
        entries = self.scan(commit)
        archive, index = f"before-{number}.tar", f"index-{number}"
        entries = write_archive(Worktree(self._git.path), entries, self._workspace / archive, self._owner)
        mtime_ns = self._copy_index(self._workspace / index)
        orig_head = self._git.ref("ORIG_HEAD")
        record = Record(tuple(entries), archive, index if mtime_ns else None, mtime_ns, orig_head, self._rest())
        raw = {**record.__dict__, "entries": [entry.to_json() for entry in entries]}
        # Escaped, not UTF-8: names of files may be no text at all.
        files.write_atomic(self._file, json.dumps(raw).encode("ascii"))
        return record

    def scan(self, commit: str) -> list[Entry]:
        """Describe all that a reset to this commit could take, as it is now."""
        worktree = Worktree(self._git.path)
        reasons = dict(survey(self._git, worktree, commit, self._owner, self._selected).reasons)
        earlier = self._earlier.read() if self._earlier else None
        for entry in earlier.entries if earlier else ():
            if entry.why != "parent":
                reasons.setdefault(entry.path, "put back")
        with acting_as(self._owner):
            return worktree.scan(reasons)

    def is_current(self, record: Record) -> bool:
        """Whether nothing of what a reset could take has changed since the record was made. Cheap: it costs downtime.

        Untracked files that have come into the way show at the names that were noted as absent.
        """
        if record.index_mtime_ns != _mtime_ns(self._index):
            return False
        local_changes = {one.path for one in modified(self._git, self._selected)}
        if local_changes != {entry.path for entry in record.entries if entry.why in ("modified", "staged")}:
            return False
        with acting_as(self._owner):
            worktree = Worktree(self._git.path)
            return all(_unchanged(worktree, entry) for entry in record.entries)

    def keep(self, name: str, commit: str, also: Iterable[Entry] = ()) -> Path | None:
        """Archive what a reset would now take and git does not have, as ``<name>-<n>.tar``; nothing when there is none.

        :param also: entries that will be put back: what is in their place now is read too.
        """
        worktree = Worktree(self._git.path)
        reasons = dict(survey(self._git, worktree, commit, self._owner, self._selected).reasons)
        with acting_as(self._owner):
            for entry in also:
                if entry.kind in (FILE, LINK) and entry.path not in reasons:
                    found = worktree.scan({entry.path: "untracked"})
                    reasons.update({one.path: "untracked" for one in found if one.path > entry.path})
            entries = worktree.scan({path: why for path, why in reasons.items() if why not in ("replaced", "bytecode")})
        if not any(entry.why != "parent" and entry.kind != ABSENT for entry in entries):
            return None
        archive = self._workspace / f"{name}-{self._next_number(name)}.tar"
        write_archive(Worktree(self._git.path), entries, archive, self._owner)
        return archive

    def keep_places(self, name: str, record: Record) -> None:
        """Archive what is at the paths of a record, whatever it is: for when git can't tell."""
        reasons = {entry.path: "modified" for entry in record.entries if entry.kind in (FILE, LINK)}
        with acting_as(self._owner):
            entries = Worktree(self._git.path).scan(reasons)
        archive = self._workspace / f"{name}-{self._next_number(name)}.tar"
        write_archive(Worktree(self._git.path), entries, archive, self._owner)

    def apply(self, record: Record) -> None:
        """Put worktree and index back; HEAD is where it was already.

        :raises LastGoodError: in the end, when not all of the worktree could be put back.
        """
        top = self._git.path
        with acting_as(self._owner):
            known = {entry.path for entry in record.entries}
            remove_bytecode(top, set(stale_bytecode(Worktree(top), record.sources)) - known)
        problem = None
        try:
            restore(top, record.entries, self.archive_of(record), self._owner)
        except LastGoodError as error:
            problem = error
        if record.orig_head is not None:
            self._git.text("update-ref", "ORIG_HEAD", record.orig_head, attempt=f"Restoring ORIG_HEAD of {top}")
        else:
            self._git.delete_ref("ORIG_HEAD")
        self._install_index(record)
        if problem is not None:
            raise problem

    def others_staged(self, record: Record) -> bool:
        """Whether the index has changed since beyond the selected paths: putting the old one back would lose that."""
        return record.rest != self._rest()

    def _rest(self) -> str:
        if self._selected.is_all:
            return ""
        rest = (line for line in self._git.listed() if not self._selected.covers(line.split("\t", 1)[1]))
        return hashlib.sha256(b"\0".join(map(os.fsencode, rest))).hexdigest()

    def _copy_index(self, to: Path) -> int:
        """Copy the index; its time of modification, or 0 where there is no index."""
        try:
            with acting_as(self._owner):
                source = self._index.open("rb")
        except FileNotFoundError:
            return 0
        with source:
            mtime_ns = os.fstat(source.fileno()).st_mtime_ns
            files.copy_durably(source, to)
        return mtime_ns

    def _install_index(self, record: Record) -> None:
        """Put the recorded index in place by git's own protocol: an exclusive ``index.lock``, then a rename."""
        if record.index is None:
            with acting_as(self._owner):
                self._index.unlink()
            return
        lock = self._index.with_name("index.lock")
        with (self._workspace / record.index).open("rb") as source, acting_as(self._owner):
            mode = self._index.stat().st_mode & 0o777
            with os.fdopen(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
                shutil.copyfileobj(source, stream, files.CHUNK_BYTES)
                stream.flush()
                os.utime(stream.fileno(), ns=(record.index_mtime_ns, record.index_mtime_ns))
                os.fsync(stream.fileno())
            lock.rename(self._index)

    def _next_number(self, name: str) -> int:
        number = 1
        while (self._workspace / f"{name}-{number}.tar").exists():
            number += 1
        return number


def _mtime_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _unchanged(worktree: Worktree, entry: Entry) -> bool:
    if entry.kind == DIRECTORY and entry.why != "parent":
        return False  # a whole directory in the way: it takes a walk to know
    found = worktree.lstat(entry.path)
    return (stamp_of(found) if found is not None else "") == entry.stamp
