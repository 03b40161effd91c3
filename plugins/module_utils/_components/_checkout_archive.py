# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Paths of a worktree as they are, in a tar archive, and back again: content, mode, owner, times, absence.

Reading and writing is done as the owner of the checkout; the archive itself is ours. Links are never followed.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from ansible_collections.lastgood.rollback.plugins.module_utils._errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._files import CHUNK_BYTES, write_whole
from ansible_collections.lastgood.rollback.plugins.module_utils._identity import User, acting_as
from ansible_collections.lastgood.rollback.plugins.module_utils._tools.git import parents_of
from ansible_collections.lastgood.rollback.plugins.module_utils._types import JsonObject

#: Why an entry stands there that says of no file that it differs from HEAD.
AS_HEAD = ("replaced", "bytecode", "parent")
FILE, LINK, DIRECTORY, ABSENT = "file", "link", "directory", "absent"
SUFFIX = ".lastgood-restoring"
#: A header of the archive's format that means nothing to who unpacks it.
_WORK = "comment"


@dataclass(frozen=True)
class Entry:
    """One path of a worktree at one moment.

    :param path: relative to the top.
    :param why: what it is to a reset: ``replaced``, ``modified``, ``staged``, ``hidden``, ``untracked``, ``ignored``,
        ``bytecode``, ``put back`` for what an earlier record brings, or ``parent`` for a directory on the way to these.
    :param stamp: changes whenever the content or anything else of the file does (from ``lstat``).
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

    def look(self, path: str) -> os.stat_result | None:
        """``lstat``, or nothing when there is nothing, or only something behind a link."""
        if path not in self._seen:
            parent = path.rpartition("/")[0]
            above = self.look(parent) if parent else None
            reachable = not parent or (above is not None and stat.S_ISDIR(above.st_mode))
            self._seen[path] = _lstat(self._prefix + path) if reachable else None
        return self._seen[path]

    def obstacle(self, path: str) -> str | None:
        """The nearest parent that is there and not a directory: it would have to go for this path to be written."""
        for parent in parents_of(path):
            found = self.look(parent)
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
        for directory, names, files in os.walk(self.top / path):
            for name in (*names, *files):
                yield str((Path(directory) / name).relative_to(self.top))

    def _entry(self, path: str, why: str) -> Entry:
        found = self.look(path)
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
        stamp = stamp_of(found)
        size = found.st_size if kind == FILE else 0
        return Entry(
            path, kind, why, stat.S_IMODE(mode), found.st_uid, found.st_gid, found.st_mtime_ns, size, stamp, target
        )


def stamp_of(found: os.stat_result) -> str:
    """Changes whenever anything of a file does; of a directory only what a reset could take away counts."""
    parts = [found.st_mode, found.st_uid, found.st_gid]
    if not stat.S_ISDIR(found.st_mode):
        parts += [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
    return ":".join(map(str, parts))


def write_archive(worktree: Worktree, entries: Iterable[Entry], to: Path, owner: User | None) -> None:
    """Write what is there of these entries into a new tar archive (0600), durably; what no commit has comes first.

    The name appears once all of it is written: whoever comes after a full disk or a kill never reads half an archive.

    :raises LastGoodError: when a file can't be read, or shrinks while it is read.
    """

    def write(stream: IO[bytes]) -> None:
        with acting_as(owner), tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for entry in sorted(entries, key=lambda one: not one.is_work):
                if entry.kind != ABSENT:
                    _add(archive, worktree.top, entry)

    write_whole(to, write)


def holds_work(archive: Path) -> bool:
    """Whether anything in an archive is of no commit, and more than byte code; in one that can't be read there may be.

    Cheap: it costs downtime.
    """
    try:
        with tarfile.open(archive) as content:
            first = content.next()
    except tarfile.TarError:
        # A recovery begins with this. Whoever needs what is in there is told why it can't be had.
        return True
    return first is not None and _WORK in first.pax_headers


def _add(archive: tarfile.TarFile, top: Path, entry: Entry) -> None:
    member = tarfile.TarInfo(entry.path)
    member.mode, member.uid, member.gid, member.mtime = entry.mode, entry.uid, entry.gid, entry.mtime_ns // 10**9
    if entry.is_work:
        member.pax_headers = {_WORK: entry.why}
    if entry.kind == DIRECTORY:
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    elif entry.kind == LINK:
        member.type, member.linkname = tarfile.SYMTYPE, str(entry.target)
        archive.addfile(member)
    else:
        member.size = entry.bytes
        try:
            with os.fdopen(os.open(top / entry.path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as content:
                archive.addfile(member, content)
        except OSError as error:
            raise LastGoodError(
                f"Archiving {top / entry.path} failed: {error}. Nothing was overwritten: see to it that the owner of "
                "the checkout can read it and that nothing is writing to it, then try again."
            ) from error


def restore(top: Path, entries: Iterable[Entry], archive: Path, owner: User | None) -> None:
    """Put every path back to what its entry says; repeatable after a crash at any point.

    :raises LastGoodError: when the archive lacks one of them.
    """
    listed = list(entries)
    with acting_as(owner):
        for entry in reversed(listed):
            # Looked at afresh each time: behind a link there is nothing of ours to remove.
            if entry.kind == ABSENT and Worktree(top).look(entry.path) is not None:
                _make_absent(top / entry.path)
        for entry in listed:
            if entry.kind == DIRECTORY:
                _make_directory(top / entry.path)
            elif entry.kind == LINK:
                _make_link(top / entry.path, entry)
    with archive.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as opened:
        files = {entry.path: entry for entry in listed if entry.kind == FILE}
        for member in opened:
            wanted = files.pop(member.name, None)
            content = opened.extractfile(member) if wanted else None
            if wanted is not None and content is not None:
                _put_file(top / wanted.path, wanted, content, owner)
    if files:
        raise LastGoodError(f"{archive} lacks {sorted(files)[0]!r}: {top} can't be put back as it was from it.")
    for entry in reversed(listed):
        if entry.kind == DIRECTORY:
            with acting_as(owner):
                _chmod_directory(top / entry.path, entry)


def _put_file(path: Path, entry: Entry, content: IO[bytes], owner: User | None) -> None:
    """Write beside and rename: nobody sees half a file."""
    beside = path.with_name(path.name[:200] + SUFFIX)
    with acting_as(owner):
        _unlink(beside)
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as stream:
        shutil.copyfileobj(content, stream, CHUNK_BYTES)
        stream.flush()
        made = os.fstat(handle)
        if (made.st_uid, made.st_gid) != (entry.uid, entry.gid):
            os.fchown(handle, entry.uid, entry.gid)  # through the handle: a path could have been swapped meanwhile
        os.fchmod(handle, entry.mode)
        os.utime(handle, ns=(entry.mtime_ns, entry.mtime_ns))
        os.fsync(handle)
    with acting_as(owner):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        beside.rename(path)


def _make_link(path: Path, entry: Entry) -> None:
    if path.is_symlink() and str(path.readlink()) == entry.target:
        return
    _remove(path)
    path.symlink_to(str(entry.target))
    os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)


def _make_directory(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        _remove(path)
        path.mkdir()


def _chmod_directory(path: Path, entry: Entry) -> None:
    if stat.S_IMODE(path.lstat().st_mode) != entry.mode:
        path.chmod(entry.mode)


def _make_absent(path: Path) -> None:
    """Remove a file or link; a directory only when it is empty: what else is in it was written since, by others."""
    if path.is_symlink() or not path.is_dir():
        _unlink(path)
        return
    try:
        path.rmdir()
    except OSError:
        if not any(path.iterdir()):
            raise


def _remove(path: Path) -> None:
    found = _lstat(path)
    if found is not None and stat.S_ISDIR(found.st_mode):
        shutil.rmtree(path)
    else:
        _unlink(path)


def _unlink(path: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()


def _lstat(path: Path | str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
