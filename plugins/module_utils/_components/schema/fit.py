# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Which rows may have no place in an older schema, counted before anything is tried: never fewer than it will be.

Counted is by what the older schema demands and the live one does not. Nothing of the database's own code runs for that, so
where only such code could tell, all rows of a table count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.content import LOCK_WAIT_MS
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.layout import table_name
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session, sql

from .diff import Blocks, Differing, checks
from .map import KEPT
from .rows import relation

ALL = "true"
#: Types whose texts are all texts; and whole numbers, each with what it holds.
TEXTS = ("text", "character varying")
WHOLE = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}
#: A row's condition in SQL, by the alias that its table has.
Condition = Callable[[str], Any]


@dataclass
class _Suspect:
    """A table whose rows may not all fit.

    :param own: what is in the rows themselves, in words and in SQL.
    :param follows: by foreign key, what comes of rows of other tables that don't fit.
    :param rows: as counted last; None where that took too long.
    """

    move: JsonObject
    own: list[tuple[str, Condition]]
    follows: dict[str, tuple[str, Condition]] = field(default_factory=dict)
    all_of: set[str] = field(default_factory=set)
    rows: int | None = 0
    of: int = 0
    why: list[str] = field(default_factory=list)

    @property
    def reasons(self) -> list[tuple[str, Condition]]:
        """All of them."""
        return [*self.own, *self.follows.values()]


class UnfitRows:
    """Counts them.

    :param mapped: see `make_map`.
    :param then: the restore point's schema, object by object; ``now`` the live one.
    :param seconds: for how long it may count.
    """

    def __init__(self, session: Session, mapped: JsonObject, then: Blocks, now: Blocks, seconds: float) -> None:
        self._session = session
        self._mapped = mapped
        self._deadline = time.monotonic() + seconds
        differing = Differing(then, now)
        self._suspects = {
            table_name(move["old"]): _Suspect(move, list(_own_reasons(move, differing, then, now)))
            for move in mapped["moves"]
        }

    def count(self, captured: Mapping[str, JsonObject]) -> JsonObject:
        """Table → ``rows`` that may not fit (None where that could not be counted in time), ``of`` how many, ``why``.

        :param captured: the restore point's tables, for those that come back with their rows.
        """
        self._session.execute("SET lock_timeout = %s", [LOCK_WAIT_MS])
        for key in self._mapped["keys"]:
            child = self._side(key, "child")
            if child is not None and not key["proven"]:
                words = f"no row in {'.'.join(key['parent_root'])} for {key['name']}"
                child.own.append((words, _without_parent(key, child.move, self._side(key, "parent"))))
        for suspect in self._suspects.values():
            self._count(suspect, suspect.move["live"])
        while any(self._follow(key) for key in self._mapped["keys"]):  # each key at most twice
            pass
        found = {name: suspect for name, suspect in self._suspects.items() if suspect.rows != 0}
        found.update(self._unplaced())
        result = {name: {"rows": each.rows, "of": each.of, "why": each.why} for name, each in found.items()}
        result.update(self._returning(captured))
        self._session.execute("SET statement_timeout = 0")
        return result

    def _side(self, key: JsonObject, side: str) -> _Suspect | None:
        return self._suspects.get(".".join(key[f"{side}_root"]))

    def _follow(self, key: JsonObject) -> bool:
        """Whoever refers to a row that is set aside is set aside as well; whether that is news."""
        child, parent = self._side(key, "child"), self._side(key, "parent")
        name = f"{'.'.join(key['child_root'])} {key['name']}"
        if child is None or parent is None or parent.rows == 0 or name in child.all_of:
            return False
        # What the parent's own rows lack can be asked for by row; what follows from others is too much for one query.
        known = not parent.follows and parent is not child and parent.rows is not None
        if known and name in child.follows:
            return False
        condition = _of_a_suspect(key, child.move, parent) if known else _refers(key, child.move)
        child.follows[name] = (f"{key['name']} needs a row of {'.'.join(key['parent_root'])}", condition)
        child.all_of |= set() if known else {name}
        self._count(child, child.move["live"])
        return True

    def _count(self, suspect: _Suspect, table: JsonObject) -> None:
        if not suspect.reasons:
            return
        words = [reason for reason, _condition in suspect.reasons]
        suspect.rows, suspect.of, suspect.why = None, table["rows"], words
        left = int((self._deadline - time.monotonic()) * 1000)
        if left <= 0:
            return
        each = [condition("c") for _reason, condition in suspect.reasons]
        asked = [sql.SQL(" OR ").join([sql.SQL("({})").format(one) for one in each]), *each]
        counts = [sql.SQL(f"count(*) FILTER (WHERE {{}}) AS n{at}").format(one) for at, one in enumerate(asked)]
        query = sql.SQL("SELECT count(*) AS total, {} FROM {} c").format(sql.SQL(", ").join(counts), relation(table))
        self._session.execute("SET statement_timeout = %s", [left])
        try:
            (row,) = self._session.rows(query, attempt=f"Counting rows of {table_name(table)} that may not fit")
        except LastGoodError:  # too slow, or locked by somebody: prepare will know
            return
        suspect.rows, suspect.of = row["n0"], row["total"]
        suspect.why = [f"{reason}: {row[f'n{at}']:,}" for at, reason in enumerate(words, 1) if row[f"n{at}"]]

    def _unplaced(self) -> Iterator[tuple[str, _Suspect]]:
        for table in self._mapped["added"]:
            if not table["schema"].startswith(KEPT) and table_name(table) not in self._mapped["versions"]:
                suspect = _Suspect({}, [("no such table at the restore point", _constant(ALL))])
                self._count(suspect, table)
                if suspect.rows != 0:
                    yield table_name(table), suspect

    def _returning(self, captured: Mapping[str, JsonObject]) -> Iterator[tuple[str, JsonObject]]:
        """Rows that only the restore point has may refer to rows that are gone."""
        for table in self._mapped["returning"]:
            name = table_name(table)
            keys = [key["name"] for key in self._mapped["keys"] if ".".join(key["child_root"]) == name]
            rows = sum(captured.get(f"{leaf[0]}.{leaf[1]}", {"rows": 0})["rows"] for leaf in table["leaves"] or [])
            if keys and rows and name not in self._mapped["versions"]:
                yield name, {"rows": rows, "of": rows, "why": [f"what {', '.join(keys)} needs may be gone"]}


def _own_reasons(move: JsonObject, differing: Differing, then: Blocks, now: Blocks) -> Iterator[tuple[str, Condition]]:
    for pair in move["pairs"]:
        old, live = pair["old"], pair["live"]
        if old["required"] and not live["required"] and not pair["filled"]:
            yield f"NULL in {live['name']}", _is(live["name"], "IS NULL")
        narrower = "IS NOT NULL" if differing.has_type(old["type"]) else None if pair["same"] else _narrower(old, live)
        if narrower:
            yield f"{live['name']} as {old['type']}", _is(live["name"], narrower)
    for column in move["back"]:
        if column["required"] and column["default"] is None:
            yield f"no value for {column['name']}", _constant(ALL)
    there = _checks(move["live"], now)
    for check in sorted(_checks(move["old"], then)):
        if check not in there or differing.calls(check):
            yield check, _constant(ALL)
    for name in (*move["unique"], *move["excluding"]):
        yield f"no two rows alike, by {name}", _constant(ALL)
    yield from _partitions(move, differing, then, now)


def _narrower(old: JsonObject, live: JsonObject) -> str | None:
    """The condition on a value that may not be one of the older type; None where each is."""
    if old["type"] in TEXTS:
        return None
    if old["type"] in WHOLE and live["type"] in WHOLE:
        limit = WHOLE[old["type"]]
        return f"NOT BETWEEN {-limit} AND {limit - 1}" if limit < WHOLE[live["type"]] else None
    return "IS NOT NULL"


def _checks(table: JsonObject, side: Blocks) -> set[str]:
    return {check for schema, name in _parts(table) for check in checks(side.get(f"TABLE {schema} {name}", []))}


def _parts(table: JsonObject) -> list[tuple[str, str]]:
    return [(table["schema"], table["name"]), *((leaf[0], leaf[1]) for leaf in table["leaves"] or [])]


def _partitions(move: JsonObject, differing: Differing, then: Blocks, now: Blocks) -> Iterator[tuple[str, Condition]]:
    """Rows that are in a partition which the older table does not have, or has with other bounds."""
    old, live = move["old"], move["live"]
    if old["kind"] != "p":
        return
    by = [
        _divided(side.get(f"TABLE {table['schema']} {table['name']}", [])) for side, table in ((then, old), (now, live))
    ]
    if by[0] != by[1] or differing.attached - set(_parts(old)):
        yield "other partitions", _constant(ALL)
        return
    other_parts = [part for part in _parts(live)[1:] if part not in _parts(old) or part in differing.attached]
    if other_parts:
        names = sql.SQL(", ").join(
            [sql.SQL("{}::regclass::oid").format(sql.Literal(_quoted(part))) for part in other_parts]
        )
        words = sql.SQL("{} = ANY (ARRAY[{}])")
        reason = f"rows in {', '.join(name for _schema, name in other_parts)}"
        yield reason, lambda alias: words.format(sql.Identifier(alias, "tableoid"), names)


def _divided(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if line.startswith("PARTITION BY ")]


def _quoted(part: tuple[str, str]) -> str:
    return ".".join('"{}"'.format(name.replace('"', '""')) for name in part)


def _constant(word: str) -> Condition:
    return lambda _alias: sql.SQL(word)


def _is(column: str, words: str) -> Condition:
    return lambda alias: sql.SQL("{} {}").format(sql.Identifier(alias, column), sql.SQL(words))


def _refers(key: JsonObject, move: JsonObject) -> Condition:
    """Whether a row refers to another one at all; where its value comes from the restore point, it may."""
    carried = {pair["old"]["name"]: pair["live"]["name"] for pair in move["pairs"]}
    columns = [carried.get(column["child"]) for column in key["columns"]]
    if None in columns:
        return _constant(ALL)
    joined = sql.SQL(" OR " if key["match"] == "f" else " AND ")
    return lambda alias: joined.join([_is(str(column), "IS NOT NULL")(alias) for column in columns])


def _joined(key: JsonObject, child: JsonObject, parent: JsonObject) -> Callable[[str], Any] | None:
    """How the server itself can tell which row refers to which; None where it would need code of the database."""
    mine, theirs = ({pair["old"]["name"]: pair for pair in move["pairs"]} for move in (child, parent))
    words = sql.SQL("{} OPERATOR(pg_catalog.{}) {}")
    found = []
    for column in key["columns"]:
        below, above = mine.get(column["child"]), theirs.get(column["parent"])
        own = column["operator_schema"] != "pg_catalog" or column["collation"]
        if below is None or above is None or own or not (below["same"] and above["same"]):
            return None
        found.append((above["live"]["name"], sql.SQL(column["operator"]), below["live"]["name"]))
    return lambda alias: sql.SQL(" AND ").join(
        [words.format(sql.Identifier(f"{alias}p", up), equal, sql.Identifier(alias, down)) for up, equal, down in found]
    )


def _without_parent(key: JsonObject, child: JsonObject, parent: _Suspect | None) -> Condition:
    """Whether a row refers to nothing."""
    refers, joined = _refers(key, child), _joined(key, child, parent.move) if parent else None
    if parent is None or joined is None:
        return refers
    place, words = relation(parent.move["live"]), sql.SQL("({}) AND NOT EXISTS (SELECT FROM {} {} WHERE {})")
    return lambda alias: words.format(refers(alias), place, sql.Identifier(f"{alias}p"), joined(alias))


def _of_a_suspect(key: JsonObject, child: JsonObject, parent: _Suspect) -> Condition:
    """Whether a row refers to one that does not fit."""
    joined = _joined(key, child, parent.move)
    if joined is None:
        return _refers(key, child)
    place, words = relation(parent.move["live"]), sql.SQL("EXISTS (SELECT FROM {} {} WHERE {} AND ({}))")

    def condition(alias: str) -> Any:
        lacks = sql.SQL(" OR ").join([sql.SQL("({})").format(each(f"{alias}p")) for _reason, each in parent.own])
        return words.format(place, sql.Identifier(f"{alias}p"), joined(alias), lacks)

    return condition
