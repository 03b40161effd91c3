# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The store of restore points on one host: opening, verifying, marking good, removing.

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
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import ChecksumMismatch, LockHeld, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import (
    ensure_private_directory,
    fsync_directory,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry

from .artefacts import sync_tree, verify_component
from .manifest import (
    GOOD,
    LAST_GOOD,
    MANIFEST,
    SEAL,
    CapturedComponent,
    Good,
    Manifest,
    read_sealed,
    require_name,
    seal,
)

#: Lets go of what an entry holds outside of the store, such as a ref. Called with the entry, and with the facts of the
#: entries of the same key in all restore points that stay.
DeleteCaptured = Callable[[CapturedComponent, list[JsonObject]], None]


@dataclass(frozen=True)
class RestorePoint:
    """A restore point whose manifest matched its checksum.

    :param sha256: of its manifest.
    :param good: the record that it is good, or None.
    :param findings: what is wrong with it so far (a damaged record of being good).
    """

    directory: Path
    manifest: Manifest
    sha256: str
    good: Good | None
    findings: tuple[str, ...] = ()

    def verify(self, key: str | None = None) -> list[str]:
        """Hash all artefacts, or those of one component; returns what is wrong, empty when nothing is.

        Streams: a dump is never held in memory. Links are never followed.
        """
        chosen = [component for component in self.manifest.components if key in (None, component.key)]
        findings = [finding for component in chosen for finding in verify_component(self.directory, component)]
        if key is None:
            known = {MANIFEST, MANIFEST + SEAL, GOOD, GOOD + SEAL, *(component.directory for component in chosen)}
            strangers = sorted(path for path in self.directory.iterdir() if path.name not in known)
            findings += [f"{path} is not in its manifest" for path in strangers]
        return findings


class RestorePoints:
    """All restore points of this host.

    :param state_dir: they lie in ``<state_dir>/restore_points``.
    :param delete_captured: see `DeleteCaptured`; called before a restore point is deleted.
    """

    def __init__(self, state_dir: Path, delete_captured: DeleteCaptured | None = None) -> None:
        self.state_dir = state_dir
        self.directory = state_dir / "restore_points"
        self._delete_captured = delete_captured

    def names(self) -> list[str]:
        """The names there are, sorted; damaged ones as well."""
        try:
            entries = sorted(self.directory.iterdir())
        except FileNotFoundError:
            return []
        return [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]

    def open(self, name: str) -> RestorePoint:
        """Open one by name.

        :raises Refused: when there is none of this name, or its schema is newer than this collection.
        :raises ChecksumMismatch: when its manifest is not what was captured.
        """
        directory = self.directory / require_name(name)
        if directory.is_symlink() or not directory.is_dir():
            there = ", ".join(self.names()) or "none at all"
            raise Refused(f"Restore point {name!r} does not exist in {self.directory}. There: {there}.")
        raw, digest = read_sealed(directory / MANIFEST)
        try:
            manifest = Manifest.from_json(raw)
        except Refused as error:
            raise Refused(f"Restore point {name!r} can't be read: {error.message}") from error
        if manifest.name != name:
            raise ChecksumMismatch(
                f"{directory} holds the restore point {manifest.name!r}: it was moved or copied here."
            )
        try:
            good, findings = _read_good(directory, digest), ()
        except Refused as error:
            return RestorePoint(directory, manifest, digest, None, (error.message,))
        return RestorePoint(directory, manifest, digest, good, findings)

    def readable(self) -> list[RestorePoint]:
        """Those that can be opened, newest first. What is damaged is left out here; `names` has it."""
        points = []
        for name in self.names():
            try:
                points.append(self.open(name))
            except Refused:
                continue
        return sorted(points, key=lambda point: (point.manifest.created, point.manifest.name), reverse=True)

    def last_good(self, keys: tuple[str, ...]) -> RestorePoint:
        """The newest good one that contains every component asked for.

        :param keys: ``kind:name`` of each.
        :raises Refused: when there is none; it says what the good ones lack.
        """
        lacking = []
        for point in self.readable():
            if point.good is None:
                continue
            missing = sorted(set(keys) - set(point.manifest.keys))
            if not missing:
                return point
            lacking.append(f"{point.manifest.name} lacks {', '.join(missing)}")
        why = "; ".join(lacking) if lacking else "no restore point there was ever marked good"
        raise Refused(f"No good restore point in {self.directory} contains {', '.join(keys)}: {why}.")

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
            sync_tree(partial)
            partial.rename(self.directory / name)
        except BaseException:
            # What can't be removed now (a dump that outlived us still writes there) is left to a sweep.
            shutil.rmtree(partial, ignore_errors=True)
            raise
        fsync_directory(self.directory)

    def surplus(self, stack: str, keep: int, good: str) -> list[str]:
        """What may go when the newest ``keep`` good ones of a stack stay, and at least one of them.

        Those that never became good go once they are older than the oldest good one that stays.

        :param good: the name of one that counts as good already.
        """
        mine = [point for point in self.readable() if point.manifest.stack == stack]
        staying = [point for point in mine if point.good is not None or point.manifest.name == good][: max(keep, 1)]
        if not staying:
            return []
        oldest = staying[-1].manifest.created
        return [point.manifest.name for point in mine if point.manifest.created < oldest]

    def mark_good(self, point: RestorePoint, good: Good) -> None:
        """Write down, once, that it is good. Needs the lock."""
        seal(point.directory / GOOD, asdict(good))

    def remove(self, name: str) -> None:
        """Take one away, readable or not. Needs the lock."""
        aside = self.directory / f".{name}.removed-{secrets.token_hex(4)}"
        (self.directory / require_name(name)).rename(aside)
        fsync_directory(self.directory)
        self._release_all(aside)
        shutil.rmtree(aside)

    def sweep(self) -> None:
        """Delete what captures and removals left that were killed. Needs the lock.

        What can't be deleted, because a dump that outlived its capture still writes there, is left to the next sweep.
        """
        for name in self.names():
            for leftover in (self.directory / name).glob(f".{GOOD}*"):
                leftover.unlink()
        for entry in self.directory.iterdir():
            if entry.name.startswith(".") and (".partial-" in entry.name or ".removed-" in entry.name):
                self._release_all(entry)
                shutil.rmtree(entry, ignore_errors=True)

    def _release_all(self, directory: Path) -> None:
        """Let go of what a restore point without a name holds elsewhere."""
        try:
            manifest = Manifest.from_json(read_sealed(directory / MANIFEST)[0])
        except Refused:
            manifest = None
        staying = self.readable()
        # What an unreadable restore point needs is not known, so as long as there is one nothing is let go.
        if manifest is not None and self._delete_captured is not None and len(staying) == len(self.names()):
            for component in manifest.components:
                others = [point.manifest.component(component.key) for point in staying]
                self._delete_captured(component, [other.facts for other in others if other is not None])


def find_component(state_dir: Path, restore_point: str, key: str) -> tuple[RestorePoint, CapturedComponent]:
    """A restore point and one of its components; only the manifest has matched its checksum.

    :param restore_point: a name, or ``last_good``: the newest good one that contains the component.
    :raises Refused: when there is no such restore point, or the component is not in it.
    :raises ChecksumMismatch: when its manifest is not what was captured.
    """
    store = RestorePoints(state_dir)
    point = store.last_good((key,)) if restore_point == LAST_GOOD else store.open(restore_point)
    component = point.manifest.component(key)
    if component is None:
        there = ", ".join(point.manifest.keys) or "nothing"
        raise Refused(f"Restore point {point.manifest.name!r} does not contain {key}. It contains: {there}.")
    return point, component


def open_entry(state_dir: Path, restore_point: str, kind: str, name: str) -> PointEntry:
    """One component's entry, once the manifest and every file of that component matched their checksums.

    :raises Refused: as `find_component` does.
    :raises ChecksumMismatch: when anything of it is not what was captured.
    """
    key = f"{kind}:{name}"
    point, component = find_component(state_dir, restore_point, key)
    findings = point.verify(key)
    if findings:
        raise ChecksumMismatch(
            f"Restore point {point.manifest.name!r} is damaged: {'; '.join(findings)}. Choose another one: "
            "restore_point_info with verify tells which are whole."
        )
    return PointEntry(
        point=point.manifest.name,
        directory=point.directory / component.directory,
        facts=component.facts,
        artefacts={path: artefact.sha256 for path, artefact in component.artefacts.items()},
    )


def _read_good(directory: Path, manifest_sha256: str) -> Good | None:
    if not (directory / GOOD).exists():
        return None
    good = Good.from_json(read_sealed(directory / GOOD)[0])
    if manifest_sha256 not in good.hosts.values():
        raise ChecksumMismatch(f"{directory / GOOD} was written for another manifest than the one beside it.")
    return good
