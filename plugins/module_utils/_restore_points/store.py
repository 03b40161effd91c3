# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The store of restore points on one host: opening and verifying."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import ChecksumMismatch, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import sha256_file
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry

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
)


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
        findings = [finding for component in chosen for finding in _verify(self.directory, component)]
        if key is None:
            known = {MANIFEST, MANIFEST + SEAL, GOOD, GOOD + SEAL, *(component.directory for component in chosen)}
            unlisted = sorted(path for path in self.directory.iterdir() if path.name not in known)
            findings += [f"{path} is not in its manifest" for path in unlisted]
        return findings


class RestorePoints:
    """All restore points of this host.

    :param state_dir: they lie in ``<state_dir>/restore_points``.
    """

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.directory = state_dir / "restore_points"

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


def _verify(point: Path, component: CapturedComponent) -> list[str]:
    """What is wrong with the files of one component; sizes are looked at first, because they cost nothing."""
    base = point / component.directory
    if base.is_symlink() or not base.is_dir():
        return [f"{base} is missing"]
    try:
        sizes, findings = regular_files(base)
        findings += [f"{base / path} is not in its manifest" for path in sorted(set(sizes) - set(component.artefacts))]
        for path, artefact in component.artefacts.items():
            if path not in sizes:
                findings.append(f"{base / path} is missing")
            elif sizes[path] != artefact.bytes:
                findings.append(f"{base / path} has {sizes[path]} bytes, not {artefact.bytes}")
            elif sha256_file(base / path) != artefact.sha256:
                findings.append(f"{base / path} has another SHA-256 than when it was captured")
    except OSError as error:
        return [f"{base} can't be read ({error})"]
    return findings


def regular_files(directory: Path) -> tuple[dict[str, int], list[str]]:
    """Relative path → size of each regular file below a directory, and findings for what is something else."""
    sizes: dict[str, int] = {}
    findings: list[str] = []
    for parent, directories, names in os.walk(directory, onerror=raise_error):
        for name in [*directories, *names]:
            path = Path(parent) / name
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                sizes[path.relative_to(directory).as_posix()] = status.st_size
            elif not stat.S_ISDIR(status.st_mode):
                findings.append(f"{path} is neither a file nor a directory")
    return sizes, findings


def raise_error(error: OSError) -> NoReturn:
    """For ``os.walk``, which would pass over it."""
    raise error
