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

from .location import Look, Place, copy_content, dress, look_at, place, sha256_of
from .plan import FilePlan
from .staging import Side, exists


class Standing(enum.Enum):
    """What is live at the place of one file."""

    OLD = "old"
    NEW = "new"
    FOREIGN = "foreign"


class Swap:
    """The work at one file's place.

    :param spot: the place, open.
    :param newest: what was there right before the switch, as far as that is known.
    :param side: the directory of ours beside it.
    """

    def __init__(self, one: FilePlan, spot: Place, newest: Look, side: Side) -> None:
        self.one = one
        self.spot = spot
        self.newest = newest
        self.side = side

    # -- looking

    def stands_beside(self) -> bool:
        """Whether anything of ours is there besides the file itself."""
        return self.side.stands()

    def standing(self) -> Standing:
        """Old, new, or neither; also in the middle of a transaction that changes the file by other means as well."""
        now, wanted = self.spot.look(), self.one.after
        beside = self.side.names()
        if self.side.staged in beside or (
            not wanted.exists and now.exists and beside == set() and self.stands_beside()
        ):
            return Standing.OLD  # nothing was switched: whatever is there now is not for us to judge
        if self.side.previous in beside:
            return Standing.NEW if (now.exists, now.sha256) == (wanted.exists, wanted.sha256) else Standing.FOREIGN
        if now.same_as(wanted) and not now.same_as(self.newest):
            return Standing.NEW
        if any((now.exists, now.sha256) == (old.exists, old.sha256) for old in (self.newest, self.one.before)):
            return Standing.OLD
        return Standing.NEW if (now.exists, now.sha256) == (wanted.exists, wanted.sha256) else Standing.FOREIGN

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
                dress(staged, self.one.after)
            finally:
                os.close(staged)
        finally:
            os.close(source)

    def copy_live(self, to: Path) -> Look:
        """Copy what is there now into the workspace (0600); describe what was copied."""
        if self.spot.lstat() is None:
            return Look(False)
        return copy_aside(self.spot.open(), to)

    def switch(self) -> Look | None:
        """One rename. Returns what was replaced, if it is not what ``newest`` says, or nothing.

        The replaced file is linked aside first, and looked at again after the rename: what somebody wrote at the last
        moment is in it.
        """
        with self.side.opened() as side:
            if self.one.after.exists:
                self._require_whole(side)
                if self.spot.lstat() is not None:
                    with suppress(FileNotFoundError):
                        os.unlink(self.side.previous, dir_fd=side)
                    self._link_aside(side)
                os.rename(self.side.staged, self.spot.name, src_dir_fd=side, dst_dir_fd=self.spot.handle)
            elif self.spot.lstat() is not None:
                os.rename(self.spot.name, self.side.previous, src_dir_fd=self.spot.handle, dst_dir_fd=side)
            os.fsync(side)
            self.sync()
            if not exists(self.side.previous, side):
                return None if not self.newest.exists else Look(False)
            handle = os.open(self.side.previous, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=side)
            try:
                replaced = look_at(handle)
            finally:
                os.close(handle)
            return None if replaced.same_as(self.newest) else replaced

    def open_previous(self) -> int | None:
        """A handle of the replaced file, while it is beside."""
        if self.side.previous not in self.side.names():
            return None
        with self.side.opened() as side:
            return os.open(self.side.previous, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=side)

    def _link_aside(self, side: int) -> None:
        names = {"src_dir_fd": self.spot.handle, "dst_dir_fd": side}
        try:
            os.link(self.spot.name, self.side.previous, follow_symlinks=False, **names)
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
        """Put back what was replaced, and remove what stands beside.

        :param copy: the copy in the workspace, for when the replaced file itself is no longer beside.
        :raises StateConflict: when somebody changed the file since.
        """
        standing = self.standing()
        if standing is Standing.FOREIGN:
            raise StateConflict(
                f"{self.one.dest} is neither what it was before the rollback nor what the rollback put there: somebody "
                f"changed it since. It was left alone; what was replaced is kept in {copy or 'no place: it was absent'}."
            )
        if standing is Standing.NEW:
            if self.side.previous in self.side.names():
                with self.side.opened() as side:
                    os.rename(self.side.previous, self.spot.name, src_dir_fd=side, dst_dir_fd=self.spot.handle)
            elif self.newest.exists:
                self._put_copy_back(copy)
            else:
                self._take_away()
            self.sync()
        self.remove_side()

    def _take_away(self) -> None:
        """Remove what the rollback put there: looked at again where nobody can exchange it any more."""
        if not self.stands_beside():
            self.side.make()
        with self.side.opened() as side:
            os.rename(self.spot.name, self.side.staged, src_dir_fd=self.spot.handle, dst_dir_fd=side)
            found = os.stat(self.side.staged, dir_fd=side, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                handle = os.open(self.side.staged, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=side)
                try:
                    if sha256_of(handle) == self.one.after.sha256:
                        return
                finally:
                    os.close(handle)
            os.rename(self.side.staged, self.spot.name, src_dir_fd=side, dst_dir_fd=self.spot.handle)
        raise StateConflict(
            f"{self.one.dest} was exchanged while it was taken away: it was left alone. Look at it by hand."
        )

    def _put_copy_back(self, copy: Path | None) -> None:
        if copy is None or not copy.exists():
            raise StateConflict(f"{self.one.dest}: the copy of what was replaced is missing: put it back by hand.")
        origin = FilePlan(self.one.dest, self.one.after, self.newest, str(copy), self.one.side, self.one.number)
        back = Swap(origin, self.spot, self.one.after, self.side)
        back.stage()
        with self.side.opened() as side:
            os.rename(self.side.staged, self.spot.name, src_dir_fd=side, dst_dir_fd=self.spot.handle)

    def remove_side(self) -> None:
        """Remove the directory beside, and all that is in it."""
        if self.stands_beside():
            self.side.remove()
            self.sync()

    def sync(self) -> None:
        """Make the names in the file's directory durable."""
        handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.spot.handle)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def swap(one: FilePlan, newest: Look | None, workspace: Path) -> Iterator[Swap]:
    """Open the place of a file to work there."""
    with place(Path(one.dest)) as spot:
        yield Swap(one, spot, newest or one.before, Side(spot, one.side, workspace / f"{one.number}.side"))


@contextmanager
def explained(attempt: str) -> Iterator[None]:
    """Turn what the operating system says (a full disk, mostly) into an error that names the attempt.

    :param attempt: a sentence's beginning: "Staging /srv/app/.env".
    """
    try:
        yield
    except OSError as error:
        raise LastGoodError(f"{attempt} failed: {error.strerror or error}. Mend that, then start again.") from error


def copy_aside(handle: int, to: Path) -> Look:
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
        look = look_at(handle)
    finally:
        os.close(handle)
    if look.sha256 != copied:
        raise LastGoodError(f"Something writes to the file while it is copied to {to}: stop that, then try again.")
    return look
