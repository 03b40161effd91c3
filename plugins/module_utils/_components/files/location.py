# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) One file at one place: reached through its directory's handle, so that no link leads anywhere else.

All work at a place is done relative to the open directory. What makes a file (content, owner, mode, times, extended
attributes, and with them access control lists) is described by `FileState`.
"""

from __future__ import annotations

import base64
import errno
import grp
import hashlib
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import CHUNK_BYTES
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

#: As many as the kernel follows.
_MOST_LINKS = 40


@dataclass(frozen=True)
class FileState:
    """A file as it is, or that there is none.

    :param xattrs: name → value in base64.
    """

    exists: bool
    sha256: str | None = None
    mode: int = 0
    uid: int = -1
    gid: int = -1
    owner: str | None = None
    group: str | None = None
    mtime_ns: int = 0
    bytes: int = 0
    xattrs: dict[str, str] = field(default_factory=dict)

    @property
    def public(self) -> JsonObject:
        """For results, diff and report; never content."""
        mode = f"{self.mode:04o}" if self.exists else None
        return {
            "exists": self.exists,
            "sha256": self.sha256,
            "mode": mode,
            "owner": self.owner,
            "group": self.group,
        }

    def to_json(self) -> JsonObject:
        """``Look(**raw)`` is the inverse."""
        return asdict(self)

    def same_as(self, other: FileState) -> bool:
        """Content, owner, mode and access control lists; not times, and not what security modules attach."""
        return _essence(self) == _essence(other)


def _essence(state: FileState) -> tuple[Any, ...]:
    kept = {name: value for name, value in state.xattrs.items() if not name.startswith("security.")}
    return (state.exists, state.sha256, state.mode, state.uid, state.gid, sorted(kept.items()))


class FileLocation:
    """A name in an open directory.

    :param path: absolute; its directory has no link in it.
    :param handle: the open directory.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self.handle = handle

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.name

    def lstat(self, name: str | None = None) -> os.stat_result | None:
        """What has this name in the directory (default: the place's own), or nothing."""
        try:
            return os.stat(name or self.name, dir_fd=self.handle, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, name: str | None = None) -> int:
        """A handle of the regular file of this name.

        :raises Refused: for anything else.
        """
        try:
            handle = os.open(name or self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self.handle)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise Refused(f"{self.path} is a symbolic link: name the file that it leads to.") from error
            raise Refused(f"{self.path} can't be read: {error.strerror}.") from error
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise Refused(f"{self.path} is not a regular file: only those can be captured and restored.")
        return handle

    def inspect(self) -> FileState:
        """Describe what is there now.

        :raises Refused: when it is a link, a directory or something else.
        """
        if self.lstat() is None:
            return FileState(False)
        handle = self.open()
        try:
            return inspect_open(handle)
        finally:
            os.close(handle)


@contextmanager
def open_location(path: Path) -> Iterator[FileLocation]:
    """Open the directory of an absolute path, part by part, following no link.

    :raises Refused: when a part is missing, is no directory, or is a link.
    """
    handle = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        for part in path.parent.parts[1:]:
            try:
                inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
            except OSError as error:
                reason = "is a link, or no directory" if error.errno in (errno.ELOOP, errno.ENOTDIR) else error.strerror
                raise Refused(f"{path}: can't reach it, because {part!r} on the way {reason}.") from error
            os.close(handle)
            handle = inner
        yield FileLocation(path, handle)
    finally:
        os.close(handle)


def real_location(name: str) -> Path:
    """The path that work is done at: absolute, without ``..``, its directory resolved once.

    :raises Refused: for a relative name, one with ``..`` in it, a directory that is not there, or one that somebody else's
        link leads to.
    """
    path = Path(name)
    if not path.is_absolute() or ".." in path.parts or path.name in ("", "."):
        raise Refused(f"{name!r}: name the file by an absolute path without '..'.")
    try:
        directory, links = _followed(path.parent)
        owner = directory.stat().st_uid
    except OSError as error:
        raise Refused(f"{name}: its directory {path.parent} can't be reached: {error.strerror}.") from error
    for link, uid in links:
        # Whoever owns such a link could turn root's work to any place.
        if os.geteuid() == 0 and uid not in (0, owner):
            raise Refused(
                f"{name}: {link} on the way is a link of {_user_name(uid)} that leads to {directory}, which belongs to"
                f" {_user_name(owner)}: name the file by its real path."
            )
    return directory / path.name


def _followed(directory: Path) -> tuple[Path, list[tuple[Path, int]]]:
    """A directory without links, and each link on the way to it with its owner.

    :raises OSError: when there is no such directory.
    """
    at, waiting = Path("/"), list(reversed(directory.parts[1:]))
    links: list[tuple[Path, int]] = []
    while waiting:
        part = waiting.pop()
        step = at.parent if part == ".." else at / part
        found = step.lstat()
        if not stat.S_ISLNK(found.st_mode):
            at = step
            continue
        if len(links) == _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(directory))
        links.append((step, found.st_uid))
        target = step.readlink()
        at = Path("/") if target.is_absolute() else at
        waiting.extend(part for part in reversed(target.parts) if part != "/")
    return at, links


def inspect_open(handle: int) -> FileState:
    """Describe an open file."""
    found = os.fstat(handle)
    return FileState(
        exists=True,
        sha256=sha256_of(handle),
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        owner=_user_name(found.st_uid),
        group=_group_name(found.st_gid),
        mtime_ns=found.st_mtime_ns,
        bytes=found.st_size,
        xattrs=_xattrs(handle),
    )


def sha256_of(handle: int) -> str:
    """SHA-256 of an open file, in chunks."""
    digest, at = hashlib.sha256(), 0
    while chunk := os.pread(handle, CHUNK_BYTES, at):
        digest.update(chunk)
        at += len(chunk)
    return digest.hexdigest()


def copy_content(source: int, to: int) -> str:
    """Copy an open file to another, durably; the SHA-256 of what was copied."""
    digest, at = hashlib.sha256(), 0
    while chunk := os.pread(source, CHUNK_BYTES, at):
        digest.update(chunk)
        at += len(chunk)
        while chunk:
            chunk = chunk[os.write(to, chunk) :]
    os.fsync(to)
    return digest.hexdigest()


def apply_properties(handle: int, state: FileState) -> None:
    """Give an open file its owner, mode, extended attributes and time."""
    found = os.fstat(handle)
    if (found.st_uid, found.st_gid) != (state.uid, state.gid):
        os.fchown(handle, state.uid, state.gid)
    os.fchmod(handle, state.mode)
    for name, value in state.xattrs.items():
        _set_xattr(handle, name, base64.b64decode(value))
    for name in set(_xattrs(handle)) - set(state.xattrs):
        if not name.startswith("security."):
            os.removexattr(handle, name)  # inherited from the directory's default access control list
    if stat.S_IMODE(os.fstat(handle).st_mode) != state.mode:
        os.fchmod(handle, state.mode)
    os.utime(handle, ns=(state.mtime_ns, state.mtime_ns))
    os.fsync(handle)


def _xattrs(handle: int) -> dict[str, str]:
    try:
        names = os.listxattr(handle)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS):
            return {}
        raise
    return {name: base64.b64encode(os.getxattr(handle, name)).decode() for name in sorted(names)}


def _set_xattr(handle: int, name: str, value: bytes) -> None:
    try:
        if os.listxattr(handle).count(name) and os.getxattr(handle, name) == value:
            return
        os.setxattr(handle, name, value)
    except OSError as error:
        if name.startswith("security.") and error.errno in (errno.EPERM, errno.ENOTSUP):
            return  # what the directory gives a new file stands; only root may give it another
        raise LastGoodError(f"The attribute {name} of a restored file can't be set: {error.strerror}.") from error


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
