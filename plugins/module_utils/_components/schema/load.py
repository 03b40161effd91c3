# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) All tables of a map on their way, several at a time, the large ones first; and the large objects.

Rows that people put into an extension's own tables come along when the extension is made anew.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import VerificationFailed
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import show_progress
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.content import (
    CONDITION,
    hash_large_objects,
    table_key,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.layout import table_name
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import (
    DatabaseError,
    Server,
    Session,
    sql,
)

from ..context import Context
from .kept_rows import KeptRows
from .rows import keep_columns, keep_table, move_straight, names, pipe, speaks_of_a_row
from .staged import Staged

#: How often progress is reported.
REPORT_S = 5.0
CHUNK_BYTES = 1024 * 1024
GRANTS = """
SELECT a.privilege_type AS privilege, CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END AS grantee
FROM pg_largeobject_metadata m, aclexplode(m.lomacl) a WHERE m.oid = %s AND a.grantee <> m.lomowner
"""
Work = Callable[[Session, Session], None]
CONFIGURATION = f"""
SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind, {CONDITION} AS condition,
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             AND a.attgenerated = '' ORDER BY a.attnum) AS stored
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY(e.extconfig)) ORDER BY c.oid
"""  # noqa: S608 - our own words only
#: The tables have their keys already, and refer to each other.
UNWATCHED = {"session_replication_role": "replica"}


@dataclass
class Loaded:
    """What a load did.

    :param rows: table of the restore point → rows in it.
    :param staged: tables that did not go straight.
    :param kept: what has no place, and where it is.
    """

    kept: KeptRows
    rows: dict[str, int] = field(default_factory=dict)
    staged: set[str] = field(default_factory=set)
    large_objects: int = 0
    copy_ms: int = 0


def load(
    context: Context,
    server: Server,
    databases: tuple[str, str],
    what: tuple[JsonObject, str, set[str]],
    kept: KeptRows,
    jobs: int,
) -> Loaded:
    """Copy everything that a map names.

    :param databases: from which one to which one.
    :param what: the map, the snapshot to read, and tables that are known not to go straight.
    :param jobs: how many tables at the same time.
    """
    mapped, snapshot, staged = what
    loaded = Loaded(kept)
    works: queue.SimpleQueue[Work] = queue.SimpleQueue()
    for move in sorted(mapped["moves"], key=lambda move: -move["live"]["bytes"]):
        works.put(_moving(move, loaded, staged, mapped["settings"]))
    for table in mapped["added"]:
        works.put(_keeping(table, kept))
    works.put(lambda reading, writing: _copy_large_objects(reading, writing, loaded))
    works.put(lambda reading, writing: carry_extension_rows(reading, writing, kept))
    count, reported = works.qsize(), [time.monotonic()]

    def run(reading: Session, writing: Session) -> None:
        reading.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        reading.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
        writing.execute("SET synchronous_commit = off")  # the switch's own commit waits for all of it
        while True:
            try:
                work = works.get_nowait()
            except queue.Empty:
                return
            work(reading, writing)
            show_progress(f"copied {count - works.qsize()} of {count} tables, {sum(loaded.rows.values()):,} rows")
            if time.monotonic() - reported[0] > REPORT_S:
                reported[0] = time.monotonic()
                context.note(f"Copied {count - works.qsize()} of {count} tables, {sum(loaded.rows.values())} rows")

    with ExitStack() as opened:
        # Here and not in the threads: to connect, the whole process becomes another account for a moment.
        sessions = [
            [opened.enter_context(server.connect(database)) for database in databases]
            for _job in range(min(jobs, count))
        ]
        with ThreadPoolExecutor(len(sessions)) as pool:
            runs = [pool.submit(run, reading, writing) for reading, writing in sessions]
            try:
                for each in runs:
                    each.result()
            except BaseException:
                with suppress(queue.Empty):  # the others end after the table that they are at
                    while True:
                        works.get_nowait()
                raise
    return loaded


def _moving(move: JsonObject, loaded: Loaded, staged: set[str], settings: JsonObject) -> Work:
    name = table_name(move["old"])

    def work(reading: Session, writing: Session) -> None:
        straight = not move["staged"] and name not in staged
        if straight:
            try:
                loaded.rows[name] = move_straight(reading, writing, move)
            except DatabaseError as error:
                if not speaks_of_a_row(error):
                    raise
                straight = False
        if not straight:
            loaded.staged.add(name)
            loaded.rows[name] = Staged(reading, writing, move, loaded.kept, settings).run()
        if move["added"]:
            keep_columns(reading, writing, move, loaded.kept)

    return work


def _keeping(table: JsonObject, kept: KeptRows) -> Work:
    return lambda reading, writing: keep_table(reading, writing, table, kept)


def _copy_large_objects(reading: Session, writing: Session, loaded: Loaded) -> None:
    """With their owners, grants and comments as they are now, piece by piece."""
    found = reading.rows(
        "SELECT oid::bigint AS oid, pg_get_userbyid(lomowner) AS owner, obj_description(oid, 'pg_largeobject') AS comment"
        " FROM pg_largeobject_metadata"
    )
    for row in found:
        oid, at = row["oid"], 0
        writing.execute("SELECT lo_create(%s)", [oid], f"Copying large object {oid}")
        while True:
            piece = reading.value("SELECT lo_get(%s, %s, %s)", [oid, at, CHUNK_BYTES], f"Copying large object {oid}")
            if not piece:
                break
            writing.execute("SELECT lo_put(%s, %s, %s)", [oid, at, piece], f"Copying large object {oid}")
            at += len(piece)
        statement = sql.SQL("ALTER LARGE OBJECT {} OWNER TO {}").format(sql.Literal(oid), sql.Identifier(row["owner"]))
        writing.execute(statement, attempt=f"Copying large object {oid}")
        for grant in reading.rows(GRANTS, [oid]):
            words = sql.SQL("GRANT {} ON LARGE OBJECT {} TO {}").format(
                sql.SQL(grant["privilege"]),
                sql.Literal(oid),
                sql.Identifier(grant["grantee"]) if grant["grantee"] else sql.SQL("PUBLIC"),
            )
            writing.execute(words, attempt=f"Copying grants of large object {oid}")
        if row["comment"] is not None:
            words = sql.SQL("COMMENT ON LARGE OBJECT {} IS {}").format(sql.Literal(oid), sql.Literal(row["comment"]))
            writing.execute(words, attempt=f"Copying the comment of large object {oid}")
    if hash_large_objects(reading) != hash_large_objects(writing):
        raise VerificationFailed("The large objects that were copied are not the live ones.")
    loaded.large_objects = len(found)


def carry_extension_rows(reading: Session, writing: Session, kept: KeptRows) -> None:
    """Put the live rows in the place of those that an extension, just made, has in its configuration tables.

    Where the restore point has no such table (no such extension, or an older one), they are kept beside the data.
    """
    there = {table_key(table): table for table in writing.rows(CONFIGURATION)}
    live = reading.rows(CONFIGURATION)
    for name in writing.suited(UNWATCHED) if live else ():
        writing.execute(sql.SQL("SET {} = replica").format(sql.Identifier(name)))
    for table in live:
        if table_key(table) in there:
            _carry(reading, writing, table, there[table_key(table)])
        else:
            keep_table(reading, writing, {**table, "columns": [{"name": name} for name in table["stored"]]}, kept)
    for name in writing.suited(UNWATCHED) if live else ():
        writing.execute(sql.SQL("SET {} = origin").format(sql.Identifier(name)))


def _carry(reading: Session, writing: Session, live: JsonObject, then: JsonObject) -> None:
    attempt = f"Copying rows of extension table {table_key(live)}"
    columns = [name for name in live["stored"] if name in then["stored"]]
    writing.execute(sql.SQL("DELETE FROM {}").format(_rows(then)), attempt=attempt)
    query = sql.SQL("SELECT {} FROM {}").format(names(columns), _rows(live))
    into = sql.SQL("{} ({})").format(sql.Identifier(then["schema"], then["name"]), names(columns))
    pipe(reading, query, writing, into, attempt)


def _rows(table: JsonObject) -> Any:
    name = sql.Identifier(table["schema"], table["name"])
    return sql.SQL("ONLY {} {}").format(name, sql.SQL(table["condition"] or ""))
