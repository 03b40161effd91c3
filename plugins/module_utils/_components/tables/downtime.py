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

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.content import table_key
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.foreign_keys import enforced_keys
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Server, Session

from .catalogue import Unit
from .write_speed import FILES, Candidate, file_pace, key_pace, look_at, mean, paces

FIXED_S = 0.1
#: A key between tables that have other keys, too, compared with one between temporary tables: everything that is known of both
#: tables is read again each time.
KEY_MORE = 2.7
#: A file of a table or an index, compared with one of a temporary table.
FILE_MORE = 1.6
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
    spent = FIXED_S
    if keys:
        at_once = round(len(keys) / len({key["child"] for key in keys}))
        spent += KEY_MORE * key_pace(server, database, live, at_once) * len(keys)
    rows = 0
    for unit in units:
        goes, comes = counts.of(unit)
        pace = known.get(unit.oid, others)
        spent += goes * pace.bare + comes * pace.indexed + pace.statistics(comes)
        rows += comes
    spent += FILE_MORE * file_pace(known.values()) * _files(live, units)
    spent += sum(look_at(live, key, deadline) for key in enforced_keys(keys))
    return {"ms": round(spent * 1000), "grows_with": GROWS, "rows_per_second": round(rows / spent)}


def _files(live: Session, units: Sequence[Unit]) -> int:
    """How many files are made: a table's own twice, as its rows go aside, and as others come; those of its indexes once."""
    (found,) = live.rows(FILES, [[oid for unit in units for oid in unit.oids]])
    return 2 * int(found["tables"]) + int(found["indexes"])


def _largest_first(units: Sequence[Unit], counts: Counts) -> list[Candidate]:
    """The tables by the bytes of their rows."""
    sizes = {unit.oid: sum(int(leaf["bytes"]) for leaf in unit.leaves) for unit in units}

    def candidate(unit: Unit) -> Candidate:
        goes, _comes = counts.of(unit)
        return Candidate(
            unit.oid, (unit.schema, unit.name), unit.source, unit.stored, goes, lambda: sizes[unit.oid] / goes
        )

    return [candidate(unit) for unit in sorted(units, key=lambda unit: -sizes[unit.oid])]
