# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The directory of ours beside one file: it holds the staged file, and after the switch the replaced one.

It may stand in the directory of an account that is not trusted. So it is ours, and its content too until that is
complete; it is known by its inode, which is noted before anything is put into it; and nothing but our own two names is
ever removed from it. A directory that is not noted was made by an older version, as the owner of the directory around it:
that one is worked in with its owner's rights.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import acting_as, user_by_uid
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused, StateConflict
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import write_atomic

from .location import FileLocation


class SideDirectory:
    """Makes, opens and removes it.

    :param location: the file's place, open.
    :param name: the directory's name there.
    :param note: file in the workspace that says which directory is ours.
    """

    def __init__(self, location: FileLocation, name: str, note: Path) -> None:
        self._location = location
        self._name = name
        self._note = note
        self.staged = location.name
        self.previous = f"{location.name}.previous"

    @property
    def path(self) -> Path:
        """For messages."""
        return self._location.path.with_name(self._name)

    def exists(self) -> bool:
        """Whether it is there. Another file or directory of that name is not it."""
        handle = self._opened()
        if handle is not None:
            os.close(handle)
        return handle is not None

    def names(self) -> set[str]:
        """Which of our two names it holds; empty as well when it is not there."""
        handle = self._opened()
        if handle is None:
            return set()
        try:
            return {name for name in (self.staged, self.previous) if exists(name, handle)}
        finally:
            os.close(handle)

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A handle of it.

        :raises StateConflict: when it is not there, or another directory has taken its name.
        """
        handle = self._opened()
        if handle is None:
            raise StateConflict(
                f"{self.path}, which held what belongs to {self._location.path}, is gone, or is another one by now."
            )
        try:
            yield handle
        finally:
            os.close(handle)

    def make(self) -> None:
        """Make it anew, so that nobody but us can read it or write there.

        :raises Refused: when somebody else has put something in its place.
        """
        self.remove()
        taken = f"{self.path} is in the way: somebody else made it. Remove it, then try again."
        try:
            os.mkdir(self._name, 0o700, dir_fd=self._location.handle)
        except FileExistsError as error:
            raise Refused(taken) from error
        handle = self._open()
        try:
            found = os.fstat(handle)
            if found.st_uid != os.geteuid() or os.listdir(handle):
                raise Refused(taken)  # it was exchanged in between
            write_atomic(self._note, json.dumps({"inode": found.st_ino}).encode("ascii"))
        finally:
            os.close(handle)

    def remove(self) -> None:
        """Remove it, and what of ours is in it."""
        handle = self._opened()
        if handle is None:
            return
        try:
            with acting_as(user_by_uid(os.fstat(handle).st_uid)):
                for name in (self.staged, self.previous):
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=handle)
                os.rmdir(self._name, dir_fd=self._location.handle)
        finally:
            os.close(handle)

    def _open(self) -> int:
        return os.open(self._name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._location.handle)

    def _opened(self) -> int | None:
        """A handle of our directory; nothing for what is none, or not ours."""
        found = self._location.lstat(self._name)
        if found is None or not stat.S_ISDIR(found.st_mode):
            return None
        handle = self._open()
        if self._is_ours(handle):
            return handle
        os.close(handle)
        return None

    def _is_ours(self, handle: int) -> bool:
        found = os.fstat(handle)
        try:
            noted = json.loads(self._note.read_bytes())["inode"]
        except FileNotFoundError:
            # Killed before it was noted, so it is empty; or made by an older version.
            around = os.stat(".", dir_fd=self._location.handle).st_uid
            return found.st_uid == around or (found.st_uid == os.geteuid() and not os.listdir(handle))
        return bool(found.st_uid == os.geteuid() and found.st_ino == noted)


def exists(name: str, directory: int) -> bool:
    """Whether an open directory has this name."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
