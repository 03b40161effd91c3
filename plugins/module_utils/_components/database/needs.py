# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What a restore needs from the server and from its disk, looked at before anything is made."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.archive import safe_in_place
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.plain_script import definitions
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.programs import PgPrograms
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import DatabaseError, Server, Session
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.source import Source

#: Besides the database itself, the restore writes its log: at most this much is there at once on an ordinary server.
WAL_BYTES = 1024**3
MARGIN = 1.1
ARCHIVER_FAILS = "SELECT last_failed_time > coalesce(last_archived_time, '-infinity') FROM pg_stat_archiver"
IDENTIFIER = r'("(?:[^"]|"")+"|[^\s";]+)'
#: pg_dump writes these at the start of a line.
NEEDS = {
    "roles": re.compile(rf"(?:ALTER .* OWNER TO|GRANT .* TO) {IDENTIFIER}(?: WITH GRANT OPTION)?;$"),
    "extensions": re.compile(rf"CREATE EXTENSION (?:IF NOT EXISTS )?{IDENTIFIER}"),
    "tablespaces": re.compile(rf"SET default_tablespace = {IDENTIFIER};$"),
}
MAKES_TABLE = re.compile(r'CREATE (?:UNLOGGED )?TABLE ("(?:[^"]|"")+"|[^\s".]+)\.("(?:[^"]|"")+"|[^\s"(]+) ')
NOT_ROLES = ("PUBLIC", "CURRENT_USER", "CURRENT_ROLE", "SESSION_USER", "''")


def require_needs(
    session: Session, source: Source, properties: JsonObject, programs: PgPrograms
) -> frozenset[str] | None:
    """Refuse when the server lacks a role, an extension or a tablespace that the content or the database needs.

    :return: the tables that the source holds, as ``schema.name``; None where it could not be read in safety.
    :raises Refused: names all that is missing. Plain SQL is read to its end here, and refused for whatever is wrong with it.
    """
    inside = source.facts.get("inside")
    found = None if inside else _read(source, programs)
    needs = _known(inside, properties) if inside else _with_properties(found or {}, properties)
    there = {
        "roles": "SELECT rolname FROM pg_roles",
        "extensions": "SELECT name FROM pg_available_extensions",
        "tablespaces": "SELECT spcname FROM pg_tablespace",
    }
    missing = []
    for kind, query in there.items():
        known = {next(iter(row.values())) for row in session.rows(query)}
        missing += [f"{kind[:-1]} {name}" for name in sorted(needs[kind] - known)]
    if missing:
        raise Refused(f"The server lacks what {source.path} needs: {', '.join(missing)}. Make them first.")
    if inside:
        return frozenset(source.facts["tables"])
    return frozenset(found["tables"]) if found is not None else None


def refuse_other_database(
    name: str, source: Source, source_tables: frozenset[str] | None, live: frozenset[str]
) -> str | None:
    """Refuse a named file that holds none of the live database's tables: that is more often a mistake than intended.

    :return: a warning where only the names of the databases differ.
    """
    if source_tables is not None and live and not source_tables & live:
        raise Refused(
            f"{source.path} holds none of the {len(live)} tables of database {name} ({', '.join(sorted(live)[:3])} …): is it of "
            "another database? Accept that with 'accept: [other_database]'."
        )
    made_from = source.archive.database
    if made_from and made_from != name:
        return f"{source.path} was made from a database with another name: {made_from}."
    return None


def _known(inside: JsonObject, properties: JsonObject) -> dict[str, set[str]]:
    return {
        "roles": {*inside["roles"], *_database_roles(properties)},
        "extensions": set(inside["extensions"]),
        "tablespaces": {*inside["tablespaces"], properties["tablespace"]},
    }


def _database_roles(properties: JsonObject) -> set[str]:
    grantees = {entry[0] for entry in properties["acl"] or [] if entry[0] is not None}
    return {properties["owner"], *grantees, *(role for role in properties["settings"] if role)}


def _with_properties(found: dict[str, set[str]], properties: JsonObject) -> dict[str, set[str]]:
    return {
        "roles": found.get("roles", set()) | _database_roles(properties),
        "extensions": found.get("extensions", set()),
        "tablespaces": found.get("tablespaces", set()) | {properties["tablespace"]},
    }


def _read(source: Source, programs: PgPrograms) -> dict[str, set[str]] | None:
    """Read them, and its tables, from the source's definitions."""
    lines = _definitions(source, programs)
    if lines is None:
        return None
    needs: dict[str, set[str]] = {kind: set() for kind in (*NEEDS, "tables")}
    for line in lines:
        for kind, pattern in NEEDS.items():
            match = pattern.match(line)
            if match and match[1] not in NOT_ROLES:
                needs[kind].add(_plain(match[1]))
        made = MAKES_TABLE.match(line)
        if made:
            needs["tables"].add(f"{_plain(made[1])}.{_plain(made[2])}")
    return needs


def _definitions(source: Source, programs: PgPrograms) -> Iterable[str] | None:
    """An archive's definitions; not of one that could be exchanged between its check and now: a program would open it."""
    if source.archive.form == "plain":
        return definitions(source.path, programs.run)
    if not safe_in_place(source.path, programs.run.user):
        return None
    return _archive_definitions(source.path, programs)


def _archive_definitions(archive: Path, programs: PgPrograms) -> Iterator[str]:
    with tempfile.TemporaryFile() as output:
        programs.archive_schema(archive, output)
        output.seek(0)
        for raw in output:
            yield raw.decode(errors="replace").rstrip("\n")


def _plain(identifier: str) -> str:
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier


def require_space(server: Server, session: Session, tablespace: str, size: int) -> list[str]:
    """Refuse when the side database, or the log that its restore writes, would fill a disk of the live server.

    A full disk for the log takes the whole server down.

    :param size: bytes that the restored database will take.
    :return: a warning where the free space can't be seen from here.
    :raises Refused: when there is less than that and a margin, on one disk or on each of two.
    """
    log, why = _log_bytes(session, size)
    needed = int(size * MARGIN)
    disks: dict[int, tuple[Path, int]] = {}
    try:
        for place, count in ((_place(server, session, tablespace), needed), (_log_place(server, session), log)):
            device = place.stat().st_dev
            first, before = disks.get(device, (place, 0))
            disks[device] = (first, before + count)
        free = {device: shutil.disk_usage(place).free for device, (place, _count) in disks.items()}
    except (OSError, DatabaseError):
        return [
            f"The free space of {server.where} can't be seen from here; about {_mb(needed + log)} are needed there."
        ]
    for device, (place, count) in disks.items():
        if free[device] < count:
            raise Refused(
                f"{place} on {server.where} has {_mb(free[device])} free; {_mb(count)} are needed to restore beside the live "
                f"database{why}. Make room first."
            )
    return []


def _log_bytes(session: Session, size: int) -> tuple[int, str]:
    """How much of the write-ahead log stands at once, and why it is that much if it is all of it."""
    slots = [row["name"] for row in session.rows("SELECT slot_name AS name FROM pg_replication_slots WHERE NOT active")]
    if slots:
        return int(size * MARGIN), f", because the unused replication slots {', '.join(slots)} keep its log"
    if session.value(ARCHIVER_FAILS):
        return int(size * MARGIN), ", because archiving the log fails (see pg_stat_archiver)"
    return min(size, WAL_BYTES), ""


def _place(server: Server, session: Session, tablespace: str) -> Path:
    if not server.is_local:
        raise FileNotFoundError(server.host)
    query = (
        "SELECT coalesce(nullif(pg_tablespace_location(oid), ''), current_setting('data_directory')) FROM pg_tablespace"
    )
    return Path(str(session.value(f"{query} WHERE spcname = %s", [tablespace])))


def _log_place(server: Server, session: Session) -> Path:
    return _place(server, session, "pg_default") / "pg_wal"


def _mb(count: int) -> str:
    return f"{count / 1024**2:.0f} MB"
