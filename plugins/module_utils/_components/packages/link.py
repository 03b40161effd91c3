# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The place where an environment is live: what is there, and flipping it in one step.

Beside the live path ``<path>`` lies ``<path>.lastgood/``, which belongs to the environment's owner:

``<id>/``            environments that were built, one for each transaction
``staging-<id>/``    what an installation needs; gone afterwards
``link-<id>``        the link that is about to become ``<path>``
``previous-<id>``    the plain directory that was at ``<path>`` before a link took its place

A link is replaced by a rename. A plain directory and the new link change places with ``RENAME_EXCHANGE``, so that there
is an environment at every moment; where a file system can't do that, two renames follow each other.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import re
import stat
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, acting_as
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import StateConflict
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import fsync_directory
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_OURS = re.compile(r"(previous-|staging-|link-)?[0-9a-f]{8}")


@dataclass(frozen=True)
class LivePath:
    """What is at the live path.

    :param kind: ``link``, ``directory``, ``missing`` or ``other``.
    :param target: what a link names, as it is written.
    :param device: file system of a directory; for the report only, since it can change in a reboot.
    :param inode: number of a directory; it follows the directory through renames.
    :param made_ns: when its ``pyvenv.cfg`` was written: distinguishes it from a new directory that got the same number.
    """

    kind: str
    target: str = ""
    device: int = 0
    inode: int = 0
    made_ns: int = 0

    def to_json(self) -> JsonObject:
        """A plain JSON object; ``Live(**raw)`` is its inverse."""
        return asdict(self)

    def is_same(self, other: LivePath) -> bool:
        """Whether both are the same thing, a reboot in between or not."""
        ours, theirs = ((one.kind, one.target, one.inode, one.made_ns) for one in (self, other))
        return ours == theirs


def inspect_live(path: Path) -> LivePath:
    """What is at a path now; links are not followed."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return LivePath("missing")
    if stat.S_ISLNK(found.st_mode):
        return LivePath("link", target=str(path.readlink()))
    if not stat.S_ISDIR(found.st_mode):
        return LivePath("other", device=found.st_dev, inode=found.st_ino)
    try:
        made = (path / "pyvenv.cfg").lstat().st_mtime_ns
    except OSError:
        made = 0
    return LivePath("directory", device=found.st_dev, inode=found.st_ino, made_ns=made)


@dataclass(frozen=True)
class EnvironmentPaths:
    """One environment's live path and the side names of one transaction.

    :param path: the live path.
    :param id: eight hexadecimal digits, from `side_id`.
    """

    path: Path
    id: str

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> EnvironmentPaths:
        """The paths that a plan's facts name."""
        return cls(Path(facts["path"]), str(facts["id"]))

    def kept(self, before: LivePath) -> Path | None:
        """Where what was live before the rollback is kept."""
        if before.kind == "link":
            return self.path.parent / before.target
        return self.previous if before.kind == "directory" else None

    @property
    def base(self) -> Path:
        """The directory that holds everything beside."""
        return self.path.with_name(f"{self.path.name}.lastgood")

    @property
    def side(self) -> Path:
        """The environment that this transaction builds."""
        return self.base / self.id

    @property
    def staging(self) -> Path:
        """The owner's directory for the time of the installation."""
        return self.base / f"staging-{self.id}"

    @property
    def previous(self) -> Path:
        """Where a plain directory that was replaced is kept."""
        return self.base / f"previous-{self.id}"

    @property
    def link(self) -> Path:
        """The link on its way to the live path."""
        return self.base / f"link-{self.id}"

    @property
    def target(self) -> str:
        """What the live link names; relative, so that the whole application can be mounted elsewhere."""
        return f"{self.base.name}/{self.id}"

    def entries(self) -> list[Path]:
        """Everything in the base directory that carries one of our names; empty when there is no such directory."""
        try:
            return sorted(entry for entry in self.base.iterdir() if _OURS.fullmatch(entry.name))
        except FileNotFoundError:
            return []

    def rights(self, owner: User) -> AbstractContextManager[None]:
        """For the work at and beside the live path: the owner's, or ours where only root may write the parent."""
        return acting_as(owner if may_write(self.path.parent, owner) else None)


def side_id(transaction: str, path: Path) -> str:
    """Eight hexadecimal digits for a transaction and a path; the same whenever it is asked."""
    return hashlib.sha256(f"{transaction}\0{path}".encode()).hexdigest()[:8]


def may_write(directory: Path, user: User) -> bool:
    """Whether this user can make and rename entries of a directory."""
    with acting_as(user):
        return os.access(directory, os.W_OK | os.X_OK, effective_ids=True)


def put_link(paths: EnvironmentPaths, target: str) -> None:
    """Make the live path a link to ``target``, in one rename, over a link or over nothing."""
    _new_link(paths.link, target)
    paths.link.replace(paths.path)
    _sync(paths)


def adopt(paths: EnvironmentPaths) -> None:
    """Put the link in the place of a plain directory, which moves to ``previous``. Can be repeated after a kill."""
    if inspect_live(paths.path).kind == "directory":
        _new_link(paths.previous, paths.target)
        if exchange(paths.path, paths.previous):
            _sync(paths)
            return
        paths.previous.unlink()
        paths.path.rename(paths.previous)
    put_link(paths, paths.target)


def restore_directory(paths: EnvironmentPaths, before: LivePath) -> None:
    """Put the plain directory back to where it was; the link goes. Can be repeated after a kill.

    :raises StateConflict: when the directory that was put aside is gone.
    """
    if not inspect_live(paths.previous).is_same(before):
        raise StateConflict(
            f"{paths.path}: the environment that was put aside, {paths.previous}, is gone or another one by now. "
            f"Nothing was changed; {paths.path} still leads to {paths.target}."
        )
    if inspect_live(paths.path).kind == "missing":
        paths.previous.rename(paths.path)
    elif exchange(paths.path, paths.previous):
        paths.previous.unlink()
    else:
        paths.path.rename(paths.link)
        paths.previous.rename(paths.path)
        paths.link.unlink()
    _sync(paths)


def exchange(one: Path, other: Path) -> bool:
    """Let two names change places in one step; false where the system or the file system can't.

    :raises OSError: for any other reason.
    """
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def _new_link(link: Path, target: str) -> None:
    """Make a link; one that a killed run left behind makes way."""
    if link.is_symlink():
        link.unlink()
    link.symlink_to(target)


def _sync(paths: EnvironmentPaths) -> None:
    fsync_directory(paths.path.parent)
    fsync_directory(paths.base)
