# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Paths of a worktree as they are, in a tar archive: content, mode, owner, times, absence.

Reading is done as the owner of the checkout; the archive itself is ours. Links are never followed, and what is said of a
file comes from the handle that its content is read from: by its name it could have been another one.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, acting_as
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import CHUNK_BYTES, write_whole
from ansible_collections.lastgood.rollback.plugins.module_utils._base.paths import Tree
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .git import parents_of

#: Why an entry is there that says of no file that it differs from HEAD.
AS_HEAD = ("replaced", "bytecode", "parent")
FILE, LINK, DIRECTORY, ABSENT = "file", "link", "directory", "absent"
#: What is kept of a file's mode: a program that runs as its owner or group is never put back.
PERMISSIONS = 0o777
#: A header of the archive's format that means nothing to who unpacks it.
_WORK = "comment"


@dataclass(frozen=True)
class Entry:
    """One path of a worktree at one moment.

    :param path: relative to the top.
    :param why: what it is to a reset: ``replaced``, ``modified``, ``staged``, ``hidden``, ``untracked``, ``ignored``,
        ``bytecode``, ``put back`` for what an earlier record brings, or ``parent`` for a directory on the way to these.
    :param stamp: changes whenever the content or anything else of the file does.
    :param target: where a link leads.
    """

    path: str
    kind: str
    why: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    bytes: int = 0
    stamp: str = ""
    target: str | None = None

    @property
    def is_work(self) -> bool:
        """Whether somebody has made it, and no commit has it."""
        return self.why not in AS_HEAD

    def to_json(self) -> JsonObject:
        """For the record; ``Entry(**raw)`` is the inverse."""
        return asdict(self)


class Worktree:
    """Looks at paths below a top directory without ever following a link, the last part's parents included."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self._prefix = f"{top}/"
        self._seen: dict[str, os.stat_result | None] = {}

    def lstat(self, path: str) -> os.stat_result | None:
        """``lstat``, or nothing when there is nothing, or only something behind a link."""
        if path not in self._seen:
            parent = path.rpartition("/")[0]
            above = self.lstat(parent) if parent else None
            reachable = not parent or (above is not None and stat.S_ISDIR(above.st_mode))
            self._seen[path] = _lstat(self._prefix + path) if reachable else None
        return self._seen[path]

    def obstacle(self, path: str) -> str | None:
        """The nearest parent that is there and not a directory: it would have to go for this path to be written."""
        for parent in parents_of(path):
            found = self.lstat(parent)
            if found is not None and not stat.S_ISDIR(found.st_mode):
                return parent
        return None

    def scan(self, reasons: Mapping[str, str]) -> list[Entry]:
        """Describe these paths, their parents, and all that lies below those that are directories; sorted by path."""
        entries: dict[str, Entry] = {}
        for path, why in reasons.items():
            for parent in parents_of(path):
                if parent not in reasons:
                    entries.setdefault(parent, self._entry(parent, "parent"))
            entries[path] = self._entry(path, why)
            if entries[path].kind == DIRECTORY:
                for inner in self._below(path):
                    entries.setdefault(inner, self._entry(inner, reasons.get(inner, why)))
        return [entries[path] for path in sorted(entries)]

    def _below(self, path: str) -> Iterable[str]:
        try:
            with Tree(self.top) as tree:
                handle = tree.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise LastGoodError(f"{self.top / path} was a directory, and can't be read as one now: {error}.") from error
        try:
            for directory, names, files, _handle in os.fwalk(".", dir_fd=handle):
                yield from (posixpath.normpath(f"{path}/{directory}/{name}") for name in (*names, *files))
        finally:
            os.close(handle)

    def _entry(self, path: str, why: str) -> Entry:
        found = self.lstat(path)
        if found is None:
            return Entry(path, ABSENT, why)
        mode, target = found.st_mode, None
        if stat.S_ISREG(mode):
            kind = FILE
        elif stat.S_ISDIR(mode):
            kind = DIRECTORY
        elif stat.S_ISLNK(mode):
            kind, target = LINK, str((self.top / path).readlink())
        else:
            raise Refused(f"{self.top / path} is a socket, pipe or device where a reset would write: move it away.")
        size = found.st_size if kind == FILE else 0
        return _with_facts(Entry(path, kind, why, bytes=size, target=target), found)


def _with_facts(entry: Entry, found: os.stat_result) -> Entry:
    return replace(
        entry,
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        mtime_ns=found.st_mtime_ns,
        stamp=stamp_of(found),
    )


def stamp_of(found: os.stat_result) -> str:
    """Changes whenever anything of a file does; of a directory only what a reset could take away counts."""
    parts = [found.st_mode, found.st_uid, found.st_gid]
    if not stat.S_ISDIR(found.st_mode):
        parts += [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
    return ":".join(map(str, parts))


def write_archive(worktree: Worktree, entries: Iterable[Entry], to: Path, owner: User | None) -> list[Entry]:
    """Write what is there of these entries into a new tar archive (0600), durably; what no commit has comes first.

    The name appears once all of it is written: whoever comes after a full disk or a kill never reads half an archive.

    :returns: the entries, in the same order; what they say of a file is of the one whose content was archived.
    :raises LastGoodError: when a file can't be read, or shrinks while it is read.
    """
    found = {entry.path: entry for entry in entries}

    def write(stream: IO[bytes]) -> None:
        with acting_as(owner), Tree(worktree.top) as tree, _new_archive(stream) as archive:
            for entry in sorted(found.values(), key=lambda one: not one.is_work):
                if entry.kind != ABSENT:
                    found[entry.path] = _add(archive, tree, entry)

    write_whole(to, write)
    return list(found.values())


def sha256_below(top: Path, path: str) -> str:
    """SHA-256 of a regular file's content, as 64 hexadecimal digits.

    :raises OSError: when it can't be read, or is of another kind by now.
    """
    digest = hashlib.sha256()
    with Tree(top) as tree, os.fdopen(tree.open(path), "rb") as content:
        for chunk in iter(lambda: content.read(CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


def holds_work(archive: Path) -> bool:
    """Whether anything in an archive is of no commit, and more than byte code; in one that can't be read there may be.

    Cheap: it costs downtime.
    """
    try:
        with tarfile.open(archive) as content:
            first = content.next()
    except tarfile.TarError:
        # A recovery begins with this. Whoever needs what is in there reads why it can't be had.
        return True
    return first is not None and _WORK in first.pax_headers


def _new_archive(stream: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT)


def _add(archive: tarfile.TarFile, tree: Tree, entry: Entry) -> Entry:
    if entry.kind == DIRECTORY:
        member = _member(entry)
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    elif entry.kind == LINK:
        member = _member(entry)
        member.type, member.linkname = tarfile.SYMTYPE, str(entry.target)
        archive.addfile(member)
    else:
        try:
            with os.fdopen(tree.open(entry.path), "rb") as content:
                found = os.fstat(content.fileno())
                entry = replace(_with_facts(entry, found), bytes=found.st_size)
                archive.addfile(_member(entry), content)
        except OSError as error:
            raise LastGoodError(
                f"Archiving {tree.top}/{entry.path} failed: {error}. Nothing was overwritten: see to it that the owner of "
                "the checkout can read it and that nothing is writing to it, then try again."
            ) from error
    return entry


def _member(entry: Entry) -> tarfile.TarInfo:
    """Unpacked by hand, by root too, it makes no program that runs as somebody else."""
    member = tarfile.TarInfo(entry.path)
    member.mode, member.uid, member.gid, member.mtime = (
        entry.mode & PERMISSIONS,
        entry.uid,
        entry.gid,
        entry.mtime_ns // 10**9,
    )
    member.size = entry.bytes
    if entry.is_work:
        member.pax_headers = {_WORK: entry.why}
    return member


def _lstat(path: Path | str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
