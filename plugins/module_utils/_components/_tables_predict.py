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

from ansible_collections.lastgood.rollback.plugins.module_utils._components._database_content import table_key
from ansible_collections.lastgood.rollback.plugins.module_utils._components._sample import (
    Candidate,
    look_at,
    mean,
    paces,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components._tables_catalogue import Unit
from ansible_collections.lastgood.rollback.plugins.module_utils._components._tables_orphans import watched
from ansible_collections.lastgood.rollback.plugins.module_utils._postgres import Server, Session
from ansible_collections.lastgood.rollback.plugins.module_utils._types import JsonObject

#: A key taken off and put back; the rest of it.
KEY_S, FIXED_S = 0.004, 0.1
#: Locks, definitions and commits of one table, compared with making a temporary one.
TABLE_MORE = 2.5
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
    known = paces(server, database, live, _largest_first(units, counts), deadline)
    others = mean([(pace, counts.of(unit)[0]) for unit in units if (pace := known.get(unit.oid))])
    spent = FIXED_S + KEY_S * len(keys)
    rows = 0
    for unit in units:
        goes, comes = counts.of(unit)
        pace = known.get(unit.oid, others)
        spent += TABLE_MORE * pace.made * len(unit.parts)
        spent += goes * pace.bare + comes * pace.indexed + pace.statistics(comes)
        rows += comes
    spent += sum(look_at(live, key, deadline) for key in watched(keys))
    return {"ms": round(spent * 1000), "grows_with": GROWS, "rows_per_second": round(rows / spent)}


def _largest_first(units: Sequence[Unit], counts: Counts) -> list[Candidate]:
    """The tables by the bytes of their rows."""
    sizes = {unit.oid: sum(int(leaf["bytes"]) for leaf in unit.leaves) for unit in units}

    def candidate(unit: Unit) -> Candidate:
        goes, _comes = counts.of(unit)
        return Candidate(
            unit.oid, (unit.schema, unit.name), unit.source, unit.stored, goes, lambda: sizes[unit.oid] / goes
        )

    return [candidate(unit) for unit in sorted(units, key=lambda unit: -sizes[unit.oid])]
