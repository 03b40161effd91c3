# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) How long tables will stand still, measured on the spot: a sample of their own rows is copied into temporary
tables with the same indexes, and taken back; the look that each foreign key will take at its rows is taken once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._components._database_content import table_key
from ansible_collections.lastgood.rollback.plugins.module_utils._components._foreign_keys import without_parent
from ansible_collections.lastgood.rollback.plugins.module_utils._components._own_code import runs_own_code
from ansible_collections.lastgood.rollback.plugins.module_utils._components._tables_catalogue import Unit
from ansible_collections.lastgood.rollback.plugins.module_utils._components._tables_orphans import watched
from ansible_collections.lastgood.rollback.plugins.module_utils._components._tables_warn import EVENT_TRIGGERS
from ansible_collections.lastgood.rollback.plugins.module_utils._errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._postgres import DatabaseError, Server, Session, sql
from ansible_collections.lastgood.rollback.plugins.module_utils._tools.pg_copy import column_list, copy_in, stream_rows
from ansible_collections.lastgood.rollback.plugins.module_utils._types import JsonObject

SAMPLE_ROWS, SAMPLE_BYTES = 20_000, 16 * 1024**2
#: Where nothing can be measured: a row kept and put back, with an index or two.
ROW_S = 8e-6
#: Locks, statistics and commit of one table; a key taken off and put back.
TABLE_S, KEY_S, FIXED_S = 0.02, 0.004, 0.1
GROWS = "rows, indexes and foreign keys of the tables, and the materialized views over them"


@dataclass(frozen=True)
class Counts:
    """How many rows each table has now, and at the restore point where that is known; by key, partitions apart."""

    now: JsonObject
    then: JsonObject

    def of(self, unit: Unit) -> tuple[int, int]:
        """Rows that go aside, and rows that come."""
        goes = sum(int(self.now.get(table_key(leaf)) or leaf["about"]) for leaf in unit.leaves)
        known: list[int] = [self.then[table_key(leaf)]["rows"] for leaf in unit.leaves if table_key(leaf) in self.then]
        return goes, sum(known) if known else goes


def predict(
    server: Server,
    database: str,
    live: Session,
    units: Sequence[Unit],
    keys: Sequence[JsonObject],
    counts: Counts,
    seconds: float,
) -> JsonObject:
    """Milliseconds from the first lock to the last statistics, materialized views apart; and rows per second.

    :param seconds: how long may be measured.
    """
    deadline = time.monotonic() + seconds
    spent = FIXED_S + TABLE_S * sum(len(unit.parts) for unit in units) + KEY_S * len(keys)
    rows = 0
    # A temporary table would set them off.
    measurable = not live.rows(EVENT_TRIGGERS)
    for unit in units:
        goes, comes = counts.of(unit)
        rows += comes
        aside, back = ROW_S / 2, ROW_S / 2
        if measurable and goes and time.monotonic() < deadline:
            aside, back = _per_row(server, database, live, unit, goes)
        spent += goes * aside + comes * back
    for key in watched(keys):
        spent += _look_at(live, key, deadline)
    return {"ms": round(spent * 1000), "grows_with": GROWS, "rows_per_second": round(rows / spent)}


def _per_row(server: Server, database: str, live: Session, unit: Unit, count: int) -> tuple[float, float]:
    """Seconds for keeping one row and for putting one in, by the same way that they will go."""
    width = sum(int(leaf["bytes"]) for leaf in unit.leaves) / count
    limit = int(min(SAMPLE_ROWS, max(SAMPLE_BYTES / max(width, 1), 100)))
    query = sql.SQL("COPY (SELECT {} FROM {} LIMIT {}) TO STDOUT").format(
        column_list(unit.stored), unit.source, sql.Literal(limit)
    )
    spent = []
    try:
        if runs_own_code(live, unit.schema, unit.name):
            return ROW_S / 2, ROW_S / 2
        with server.connect(database) as scratch:
            scratch.execute("BEGIN")
            for name, words in (("lastgood_kept", "INCLUDING GENERATED"), ("lastgood_new", "INCLUDING ALL")):
                table = sql.Identifier("pg_temp", name)
                like = sql.SQL("CREATE TEMP TABLE {} (LIKE {} {})").format(table, unit.relation, sql.SQL(words))
                scratch.execute(like)
                begun = time.monotonic()
                rows = stream_rows(live, query, scratch, copy_in(table, unit.stored), f"Sampling {unit.key}")
                spent.append((time.monotonic() - begun) / max(rows, 1))
    except LastGoodError:
        return ROW_S / 2, ROW_S / 2
    return spent[0], spent[1]


def _look_at(live: Session, key: JsonObject, deadline: float) -> float:
    begun = time.monotonic()
    left = int((deadline - begun) * 1000)
    if left <= 0:
        return 0.0
    query: Any = sql.SQL("SELECT count(*) {}").format(without_parent(key))
    live.execute("SET statement_timeout = %s", [left])
    try:
        live.value(query)
    except DatabaseError:
        return time.monotonic() - begun
    finally:
        live.execute("SET statement_timeout = 0")
    return time.monotonic() - begun
