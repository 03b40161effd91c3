# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Rows that refer to nothing once other rows stand in the tables: found before, moved out, put back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.catalogue import NOT_ALLOWED
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.copy import (
    column_list,
    copy_in,
    copy_out,
    stream_rows,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.foreign_keys import (
    enforced_keys,
    keys_touching,
    side_of,
    without_parent,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import DatabaseError, Session, sql

from .catalogue import COLUMNS, TableTree, read_trees
from .state import ORPHANS, kept_table

FAIL, KEEP_ASIDE = "fail", "keep_aside"
ADVICE = (
    "Roll the other table back as well (tables), or have such rows moved into a table of their own in the side database "
    "(orphans: keep_aside)."
)
#: Schema of the side database for the keys of live neighbours.
KEYS = "lastgood_keys"
SHOWN = 3
#: From tables to those that refer to them, and from partitioned ones to their partitions.
DESCENDANTS = """
WITH RECURSIVE step (above, below, refers) AS (
    SELECT o.confrelid, o.conrelid, o.conparentid = 0 FROM pg_constraint o WHERE o.contype = 'f'
    UNION ALL SELECT i.inhparent, i.inhrelid, false FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE c.relispartition),
found (oid) AS (SELECT unnest(%s::oid[]) UNION SELECT step.below FROM found JOIN step ON step.above = found.oid)
SELECT DISTINCT step.below::bigint AS oid FROM found JOIN step ON step.above = found.oid WHERE step.refers
"""


def list_orphans(session: Session, keys: Iterable[JsonObject]) -> list[str]:
    """What refers to nothing now, one sentence a key."""
    return [violation for key in enforced_keys(keys) for violation in _counted(session, key, without_parent(key))]


def descendants(session: Session, trees: Sequence[TableTree]) -> list[TableTree]:
    """The tables that refer to these, to those, and so on: what rows may have to be taken out of."""
    known = {oid for tree in trees for oid in tree.oids}
    children = {row["oid"] for row in session.rows(DESCENDANTS, [sorted(known)])} - known
    found = read_trees(session, sorted(children))
    inner = {oid for tree in found.values() for oid in tree.oids if oid != tree.oid}
    return [tree for oid, tree in found.items() if oid not in inner]


class OrphanCheck:
    """Looks for orphans before anything is exchanged: the rows to come stand in the side database, and what they refer
    to, or what refers to them, is brought there key by key.
    """

    def __init__(self, live: Session, side: Session, trees: Sequence[TableTree]) -> None:
        self.live = live
        self.side = side
        self.known = {tree.oid for tree in trees}
        self.parts = {oid for tree in trees for oid in tree.oids}
        self.keys = enforced_keys(keys_touching(live, sorted(self.parts)))

    def violations(self) -> list[str]:
        """One for each key that would not hold."""
        self.side.execute(f"DROP SCHEMA IF EXISTS {KEYS} CASCADE")
        self.side.execute(f"CREATE SCHEMA {KEYS}")
        found = [violation for number, key in enumerate(self.keys) for violation in self._violations(number, key)]
        self.side.execute(f"DROP SCHEMA {KEYS} CASCADE")
        return found

    def _violations(self, number: int, key: JsonObject) -> list[str]:
        try:
            return list(self._check(number, key))
        except DatabaseError as error:
            # Row security that is forced on the owner, too: it is lifted within the exchange only, where the key shows it.
            if error.code != NOT_ALLOWED:
                raise
            return []

    def _check(self, number: int, key: JsonObject) -> Iterator[str]:
        child, parent = key["child"] in self.known, key["parent"] in self.known
        if child and parent:
            yield from _counted(self.side, key, without_parent(key))
        elif child and key["parent"] not in self.parts:
            copied = self._copy_keys(number, key, "parent", "child")
            yield from _counted(self.side, key, without_parent(key, parent=copied))
        elif parent and key["child"] not in self.parts:
            copied = self._copy_keys(number, key, "child", "parent")
            yield from _counted(self.side, key, without_parent(key, child=copied))
        # A single partition of a partitioned table: the key itself shows it, within the exchange.

    def _copy_keys(self, number: int, key: JsonObject, side: str, typed_by: str) -> Any:
        """Copy one side's key columns out of the live database, typed as those of the other side."""
        table = sql.Identifier(KEYS, f"k{number}")
        types = self._types(key, typed_by)
        names = [column[side] for column in key["columns"]]
        casts = [
            sql.SQL("{}::{} AS {}").format(
                sql.Identifier(column[typed_by]), sql.SQL(types[column[typed_by]]), sql.Identifier(column[side])
            )
            for column in key["columns"]
        ]
        self.side.execute(
            sql.SQL("CREATE TABLE {} AS SELECT {} FROM {} LIMIT 0").format(
                table, sql.SQL(", ").join(casts), side_of(key, typed_by)
            )
        )
        columns = column_list(names)
        query = sql.SQL("COPY (SELECT DISTINCT {} FROM {}) TO STDOUT").format(columns, side_of(key, side))
        attempt = f"Reading the keys of {key[side + '_schema']}.{key[side + '_name']}"
        stream_rows(self.live, query, self.side, copy_in(table, names), attempt)
        return table

    def _types(self, key: JsonObject, side: str) -> dict[str, str]:
        relation = self.side.value(
            "SELECT c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s",
            [key[f"{side}_schema"], key[f"{side}_name"]],
        )
        return {row["name"]: row["plain"] for row in self.side.rows(COLUMNS, [[relation]])}


def extract_orphans(live: Session, side: Session, keys: Sequence[JsonObject]) -> list[str]:
    """Move rows that refer to nothing into the side database, until none is left; what was moved, in words.

    Whoever referred to such a row refers to nothing next. That comes to an end: each round takes rows away for good.

    :raises LastGoodError: when they do not go.
    """
    for row in side.rows("SELECT relname AS name FROM pg_class WHERE relnamespace = %s::regnamespace", [ORPHANS]):
        side.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(ORPHANS, row["name"])))
    moves: list[str] = []
    while True:
        moved = [words for key in enforced_keys(keys) for words in _extract(live, side, key)]
        if not moved:
            return moves
        moves += moved


def _extract(live: Session, side: Session, key: JsonObject) -> Iterator[str]:
    orphaned_rows = without_parent(key)
    count = live.value(sql.SQL("SELECT count(*) {}").format(orphaned_rows))
    if not count:
        return
    tree = read_trees(live, [key["child"]])[key["child"]]
    table = kept_table(ORPHANS, tree.key)
    if not side.value("SELECT to_regclass(%s)", [table.as_string(side.connection)]):
        # As text: the types of a table that is newer than the restore point may not be there.
        texts = [sql.SQL("{} text").format(sql.Identifier(name)) for name in tree.stored]
        side.execute(sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(", ").join(texts)))
    columns = sql.SQL(", ").join([sql.Identifier("c", name) for name in tree.stored])
    query = sql.SQL("COPY (SELECT {} {}) TO STDOUT").format(columns, orphaned_rows)
    rows = stream_rows(live, query, side, copy_in(table, tree.stored), f"Keeping orphans of {tree.key}")
    # An inner SELECT counts what is really gone: the server itself refuses this where a rule does something else.
    gone = sql.SQL("WITH gone AS (DELETE {} RETURNING 1) SELECT count(*) FROM gone").format(orphaned_rows)
    removed = live.value(gone, attempt=f"Removing orphans of {tree.key}")
    if removed != rows:
        raise LastGoodError(
            f"{rows} rows of {tree.key} refer to nothing ({key['name']}) and were to be moved aside, but {removed} of them went: "
            "something keeps them in the table. Nothing was changed. Roll the other table back as well, or remove them by hand."
        )
    yield f"Moved {rows} rows of {tree.key} aside that referred to nothing ({key['name']})"


def return_orphans(live: Session, side: Session, tree: TableTree) -> None:
    """Put the orphans of a table that was not exchanged back into it."""
    table = kept_table(ORPHANS, tree.key)
    if side.value("SELECT to_regclass(%s)", [table.as_string(side.connection)]):
        into = copy_in(tree.relation, tree.stored)
        stream_rows(side, copy_out(table, tree.stored), live, into, f"Putting orphans back into {tree.key}")


def _counted(session: Session, key: JsonObject, orphaned_rows: Any) -> Iterator[str]:
    count = session.value(sql.SQL("SELECT count(*) {}").format(orphaned_rows))
    if not count:
        return
    mine = [column["child"] for column in key["columns"]]
    columns = sql.SQL(", ").join([sql.Identifier("c", name) for name in mine])
    query = sql.SQL("SELECT DISTINCT ROW({})::text AS value {} LIMIT {}").format(
        columns, orphaned_rows, sql.Literal(SHOWN)
    )
    values = ", ".join(sorted(str(row["value"]).strip("()") for row in session.rows(query)))
    child, parent = (f"{key[f'{side}_schema']}.{key[f'{side}_name']}" for side in ("child", "parent"))
    more = " …" if count > SHOWN else ""
    yield f"{count} of {child} ({key['name']}: {', '.join(mine)} = {values}{more}) have no row in {parent}"
