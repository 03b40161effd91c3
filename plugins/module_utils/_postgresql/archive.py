# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Archives of pg_dump: what they say of themselves, their checksums, and lending them to pg_restore.

An archive can carry code for whoever reads it, so its header is read here, without any tool, and pg_restore sees it
only after its checksum held.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ansible_collections.lastgood.rollback.plugins.module_utils._base import files
from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import ChecksumMismatch, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.paths import Tree, opened, resolve

from .plain_script import read_heading

MAGIC = b"PGDMP"
#: Archives of PostgreSQL 9.0 to 18; in 1.15 the field for the compression changed.
OLDEST, NEW_COMPRESSION = (1, 11), (1, 15)


@dataclass(frozen=True)
class Archive:
    """What an archive says of itself.

    :param form: ``directory``, ``custom``, ``tar``, or ``plain`` for SQL.
    :param database: the database it was made from; empty where it does not say.
    :param server: that server's version, as text.
    :param program: the version of the pg_dump that wrote it, as text.
    :param bytes: its size.
    """

    form: str
    database: str
    server: str
    program: str
    bytes: int

    @property
    def major(self) -> int:
        """The oldest major version of pg_restore that is sure to read it."""
        return max(_major(self.program), _major(self.server))


def read_archive(path: Path, run: CommandRunner | None = None) -> Archive:
    """Read the header of a custom, directory or tar archive, or the heading of plain SQL.

    :param run: starts what plain SQL may be packed with.
    :raises Refused: when it is missing, cut off, or something else.
    """
    try:
        if path.is_dir():
            with (path / "toc.dat").open("rb") as stream:
                return _read_header(stream, "directory", sum(file.stat().st_size for file in files_of(path)))
        size = path.stat().st_size
        with path.open("rb") as stream:
            if stream.read(len(MAGIC)) == MAGIC:
                stream.seek(0)
                return _read_header(stream, "custom", size)
        with tarfile.open(path, "r:") as tar:
            member = tar.extractfile("toc.dat")
            if member is None:
                raise KeyError("toc.dat")
            return _read_header(member, "tar", size)
    except FileNotFoundError as error:
        raise Refused(f"Archive {path} can't be read: {error.filename or path} does not exist.") from error
    except OSError as error:
        raise Refused(f"Archive {path} can't be read: {error.strerror or error}.") from error
    except (tarfile.TarError, KeyError):
        return Archive("plain", "", *read_heading(path, run or CommandRunner()), path.stat().st_size)


def _read_header(stream: IO[bytes], form: str, size: int) -> Archive:
    def number() -> int:
        sign, *rest = _exactly(stream, 1 + int_size)
        value = int.from_bytes(bytes(rest), "little")
        return -value if sign else value

    def text() -> str:
        length = number()
        return _exactly(stream, length).decode(errors="replace") if length > 0 else ""

    magic, major, minor, _revision, int_size, _offset_size, _form = _split(_exactly(stream, len(MAGIC) + 6))
    if magic != MAGIC:
        raise Refused(f"{form.capitalize()} archive without the letters PGDMP at its start: it is damaged.")
    if (major, minor) < OLDEST or not 1 <= int_size <= 8:
        raise Refused(f"Archive of the unknown version {major}.{minor}: it is damaged, or older than PostgreSQL 9.0.")
    if (major, minor) >= NEW_COMPRESSION:
        _exactly(stream, 1)
    else:
        number()
    for _part_of_the_date in range(7):
        number()
    archive = Archive(form, text(), text(), text(), size)
    if not archive.major:
        raise Refused("The archive's header does not name the version of PostgreSQL that wrote it: it is damaged.")
    return archive


def _split(head: bytes) -> tuple[bytes, int, int, int, int, int, int]:
    major, minor, revision, int_size, offset_size, form = head[len(MAGIC) :]
    return head[: len(MAGIC)], major, minor, revision, int_size, offset_size, form


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count) if count < 1_000_000 else b""
    if len(data) != count:
        raise Refused("The archive ends within its header: it was cut off.")
    return data


def _major(version: str) -> int:
    digits = version.split(".", maxsplit=1)[0].split(" ", maxsplit=1)[0]
    return int(digits) if digits.isdigit() else 0


def files_of(path: Path) -> list[Path]:
    """The files of an archive: itself, or all in its directory, sorted."""
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def archive_checksum(path: Path) -> str:
    """SHA-256 of an archive. For a directory: that of the lines ``<sha256>  <file name>``, sorted by name.

    :raises ChecksumMismatch: when it can't be read.
    """
    try:
        if not path.is_dir():
            return files.sha256_file(path)
        lines = [f"{files.sha256_file(file)}  {file.name}\n" for file in files_of(path)]
        return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
    except OSError as error:
        raise ChecksumMismatch(f"Archive {path} can't be read: {error.strerror}.") from error


def require_archive_checksum(path: Path, expected: str) -> None:
    """Compare an archive with the checksum that the task names.

    :param expected: ``sha256:`` and 64 hexadecimal digits.
    :raises ChecksumMismatch: when it differs.
    """
    found = archive_checksum(path)
    if found != expected.split(":", 1)[-1].lower():
        raise ChecksumMismatch(
            f"Archive {path} has the SHA-256 {found}, not {expected}: it was damaged or replaced. No tool has opened it."
        )


def give_to(path: Path, user: User | None) -> None:
    """Make an archive in a directory of ours belong to the account that pg_restore runs as. Only root can, and must."""
    if user is None or os.geteuid() != 0:
        return
    for file in [path, *(files_of(path) if path.is_dir() else [])]:
        if file.lstat().st_uid != user.uid:
            os.chown(file, user.uid, user.gid, follow_symlinks=False)


def verify_point_archive(archive: Path, artefacts: Mapping[str, str], user: User | None) -> None:
    """Compare every file of a restore point's archive again, right before pg_restore opens it, and hand it over.

    :raises ChecksumMismatch: when a file is missing, was changed, or is not of the restore point.
    """
    give_to(archive, user)
    known = {name.split("/", 1)[1]: sha for name, sha in artefacts.items() if name.startswith(f"{archive.name}/")}
    for file in files_of(archive):
        if file.name not in known:
            raise ChecksumMismatch(f"Archive {archive}: {file.name} is not of the restore point.")
    for name, sha in known.items():
        files.require_checksum(archive / name, sha, f"Archive {archive}")


def safe_in_place(path: Path, user: User | None) -> bool:
    """Whether only root, we and pg_restore's account could change an archive or put another in its place, on the whole way
    there, and the latter can read it.
    """
    trusted = {os.geteuid(), user.uid if user else 0}
    for file in [path, *(files_of(path) if path.is_dir() else [])]:
        resolved = resolve(file, follow=False)
        if (
            resolved.parts[-1].is_link
            or resolved.untrusted(trusted) is not None
            or not _readable(file, resolved.found, user)
        ):
            return False
    return True


@contextmanager
def verified_source(path: Path, checksum: str | None, user: User | None, scratch: Path) -> Iterator[Path]:
    """A named archive that nobody but its owner, root or we can change between the check and the restore.

    It is used where it lies when only these can change it, or put another in its place, and pg_restore's account can read
    it. Else a private copy is, which is removed afterwards: what is compared is what is restored.

    :param scratch: a place for the copy, in a directory of ours; it does not exist yet.
    :raises ChecksumMismatch: when the checksum differs, of the very bytes that would be restored.
    """
    if safe_in_place(path, user):
        if checksum:
            require_archive_checksum(path, checksum)
        yield path
        return
    remove(scratch)
    try:
        try:
            _copy(path, scratch)
        except OSError as error:
            raise Refused(f"Archive {path} can't be copied: {error.strerror or error}.") from error
        give_to(scratch, user)
        if checksum:
            require_archive_checksum(scratch, checksum)
        yield scratch
    finally:
        remove(scratch)


def remove(path: Path) -> None:
    """Remove a file or a directory of files; nothing happens if there is none."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _copy(path: Path, target: Path) -> None:
    """Copy a regular file, or all in a directory: from handles, so that nothing is waited for and no link is followed."""
    if not path.is_dir():
        with opened(path) as (handle, _way):
            _copy_open(handle, target)
        return
    files.ensure_private_directory(target)
    with Tree(path) as tree:
        for name in sorted(file.name for file in files_of(path)):
            handle = tree.open(name)
            try:
                _copy_open(handle, target / name)
            finally:
                os.close(handle)


def _copy_open(handle: int, target: Path) -> None:
    with open(handle, "rb", closefd=False) as stream:
        files.copy_durably(stream, target)


def _readable(file: Path, found: os.stat_result, user: User | None) -> bool:
    if user is None or os.geteuid() != 0:
        return os.access(file, os.R_OK)
    if found.st_uid == user.uid:
        return bool(found.st_mode & stat.S_IRUSR)
    if found.st_gid in user.groups:
        return bool(found.st_mode & stat.S_IRGRP)
    return bool(found.st_mode & stat.S_IROTH)
