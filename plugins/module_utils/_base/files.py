# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Durable, atomic file work in streams: nothing here reads a file whole into memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .errors import ChecksumMismatch

CHUNK_BYTES = 1024 * 1024


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits.

    :raises OSError: when it can't be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


def require_checksum(path: Path, expected: str, what: str) -> None:
    """Compare before anybody opens the file to parse it.

    :param expected: 64 hexadecimal digits, with or without the prefix ``sha256:``.
    :raises ChecksumMismatch: when it differs or can't be read.
    """
    try:
        found = sha256_file(path)
    except OSError as error:
        raise ChecksumMismatch(f"{what}: {path} can't be read ({error.strerror}).") from error
    wanted = expected.split(":", 1)[1] if expected.startswith("sha256:") else expected
    if found != wanted.lower():
        raise ChecksumMismatch(f"{what}: {path} has the SHA-256 {found}, not {wanted}: it was damaged or replaced.")


def fsync_directory(path: Path) -> None:
    """Make renames and new names in a directory survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _temporary_file(path: Path, write: Callable[[IO[bytes]], object], mode: int) -> Iterator[Path]:
    """A temporary file in the same directory, complete and durable; what of it is left in the end is removed."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, write: Callable[[IO[bytes]], object], mode: int = 0o600) -> None:
    """Replace a file by what a function writes: readers see all of the old or all of the new, also after a power cut."""
    _replace(path, write, mode)
    fsync_directory(path.parent)


def _replace(path: Path, write: Callable[[IO[bytes]], object], mode: int) -> None:
    with _temporary_file(path, write, mode) as temporary:
        temporary.replace(path)


def replace_whole(path: Path, content: bytes) -> None:
    """Replace a file that is allowed to be the old one again after a power cut, but whole."""
    _replace(path, lambda stream: stream.write(content), 0o600)


def write_atomic(path: Path, content: bytes, mode: int = 0o600) -> None:
    """The same with content that is there already."""
    write_whole(path, lambda stream: stream.write(content), mode)


def create_once(path: Path, content: bytes, mode: int = 0o600) -> bool:
    """Write a file that must never be written twice; true when this call was the one that wrote it.

    The content is complete and durable before the name appears, so that nobody ever reads half a record.
    """
    with _temporary_file(path, lambda stream: stream.write(content), mode) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    fsync_directory(path.parent)
    return True


def copy_durably(source: IO[bytes], to: Path) -> None:
    """Copy what is left of an open file into a private new one, which is there whole or not at all."""
    write_whole(to, lambda copy: shutil.copyfileobj(source, copy, CHUNK_BYTES))


def dump_json(value: Any) -> bytes:
    """JSON as bytes, keys sorted, so that equal values have equal digests."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()


def ensure_private_directory(path: Path) -> None:
    """Make a directory, and those of its parents that are missing, that only its owner may enter."""
    missing = [parent for parent in (path, *path.parents) if not parent.exists()]
    for parent in reversed(missing):  # mkdir(parents=True) would leave the parents open to all
        parent.mkdir(mode=0o700, exist_ok=True)
