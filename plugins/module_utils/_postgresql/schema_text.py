# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A database's schema as text: normalised, so that equal schemas are equal files with equal digests."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import BULK_TIMEOUT_S
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .programs import LOCK_WAIT_MS, PgPrograms

#: Differs from run to run, or from version to version, and defines nothing: the dump's own headings and settings.
NOISE = re.compile(
    r"(--( (Dumped |PostgreSQL database dump|TOC entry).*)?"
    r"|\\(un)?restrict .*"
    r"|SET (statement_timeout|lock_timeout|idle_in_transaction_session_timeout|transaction_timeout|client_encoding"
    r"|standard_conforming_strings|check_function_bodies|xmloption|client_min_messages|row_security) = .*;"
    r"|SELECT pg_catalog\.set_config\('search_path', '', false\);)?\n?$"
)
HEADER = re.compile(r"-- Name: (?P<name>.*); Type: (?P<type>.*); Schema: (?P<schema>.*); Owner: .*")
# `x IN ('a', 'b')` on a varchar is written in another, equal way after it has been restored once.
CAST = re.compile(r"::character varying(\(\d+\))?|::text|::bpchar|\[\]|[()]")


def definitions(lines: Iterable[str]) -> Iterator[str]:
    """Leave out what defines nothing."""
    return (line for line in lines if not NOISE.match(line))


def levelled(line: str) -> str:
    """A line as it is compared: expressions that PostgreSQL itself writes in two ways become one."""
    return CAST.sub("", line) if "ARRAY[" in line else line


def write_schema(
    programs: PgPrograms,
    database: str,
    output: IO[str],
    snapshot: str | None = None,
    timeout: float = BULK_TIMEOUT_S,
    lock_wait_ms: int = LOCK_WAIT_MS,
) -> str:
    """Read a database's schema and write its definitions to an open file; the SHA-256 of what is compared of it.

    :param timeout: seconds that reading it may take.
    :raises CommandFailed: when the schema can't be read.
    """
    digest = hashlib.sha256()
    with tempfile.TemporaryFile() as raw:
        programs.schema(database, raw, snapshot, timeout, lock_wait_ms)
        raw.seek(0)
        for line in definitions(text.decode(errors="surrogateescape") for text in raw):
            digest.update(levelled(line).encode(errors="surrogateescape"))
            output.write(line)
    return digest.hexdigest()


def schema_digest(programs: PgPrograms, database: str, lock_wait_ms: int = LOCK_WAIT_MS) -> str:
    """The SHA-256 of a database's schema, comparable with that of another time, server and version of pg_dump."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape") as nowhere:
        return write_schema(programs, database, nowhere, lock_wait_ms=lock_wait_ms)


def open_schema(path: Path, mode: str = "r") -> IO[str]:
    """Open a schema file as `write_schema` wants it: bytes that are no UTF-8 survive."""
    return path.open(mode, encoding="utf-8", errors="surrogateescape", newline="\n")


def objects(lines: Iterable[str]) -> dict[str, str]:
    """The objects of a schema: ``TABLE public post`` → digest of its definition."""
    found: dict[str, str] = {}
    key, digest = "", hashlib.sha256()
    for line in lines:
        match = HEADER.match(line)
        if match:
            found[key] = digest.hexdigest()
            key = f"{match['type']} {match['schema']} {match['name']}"
            digest = hashlib.sha256(found.get(key, "").encode())
        digest.update(levelled(line).encode(errors="surrogateescape"))
    found[key] = digest.hexdigest()
    return {name: value for name, value in found.items() if name}


def compare_objects(wanted: dict[str, str], found: dict[str, str]) -> JsonObject:
    """``missing``, ``added`` and ``changed`` objects, each sorted."""
    return {
        "missing": sorted(key for key in wanted if key not in found),
        "added": sorted(key for key in found if key not in wanted),
        "changed": sorted(key for key in wanted if key in found and wanted[key] != found[key]),
    }
