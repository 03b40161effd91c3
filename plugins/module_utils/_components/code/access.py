# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What the owner of a checkout can't change, found in the plan: a reset, or its undo, would stop halfway there."""

from __future__ import annotations

import array
import fcntl
import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, acting_as
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.paths import READ, Tree

from .archive import ABSENT, DIRECTORY, FILE, Entry
from .git import Head, Layout

#: FS_IOC_GETFLAGS of the kernel's own form for 64 bits, and what chattr calls i and a.
_GET_FLAGS, _IMMUTABLE, _APPEND_ONLY = 0x80086601, 0x10, 0x20
_SET_ID = stat.S_ISUID | stat.S_ISGID


class Access:
    """What the owner may change below the top of a checkout."""

    def __init__(self, layout: Layout, owner: User) -> None:
        self._layout = layout
        self._owner = owner

    def require_files(self, entries: Iterable[Entry], writes: Iterable[str]) -> None:
        """Every path that a reset replaces or removes can be, and could be made again as it was.

        :param entries: what is there of them, as `Worktree.scan` returns it.
        :param writes: the paths that the reset writes.
        :raises Refused: for the first that can't.
        """
        top = self._layout.top
        found = {entry.path: entry for entry in entries}
        with acting_as(self._owner), Tree(top) as tree:
            for directory in sorted({_nearest_directory(tree, path) for path in (*writes, *found)}):
                self._require_directory(top / directory)
            for entry in found.values():
                if entry.kind != ABSENT and entry.why != "parent":
                    self._require_entry(tree, entry)

    def require_git(self, head: Head) -> None:
        """All that a rollback writes in the git directory can be written: after a pull by root some of it can't.

        :raises Refused: for the first that can't.
        """
        git_dir, common = self._layout.git_dir, self._layout.common_dir
        places = [
            git_dir,
            common,
            common / "objects",
            *self._fans(),
            common / "refs",
            git_dir / "logs",
            common / "logs",
        ]
        names = [git_dir / name for name in ("HEAD", "index", "ORIG_HEAD", "logs/HEAD", "lastgood-hold")]
        names += [
            common / name for name in ("config", "packed-refs", "logs/refs/heads/lastgood", "refs/heads/lastgood")
        ]
        for ref in filter(None, [head.branch]):
            names += [common / ref, common / "logs" / ref]
            places += [path for path in (common / ref).parents if common in path.parents]
        with acting_as(self._owner):
            for directory in dict.fromkeys(places):
                if directory.is_dir():
                    self._require_directory(directory)
            for path in names:
                if path.exists():
                    self._require_changeable(path)

    def _fans(self) -> list[Path]:
        """The directories of single objects: a new one may have to lie in any of them."""
        with suppress(OSError):
            return sorted((self._layout.common_dir / "objects").glob("[0-9a-f][0-9a-f]"))
        return []

    def _require_directory(self, path: Path) -> None:
        if not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
            self._refuse(path, f"can't be written by {self._owner.name}")
        self._require_free(path)

    def _require_changeable(self, path: Path) -> None:
        if not os.access(path, os.W_OK, effective_ids=True):
            self._refuse(path, f"can't be written by {self._owner.name}")
        self._require_free(path)

    def _require_entry(self, tree: Tree, entry: Entry) -> None:
        path = tree.top / entry.path
        if entry.uid != self._owner.uid:
            self._refuse(path, f"belongs to another account (uid {entry.uid})")
        if entry.kind == FILE and entry.mode & _SET_ID:
            raise Refused(
                f"{path} runs as its owner or group (mode {entry.mode:o}): a rollback never makes such a file, so that an undo "
                "could not give it back. Take that away first (chmod ug-s)."
            )
        if entry.kind in (FILE, DIRECTORY):
            with suppress(PermissionError):  # what can't be read is refused where it would be archived
                handle = tree.open(entry.path, READ if entry.kind == FILE else os.O_RDONLY | os.O_DIRECTORY)
                self._require_flags(handle, path)
        self._require_not_mounted(path)

    def _require_free(self, path: Path) -> None:
        with suppress(OSError):
            self._require_flags(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), path)
        if path.is_file():
            self._require_not_mounted(path)

    def _require_flags(self, handle: int, path: Path) -> None:
        flags = array.array("l", [0])
        try:
            with suppress(OSError):  # a file system without such attributes
                fcntl.ioctl(handle, _GET_FLAGS, flags)
        finally:
            os.close(handle)
        # A log is only appended to.
        if flags[0] & (_IMMUTABLE if "logs" in path.parts else _IMMUTABLE | _APPEND_ONLY):
            raise Refused(
                f"{path} is immutable or append-only (lsattr): a reset, or its undo, would stop halfway. "
                f"Take the attribute away first (chattr -i -a)."
            )

    def _require_not_mounted(self, path: Path) -> None:
        if str(path) in self._mounted:
            raise Refused(
                f"{path} is a mount of its own (findmnt): a reset can't replace it, and would stop halfway. Unmount it first."
            )

    @cached_property
    def _mounted(self) -> frozenset[str]:
        try:
            lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        except OSError:
            return frozenset()
        return frozenset(
            re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split()[4]) for line in lines
        )

    def _refuse(self, path: Path, why: str) -> None:
        raise Refused(
            f"{path} {why}, who owns the checkout: a reset would stop halfway, and an undo could not give it back. "
            f"Give it back to its owner first (chown -R {self._owner.name} {path})."
            if why.startswith("can't")
            else f"{path} {why}: an undo could not give it back. Give it to the checkout's owner first "
            f"(chown -h {self._owner.name} {path})."
        )


def _nearest_directory(tree: Tree, path: str) -> str:
    """The directory that has to be written for this path: its parent, or the nearest one that exists."""
    directory = path.rpartition("/")[0]
    while directory:
        found = tree.lstat(directory)
        if found is not None and stat.S_ISDIR(found.st_mode):
            return directory
        directory = directory.rpartition("/")[0]
    return "."
