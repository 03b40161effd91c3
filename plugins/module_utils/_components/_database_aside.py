# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Databases that were put aside: what was written to them, and how long they stay."""

from __future__ import annotations

import json

from ansible_collections.lastgood.rollback.plugins.module_utils._components import _database_content as content
from ansible_collections.lastgood.rollback.plugins.module_utils._components._base import Context
from ansible_collections.lastgood.rollback.plugins.module_utils._components._database_catalogue import (
    Database,
    all_databases,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components._database_hazards import hazards
from ansible_collections.lastgood.rollback.plugins.module_utils._components._database_names import (
    PREVIOUS,
    REJECTED,
    TABLES,
    SideNames,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components._database_prepare import TABLES_FILE
from ansible_collections.lastgood.rollback.plugins.module_utils._errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._postgres import DatabaseError, Server, Session, sql
from ansible_collections.lastgood.rollback.plugins.module_utils._types import JsonObject

#: Counting what was written to a rejected database must not keep anybody waiting.
COUNT_SECONDS = 60.0


def written_since(context: Context, server: Server, database: str) -> JsonObject:
    """What was written to a restored database after it was prepared, table by table, within a minute.

    :return: table → ``{"then": rows, "now": rows}``, or the reason why it is not known; only tables that differ.
    """
    try:
        then: JsonObject = json.loads((context.workspace / TABLES_FILE).read_bytes())
    except FileNotFoundError:
        then = {}
    found: JsonObject = {}
    try:
        with server.connect(database) as session:
            for key, now in content.hash_within(session, COUNT_SECONDS):
                if not isinstance(now, dict):
                    found[key] = now or "not counted within a minute"
                elif now != then.get(key):
                    found[key] = {"then": then.get(key, {}).get("rows"), "now": now["rows"]}
    except LastGoodError as error:
        return {"unknown": error.message}
    context.note(
        f"Written to database {database} before it was rejected: {json.dumps(found, sort_keys=True) or 'nothing'}"
    )
    return found


def prune(context: Context, session: Session, name: str, keep: int) -> None:
    """Drop databases that transactions put aside for this name, except for the newest ``keep`` of each kind.

    Only by mark and name together; one with a replication slot, a subscription or a session stays, and is named.
    """
    aside: dict[str, list[Database]] = {PREVIOUS: [], REJECTED: [], TABLES: []}
    for database in all_databases(session).values():
        mark = database.mark
        if mark is None or mark.name != name or mark.role not in aside:
            continue
        names = SideNames.of(mark.lastgood, name)
        if database.name == getattr(names, mark.role):
            aside[mark.role].append(database)
    for databases in aside.values():
        databases.sort(key=lambda database: database.mark.at if database.mark else 0.0, reverse=True)
        for database in databases[keep:]:
            _drop_if_free(context, session, database)


def _drop_if_free(context: Context, session: Session, database: Database) -> None:
    found = hazards(session, database.name)
    held = [kind for kind in ("slots", "subscriptions", "prepared_transactions") if found[kind]]
    if held:
        context.note(f"Database {database.name} stays: it has {', '.join(held)}")
        return
    try:
        with context.change(f"Drop database {database.name}, older than keep_previous", oid=database.oid):
            drop_database(session, database, force=False)
    except DatabaseError as error:
        context.note(f"Database {database.name} stays: {error.message}")


def drop_database(session: Session, database: Database, *, force: bool) -> None:
    """Drop a side database; with ``force`` its sessions are ended (a pg_restore that outlived its module)."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {} {}").format(
        sql.Identifier(database.name), sql.SQL("WITH (FORCE)" if force else "")
    )
    if database.is_template:
        template = sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(database.name))
        session.execute(template, attempt=f"Dropping database {database.name}")
    session.execute(statement, attempt=f"Dropping database {database.name}")
