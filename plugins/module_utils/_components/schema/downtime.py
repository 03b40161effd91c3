# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) How long writes will stand still, computed from samples of the live rows: they are copied into temporary tables with
the same indexes, which are gone at once. Prepare measures it with all of them.
"""

from __future__ import annotations

import json
import os
import time

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.content import USER_SCHEMA
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.foreign_keys import (
    enforced_keys,
    keys_touching,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Server, Session, sql

from ..tables.write_speed import Candidate, average_speed, check_seconds, file_seconds, measure_speeds
from .rows import relation

#: Locks, definitions and their comparison, the switch.
FIXED_S = 0.35
MEASURE_S = 10.0
#: What is made when the rows are there, committed, and looked at again, compared with making a file of a temporary table: an
#: index or a trigger; a foreign key, which locks two tables and so keeps the others waiting; and a table's beginning and end,
#: as far as a sample of its rows does not show them.
OBJECT_MORE, KEY_MORE, TABLE_MORE = 1.2, 1.2, 1.5
OBJECTS = f"""
SELECT (SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {USER_SCHEMA}) + (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal)
"""  # noqa: S608 - our own words only
#: A table whose rows may not fit is laid out as text first; what has no place in the older one is copied beside it.
STAGED, KEPT_MORE = 2.5, 0.5
#: A row's own head and its place in the page; a row where it can't be measured.
HEAD_BYTES, USUAL_BYTES = 28, 150
#: So many pages of a table tell how many rows are on one.
PAGES = 500
SIZE = """
SELECT coalesce(sum(pg_relation_size(c.oid) / current_setting('block_size')::int), 0)::bigint
FROM jsonb_array_elements(%s::jsonb) leaf JOIN pg_class c ON c.oid = format('%%I.%%I', leaf ->> 0, leaf ->> 1)::regclass
"""


def predict_downtime(server: Server, database: str, session: Session, mapped: JsonObject, jobs: int) -> JsonObject:
    """Milliseconds from the first lock to the switch, and rows per second. Changes nothing."""
    moves, deadline = mapped["moves"], time.monotonic() + MEASURE_S
    rows = {move["from"]: _rows(session, move["live"]) for move in moves}
    largest_first = sorted(moves, key=lambda move: -rows[move["from"]])
    candidates = [_candidate(session, move, rows[move["from"]]) for move in largest_first]
    known = measure_speeds(server, database, session, candidates, deadline)
    others = average_speed([(speed, rows[name]) for name, speed in known.items()])
    # A copy keeps two processors busy, one that reads and one that writes.
    processors = (os.cpu_count() or 2) if server.is_local else 4
    copies, builds = _Work(min(jobs, max(1, processors // 2))), _Work(min(jobs, processors))
    spent = FIXED_S
    for move in moves:
        count, speed = rows[move["from"]], known.get(move["from"], others)
        copies.add(count * speed.bare * ((STAGED if move["staged"] else 1.0) + KEPT_MORE * _kept_share(session, move)))
        builds.add(count * speed.rebuilt)
        spent += speed.statistics(count)
    for table in mapped["added"]:
        copies.add(_rows(session, table) * others.bare)
    keys = keys_touching(session, [move["live"]["oid"] for move in moves])
    for key in enforced_keys(keys):
        builds.add(check_seconds(session, key, deadline))
    per_file = file_seconds(known.values())
    builds.spread(OBJECT_MORE * per_file * int(session.value(OBJECTS)))
    tables = sum(len(move["live"]["leaves"] or []) for move in moves)
    spent += per_file * (TABLE_MORE * tables + KEY_MORE * len(keys))
    spent += copies.seconds + builds.seconds
    return {"ms": round(spent * 1000), "rows_per_second": round(sum(rows.values()) / spent)}


class _Work:
    """Pieces of work that are done side by side, none of them by more than one."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._total = self._longest = 0.0

    def add(self, seconds: float) -> None:
        """One more piece."""
        self._total += seconds
        self._longest = max(self._longest, seconds)

    def spread(self, seconds: float) -> None:
        """Many small pieces."""
        self._total += seconds

    @property
    def seconds(self) -> float:
        """How long all of it takes."""
        return max(self._total / self._at_once, self._longest)


def _candidate(session: Session, move: JsonObject, rows: float) -> Candidate:
    """A table as it may be measured."""
    table = move["live"]
    columns = [column["name"] for column in table["columns"] if not column["generated"]]
    name = (table["schema"], table["name"])
    return Candidate(move["from"], name, relation(table), columns, rows, lambda: _width(session, table))


def _kept_share(session: Session, move: JsonObject) -> float:
    """Of its first rows, how many hold something that the older table has no place for."""
    if not move["added"]:
        return 0.0
    filled = sql.SQL(" OR ").join([sql.SQL("{} IS NOT NULL").format(sql.Identifier(name)) for name in move["added"]])
    query = sql.SQL("SELECT avg(({})::int)::float8 FROM (SELECT * FROM {} LIMIT 1000) t")
    try:
        return float(session.value(query.format(filled, relation(move["live"]))) or 0)
    except LastGoodError:
        return 1.0


def _width(session: Session, table: JsonObject) -> float:
    """Bytes of a row, about."""
    query = sql.SQL("SELECT avg(pg_column_size(t.*))::float8 FROM (SELECT * FROM {} LIMIT 1000) t")
    try:
        return float(session.value(query.format(relation(table))) or 0) + HEAD_BYTES
    except LastGoodError:
        return USUAL_BYTES


def _rows(session: Session, table: JsonObject) -> float:
    """How many rows a table has, about: counted on some of its pages. From its size alone where somebody has locked it."""
    sample = sql.SQL("SELECT count(*) FROM {} TABLESAMPLE SYSTEM ({})")
    try:
        session.execute("SET lock_timeout = 1000")
        pages = int(session.value(SIZE, [json.dumps(table["leaves"] or [])]))
        share = min(1.0, PAGES / max(pages, 1))
        return float(session.value(sample.format(relation(table), sql.Literal(share * 100)))) / share
    except LastGoodError:
        return float(table["bytes"] / _width(session, table))
