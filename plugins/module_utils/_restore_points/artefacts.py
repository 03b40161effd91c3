# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The files of a component in a restore point: listing, syncing, verifying. No link is ever followed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NoReturn

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import fsync_directory, sha256_file

from .manifest import Artefact, CapturedComponent


def list_artefacts(directory: Path) -> dict[str, Artefact]:
    """Size and checksum of every file below a directory that a component has just written.

    :raises Refused: for anything that is neither file nor directory: it could not be verified later.
    """
    sizes, findings = _regular_files(directory)
    if findings:
        raise Refused(f"The capture left something that can't be kept: {'; '.join(findings)}.")
    return {path: Artefact(size, sha256_file(directory / path)) for path, size in sorted(sizes.items())}


def verify_component(point: Path, component: CapturedComponent) -> list[str]:
    """What is wrong with the files of one component; sizes are looked at first, because they cost nothing."""
    base = point / component.directory
    if base.is_symlink() or not base.is_dir():
        return [f"{base} is missing"]
    try:
        sizes, findings = _regular_files(base)
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


def sync_tree(directory: Path) -> None:
    """Wait until every file, and then every directory, is on the disk."""
    for parent, _directories, names in os.walk(directory, topdown=False, onerror=_raise):
        for name in names:
            handle = os.open(Path(parent) / name, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        fsync_directory(Path(parent))


def _regular_files(directory: Path) -> tuple[dict[str, int], list[str]]:
    """Relative path → size of each regular file below a directory, and findings for what is something else."""
    sizes: dict[str, int] = {}
    findings: list[str] = []
    for parent, directories, names in os.walk(directory, onerror=_raise):
        for name in [*directories, *names]:
            path = Path(parent) / name
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                sizes[path.relative_to(directory).as_posix()] = status.st_size
            elif not stat.S_ISDIR(status.st_mode):
                findings.append(f"{path} is neither a file nor a directory")
    return sizes, findings


def _raise(error: OSError) -> NoReturn:
    raise error
