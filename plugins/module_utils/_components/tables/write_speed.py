# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) How fast this server writes rows like those of a table: some of them are copied into temporary tables, which are
taken back at once. And what a foreign key takes: to be taken off and put back, and to check its rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from math import sqrt
from statistics import median
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.copy import (
    column_list,
    copy_in,
    stream_rows,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.foreign_keys import without_parent
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import (
    DatabaseError,
    Server,
    Session,
    sql,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.user_code import (
    EVENT_TRIGGERS,
    runs_own_code,
)

SAMPLE_ROWS, SAMPLE_BYTES = 50_000, 16 * 1024**2
#: So many tables are measured, the largest ones; the others are taken to be like them.
MAX_TABLES = 20
#: A temporary table writes no WAL, and a small one lies in the cache: what rows, their entries in indexes, and indexes that
#: are built later take beside it in a real one. The benchmark of predictions measures it.
ROW_FACTOR, ENTRY_FACTOR, BUILD_FACTOR = 1.25, 1.7, 1.5
#: How many rows ANALYZE looks at.
STATISTICS_ROWS = 30_000
#: A table is a file, each index another, and what is too long for its rows lies in two more.
FILES = """
SELECT coalesce(sum(1 + 2 * (c.reltoastrelid <> 0)::int), 0) AS tables,
       coalesce(sum((SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid)), 0) AS indexes
FROM pg_class c WHERE c.oid = ANY(%s::regclass[]::oid[]) AND c.relkind = 'r'
"""
#: Without statistics on expressions: ANALYZE would compute them with our rights.
WITHOUT_INDEXES, WITH_INDEXES = "INCLUDING GENERATED", "INCLUDING ALL EXCLUDING STATISTICS"
#: So many foreign keys are put on an empty table and taken off again; seconds for one where that can't be tried.
MAX_KEYS, USUAL_KEY_S = 40, 0.0006


@dataclass(frozen=True)
class WriteSpeed:
    """Seconds for a table, and for one row of it.

    :param file: one file of a table like it, or of an index of it, made and taken back.
    :param bare: put into a table without indexes.
    :param indexed: put into one with all of its indexes.
    :param rebuilt: put into all of its indexes at once, later.
    :param analyzed: looked at by ANALYZE, up to `STATISTICS_ROWS` of them.
    """

    file: float
    bare: float
    indexed: float
    rebuilt: float
    analyzed: float

    def statistics(self, rows: float) -> float:
        """Seconds for the statistics of a table with so many rows."""
        return self.analyzed * min(rows, STATISTICS_ROWS)


#: Where nothing can be measured: rows of a hundred bytes or two with an index or two.
USUAL_SPEED = WriteSpeed(0.0005, 2e-6, 6e-6, 2e-6, 4e-6)


@dataclass(frozen=True)
class Candidate:
    """A table that may be measured.

    :param key: what it is called in the result.
    :param name: of the table, with its schema first.
    :param source: what its rows are read from.
    :param rows: how many it has, about.
    :param width: computes the bytes of a row, about.
    """

    key: Any
    name: tuple[str, str]
    source: Any
    columns: Sequence[str]
    rows: float
    width: Callable[[], float]


def measure_speeds(
    server: Server, database: str, live: Session, largest_first: Iterable[Candidate], deadline: float
) -> dict[Any, WriteSpeed]:
    """How fast rows of the largest tables are written. A temporary table would set event triggers off: then of none."""
    found: dict[Any, WriteSpeed] = {}
    if live.rows(EVENT_TRIGGERS):
        return found
    with server.connect(database) as scratch:
        largest = list(largest_first)[:MAX_TABLES]
        if largest and largest[0].rows:
            # What a session does for the first time takes longer: that time is not taken for the table's.
            _measure(live, scratch, largest[0])
        for table in largest:
            if table.rows and time.monotonic() < deadline:
                speed = _measure(live, scratch, table)
                if speed is not None:
                    found[table.key] = speed
    return found


def _measure(live: Session, scratch: Session, candidate: Candidate) -> WriteSpeed | None:
    """How fast rows of one table are written; None when it can't be known, or must not be tried.

    :param scratch: another session in the same database.
    """
    name, columns = candidate.name, candidate.columns
    spent, rows, files = {}, 0, 1
    try:
        if runs_own_code(live, *name):
            return None
        limit = int(min(SAMPLE_ROWS, max(SAMPLE_BYTES / max(candidate.width(), 1), 100)))
        sample = sql.SQL("COPY (SELECT {} FROM {} LIMIT {}) TO STDOUT").format(
            column_list(columns), candidate.source, sql.Literal(limit)
        )
        for like_options in (WITHOUT_INDEXES, WITH_INDEXES):
            scratch.execute("BEGIN")
            table = sql.Identifier("pg_temp", "lastgood_sample")
            like = sql.SQL("CREATE TEMP TABLE {} (LIKE {} {})").format(
                table, sql.Identifier(*name), sql.SQL(like_options)
            )
            spent["CREATE"] = _seconds(scratch, like)
            begun = time.monotonic()
            rows = stream_rows(live, sample, scratch, copy_in(table, columns), f"Sampling {'.'.join(name)}")
            spent[like_options] = time.monotonic() - begun
            if like_options == WITH_INDEXES:
                files = sum(map(int, scratch.rows(FILES, [["pg_temp.lastgood_sample"]])[0].values()))
                spent["ANALYZE"] = _seconds(scratch, sql.SQL("ANALYZE {}").format(table))
                spent["REINDEX"] = _seconds(scratch, sql.SQL("REINDEX TABLE {}").format(table))
            spent["CREATE"] += _seconds(scratch, "ROLLBACK")
    except LastGoodError:
        _roll_back(scratch)
        return None
    if not rows:
        return None
    row = spent[WITHOUT_INDEXES] / rows * ROW_FACTOR
    entries = max(spent[WITH_INDEXES] - spent[WITHOUT_INDEXES], 0.0) / rows * ENTRY_FACTOR
    built, analyzed = spent["REINDEX"] / rows * BUILD_FACTOR, spent["ANALYZE"] / min(rows, STATISTICS_ROWS)
    return WriteSpeed(spent["CREATE"] / files, row, row + entries, built, analyzed)


def file_seconds(measured: Iterable[WriteSpeed]) -> float:
    """Seconds for making one file of a table or an index: halfway between what was measured and the usual.

    File systems make the same files several times faster or slower a moment later (ext4 steps over what was deleted in the last
    minute), so that what is measured now is only half of the truth about then.
    """
    files = [speed.file for speed in measured]
    return sqrt(median(files) * USUAL_SPEED.file) if files else USUAL_SPEED.file


def average_speed(measured: Sequence[tuple[WriteSpeed, float]]) -> WriteSpeed:
    """What is taken for tables that were not measured.

    :param measured: those of others, with their rows.
    """
    total = sum(rows for _speed, rows in measured)
    if not total:
        return USUAL_SPEED
    names = [field.name for field in fields(WriteSpeed)]
    return WriteSpeed(*(sum(getattr(speed, name) * rows for speed, rows in measured) / total for name in names))


def key_seconds(server: Server, database: str, live: Session, at_once: int) -> float:
    """Seconds for putting a foreign key on a table without rows, and taking it off.

    :param at_once: how many keys of a table are put on by one statement.
    """
    if live.rows(EVENT_TRIGGERS):
        return USUAL_KEY_S
    parent, child = sql.Identifier("pg_temp", "lastgood_parent"), sql.Identifier("pg_temp", "lastgood_child")
    names = [sql.Identifier(f"lastgood_{number}") for number in range(min(at_once, MAX_KEYS))]
    key = sql.SQL("ADD CONSTRAINT {} FOREIGN KEY (id) REFERENCES {}")
    add = sql.SQL("ALTER TABLE {} {}").format(child, sql.SQL(", ").join([key.format(name, parent) for name in names]))
    times = MAX_KEYS // len(names)
    with server.connect(database) as scratch:
        try:
            scratch.execute("BEGIN")
            scratch.execute(sql.SQL("CREATE TEMP TABLE {} (id int PRIMARY KEY)").format(parent))
            scratch.execute(sql.SQL("CREATE TEMP TABLE {} (id int)").format(child))
            begun = time.monotonic()
            for _time in range(times):
                scratch.execute(add)
                for name in names:
                    scratch.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(child, name))
            return (time.monotonic() - begun) / (times * len(names))
        except LastGoodError:
            return USUAL_KEY_S
        finally:
            _roll_back(scratch)


def check_seconds(live: Session, key: JsonObject, deadline: float) -> float:
    """Seconds for checking every row that a foreign key binds."""
    begun = time.monotonic()
    timeout_ms = int((deadline - begun) * 1000)
    if timeout_ms <= 0:
        return 0.0
    live.execute("SET statement_timeout = %s", [timeout_ms])
    try:
        live.value(sql.SQL("SELECT count(*) {}").format(without_parent(key)))
    except DatabaseError:
        return time.monotonic() - begun
    finally:
        live.execute("SET statement_timeout = 0")
    return time.monotonic() - begun


def _seconds(session: Session, statement: Any) -> float:
    begun = time.monotonic()
    session.execute(statement)
    return time.monotonic() - begun


def _roll_back(scratch: Session) -> None:
    with suppress(LastGoodError):
        scratch.execute("ROLLBACK")
