# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Rows that people put into an extension's own tables: they come along when the extension is made anew."""

from __future__ import annotations

from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.content import CONDITION, table_key
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session, sql

from .kept_rows import KeptRows
from .rows import keep_table, names, pipe

CONFIGURATION = f"""
SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind, {CONDITION} AS condition,
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             AND a.attgenerated = '' ORDER BY a.attnum) AS stored
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY(e.extconfig)) ORDER BY c.oid
"""  # noqa: S608 - our own words only
#: The tables have their keys already, and refer to each other.
UNWATCHED = {"session_replication_role": "replica"}


def carry_extension_rows(reading: Session, writing: Session, kept: KeptRows) -> None:
    """Put the live rows in the place of those that an extension, just made, has in its configuration tables.

    Where the restore point has no such table (no such extension, or an older one), they are kept beside the data.
    """
    there = {table_key(table): table for table in writing.rows(CONFIGURATION)}
    live = reading.rows(CONFIGURATION)
    for name in writing.suited(UNWATCHED) if live else ():
        writing.execute(sql.SQL("SET {} = replica").format(sql.Identifier(name)))
    for table in live:
        if table_key(table) in there:
            _carry(reading, writing, table, there[table_key(table)])
        else:
            keep_table(reading, writing, {**table, "columns": [{"name": name} for name in table["stored"]]}, kept)
    for name in writing.suited(UNWATCHED) if live else ():
        writing.execute(sql.SQL("SET {} = origin").format(sql.Identifier(name)))


def _carry(reading: Session, writing: Session, live: JsonObject, then: JsonObject) -> None:
    attempt = f"Copying rows of extension table {table_key(live)}"
    columns = [name for name in live["stored"] if name in then["stored"]]
    writing.execute(sql.SQL("DELETE FROM {}").format(_rows(then)), attempt=attempt)
    query = sql.SQL("SELECT {} FROM {}").format(names(columns), _rows(live))
    into = sql.SQL("{} ({})").format(sql.Identifier(then["schema"], then["name"]), names(columns))
    pipe(reading, query, writing, into, attempt)


def _rows(table: JsonObject) -> Any:
    name = sql.Identifier(table["schema"], table["name"])
    return sql.SQL("ONLY {} {}").format(name, sql.SQL(table["condition"] or ""))
