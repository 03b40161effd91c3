# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Moving a table whose rows may not fit: they are laid out as text first, and go over in batches.

A batch that is refused is halved until the rows that do not fit stand alone; these are kept, with the reason. What the
restore point alone knows (the values of columns that were dropped since) is joined in by key on the way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.layout import table_name
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import DatabaseError, Session, sql

from .convert import by_way_of_the_newer_type, depends_on
from .kept_rows import REASON, ROWS, VALUES, KeptRows
from .rows import names, pipe, relation, speaks_of_a_row, texts

#: Holds the rows on their way, and the restore point's values; gone before the schemas are compared.
STAGE = "lastgood_stage"
NUMBER = "lastgood_n"
BATCH = 20_000


def restored_values_table(table: JsonObject) -> Any:
    """Where the restore point's values of a table's dropped columns wait: ``k1``… (key) and ``b1``…"""
    return sql.Identifier(STAGE, f"then_{_tag(table)}")


def _tag(table: JsonObject) -> str:
    return hashlib.sha256(table_name(table).encode()).hexdigest()[:16]


def remember_values(session: Session, move: JsonObject) -> None:
    """Copy the restored values of the dropped columns, by key, and empty the table again for the present rows."""
    table, key, restored_columns = move["old"], move["key"], move["back"]
    words = [sql.SQL("{} AS {}").format(sql.Identifier(pair["old"]["name"]), _k(at)) for at, pair in enumerate(key)]
    for at, column in enumerate(restored_columns):
        words.append(sql.SQL("{} AS {}").format(sql.Identifier(column["name"]), _b(at)))
    restored_values, attempt = restored_values_table(table), f"Setting values of table {table_name(table)} aside"
    statement = sql.SQL("CREATE TABLE {} AS SELECT {} FROM {}")
    session.execute(statement.format(restored_values, sql.SQL(", ").join(words), relation(table)), attempt=attempt)
    columns = sql.SQL(", ").join([_k(at) for at in range(len(key))])
    session.execute(sql.SQL("CREATE INDEX ON {} ({})").format(restored_values, columns), attempt=attempt)
    session.execute(sql.SQL("ANALYZE {}").format(restored_values), attempt=attempt)
    session.execute(sql.SQL("TRUNCATE {}").format(relation(table)), attempt=attempt)


def _k(at: int) -> Any:
    return sql.Identifier(f"k{at + 1}")


def _b(at: int) -> Any:
    return sql.Identifier(f"b{at + 1}")


class Staged:
    """One table on its way.

    :param settings: what values are converted with where that decides what they become.
    """

    def __init__(
        self, reading: Session, writing: Session, move: JsonObject, kept: KeptRows, settings: Mapping[str, str]
    ) -> None:
        self.reading = reading
        self.writing = writing
        self.move = move
        self.kept = kept
        self.settings = settings if any(map(depends_on, move["pairs"])) else {}
        self.columns = [column["name"] for column in move["live"]["columns"]]
        self.stage = sql.Identifier(STAGE, f"rows_{_tag(move['old'])}")
        self.target = sql.Identifier(move["old"]["schema"], move["old"]["name"])
        self.attempt = f"Fitting rows into table {table_name(move['old'])}"
        self.insert = self._insert()
        self.rejected = 0

    def run(self) -> int:
        """Move what fits, keep the rest; the number of rows that did fit."""
        count = self._lay_out()
        self._promise()
        with self._set_as_people_are():
            for low in range(1, count + 1, BATCH):
                self._fit(low, min(low + BATCH - 1, count))
            self._keep_values()
        self._promise_no_more()
        self._do("DROP TABLE {}", self.stage)
        return count - self.rejected

    def _do(self, text: str, *parts: Any) -> None:
        self.writing.execute(sql.SQL(text).format(*parts), attempt=self.attempt)

    @contextmanager
    def _set_as_people_are(self) -> Iterator[None]:
        """For the conversion alone."""
        ours = {name: self.writing.value("SELECT current_setting(%s)", [name]) for name in self.settings}
        self._set(self.settings)
        try:
            yield
        finally:
            self._set(ours)

    def _set(self, settings: Mapping[str, str]) -> None:
        for name, value in settings.items():
            self.writing.execute("SELECT set_config(%s, %s, false)", [name, value], self.attempt)

    def _lay_out(self) -> int:
        width = sql.SQL(", ").join([sql.SQL("{} text").format(_c(at)) for at in range(len(self.columns))])
        self._do("DROP TABLE IF EXISTS {}", self.stage)
        self._do(
            "CREATE UNLOGGED TABLE {} ({} bigint GENERATED ALWAYS AS IDENTITY, {})",
            self.stage,
            sql.Identifier(NUMBER),
            width,
        )
        query = sql.SQL("SELECT {} FROM {}").format(texts(self.columns), relation(self.move["live"]))
        into = sql.SQL("{} ({})").format(self.stage, self._all())
        count = pipe(self.reading, query, self.writing, into, self.attempt)
        self._do("ALTER TABLE {} ADD PRIMARY KEY ({})", self.stage, sql.Identifier(NUMBER))
        self._do("ANALYZE {}", self.stage)
        return count

    def _all(self, alias: str = "") -> Any:
        return names([f"c{at + 1}" for at in range(len(self.columns))], alias)

    def _promise(self) -> None:
        """What the live table does not promise is looked at row by row, by the index that will promise it."""
        for definition in self.move["unique"].values():
            self.writing.execute(definition, attempt=self.attempt)
        for name, definition in self.move["excluding"].items():
            self._do("ALTER TABLE {} ADD CONSTRAINT {} {}", self.target, sql.Identifier(name), sql.SQL(definition))

    def _promise_no_more(self) -> None:
        for name in self.move["unique"]:
            self._do("DROP INDEX {}", sql.Identifier(self.move["old"]["schema"], name))
        for name in self.move["excluding"]:
            self._do("ALTER TABLE {} DROP CONSTRAINT {}", self.target, sql.Identifier(name))

    def _value(self, live: str) -> Any:
        return sql.Identifier("s", f"c{self.columns.index(live) + 1}")

    def _cast(self, pair: JsonObject) -> Any:
        """The text read as the column's type, but for its length and its domain: what is too long must be refused, not cut."""
        value = self._value(pair["live"]["name"])
        if by_way_of_the_newer_type(pair):
            value = sql.SQL("{}::{}").format(value, sql.SQL(pair["live"]["base"]))
        value = sql.SQL("{}::{}").format(value, sql.SQL(pair["old"]["base"]))
        if not pair["filled"]:
            return value
        return sql.SQL("coalesce({}, {})").format(value, sql.SQL(pair["old"]["default"]))

    def _insert(self) -> Any:
        move = self.move
        columns = [pair["old"]["name"] for pair in move["pairs"]] + [column["name"] for column in move["back"]]
        values = [self._cast(pair) for pair in move["pairs"]]
        for at, column in enumerate(move["back"]):
            default = sql.SQL(column["default"] or "NULL")
            case = sql.SQL("CASE WHEN t.k1 IS NULL THEN {} ELSE t.{} END").format(default, _b(at))
            values.append(case if move["key"] else default)
        return sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} s {} WHERE s.{} BETWEEN").format(
            self.target,
            names(columns),
            sql.SQL(", ").join(values),
            self.stage,
            self._joined(),
            sql.Identifier(NUMBER),
        )

    def _joined(self) -> Any:
        if not self.move["key"] or not self.move["back"]:
            return sql.SQL("")
        equal = [sql.SQL("t.{} = {}").format(_k(at), self._cast(pair)) for at, pair in enumerate(self.move["key"])]
        return sql.SQL("LEFT JOIN {} t ON {}").format(
            restored_values_table(self.move["old"]), sql.SQL(" AND ").join(equal)
        )

    def _fit(self, low: int, high: int) -> None:
        try:
            self._do("{} {} AND {}", self.insert, sql.Literal(low), sql.Literal(high))
        except DatabaseError as error:
            if not speaks_of_a_row(error):
                raise
            if low == high:
                self._reject(low, error.cause)
                return
            middle = (low + high) // 2
            self._fit(low, middle)
            self._fit(middle + 1, high)

    def _reject(self, number: int, reason: str) -> None:
        place = self.kept.place(self.writing, self.move["old"], ROWS, [REASON, *self.columns])
        self._do(
            "WITH gone AS (DELETE FROM {} s WHERE {} = {} RETURNING {}) INSERT INTO {} SELECT {}, * FROM gone",
            self.stage,
            sql.Identifier(NUMBER),
            sql.Literal(number),
            self._all("s"),
            place,
            sql.Literal(reason),
        )
        self.kept.add(self.move["old"], ROWS, 1, reason)
        self.rejected += 1

    def _keep_values(self) -> None:
        """Values that are not the same any more (cut fractions, lost zones, a default in place of NULL), by the row's key."""
        changed = [pair for pair in self.move["pairs"] if not pair["same"] or pair["filled"]]
        if not changed:
            return
        differ = sql.SQL(" OR ").join([self._differs(pair) for pair in changed])
        some = sql.SQL("SELECT count(*) FROM {} s WHERE {}").format(self.stage, differ)
        count = self.writing.value(some, attempt=self.attempt)
        if not count:
            return
        key = self.move["live"]["key"] or self.columns
        columns = list(dict.fromkeys([*key, *(pair["live"]["name"] for pair in changed)]))
        place = self.kept.place(self.writing, self.move["old"], VALUES, columns)
        values = sql.SQL(", ").join([self._value(name) for name in columns])
        self._do("INSERT INTO {} SELECT {} FROM {} s WHERE {}", place, values, self.stage, differ)
        what = ", ".join(f"{pair['live']['name']} as {pair['old']['type']}" for pair in changed)
        self.kept.add(self.move["old"], VALUES, count, f"not the same: {what}")

    def _differs(self, pair: JsonObject) -> Any:
        """Whether a value, there and back again, is another; in the newer type's words where that type exists here."""
        if pair["filled"] and pair["same"]:
            return sql.SQL("{} IS NULL").format(self._value(pair["live"]["name"]))
        if by_way_of_the_newer_type(pair):  # as values: the text of one moment is another one in each zone
            words = "{value}::{live} IS DISTINCT FROM {there}::{live}"
            value, live = self._value(pair["live"]["name"]), sql.SQL(pair["live"]["base"])
            return sql.SQL(words).format(value=value, live=live, there=self._cast(pair))
        words = "{value} IS DISTINCT FROM {value}::{old}::text"
        if self.writing.value("SELECT to_regtype(%s) IS NOT NULL", [pair["live"]["type"]]):
            words += "::{live}::text"
        if pair["filled"]:
            words += " OR {value} IS NULL"
        old, live = sql.SQL(pair["old"]["type"]), sql.SQL(pair["live"]["type"])
        return sql.SQL(words).format(value=self._value(pair["live"]["name"]), old=old, live=live)


def _c(at: int) -> Any:
    return sql.Identifier(f"c{at + 1}")
