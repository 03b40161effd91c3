# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Opening a path part by part, by handles: who could have put another thing there, and no link unseen.

``stat`` of a path is of what a link leads to, and by the time the path is opened it may lead elsewhere. Here each part
is opened in the directory that was opened before it, without following, and its state read through its own handle.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import struct
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import Refused

#: Among the writers of a part: accounts that can't be listed.
ANYBODY = -1
#: To open a file for reading: never a link, and no waiting at a pipe.
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
#: As many links as the kernel follows.
_LINKS = 40
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
#: The kernel's form of an access control list: a version, then tag, permissions and number of each entry.
_ACL_ENTRY = struct.Struct("<HHI")
_ACL_USER, _ACL_GROUP_OBJ, _ACL_GROUP = 0x02, 0x04, 0x08


@dataclass(frozen=True)
class Part:
    """One step on the way to something: a directory, a link, or the thing itself.

    :param path: where it is, without a link.
    :param found: from its own handle.
    :param writers: the accounts that can change it, except root: a directory's can put other things into it. A link's is the
        one that made it.
    """

    path: Path
    found: os.stat_result
    writers: frozenset[int]

    @property
    def is_link(self) -> bool:
        """Whether the way goes on elsewhere."""
        return stat.S_ISLNK(self.found.st_mode)


@dataclass(frozen=True)
class ResolvedPath:
    """How a path leads to what it names.

    :param asked: the path.
    :param path: the same without a link.
    :param parts: from the root directory to the thing itself, what links add included.
    """

    asked: Path
    path: Path
    parts: tuple[Part, ...]

    @property
    def found(self) -> os.stat_result:
        """Of the thing itself."""
        return self.parts[-1].found

    def untrusted(self, trusted: Collection[int], *, links: bool = False) -> Part | None:
        """The first part that anybody could change but root and these accounts.

        :param links: only links on the way count.
        """
        return next((one for one in self.parts if one.writers.difference(trusted) and (one.is_link or not links)), None)

    def require(self, trusted: Collection[int], attempt: str, *, links: bool = False) -> None:
        """Nobody but root and these accounts could have put something else there.

        :param attempt: what is refused otherwise ("running it as root"), for the message.
        :param links: see `untrusted`.
        :raises Refused: with the part, and who could.
        """
        part = self.untrusted(trusted, links=links)
        if part is None:
            return
        who = _named(part.writers.difference(trusted))
        if part.is_link:
            raise Refused(
                f"{self.asked}: {part.path} on the way is a link of {who}, who can let it lead anywhere: {attempt} is "
                f"refused. Name the real path, or give the link to root (chown -h root {part.path})."
            )
        raise Refused(
            f"{self.asked}: {part.path} can be changed by {who}: {attempt} is refused. Take that right away (chown, "
            "chmod go-w), or name a place that only its owner and root can change."
        )


@contextmanager
def opened(path: Path, flags: int = READ, *, follow: bool = True) -> Iterator[tuple[int, ResolvedPath]]:
    """Open what a path names, and how it led there. Without ``O_DIRECTORY`` or ``O_PATH`` only regular files open.

    :param follow: also a link that the path ends with; those before it are followed in any case, and are parts of the way.
    :raises OSError: also when another thing was put there in between.
    """
    walk = _Walk(path, follow)
    try:
        walk.go()
        handle = walk.open(flags)
        try:
            yield handle, ResolvedPath(path, walk.here, tuple(walk.parts))
        finally:
            os.close(handle)
    finally:
        walk.close()


def resolve(path: Path, *, follow: bool = True) -> ResolvedPath:
    """How a path leads to what it names, of any kind.

    :raises OSError: when it leads nowhere.
    """
    with opened(path, os.O_PATH, follow=follow) as (_handle, resolved):
        return resolved


class Tree:
    """What lies below a directory that is held open: reached part by part from there, through no link at all.

    A path is relative, as git lists it: no part of it is empty, ``.`` or ``..``.
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        self._handle = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._handle)

    @contextmanager
    def parent(self, path: str) -> Iterator[tuple[int, str]]:
        """The directory that a path lies in, open as a place (``dir_fd``), and the name there.

        :raises OSError: when a part before the last is missing, or no directory: a link is none.
        """
        *names, last = path.split("/")
        handle = os.dup(self._handle)
        try:
            for name in names:
                inner = os.open(name, _PLACE | os.O_DIRECTORY, dir_fd=handle)
                os.close(handle)
                handle = inner
            yield handle, last
        finally:
            os.close(handle)

    def lstat(self, path: str) -> os.stat_result | None:
        """As ``lstat``; nothing where there is nothing, or only something behind a link."""
        try:
            with self.parent(path) as (directory, name):
                return os.stat(name, dir_fd=directory, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, path: str, flags: int = READ) -> int:
        """Open a regular file, or with ``O_DIRECTORY`` a directory; what is there has to be read by ``fstat`` of it.

        :raises OSError: also for a link, or a file of another kind.
        """
        with self.parent(path) as (directory, name):
            handle = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        return _fitting(handle, flags, f"{self.top}/{path}")


class _Walk:
    """The way so far: the handles of the directories that lead to where it is."""

    def __init__(self, path: Path, follow: bool) -> None:
        self.asked = path
        self.waiting = _names(os.path.join(Path.cwd(), path))
        self.parts: list[Part] = []
        self._follow = follow
        self._links = 0
        self._names: list[str] = []
        self._handles = [os.open("/", _PLACE)]
        self._add_part()

    @property
    def here(self) -> Path:
        """Where it is, without a link."""
        return Path("/", *self._names)

    def go(self) -> None:
        """All the way."""
        while self.waiting:
            self._step()
        if self.parts[-1].path != self.here:  # it ended by going back
            self._add_part()

    def _step(self) -> None:
        """Take the next part: down, up, or where a link leads."""
        name = self.waiting.popleft()
        if name == "..":
            self._drop_handles(len(self._names) - 1)
            return
        self._handles.append(os.open(name, _PLACE, dir_fd=self._handles[-1]))
        self._names.append(name)
        self._add_part()
        if self.parts[-1].is_link and (self.waiting or self._follow):
            self._links += 1
            if self._links > _LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(self.asked))
            target = os.readlink("", dir_fd=self._handles[-1])
            self._drop_handles(0 if target.startswith("/") else len(self._names) - 1)
            self.waiting.extendleft(reversed(_names(target)))

    def open(self, flags: int) -> int:
        """Open what was reached, by the place that it was found in."""
        place = (".", self._handles[-1])
        if not stat.S_ISDIR(self.parts[-1].found.st_mode):
            place = (self._names[-1], self._handles[-2])
        handle = os.open(place[0], flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place[1])
        if not os.path.samestat(os.fstat(handle), os.fstat(self._handles[-1])):
            os.close(handle)
            raise OSError(errno.ESTALE, "was replaced while it was opened", str(self.asked))
        return _fitting(handle, flags, str(self.asked))

    def close(self) -> None:
        """Close all handles."""
        while self._handles:
            os.close(self._handles.pop())

    def _add_part(self) -> None:
        found = os.fstat(self._handles[-1])
        self.parts.append(Part(self.here, found, _writers(self._handles[-1], found)))

    def _drop_handles(self, depth: int) -> None:
        """To a directory above, by the handle that led here."""
        while len(self._names) > max(depth, 0):
            self._names.pop()
            os.close(self._handles.pop())


def _names(path: str) -> deque[str]:
    return deque(name for name in path.split("/") if name not in ("", "."))


def _fitting(handle: int, flags: int, path: str) -> int:
    if flags & (os.O_DIRECTORY | os.O_PATH) or stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(errno.EINVAL, "is no regular file", path)


def _writers(handle: int, found: os.stat_result) -> frozenset[int]:
    """Who can change it; in a sticky directory others change only what is theirs, and that is a part of its own."""
    owner = {found.st_uid}
    mode = found.st_mode
    if not stat.S_ISLNK(mode) and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
        if mode & stat.S_IWOTH:
            return frozenset({ANYBODY})
        if mode & stat.S_IWGRP:
            owner |= _granted(handle, found)
    return frozenset(owner - {0})


def _granted(handle: int, found: os.stat_result) -> set[int]:
    """Whom a group's right to write, or an access control list behind it, means."""
    try:
        raw = os.getxattr(f"/proc/self/fd/{handle}", "system.posix_acl_access")
    except OSError as error:
        return _members(found) if error.errno in (errno.ENODATA, errno.ENOTSUP) else {ANYBODY}
    granted: set[int] = set()
    for tag, permissions, number in _ACL_ENTRY.iter_unpack(raw[4:]):
        if not permissions & 2 or tag not in (_ACL_USER, _ACL_GROUP, _ACL_GROUP_OBJ):
            continue
        granted |= {number} if tag == _ACL_USER else _members(found, number if tag == _ACL_GROUP else None)
    return granted


def _members(found: os.stat_result, group: int | None = None) -> set[int]:
    """The accounts of a group; of a group that this host doesn't know, whoever has the same number, as a container's."""
    gid = found.st_gid if group is None else group
    try:
        names = grp.getgrgid(gid).gr_mem
    except KeyError:
        return {found.st_uid if gid == found.st_uid else ANYBODY}
    return {entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid == gid or entry.pw_name in names}


def _named(uids: Collection[int]) -> str:
    return " and ".join(map(_name, sorted(uids)))


def _name(uid: int) -> str:
    if uid == ANYBODY:
        return "anybody"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
