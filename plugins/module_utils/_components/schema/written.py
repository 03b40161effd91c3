# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What was written to a database after its schema was taken back, known by the ages of its rows."""

from __future__ import annotations

import json
import time

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.content import CANCELLED
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.layout import TABLES, table_name
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import (
    DatabaseError,
    Server,
    Session,
    sql,
)

from ..context import Context
from ..database.retention import COUNT_SECONDS
from .map import KEPT
from .rows import relation

AGE = "SELECT pg_current_xact_id()::text::bigint - %s"


def current_transaction(session: Session) -> int:
    """The number that the cluster gives to transactions now: rows written later have a higher one."""
    return int(session.value("SELECT pg_current_xact_id()::text::bigint"))


def written_later(context: Context, server: Server, database: str, loaded: JsonObject) -> JsonObject:
    """Table → rows then and now, and how many of those were written since; only tables that were. Within a minute.

    :param loaded: ``rows`` by table and ``transaction``, as they were right before the switch.
    """
    found: JsonObject = {}
    deadline = time.monotonic() + COUNT_SECONDS
    try:
        with server.connect(database) as session:
            span = session.value(AGE, [loaded["transaction"]])
            for table in session.rows(TABLES):
                if table["schema"].startswith(KEPT):
                    continue
                row = _count(session, table, int(span), deadline)
                then = loaded["rows"].get(table_name(table))
                if row is None:
                    found[table_name(table)] = "not counted within a minute"
                elif row["written"] or row["now"] != then:
                    found[table_name(table)] = {"then": then, **row}
    except LastGoodError as error:
        return {"unknown": error.message}
    shown = json.dumps(found, sort_keys=True) if found else "nothing"
    context.note(f"Written to database {database} before it was rejected: {shown}")
    return found


def _count(session: Session, table: JsonObject, span: int, deadline: float) -> JsonObject | None:
    left = int((deadline - time.monotonic()) * 1000)
    if left <= 0:
        return None
    session.execute("SET statement_timeout = %s", [left])
    query = "SELECT count(*) AS now, count(*) FILTER (WHERE age(xmin) < {}) AS written FROM {}"
    try:
        return session.rows(sql.SQL(query).format(sql.Literal(span), relation(table)))[0]
    except DatabaseError as error:
        if error.code == CANCELLED:
            return None
        raise
