# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The tables in which migration tools note what they have done: they say which schema there is, and go with it.

A table is one of a tool's when its name and its columns are; people have tables of such names, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .server import Session, sql


@dataclass(frozen=True)
class _Tool:
    """One tool's table.

    :param columns: those that it has at least.
    :param heads: reads ``head``, one row for each line of migrations; ``{}`` stands for the table.
    :param companions: what the tool keeps beside it, in the same schema.
    """

    table: str
    columns: frozenset[str]
    heads: str
    companions: frozenset[str] = frozenset()


def _tool(table: str, columns: str, heads: str, companions: str = "") -> _Tool:
    return _Tool(table, frozenset(columns.split()), heads, frozenset(companions.split()))


_FLYWAY = (
    "SELECT version::text || CASE WHEN success THEN '' ELSE ' (failed)' END AS head FROM {} WHERE version IS NOT NULL"
    " ORDER BY installed_rank DESC LIMIT 1"
)
_TOOLS = (
    _tool("alembic_version", "version_num", "SELECT version_num::text AS head FROM {} ORDER BY 1"),
    _tool(
        "django_migrations",
        "id app name applied",
        "SELECT app || '.' || name AS head FROM (SELECT DISTINCT ON (app) app::text, name::text FROM {} ORDER BY app, id DESC) h"
        " ORDER BY 1",
    ),
    _tool("flyway_schema_history", "installed_rank version success checksum", _FLYWAY),
    _tool("schema_version", "installed_rank version success checksum", _FLYWAY),  # Flyway before 5
    # golang-migrate; before the next one, which has fewer columns.
    _tool(
        "schema_migrations",
        "version dirty",
        "SELECT version::text || CASE WHEN dirty THEN ' (dirty)' ELSE '' END AS head FROM {} ORDER BY 1",
    ),
    # Rails, dbmate, Ecto: the newest, numbers by their size.
    _tool(
        "schema_migrations",
        "version",
        "SELECT version::text AS head FROM {} ORDER BY length(version::text) DESC, version::text DESC LIMIT 1",
        "ar_internal_metadata",
    ),
    # Sqitch, in whichever schema its registry is.
    _tool(
        "changes",
        "change_id change project committed_at planned_at",
        "SELECT project || '.' || change AS head FROM (SELECT DISTINCT ON (project) project::text, change::text FROM {}"
        " ORDER BY project, committed_at DESC, planned_at DESC) h ORDER BY 1",
        "dependencies events projects releases tags",
    ),
    _tool(
        "databasechangelog",
        "id author filename orderexecuted",
        "SELECT id::text AS head FROM {} ORDER BY orderexecuted DESC LIMIT 1",
        "databasechangeloglock",
    ),
    _tool(
        "_yoyo_migration",
        "migration_id applied_at_utc",
        "SELECT migration_id::text AS head FROM {} ORDER BY applied_at_utc DESC, migration_id DESC LIMIT 1",
        "_yoyo_log _yoyo_version yoyo_lock",
    ),
)
_CANDIDATES = """
SELECT n.nspname AS schema, c.relname AS name,
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             AND a.atttypid < 16384) AS columns  -- a type that people made can have casts and operators that they made
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      AND (c.relname = ANY(%s) OR n.nspname || '.' || c.relname = ANY(%s))
ORDER BY n.nspname, c.relname
"""


def version_tables(tables: Iterable[JsonObject], migration_tables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Which of these tables say which schema there is.

    :param tables: ``schema``, ``name`` and ``columns``, as texts or as a layout has them.
    :param migration_tables: what a catalogue names besides: ``schema.table`` → the column that says how far it is.
    :return: ``schema.table`` → the query of its heads, None for a table that only accompanies one.
    """
    columns = {(table["schema"], table["name"]): set(map(_column, table["columns"])) for table in tables}
    found: dict[str, Any] = {}
    for (schema, name), there in columns.items():
        tool = next((tool for tool in _TOOLS if tool.table == name and tool.columns <= there), None)
        column = _qualified(migration_tables or {}).get(f"{schema}.{name}")
        if column is not None:
            words = sql.SQL("SELECT {0}::text AS head FROM {1} WHERE {0} IS NOT NULL ORDER BY {0} DESC LIMIT 1")
            found[f"{schema}.{name}"] = words.format(sql.Identifier(column), sql.Identifier(schema, name))
        elif tool is not None:
            found[f"{schema}.{name}"] = sql.SQL(tool.heads).format(sql.Identifier(schema, name))
            companions = [other for other in tool.companions if (schema, other) in columns]
            found.update({f"{schema}.{other}": None for other in companions})
    return found


def migration_head(session: Session, migration_tables: Mapping[str, str] | None = None) -> list[str]:
    """What the tables of migration tools say of the last migrations; empty where there are none."""
    heads: list[str] = []
    for query in version_tables(_candidates(session, migration_tables), migration_tables).values():
        heads += [row["head"] for row in session.rows(query)] if query is not None else []
    return heads


def named_version_tables(session: Session, migration_tables: Mapping[str, str] | None = None) -> set[str]:
    """The tables of a database that say which schema it has, as ``schema.table``."""
    return set(version_tables(_candidates(session, migration_tables), migration_tables))


def _candidates(session: Session, migration_tables: Mapping[str, str] | None) -> list[JsonObject]:
    known = {name for tool in _TOOLS for name in (tool.table, *tool.companions)}
    return session.rows(_CANDIDATES, [sorted(known), sorted(_qualified(migration_tables or {}))])


def _qualified(named: Mapping[str, str]) -> dict[str, str]:
    """In full: a name alone is one of schema ``public``."""
    return {name if "." in name else f"public.{name}": str(column) for name, column in named.items()}


def _column(column: Any) -> str:
    return str(column["name"] if isinstance(column, Mapping) else column)
