# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) From the tables that are live to those of the restore point: which column goes where, what can't. Pure.

A rename can't be told from a column that was dropped and another that was added, so renames are named by the operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.foreign_keys import enforced_keys
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.layout import table_name
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.migration_heads import version_tables

#: Schemas that hold what an earlier rollback could not fit.
KEPT = "lastgood_kept_"
#: What becomes of a NULL where the older column takes none: its row is set aside, or it takes the column's default.
SET_ASIDE, DEFAULT = "set_aside", "default"


class _Renames:
    """What the operator said: tables and columns of the restore point, and their names now."""

    def __init__(self, renames: Mapping[str, Any], old: JsonObject, live: JsonObject) -> None:
        self.old = {table_name(table): table for table in old["tables"]}
        self.live = {table_name(table): table for table in live["tables"]}
        self.tables: dict[str, str] = {}
        self.columns: dict[tuple[str, str], str] = {}
        self.wrong: list[str] = []
        given = {str(old): str(new) for old, new in renames.items()}
        of_columns = {}
        for name, new in given.items():
            if name in _names(self.old):
                self._table(_names(self.old)[name], new)
            else:
                of_columns[name] = new
        for name, new in of_columns.items():
            self._column(name, new)
        if self.wrong:
            raise Refused(f"renames: {'; '.join(self.wrong)}. Nothing was touched.")

    def _table(self, old: str, new: str) -> None:
        known = _names(self.live)
        same_schema = f"{self.old[old]['schema']}.{new}"
        found = same_schema if same_schema in self.live else known.get(new)
        if found is None:
            self.wrong.append(f"{old} can't be {new} now: there is no such table")
        elif found in self.tables.values():
            self.wrong.append(f"{found} is named for two tables")
        else:
            self.tables[old] = found

    def _column(self, name: str, new: str) -> None:
        for short, table in _names(self.old).items():
            column = name[len(short) + 1 :]
            if name.startswith(f"{short}.") and column in _columns(self.old[table]):
                live_table = self.live.get(self.tables.get(table, table))
                if live_table is None or new not in _columns(live_table):
                    self.wrong.append(f"column {name} can't be {new} now: {table} has no such column")
                else:
                    self.columns[table, column] = new
                return
        self.wrong.append(f"the restore point has no table or column {name} (say schema.table, or schema.table.column)")


def _names(tables: Mapping[str, JsonObject]) -> dict[str, str]:
    """How the tables may be called: in full, and those of schema public by their name alone."""
    short = {table["name"]: name for name, table in tables.items() if table["schema"] == "public"}
    return {**short, **{name: name for name in tables}}


def _columns(table: JsonObject) -> dict[str, JsonObject]:
    return {column["name"]: column for column in table["columns"]}


def make_map(
    old: JsonObject,
    live: JsonObject,
    renames: Mapping[str, Any],
    migration_tables: Mapping[str, str] | None = None,
    nulls: str = SET_ASIDE,
) -> JsonObject:
    """Compare two layouts.

    :param old: the restore point's.
    :param migration_tables: tables that say which schema there is, besides those of known tools (see `version_tables`).
    :param nulls: what becomes of a NULL where the older column takes none: `SET_ASIDE` or `DEFAULT`.
    :return: ``moves`` (see `_move`), ``added`` tables (live ones that the restore point does not know), ``returning`` tables
        (gone from the live database, or noting which schema there is; they come back with the restore point's rows),
        ``versions`` (the latter's names), ``keys`` (the restore point's foreign
        keys; ``proven`` says that the live database holds the very same one valid).
    :raises Refused: names all renames that can't be.
    """
    renamed = _Renames(renames, old, live)
    taken = {*renamed.tables.values()}
    versions = {name for layout in (old, live) for name in version_tables(layout["tables"], migration_tables)}
    moves, returning = [], []
    for name, table in renamed.old.items():
        live_name = renamed.tables.get(name, name if name in renamed.live and name not in taken else None)
        if live_name is None or name in versions:
            returning.append(table)
        else:
            moves.append(_move(table, renamed.live[live_name], renamed, nulls))
    used = {move["from"] for move in moves}
    added = [table for name, table in renamed.live.items() if name not in used]
    return {
        "moves": moves,
        "added": added,
        "returning": returning,
        "versions": sorted(versions),
        "keys": _keys(old, live, moves),
    }


def _move(old: JsonObject, live: JsonObject, renamed: _Renames, nulls: str) -> JsonObject:
    """How one table's rows go from there to here.

    :return: ``old`` and ``live`` (the tables), ``from`` (the live one's name), ``pairs`` (columns that are copied: ``old``,
        ``live``, ``same`` type, ``filled``: a NULL takes the older default),
        ``back`` (columns whose values only the restore point has), ``key`` (pairs that tell which
        row is which, empty when nothing does), ``added`` (live columns without a place), ``staged`` (the rows can't go
        straight).
    """
    live_columns, pairs, restored_columns = _columns(live), [], []
    for column in old["columns"]:
        if column["generated"]:
            continue
        name = renamed.columns.get((table_name(old), column["name"]), column["name"])
        taken = name == column["name"] and name in _renamed_to(renamed, table_name(old))
        if name in live_columns and not taken:
            same = column["type"] == live_columns[name]["type"]
            filled = nulls == DEFAULT and column["required"] and column["default"] is not None
            pairs.append({"old": column, "live": live_columns[name], "same": same, "filled": filled})
        else:
            restored_columns.append(column)
    carried = {pair["old"]["name"]: pair for pair in pairs}
    key = [carried[name] for name in old["key"] if name in carried]
    used = {pair["live"]["name"] for pair in pairs}
    generated = {column["name"] for column in old["columns"] if column["generated"]}
    unproven = {name: text for name, text in old["unique"].items() if not _has_unique(text, live, carried)}
    excluding = {name: text for name, text in old["excluding"].items() if text not in live["excluding"].values()}
    return {
        "old": old,
        "live": live,
        "from": table_name(live),
        "pairs": pairs,
        "back": restored_columns,
        "key": key if old["key"] and len(key) == len(old["key"]) else [],
        "added": [name for name in live_columns if name not in used and name not in generated],
        "unique": unproven,
        "excluding": excluding,
        "staged": bool(restored_columns or unproven or excluding or not all(pair["same"] for pair in pairs)),
    }


def _renamed_to(renamed: _Renames, table: str) -> set[str]:
    return {new for (of, _column), new in renamed.columns.items() if of == table}


def _has_unique(text: str, live: JsonObject, carried: Mapping[str, JsonObject]) -> bool:
    """Whether the live table promises the same: then no row has to be looked at. Renamed columns are looked at."""
    if any(pair["old"]["name"] != pair["live"]["name"] for pair in carried.values()):
        return False
    return _promised(text) in {_promised(definition) for definition in live["unique"].values()}


def _promised(definition: str) -> str:
    """An index's definition without its own name and its table's: what it promises."""
    return definition[definition.index(" USING ") :]


def _keys(old: JsonObject, live: JsonObject, moves: list[JsonObject]) -> list[JsonObject]:
    """The foreign keys that a row can break, each with whether the live database proves that none does."""
    plain = {}
    for move in moves:
        if not any(pair["old"]["name"] != pair["live"]["name"] or not pair["same"] for pair in move["pairs"]):
            plain[table_name(move["old"])] = move["from"]
    themselves = {table_name(table): table_name(table) for table in live["tables"]}
    promises = {_promise(key, themselves) for key in live["keys"] if key["valid"] and key["enforced"]} - {None}
    return [{**key, "proven": _promise(key, plain) in promises} for key in enforced_keys(old["keys"])]


def _promise(key: JsonObject, plain: Mapping[str, str]) -> tuple[Any, ...] | None:
    child, parent = (f"{key[side + '_schema']}.{key[side + '_name']}" for side in ("child", "parent"))
    if child not in plain or parent not in plain:
        return None
    columns = tuple((column["child"], column["parent"]) for column in key["columns"])
    return plain[child], plain[parent], columns, key["match"]
