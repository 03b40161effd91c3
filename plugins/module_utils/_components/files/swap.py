# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) One file staged, switched by a rename, and put back by a rename.

Beside the file stands a directory of ours: first it holds the new file, and after the switch the replaced one, the
very same inode, so that the way back needs no space and keeps every attribute. A copy of what was replaced lies in the
workspace as well.
"""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    ChecksumMismatch,
    LastGoodError,
    StateConflict,
)

from .location import FileLocation, FileState, apply_properties, copy_content, inspect_open, open_location, sha256_of
from .plan import FilePlan
from .staging import SideDirectory, exists


class LiveVersion(enum.Enum):
    """What is live at the place of one file."""

    OLD = "old"
    NEW = "new"
    FOREIGN = "foreign"


class Swap:
    """The work at one file's place.

    :param location: the place, open.
    :param newest: what was there right before the switch, as far as that is known.
    :param side: the directory of ours beside it.
    """

    def __init__(self, one: FilePlan, location: FileLocation, newest: FileState, side: SideDirectory) -> None:
        self.one = one
        self.location = location
        self.newest = newest
        self.side = side

    # -- inspecting

    def has_side_directory(self) -> bool:
        """Whether anything of ours is there besides the file itself."""
        return self.side.exists()

    def live_version(self) -> LiveVersion:
        """Old, new, or neither; also in the middle of a transaction that changes the file by other means as well."""
        now, wanted = self.location.inspect(), self.one.after
        names = self.side.names()
        if self.side.staged in names or (
            not wanted.exists and now.exists and names == set() and self.has_side_directory()
        ):
            return LiveVersion.OLD  # nothing was switched: whatever is there now is not for us to judge
        if self.side.previous in names:
            return (
                LiveVersion.NEW if (now.exists, now.sha256) == (wanted.exists, wanted.sha256) else LiveVersion.FOREIGN
            )
        if now.same_as(wanted) and not now.same_as(self.newest):
            return LiveVersion.NEW
        if any((now.exists, now.sha256) == (old.exists, old.sha256) for old in (self.newest, self.one.before)):
            return LiveVersion.OLD
        return LiveVersion.NEW if (now.exists, now.sha256) == (wanted.exists, wanted.sha256) else LiveVersion.FOREIGN

    # -- changing

    def stage(self) -> None:
        """Build the new file beside the old one, complete and durable; until it is, nobody else can reach it.

        :raises ChecksumMismatch: when the source is no longer what it was when this was planned.
        """
        self.side.make()
        with self.side.opened() as side:
            if self.one.source is not None:
                try:
                    self._stage_content(side)
                except OSError:
                    self.remove_side()  # a full disk needs the room for the journal
                    raise
            # The file's own mode guards it; its owner, who may be another, has to reach it to validate it.
            os.fchmod(side, 0o711)
            os.fsync(side)

    def _stage_content(self, side: int) -> None:
        source = os.open(str(self.one.source), os.O_RDONLY | os.O_NOFOLLOW)
        try:
            staged = os.open(self.side.staged, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=side)
            try:
                if copy_content(source, staged) != self.one.after.sha256:
                    raise ChecksumMismatch(
                        f"{self.one.source} is not what it was when {self.one.dest} was planned: nothing was replaced."
                    )
                apply_properties(staged, self.one.after)
            finally:
                os.close(staged)
        finally:
            os.close(source)

    def copy_live(self, to: Path) -> FileState:
        """Copy what is there now into the workspace (0600); describe what was copied."""
        if self.location.lstat() is None:
            return FileState(False)
        return copy_open_file(self.location.open(), to)

    def switch(self) -> FileState | None:
        """One rename. Returns what was replaced, if it is not what ``newest`` says, or nothing.

        The replaced file is linked first, and read again after the rename: what somebody wrote at the last
        moment is in it.
        """
        with self.side.opened() as side:
            if self.one.after.exists:
                self._require_whole(side)
                if self.location.lstat() is not None:
                    with suppress(FileNotFoundError):
                        os.unlink(self.side.previous, dir_fd=side)
                    self._link_previous(side)
                os.rename(self.side.staged, self.location.name, src_dir_fd=side, dst_dir_fd=self.location.handle)
            elif self.location.lstat() is not None:
                os.rename(self.location.name, self.side.previous, src_dir_fd=self.location.handle, dst_dir_fd=side)
            os.fsync(side)
            self.sync()
            if not exists(self.side.previous, side):
                return None if not self.newest.exists else FileState(False)
            handle = os.open(self.side.previous, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=side)
            try:
                replaced = inspect_open(handle)
            finally:
                os.close(handle)
            return None if replaced.same_as(self.newest) else replaced

    def open_previous(self) -> int | None:
        """A handle of the replaced file, while it is there."""
        if self.side.previous not in self.side.names():
            return None
        with self.side.opened() as side:
            return os.open(self.side.previous, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=side)

    def _link_previous(self, side: int) -> None:
        names = {"src_dir_fd": self.location.handle, "dst_dir_fd": side}
        try:
            os.link(self.location.name, self.side.previous, follow_symlinks=False, **names)
        except OSError as error:
            raise LastGoodError(
                f"{self.one.dest} can't be kept aside by a hard link: {error.strerror}. It was not replaced."
            ) from error

    def _require_whole(self, side: int) -> None:
        handle = os.open(self.side.staged, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=side)
        try:
            if sha256_of(handle) != self.one.after.sha256:
                raise LastGoodError(
                    f"The file staged for {self.one.dest} was damaged: nothing was replaced. Try again."
                )
        finally:
            os.close(handle)

    def undo(self, copy: Path | None) -> None:
        """Put back what was replaced, and remove the directory beside it.

        :param copy: the copy in the workspace, for when the replaced file itself is no longer beside.
        :raises StateConflict: when somebody changed the file since.
        """
        live = self.live_version()
        if live is LiveVersion.FOREIGN:
            raise StateConflict(
                f"{self.one.dest} is neither what it was before the rollback nor what the rollback put there: somebody "
                f"changed it since. It was left alone; what was replaced is kept in {copy or 'no place: it was absent'}."
            )
        if live is LiveVersion.NEW:
            if self.side.previous in self.side.names():
                with self.side.opened() as side:
                    os.rename(self.side.previous, self.location.name, src_dir_fd=side, dst_dir_fd=self.location.handle)
            elif self.newest.exists:
                self._restore_copy(copy)
            else:
                self._remove_new()
            self.sync()
        self.remove_side()

    def _remove_new(self) -> None:
        """Remove what the rollback put there: read again where nobody can exchange it any more."""
        if not self.has_side_directory():
            self.side.make()
        with self.side.opened() as side:
            os.rename(self.location.name, self.side.staged, src_dir_fd=self.location.handle, dst_dir_fd=side)
            found = os.stat(self.side.staged, dir_fd=side, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                handle = os.open(self.side.staged, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=side)
                try:
                    if sha256_of(handle) == self.one.after.sha256:
                        return
                finally:
                    os.close(handle)
            os.rename(self.side.staged, self.location.name, src_dir_fd=side, dst_dir_fd=self.location.handle)
        raise StateConflict(
            f"{self.one.dest} was exchanged while it was taken away: it was left alone. Look at it by hand."
        )

    def _restore_copy(self, copy: Path | None) -> None:
        if copy is None or not copy.exists():
            raise StateConflict(f"{self.one.dest}: the copy of what was replaced is missing: put it back by hand.")
        origin = FilePlan(self.one.dest, self.one.after, self.newest, str(copy), self.one.side, self.one.number)
        restoration = Swap(origin, self.location, self.one.after, self.side)
        restoration.stage()
        with self.side.opened() as side:
            os.rename(self.side.staged, self.location.name, src_dir_fd=side, dst_dir_fd=self.location.handle)

    def remove_side(self) -> None:
        """Remove the directory beside, and all that is in it."""
        if self.has_side_directory():
            self.side.remove()
            self.sync()

    def sync(self) -> None:
        """Make the names in the file's directory durable."""
        handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.location.handle)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def swap(one: FilePlan, newest: FileState | None, workspace: Path) -> Iterator[Swap]:
    """Open the place of a file to work there."""
    with open_location(Path(one.dest)) as location:
        yield Swap(
            one, location, newest or one.before, SideDirectory(location, one.side, workspace / f"{one.number}.side")
        )


@contextmanager
def explained(attempt: str) -> Iterator[None]:
    """Turn what the operating system says (a full disk, mostly) into an error that names the attempt.

    :param attempt: a sentence's beginning: "Staging /srv/app/.env".
    """
    try:
        yield
    except OSError as error:
        raise LastGoodError(f"{attempt} failed: {error.strerror or error}. Mend that, then start again.") from error


def copy_open_file(handle: int, to: Path) -> FileState:
    """Copy an open file (closed afterwards) to a private new one; describe what was copied."""
    try:
        target = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            copied = copy_content(handle, target)
        except OSError:
            os.unlink(to)  # a full disk needs the room for the journal
            raise
        finally:
            os.close(target)
        state = inspect_open(handle)
    finally:
        os.close(handle)
    if state.sha256 != copied:
        raise LastGoodError(f"Something writes to the file while it is copied to {to}: stop that, then try again.")
    return state
