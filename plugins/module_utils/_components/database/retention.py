# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Databases that are retained: what was written to them, and how long they stay."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import catalogue, content
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.hazards import hazards
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import (
    DatabaseError,
    Server,
    Session,
    sql,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import INCOMING

from ..context import Context
from ..plan import Plan
from .prepare import TABLES_FILE
from .records import Record, forget, records_of

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


def prune(context: Context, session: Session, plan: Plan) -> None:
    """Drop databases that transactions have retained for a plan's database, except for the newest of each kind, and never what
    this transaction has retained.

    Only those that agree in every part with our own record; one with a replication slot, a subscription or a session
    stays, and so does all that was renamed before the cluster began another timeline. What stays is named.
    """
    there = {database.oid: database for database in catalogue.all_databases(session).values()}
    known: dict[str, list[tuple[Path, Record]]] = {}
    for path, record in records_of(context, plan):
        if record.oid not in there:
            forget(path)
        elif record.is_of(there[record.oid]):
            known.setdefault(record.role, []).append((path, record))
    _name_unknown(context, plan, there.values(), {record.oid for of in known.values() for _path, record in of})
    now = catalogue.timeline(session)
    for entries in known.values():
        entries.sort(key=lambda entry: entry[1].at, reverse=True)
        for path, record in entries[plan.facts["keep_previous"] :]:
            if record.transaction == context.transaction:
                continue
            if record.timeline != now:
                context.note(
                    f"Database {record.name} stays: the server has begun a new timeline since it was put aside (it was restored, "
                    "or a standby was promoted). If it is still what it was, drop it by hand"
                )
            elif _drop_if_free(context, session, there[record.oid]):
                forget(path)


def _name_unknown(context: Context, plan: Plan, there: Iterable[catalogue.DatabaseRow], known: Container[int]) -> None:
    """Name what looks like ours and is not in our own records: it stays, whoever made it."""
    for database in there:
        mark = database.mark
        if mark is not None and mark.name == plan.name and mark.role != INCOMING and database.oid not in known:
            context.note(
                f"Database {database.name} stays: its comment says that {mark.lastgood} put it aside, but that is not in the "
                f"records of this host, or does not agree with them. If nobody needs it, drop it by hand"
            )


def _drop_if_free(context: Context, session: Session, database: catalogue.DatabaseRow) -> bool:
    """Drop it, unless something hangs on it; whether it is gone."""
    found = hazards(session, database.name)
    blockers = [kind for kind in ("slots", "subscriptions", "prepared_transactions") if found[kind]]
    if blockers:
        context.note(f"Database {database.name} stays: it has {', '.join(blockers)}")
        return False
    try:
        with context.change(f"Drop database {database.name}, older than keep_previous", oid=database.oid):
            drop_database(session, database, force=False)
    except DatabaseError as error:
        context.note(f"Database {database.name} stays: {error.message}")
        return False
    return True


def drop_database(session: Session, database: catalogue.DatabaseRow, *, force: bool) -> None:
    """Drop a side database; with ``force`` its sessions are ended (a pg_restore that outlived its module)."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {} {}").format(
        sql.Identifier(database.name), sql.SQL("WITH (FORCE)" if force else "")
    )
    if database.is_template:
        template = sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(database.name))
        session.execute(template, attempt=f"Dropping database {database.name}")
    session.execute(statement, attempt=f"Dropping database {database.name}")
