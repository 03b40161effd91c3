# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Choosing wheels by their digest, and handing verified copies to a tool that runs as somebody else."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, acting_as
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import ChecksumMismatch, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import (
    CHUNK_BYTES,
    require_checksum,
    sha256_file,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .lock_file import Pin


@dataclass(frozen=True)
class Wheel:
    """A wheel that is to be installed: whose it is, where it lies, its SHA-256, and its sizes in bytes."""

    name: str
    version: str
    source: str
    sha256: str
    bytes: int
    unpacked_bytes: int

    def to_json(self) -> JsonObject:
        """A plain JSON object; ``Wheel(**raw)`` is its inverse."""
        return asdict(self)

    @property
    def file(self) -> str:
        """The file name, which is also where an installer reads name, version and platform."""
        return Path(self.source).name


def captured_wheels(
    wheels: Mapping[str, Mapping[str, Any]], versions: Mapping[str, str], directory: Path
) -> list[Wheel]:
    """The wheels of a restore point's entry, each compared with its checksum.

    :param wheels: canonical name → ``file``, ``sha256``, ``bytes``, ``unpacked_bytes`` as captured.
    :raises ChecksumMismatch: for a wheel that is missing or not what was captured.
    """
    found = []
    for name, raw in sorted(wheels.items()):
        source = directory / str(raw["file"])
        require_checksum(source, str(raw["sha256"]), f"The wheel of {name} in the restore point")
        sizes = (int(raw["bytes"]), int(raw["unpacked_bytes"]))
        found.append(Wheel(name, versions[name], str(source), str(raw["sha256"]), *sizes))
    return found


def matching_wheels(directory: Path, pins: Sequence[Pin], where: str) -> list[Wheel]:
    """Those wheels of a directory whose content is what a lock file asks for; file names are not trusted.

    :param where: the lock file, for messages.
    :raises Refused: when a locked distribution has no wheel there; all of them are named.
    """
    wanted = {digest: pin for pin in pins for digest in pin.digests}
    try:
        files = sorted(directory.glob("*.whl"))
        found = [(wanted.get(digest), path, digest) for path, digest in ((path, sha256_file(path)) for path in files)]
    except OSError as error:
        raise Refused(f"The wheelhouse {directory} can't be read: {error.strerror}.") from error
    wheels = [_wheel(pin, path, digest) for pin, path, digest in found if pin is not None]
    missing = sorted({f"{pin.name}=={pin.version}" for pin in pins} - {f"{one.name}=={one.version}" for one in wheels})
    if missing:
        raise Refused(
            f"The wheelhouse {directory} has no wheel with a digest that {where} accepts for: {', '.join(missing)}."
            " Fill it with 'pip download' or 'pip wheel' from that file."
        )
    return wheels


def stage(wheels: Iterable[Wheel], into: Path, owner: User) -> None:
    """Copy wheels for a tool that runs as the owner; each is compared while it is copied, before any tool sees it.

    :param into: the owner's directory.
    :raises ChecksumMismatch: when a file changed since the plan was made.
    """
    for wheel in wheels:
        digest = hashlib.sha256()
        with Path(wheel.source).open("rb") as source:
            with acting_as(owner):
                handle = os.open(into / wheel.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as copy:
                for chunk in iter(lambda: source.read(CHUNK_BYTES), b""):
                    digest.update(chunk)
                    copy.write(chunk)
        if digest.hexdigest() != wheel.sha256:
            raise ChecksumMismatch(f"The wheel {wheel.source} changed since the plan was made: it is not installed.")


def _wheel(pin: Pin, path: Path, digest: str) -> Wheel:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile as error:
        raise Refused(
            f"{path} has the digest that is asked for, but is no wheel: make it and the lock file anew."
        ) from error
    return Wheel(pin.name, pin.version, str(path), digest, path.stat().st_size, unpacked)
