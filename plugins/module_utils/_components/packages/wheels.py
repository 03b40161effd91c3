# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Packing what is installed back into wheels, without a registry, from each distribution's own list of files.

A wheel made here holds exactly the bytes that are installed, local changes included (they are reported). Packing the
same files again gives the same bytes. Content is streamed; nothing is read whole.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, acting_as
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import CHUNK_BYTES, sha256_file

from .environment import Distribution, Environment

#: Written by installers about one installation; the next installer writes its own.
_INSTALLERS_OWN = frozenset(
    [
        "RECORD",
        "RECORD.jws",
        "RECORD.p7s",
        "INSTALLER",
        "REQUESTED",
        "uv_cache.json",
        "uv_build.json",
    ]
)
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_PYTHON_SHEBANG = re.compile(rb"#![^\n]*python[^\n]*\n", re.IGNORECASE)
# The form that installers use where the path of the interpreter is too long, or holds spaces.
_SHELL_SHEBANG = re.compile(rb"#!/bin/sh\n'''exec' [^\n]*python[^\n]*\n' '''\n", re.IGNORECASE)


@dataclass(frozen=True)
class Packed:
    """A wheel that was made: file name, SHA-256, sizes in bytes, and the files that differ from what was installed."""

    file: str
    sha256: str
    bytes: int
    unpacked_bytes: int
    modified: tuple[str, ...]


@dataclass(frozen=True)
class _Member:
    """A file to pack: where it is, its name in the wheel, and the digest that the installer noted (or nothing)."""

    source: Path
    name: str
    noted: str
    script: bool = False


def pack(distribution: Distribution, environment: Environment, into: Path, owner: User | None) -> Packed:
    """Make a wheel of an installed distribution.

    :param into: directory for the wheel (ours).
    :param owner: sources are opened with this user's rights, so that a link in the environment leads nobody further.
    :raises Refused: when it was not installed from a wheel, or has files outside of the environment.
    """
    info = distribution.info
    what = f"{distribution.name} {distribution.version} in {environment.path}"
    members = list(_members(distribution, environment, owner, what))
    tags = _tags(_read_text(info / "WHEEL", owner, what))
    stem = info.name[: -len(".dist-info")]
    target = into / f"{stem}-{tags}.whl"
    modified: list[str] = []
    unpacked = 0
    record: list[tuple[str, str, str]] = []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for member in members:
            try:
                digest, size, same = _add(archive, member, owner)
            except FileNotFoundError:
                modified.append(f"{member.name} (missing)")
                continue
            if not same:
                modified.append(member.name)
            unpacked += size
            record.append((member.name, digest, str(size)))
        _add_record(archive, f"{info.name}/RECORD", record)
    return Packed(target.name, sha256_file(target), target.stat().st_size, unpacked, tuple(modified))


def unowned(environment: Environment, owner: User | None) -> list[str]:
    """Entries of ``site-packages`` that no distribution lists: they are in no wheel, and will not come back."""
    known = {"__pycache__", "_virtualenv.py", "_virtualenv.pth"}
    present: set[str] = set()
    with acting_as(owner):
        for site in environment.sites:
            present.update(entry.name for entry in (site.iterdir() if site.is_dir() else ()))
    for distribution in environment.distributions:
        known.add(distribution.info.name)
        for entry, _noted in _record(distribution, owner, distribution.name):
            known.add(PurePosixPath(entry).parts[0])
    return sorted(name for name in present - known if not name.startswith("~"))


def _members(distribution: Distribution, environment: Environment, owner: User | None, what: str) -> Iterator[_Member]:
    info = distribution.info
    stem = info.name[: -len(".dist-info")]
    launchers = _entry_points(info, owner)
    chosen: list[_Member] = []
    for entry, noted in _record(distribution, owner, what):
        source = Path(os.path.normpath(info.parent / entry))
        if _inside(source, info) and source.relative_to(info).as_posix() in _INSTALLERS_OWN:
            continue
        if source.suffix in (".pyc", ".pyo") and source.parent.name == "__pycache__":
            continue
        if _inside(source, info.parent):
            chosen.append(_Member(source, source.relative_to(info.parent).as_posix(), noted))
        elif _inside(source, environment.scripts):
            if source.name not in launchers:
                name = f"{stem}.data/scripts/{source.relative_to(environment.scripts).as_posix()}"
                chosen.append(_Member(source, name, noted, script=True))
        elif _inside(source, environment.prefix):
            name = f"{stem}.data/data/{source.relative_to(environment.prefix).as_posix()}"
            chosen.append(_Member(source, name, noted))
        else:
            raise Refused(f"{what} lists {source}, outside of the environment: reinstall it there before a capture.")
    # The directory of metadata comes last, as the format recommends.
    yield from sorted(chosen, key=lambda member: (member.name.startswith(info.name), member.name))


def _record(distribution: Distribution, owner: User | None, what: str) -> list[tuple[str, str]]:
    """Each file that the installer noted, relative to ``site-packages``, and its digest such as ``sha256=…``."""
    rows = csv.reader(io.StringIO(_read_text(distribution.info / "RECORD", owner, what)))
    return [(row[0], row[1] if len(row) > 1 else "") for row in rows if row]


def _entry_points(info: Path, owner: User | None) -> set[str]:
    """Scripts that every installer writes anew from the entry points."""
    try:
        with _source(info / "entry_points.txt", owner) as (stream, _mode):
            text = stream.read().decode("utf-8")
    except FileNotFoundError:
        return set()
    parser = configparser.RawConfigParser(delimiters=("=",), strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    groups = ("console_scripts", "gui_scripts")
    return {name for group in groups if parser.has_section(group) for name in parser.options(group)}


def _tags(wheel: str) -> str:
    """The compatibility part of the file name from the lines ``Tag:`` of the file ``WHEEL``."""
    triples = [line.split(":", 1)[1].strip().split("-") for line in wheel.splitlines() if line.startswith("Tag:")]
    columns = [sorted({triple[index] for triple in triples if len(triple) == 3}) for index in range(3)]
    return "-".join(".".join(column) for column in columns)


def _read_text(path: Path, owner: User | None, what: str) -> str:
    try:
        with _source(path, owner) as (stream, _mode):
            return stream.read().decode("utf-8")
    except FileNotFoundError as error:
        raise Refused(
            f"{what} has no {path.name} in {path.parent.name}: it was not installed from a wheel, so what belongs to it"
            " is not known. Reinstall it with pip or uv before a capture."
        ) from error


@contextmanager
def _source(path: Path, owner: User | None) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file with the owner's rights; yields the stream and the file's mode."""
    with acting_as(owner):
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe in the environment must not make us wait
    with os.fdopen(handle, "rb") as stream:
        mode = os.fstat(stream.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise Refused(f"{path} is listed as a package's file, but is no regular file: reinstall the package.")
        yield stream, mode


def _add(archive: zipfile.ZipFile, member: _Member, owner: User | None) -> tuple[str, int, bool]:
    """Stream one file in; returns its digest for RECORD, its size in bytes, and whether it is as installed."""
    algorithm, _sign, expected = member.noted.partition("=")
    known = algorithm in hashlib.algorithms_available
    as_installed = hashlib.new(algorithm) if known else hashlib.sha256()
    written = hashlib.sha256()
    size = 0
    with _source(member.source, owner) as (stream, mode):
        entry = _entry(member.name, 0o755 if member.script or mode & 0o111 else 0o644)
        entry.file_size = os.fstat(stream.fileno()).st_size
        with archive.open(entry, "w") as packed:
            first = member.script
            for chunk in iter(lambda: stream.read(CHUNK_BYTES), b""):
                as_installed.update(chunk)
                data = _portable(chunk) if first else chunk
                first = False
                written.update(data)
                size += packed.write(data)
    same = not (known and expected) or _encoded(as_installed.digest()) == expected.rstrip("=")
    return f"sha256={_encoded(written.digest())}", size, same


def _add_record(archive: zipfile.ZipFile, name: str, record: list[tuple[str, str, str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([*record, (name, "", "")])
    archive.writestr(_entry(name, 0o644), text.getvalue().encode("utf-8"))


def _entry(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _TIMESTAMP)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3
    entry.external_attr = (stat.S_IFREG | mode) << 16
    return entry


def _portable(start: bytes) -> bytes:
    """A script whose first line is replaced by what tells an installer to write its own interpreter there."""
    for shebang in (_SHELL_SHEBANG, _PYTHON_SHEBANG):
        found = shebang.match(start)
        if found:
            return b"#!python\n" + start[found.end() :]
    return start


def _encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def _inside(path: Path, directory: Path) -> bool:
    return directory in path.parents
