# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Paths of a worktree put back to what an archive and its entries say, as the owner of the checkout.

All of it is done by handles, through no link: others may be able to write to some of its directories. What belonged to
another account comes back as the owner's, and never as a program that runs as somebody else.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, acting_as
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import CHUNK_BYTES
from ansible_collections.lastgood.rollback.plugins.module_utils._base.paths import Tree

from .archive import ABSENT, DIRECTORY, FILE, LINK, PERMISSIONS, Entry
from .git import parents_of

SUFFIX = ".lastgood-restoring"
#: How much of a file's name is before it, in bytes: file systems take 255 in all.
_NAME_BYTES = 200
#: How many other names are tried where somebody has taken that one.
_OTHER_NAMES = 100
#: How many paths a message names.
_NAMED = 5


def restore(top: Path, entries: Iterable[Entry], archive: Path, owner: User | None) -> None:
    """Put every path back to what its entry says; repeatable after a crash at any point.

    What can't be put back stops nothing of the rest.

    :raises LastGoodError: in the end, with what could not be put back, or when the archive lacks one of them.
    """
    listed = list(entries)
    with Tree(top) as tree:
        work = _Restore(tree, owner)
        for entry in reversed(listed):
            if entry.kind == ABSENT:
                work.attempt(entry, _make_absent)
        for entry in listed:
            if entry.kind in (DIRECTORY, LINK):
                work.attempt(entry, _make_directory if entry.kind == DIRECTORY else _make_link)
        missing = work.files({entry.path: entry for entry in listed if entry.kind == FILE}, archive)
        for entry in reversed(listed):
            if entry.kind == DIRECTORY:
                work.attempt(entry, _chmod_directory)
    if missing:
        raise LastGoodError(f"{archive} lacks {sorted(missing)[0]!r}: {top} can't be put back as it was from it.")
    if work.failed:
        more = f" and {len(work.failed) - _NAMED} more" if len(work.failed) > _NAMED else ""
        raise LastGoodError(
            f"{top}: not put back: {'; '.join(work.failed[:_NAMED])}{more}. All else is. See to it that the owner of the "
            f"checkout can change these (lsattr, findmnt, chown), then try again; their content is in {archive}."
        )


class _Restore:
    """One go through the entries: as the owner, and with what failed remembered."""

    def __init__(self, tree: Tree, owner: User | None) -> None:
        self._tree = tree
        self._owner = owner
        self.failed: list[str] = []

    def attempt(self, entry: Entry, step: Callable[[int, str, Entry], None]) -> None:
        """Take one step at a path's own directory; where that is not there, there is nothing to do away with."""
        try:
            with acting_as(self._owner), self._tree.parent(entry.path) as (directory, name):
                step(directory, name, entry)
        except (FileNotFoundError, NotADirectoryError) as error:
            if entry.kind != ABSENT:
                self._note(entry, error)
        except OSError as error:
            self._note(entry, error)

    def files(self, wanted: dict[str, Entry], archive: Path) -> dict[str, Entry]:
        """Put files back in the archive's order; those that it lacks."""
        with archive.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as opened:
            for member in opened:
                entry = wanted.pop(member.name, None)
                content = opened.extractfile(member) if entry else None
                if entry is not None and content is not None:
                    try:
                        self._put(entry, content)
                    except OSError as error:
                        self._note(entry, error)
        return wanted

    def _put(self, entry: Entry, content: IO[bytes]) -> None:
        """Write a temporary file and rename it: nobody sees half a file."""
        with ExitStack() as handles:
            with acting_as(self._owner):
                directory, name = handles.enter_context(self._tree.parent(entry.path))
                temporary, made_now = _new_temporary(directory, name, content)
                stream = handles.enter_context(os.fdopen(made_now, "wb"))
                shutil.copyfileobj(content, stream, CHUNK_BYTES)
                stream.flush()
            made = os.fstat(stream.fileno())
            # The owner may not be in the group that somebody with more rights gave its file: we give the new one the same.
            if entry.uid == made.st_uid and entry.gid != made.st_gid:
                os.fchown(stream.fileno(), -1, entry.gid)
            with acting_as(self._owner):
                os.fchmod(stream.fileno(), entry.mode & PERMISSIONS)
                os.utime(stream.fileno(), ns=(entry.mtime_ns, entry.mtime_ns))
                os.fsync(stream.fileno())
                if _is_directory(directory, name):
                    _remove_tree(directory, name)
                os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)

    def _note(self, entry: Entry, error: OSError) -> None:
        self.failed.append(f"{entry.path} ({error.strerror or error})")


def _new_temporary(directory: int, name: str, content: IO[bytes]) -> tuple[str, int]:
    """A new temporary file next to the one of this name: what it is called, and a handle of it.

    What a killed call has left under that name is made anew. Anything else is somebody's, and stays.

    :raises FileExistsError: when somebody has taken all names, or goes on taking them.
    """
    stem = os.fsdecode(os.fsencode(name)[:_NAME_BYTES]) + SUFFIX
    for temporary in (stem, *(f"{stem}-{number}" for number in range(2, _OTHER_NAMES + 2))):
        if _is_leftover(directory, temporary, content):
            os.unlink(temporary, dir_fd=directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with suppress(FileExistsError):
            return temporary, os.open(temporary, flags, 0o600, dir_fd=directory)
    raise FileExistsError(errno.EEXIST, f"all names like {stem} are taken")


def _is_leftover(directory: int, temporary: str, content: IO[bytes]) -> bool:
    """Whether a file is what a killed call has left of this content: its beginning."""
    try:
        handle = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return False
    with os.fdopen(handle, "rb") as left:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return False
        try:
            return all(content.read(len(chunk)) == chunk for chunk in iter(lambda: left.read(CHUNK_BYTES), b""))
        finally:
            content.seek(0)


def remove_bytecode(top: Path, paths: Iterable[str]) -> None:
    """Remove compiled files, and the directories that only they kept from being removed by git."""
    with Tree(top) as tree:
        for path in paths:
            with tree.parent(path) as (directory, name):
                os.unlink(name, dir_fd=directory)
            for above in reversed(parents_of(path)):
                with tree.parent(above) as (directory, name):
                    if not _is_empty(directory, name):
                        break
                    os.rmdir(name, dir_fd=directory)


def _make_absent(directory: int, name: str, _entry: Entry) -> None:
    """Remove a file or link; a directory only when it is empty: what else is in it was written since, by others."""
    if not _is_directory(directory, name):
        _unlink(directory, name)
    elif _is_empty(directory, name):
        os.rmdir(name, dir_fd=directory)


def _make_link(directory: int, name: str, entry: Entry) -> None:
    with suppress(OSError):
        if os.readlink(name, dir_fd=directory) == entry.target:
            return
    _remove(directory, name)
    os.symlink(str(entry.target), name, dir_fd=directory)
    os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=directory, follow_symlinks=False)


def _make_directory(directory: int, name: str, _entry: Entry) -> None:
    if not _is_directory(directory, name):
        _unlink(directory, name)
        os.mkdir(name, dir_fd=directory)


def _chmod_directory(directory: int, name: str, entry: Entry) -> None:
    handle = _open_directory(directory, name)
    try:
        if stat.S_IMODE(os.fstat(handle).st_mode) != entry.mode:
            os.fchmod(handle, entry.mode)  # what its owner may not give, the system leaves out
    finally:
        os.close(handle)


def _remove(directory: int, name: str) -> None:
    if _is_directory(directory, name):
        _remove_tree(directory, name)
    else:
        _unlink(directory, name)


def _remove_tree(directory: int, name: str) -> None:
    """As ``shutil.rmtree`` does it; with a directory's handle that has to wait for Python 3.11."""
    handle = _open_directory(directory, name)
    try:
        for inner in os.listdir(handle):
            _remove(handle, inner)
    finally:
        os.close(handle)
    os.rmdir(name, dir_fd=directory)


def _open_directory(directory: int, name: str) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)


def _is_empty(directory: int, name: str) -> bool:
    handle = _open_directory(directory, name)
    try:
        return not os.listdir(handle)
    finally:
        os.close(handle)


def _is_directory(directory: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _unlink(directory: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
