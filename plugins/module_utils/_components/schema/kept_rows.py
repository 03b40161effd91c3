# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What an older schema has no place for: kept as text in a schema beside the data, and counted."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.layout import table_name
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session, sql
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import NAME_BYTES

from .map import KEPT

#: Kinds of tables in it: a whole table; columns by key; whole rows; rows without a parent; values that lost something.
TABLE, COLUMNS, ROWS, ORPHANS, VALUES = "table", "columns", "rows", "orphans", "values"
#: The column that says why, in ``rows`` and ``orphans``.
REASON = "lastgood_reason"
MOST_REASONS = 5
#: Those that are whole rows: they have left their tables.
WHOLE = (TABLE, ROWS, ORPHANS)


def rows_set_aside(kept: JsonObject, versions: Sequence[str]) -> JsonObject:
    """Table → rows that have left it.

    :param kept: see `KeptRows.to_json`.
    :param versions: tables that say which schema there is: what they held is no data of people's.
    """
    found = {}
    for name, entry in kept.items():
        rows = sum(count for what, count in entry["rows"].items() if what in WHOLE)
        if rows and name not in versions and not name.startswith(KEPT):
            found[name] = rows
    return found


class KeptRows:
    """The tables that are kept beside the data. They come into being with their first row, and hold text only: the types
    of the newer schema need not exist any more. Only their owner may read them.

    :param schema: its name.
    """

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self.rows: dict[str, dict[str, int]] = {}
        self.reasons: dict[str, list[str]] = {}
        self._names: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def place(self, session: Session, table: JsonObject, what: str, columns: Sequence[str]) -> Any:
        """A table for what is kept of another one, made when it is asked for first; as an identifier."""
        with self._lock:
            key = table_name(table), what
            if key not in self._names:
                self._names[key] = self._make(session, table, what, columns)
            return self._names[key]

    def add(self, table: JsonObject, what: str, count: int, reason: str = "") -> None:
        """Count rows that were put there."""
        if not count:
            return
        with self._lock:
            counts = self.rows.setdefault(table_name(table), {})
            counts[what] = counts.get(what, 0) + count
            reasons = self.reasons.setdefault(table_name(table), [])
            if reason and reason not in reasons and len(reasons) < MOST_REASONS:
                reasons.append(reason)

    def lost_rows(self, table: JsonObject) -> bool:
        """Whether rows of this table did not come along."""
        return bool({ROWS, ORPHANS} & set(self.rows.get(table_name(table), {})))

    def to_json(self) -> JsonObject:
        """Table → ``rows`` by kind, ``reasons``; sorted."""
        return {
            name: {"rows": counts, "reasons": self.reasons.get(name, [])} for name, counts in sorted(self.rows.items())
        }

    def _make(self, session: Session, table: JsonObject, what: str, columns: Sequence[str]) -> Any:
        schema, name = self.schema, _name(table, what)
        if table["schema"].startswith(KEPT) and what == TABLE:
            schema, name = table["schema"], table["name"]  # an earlier rollback kept it: text as well
        place = sql.Identifier(schema, name)
        attempt = f"Making table {schema}.{name}"
        session.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)), attempt=attempt)
        texts = sql.SQL(", ").join([sql.SQL("{} text").format(sql.Identifier(column)) for column in columns])
        session.execute(sql.SQL("CREATE TABLE {} ({})").format(place, texts), attempt=attempt)
        return place


def _name(table: JsonObject, what: str) -> str:
    name = f"{table['schema']}_{table['name']}_{what}"
    if len(name.encode()) <= NAME_BYTES:
        return name
    tag = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[: NAME_BYTES - 10 - len(what)].decode(errors='ignore')}_{tag}_{what}"
