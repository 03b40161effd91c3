# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Moving rows from one database to another in streams: what fits goes straight, what is added is kept."""

from __future__ import annotations

from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.copy import stream_rows
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.layout import table_name
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import DatabaseError, Session, sql

from .kept_rows import COLUMNS, TABLE, KeptRows

#: Classes of SQLSTATEs that speak of a row: data exceptions, integrity constraints, what a function raises.
UNFIT = ("22", "23", "P0")


def speaks_of_a_row(error: DatabaseError) -> bool:
    """Whether a row is what was refused, and not the attempt."""
    return error.code[:2] in UNFIT


def relation(table: JsonObject) -> Any:
    """A table's own rows: with its partitions, without what inherits from it."""
    name = sql.Identifier(table["schema"], table["name"])
    return name if table["kind"] == "p" else sql.SQL("ONLY {}").format(name)


def names(columns: list[str], alias: str = "") -> Any:
    """``a, b``, or ``s.a, s.b``."""
    return sql.SQL(", ").join([sql.Identifier(alias, name) if alias else sql.Identifier(name) for name in columns])


def texts(columns: list[str]) -> Any:
    """``a::text, b::text``: how any type looks to any other."""
    return sql.SQL(", ").join([sql.SQL("{}::text").format(sql.Identifier(name)) for name in columns])


def pipe(reading: Session, query: Any, writing: Session, into: Any, attempt: str) -> int:
    """Let a query's rows flow into a table of another database; all of them or none. The number of rows.

    :param into: the table, with its columns.
    :raises DatabaseError: when either side refuses.
    """
    writing.execute("BEGIN")
    try:
        out, enter = sql.SQL("COPY ({}) TO STDOUT").format(query), sql.SQL("COPY {} FROM STDIN").format(into)
        count = stream_rows(reading, out, writing, enter, attempt)
    except BaseException:
        writing.execute("ROLLBACK")
        raise
    writing.execute("COMMIT")
    return count


def move_straight(reading: Session, writing: Session, move: JsonObject) -> int:
    """Copy the columns that both tables have. The number of rows.

    :raises DatabaseError: at the first row that does not fit; then none is copied.
    """
    attempt = f"Copying table {table_name(move['old'])}"
    target = sql.Identifier(move["old"]["schema"], move["old"]["name"])
    source = relation(move["live"])
    if not move["pairs"]:
        count = reading.value(sql.SQL("SELECT count(*) FROM {}").format(source), attempt=attempt)
        statement = sql.SQL("INSERT INTO {} SELECT FROM generate_series(1, {})").format(target, sql.Literal(count))
        writing.execute(statement, attempt=attempt)
        return int(count)
    query = sql.SQL("SELECT {} FROM {}").format(names([pair["live"]["name"] for pair in move["pairs"]]), source)
    into = sql.SQL("{} ({})").format(target, names([pair["old"]["name"] for pair in move["pairs"]]))
    return pipe(reading, query, writing, into, attempt)


def keep_columns(reading: Session, writing: Session, move: JsonObject, kept: KeptRows) -> None:
    """Keep what the columns hold that the older table does not have, by the row's key (by the whole row without one)."""
    live = move["live"]
    wanted = [column["name"] for column in live["columns"]] if not live["key"] else [*live["key"], *move["added"]]
    columns = list(dict.fromkeys(wanted))
    filled = sql.SQL(" OR ").join([sql.SQL("{} IS NOT NULL").format(sql.Identifier(name)) for name in move["added"]])
    some = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {})").format(relation(live), filled)
    if not reading.value(some):
        return
    place = kept.place(writing, move["old"], COLUMNS, columns)
    query = sql.SQL("SELECT {} FROM {} WHERE {}").format(texts(columns), relation(live), filled)
    count = pipe(reading, query, writing, place, f"Keeping columns of table {table_name(live)}")
    kept.add(move["old"], COLUMNS, count, f"no place for {', '.join(move['added'])}")


def keep_table(reading: Session, writing: Session, table: JsonObject, kept: KeptRows) -> None:
    """Keep a whole table that the older schema does not have."""
    columns = [column["name"] for column in table["columns"]]
    place = kept.place(writing, table, TABLE, columns)
    if columns:
        query = sql.SQL("SELECT {} FROM {}").format(texts(columns), relation(table))
        count = pipe(reading, query, writing, place, f"Keeping table {table_name(table)}")
        kept.add(table, TABLE, count, "no such table at the restore point")
