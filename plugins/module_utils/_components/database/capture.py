# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A database in a restore point: dump, schema, counts and hashes, all from one snapshot."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import dump_json, write_atomic
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import show_progress
from ansible_collections.lastgood.rollback.plugins.module_utils._base.rate import Rate, size
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import content
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.archive import give_to
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.catalogue import (
    read_properties,
    system_identifier,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.layout import LAYOUT_FILE, read_layout
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.owner_code import captured_code
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.programs import MONEY
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.schema_text import (
    open_schema,
    write_schema,
)

from ..base import Component
from ..context import Context
from .connection import find_programs, open_server
from .fingerprint import fingerprint_database
from .plan import DEFAULT_JOBS
from .records import read_json


class DatabaseEntry(Component):
    """What is so of all ways to go back in a database: the database as a whole is what a restore point holds."""

    @classmethod
    def variant(cls, options: Mapping[str, Any]) -> str:
        """The kind itself, for those that know no migrations: who asks for these must not lose rows by mistake.

        :raises Refused: says what is missing.
        """
        if options.get("method") == "migrations":
            raise Refused(
                f"method: migrations takes the schema of database {options['name']} back and keeps its rows, but scope is "
                f"{cls.kind}: say scope: schema."
            )
        return cls.kind

    @classmethod
    def entry_kind(cls) -> str:
        """See the class."""
        return "database"

    @classmethod
    def entry_name(cls, options: Mapping[str, Any]) -> str:
        """The database's name."""
        return str(options["name"])

    def capture(self, options: Mapping[str, Any], into: Path) -> JsonObject:
        """See `capture_database`."""
        return capture_database(self.context, options, into)

    def fingerprint(self, options: Mapping[str, Any]) -> JsonObject:
        """See `fingerprint_database`."""
        return fingerprint_database(self.context, options)

    def _write(self, name: str, value: JsonObject) -> None:
        write_atomic(self.context.workspace / name, dump_json(value))

    def _read(self, name: str) -> JsonObject | None:
        return read_json(self.context.workspace / name)


def capture_database(context: Context, options: Mapping[str, Any], into: Path) -> JsonObject:
    """Write ``archive/`` (pg_dump's directory format), ``schema.sql`` (normalised) and ``layout.json`` below ``into``.

    :return: what a later plan compares with: tables with counts and hashes, schema digest, properties, extensions,
        sequences, versions, sizes. All from the snapshot that the archive was made from, but for sequences, which
        PostgreSQL keeps outside of snapshots.
    :raises LastGoodError: when anything can't be read, a table that row security hides rows of included.
    """
    name = str(options["name"])
    server = open_server(context, options)
    archive = into / "archive"
    archive.mkdir(mode=0o700)
    give_to(archive, server.os_user())
    with server.connect(name) as session:
        programs = find_programs(context, server, session.version // 10_000, options.get("bin_dir"))
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        snapshot = session.value("SELECT pg_export_snapshot()")
        context.note(f"Dumping database {name} from {server.where}")
        # What the dump reads of a sequence lies between what it is before and after.
        sequences = content.read_sequences(session)
        progress = _DumpProgress(archive, name, session.value("SELECT pg_database_size(current_database())"))
        programs.dump(name, archive, snapshot, int(options.get("jobs") or DEFAULT_JOBS), progress.show_progress)
        with open_schema(into / "schema.sql", "w") as output:
            schema = write_schema(programs, name, output, snapshot)
        with (into / LAYOUT_FILE).open("wb") as layout:
            layout.write(dump_json(read_layout(session)))
        context.note(f"Counting and hashing the tables of database {name}")
        tables = content.hash_tables(session)
        inside = content.read_inside(session, options.get("migration_tables"))
        inside = {**inside, "sequences": sequences, "sequences_until": inside["sequences"]}
        return {
            "name": name,
            "system": system_identifier(session, server.where),
            "oid": session.value("SELECT oid::bigint FROM pg_database WHERE datname = %s", [name]),
            "server_version": session.version,
            "program_version": programs.version_text,
            "schema": schema,
            "tables": tables,
            "rows": sum(table["rows"] for table in tables.values()),
            "inside": inside,
            "code": captured_code(session),
            "properties": read_properties(session, name),
            "settings": MONEY,
            "of_extensions": True,
        }


class _DumpProgress:
    """Reports how much of a dump has been written: compressed, so how much there will be is not known."""

    def __init__(self, archive: Path, name: str, database_bytes: int) -> None:
        self._archive = archive
        self._words = f"Dumping database {name}, which has {size(database_bytes)}"
        self._rate = Rate()

    def show_progress(self) -> None:
        """Look at the files."""
        written = sum(entry.stat().st_size for entry in os.scandir(self._archive))
        show_progress(f"{self._words}: {self._rate.describe(written)} written")
