# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The store of restore points for whoever changes it: building, marking good, removing.

A restore point appears by one rename, whole and synced, and disappears by one rename. Whatever a crash leaves has a
name that begins with a dot, and is swept away by the next call that holds the store's lock.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LockHeld, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import (
    ensure_private_directory,
    fsync_directory,
    sha256_file,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .manifest import GOOD, MANIFEST, Artefact, CapturedComponent, Good, Manifest, read_sealed, require_name, seal
from .store import RestorePoint, RestorePoints, raise_error, regular_files

#: Deletes what an entry keeps outside of the store, such as a ref. Called with the entry, and with the facts of the
#: entries of the same key in all restore points that stay.
DeleteCaptured = Callable[[CapturedComponent, list[JsonObject]], None]


class WritableRestorePoints(RestorePoints):
    """All restore points of this host, and what changes them.

    :param state_dir: see `RestorePoints`.
    :param delete_captured: see `DeleteCaptured`; called before a restore point is deleted.
    """

    def __init__(self, state_dir: Path, delete_captured: DeleteCaptured | None = None) -> None:
        super().__init__(state_dir)
        self._delete_captured = delete_captured

    @contextmanager
    def lock(self, purpose: str) -> Iterator[None]:
        """One capture, marking or removal at a time; ends with the process, whatever ends it.

        :raises LockHeld: at once, with who holds it.
        """
        ensure_private_directory(self.directory)
        handle = os.open(self.directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(handle, 1000, 0).decode(errors="replace") or "another process"
                raise LockHeld(f"{self.directory} is in use: {holder}. Wait until it has ended.") from error
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{purpose} (process {os.getpid()})".encode(), 0)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def building(self, name: str) -> Iterator[Path]:
        """A directory that becomes the restore point ``name`` when the block ends well, and nothing otherwise.

        Needs the lock. The caller has written the manifest when the block ends.
        """
        partial = self.directory / f".{name}.partial-{secrets.token_hex(4)}"
        partial.mkdir(mode=0o700)
        try:
            yield partial
            _sync_tree(partial)
            partial.rename(self.directory / name)
        except BaseException:
            # What can't be removed now (a dump that outlived us still writes there) is left to a sweep.
            shutil.rmtree(partial, ignore_errors=True)
            raise
        fsync_directory(self.directory)

    def mark_good(self, point: RestorePoint, good: Good) -> None:
        """Write down, once, that it is good. Needs the lock."""
        seal(point.directory / GOOD, asdict(good))

    def remove(self, name: str) -> None:
        """Take one away, readable or not. Needs the lock."""
        removed = self.directory / f".{name}.removed-{secrets.token_hex(4)}"
        (self.directory / require_name(name)).rename(removed)
        fsync_directory(self.directory)
        self._delete_all_captured(removed)
        shutil.rmtree(removed)

    def sweep(self) -> None:
        """Delete what captures and removals left that were killed. Needs the lock.

        What can't be deleted, because a dump that outlived its capture still writes there, is left to the next sweep.
        """
        for name in self.names():
            for leftover in (self.directory / name).glob(f".{GOOD}*"):
                leftover.unlink()
        for entry in self.directory.iterdir():
            if entry.name.startswith(".") and (".partial-" in entry.name or ".removed-" in entry.name):
                self._delete_all_captured(entry)
                shutil.rmtree(entry, ignore_errors=True)

    def _delete_all_captured(self, directory: Path) -> None:
        """Delete what a restore point that has lost its name keeps outside of the store."""
        try:
            manifest = Manifest.from_json(read_sealed(directory / MANIFEST)[0])
        except Refused:
            manifest = None
        remaining = self.readable()
        # What an unreadable restore point needs is not known, so as long as there is one nothing is deleted.
        if manifest is not None and self._delete_captured is not None and len(remaining) == len(self.names()):
            for component in manifest.components:
                others = [point.manifest.component(component.key) for point in remaining]
                self._delete_captured(component, [other.facts for other in others if other is not None])


def list_artefacts(directory: Path) -> dict[str, Artefact]:
    """Size and checksum of every file below a directory that a component has just written.

    :raises Refused: for anything that is neither file nor directory: it could not be verified later.
    """
    sizes, findings = regular_files(directory)
    if findings:
        raise Refused(f"The capture left something that can't be kept: {'; '.join(findings)}.")
    return {path: Artefact(size, sha256_file(directory / path)) for path, size in sorted(sizes.items())}


def _sync_tree(directory: Path) -> None:
    """Wait until every file, and then every directory, is on the disk."""
    for parent, _directories, names in os.walk(directory, topdown=False, onerror=raise_error):
        for name in names:
            handle = os.open(Path(parent) / name, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        fsync_directory(Path(parent))
