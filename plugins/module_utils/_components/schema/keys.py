# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Rows that refer to nothing once an older schema's foreign keys are back: set aside before the keys are made."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.foreign_keys import without_parent
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session, sql

from .kept_rows import ORPHANS, REASON, KeptRows
from .rows import texts


def keep_orphans(session: Session, mapped: JsonObject, kept: KeptRows, rows: dict[str, int]) -> None:
    """Move rows without a parent to what is kept, until there are none.

    Looked at are keys that the live database does not promise, and those whose parents have lost rows on the way.

    :param rows: table → rows that came over; lowered by those that are set aside.
    """
    tables = {(table["schema"], table["name"]): table for table in _tables(mapped)}
    # Between tables of an extension keys are the extension's business.
    keys = [key for key in mapped["keys"] if _root(key, "child") in tables]
    unchecked = [key for key in keys if not key["proven"] or _parent_lost(key, tables, kept)]
    while unchecked:
        shrunk = set()
        for key in unchecked:
            child = _root(key, "child")
            count = _move_orphans(session, key, tables[child], kept)
            if count:
                rows[f"{child[0]}.{child[1]}"] = rows.get(f"{child[0]}.{child[1]}", 0) - count
                shrunk.add(child)
        unchecked = [key for key in keys if _root(key, "parent") in shrunk]


def _tables(mapped: JsonObject) -> list[JsonObject]:
    return [*(move["old"] for move in mapped["moves"]), *mapped["returning"]]


def _root(key: JsonObject, side: str) -> tuple[str, str]:
    """The table that the layout knows: a partition may have keys of its own."""
    schema, name = key[f"{side}_root"]
    return schema, name


def _parent_lost(key: JsonObject, tables: Mapping[tuple[str, str], JsonObject], kept: KeptRows) -> bool:
    parent = tables.get(_root(key, "parent"))
    return parent is None or kept.lost_rows(parent)


def _move_orphans(session: Session, key: JsonObject, child: JsonObject, kept: KeptRows) -> int:
    """One key's rows without a parent."""
    attempt = f"Looking for rows without a parent for {key['name']} of {child['schema']}.{child['name']}"
    lost = without_parent(key)
    # Counted and not just looked for: hoping for an early one, without an index or statistics yet, the server would compare
    # every row with every other one.
    if not session.value(sql.SQL("SELECT count(*) {}").format(lost), attempt=attempt):
        return 0
    columns = [column["name"] for column in child["columns"]]
    place = kept.place(session, child, ORPHANS, [REASON, *columns])
    reason = f"{key['name']}: no such row in {key['parent_schema']}.{key['parent_name']}"
    statement = sql.SQL(
        "WITH gone AS (DELETE {} RETURNING {}), aside AS (INSERT INTO {} SELECT {}, * FROM gone RETURNING 1)"
        " SELECT count(*) FROM aside"
    ).format(lost, texts(columns), place, sql.Literal(reason))
    count = int(session.value(statement, attempt=attempt))
    kept.add(child, ORPHANS, count, reason)
    return count
