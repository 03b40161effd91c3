# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What a crash of the server takes from a side database that waits for the switch.

PostgreSQL empties unlogged tables and sets unlogged sequences back then, and says nothing. A database that lost them while
it waited is not the one that was verified any more, and must not be switched to.
"""

from __future__ import annotations

from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import dump_json, write_atomic
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Server, Session, sql

from ..context import Context
from .records import read_json

#: In the workspace: what the unlogged tables and sequences of the side database held when it was ready.
UNLOGGED_FILE = "unlogged.json"
RELATIONS = """
SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence = 'u' AND c.relkind IN ('r', 'S') AND n.nspname !~ '^pg_' ORDER BY 1, 2
"""
#: A crash leaves no row at all in a table; a sequence gets its first values again.
CONTENT = {
    "r": "SELECT CASE WHEN EXISTS (SELECT FROM ONLY {}) THEN 'rows' END",
    "S": "SELECT last_value || ' ' || is_called FROM {}",
}


def note_unlogged(context: Context, server: Server, database: str) -> None:
    """Write down what a crash would take. To be called within a session that was open since the database was made: that
    shows that there was no crash yet.
    """
    with server.connect(database) as session:
        write_atomic(context.workspace / UNLOGGED_FILE, dump_json(_read(session)))


def lost_unlogged(context: Context, server: Server, database: str) -> list[str]:
    """Names of what does not hold any more what it held when it was noted; no session is opened where there is nothing."""
    noted = read_json(context.workspace / UNLOGGED_FILE)
    if not noted:
        return []
    with server.connect(database) as session:
        found = _read(session)
    return [name for name, content in noted.items() if found.get(name) != content]


def _read(session: Session) -> dict[str, str]:
    content = {}
    for row in session.rows(RELATIONS):
        query = sql.SQL(CONTENT[row["kind"]]).format(sql.Identifier(row["schema"], row["name"]))
        content[f"{row['schema']}.{row['name']}"] = session.value(query)
    return {name: value for name, value in content.items() if value is not None}
