# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) How long tables will stand still, measured there and then: a sample of their own rows is copied into temporary
tables with the same indexes, and taken back; the check that each foreign key will make of its rows is made once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.content import table_key
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.foreign_keys import enforced_keys
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Server, Session

from .catalogue import TableTree
from .write_speed import FILES, Candidate, average_speed, check_seconds, file_seconds, key_seconds, measure_speeds

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

    def of(self, tree: TableTree) -> tuple[int, int]:
        """Rows that leave the table, and rows that come into it."""
        outgoing = sum(int(self.now.get(table_key(leaf)) or leaf["about"]) for leaf in tree.leaves)
        known: list[int] = [self.then[table_key(leaf)]["rows"] for leaf in tree.leaves if table_key(leaf) in self.then]
        return outgoing, sum(known) if known else outgoing


def predict_downtime(
    server: Server,
    database: str,
    live: Session,
    trees: Sequence[TableTree],
    keys: Sequence[JsonObject],
    counts: Counts,
    seconds: float,
) -> JsonObject:
    """Milliseconds from the first lock to the last statistics, materialized views apart; and rows per second.

    :param seconds: how long may be measured.
    """
    deadline = time.monotonic() + seconds
    known = measure_speeds(server, database, live, _largest_first(trees, counts), deadline)
    others = average_speed([(speed, counts.of(tree)[0]) for tree in trees if (speed := known.get(tree.oid))])
    spent = FIXED_S
    if keys:
        at_once = round(len(keys) / len({key["child"] for key in keys}))
        spent += KEY_MORE * key_seconds(server, database, live, at_once) * len(keys)
    rows = 0
    for tree in trees:
        outgoing, incoming = counts.of(tree)
        speed = known.get(tree.oid, others)
        spent += outgoing * speed.bare + incoming * speed.indexed + speed.statistics(incoming)
        rows += incoming
    spent += FILE_MORE * file_seconds(known.values()) * _files(live, trees)
    spent += sum(check_seconds(live, key, deadline) for key in enforced_keys(keys))
    return {"ms": round(spent * 1000), "grows_with": GROWS, "rows_per_second": round(rows / spent)}


def _files(live: Session, trees: Sequence[TableTree]) -> int:
    """How many files are made: a table's own twice, as its rows leave, and as others come; those of its indexes once."""
    (found,) = live.rows(FILES, [[oid for tree in trees for oid in tree.oids]])
    return 2 * int(found["tables"]) + int(found["indexes"])


def _largest_first(trees: Sequence[TableTree], counts: Counts) -> list[Candidate]:
    """The tables by the bytes of their rows."""
    sizes = {tree.oid: sum(int(leaf["bytes"]) for leaf in tree.leaves) for tree in trees}

    def candidate(tree: TableTree) -> Candidate:
        outgoing, _incoming = counts.of(tree)
        return Candidate(
            tree.oid, (tree.schema, tree.name), tree.source, tree.stored, outgoing, lambda: sizes[tree.oid] / outgoing
        )

    return [candidate(tree) for tree in sorted(trees, key=lambda tree: -sizes[tree.oid])]
