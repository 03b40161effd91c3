# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What the rows themselves say: orphans, rows that break a check constraint, tables that can't be read.

A foreign key that is marked valid is checked like any other: rows that came in while its triggers were off are never
checked again by PostgreSQL, and VALIDATE CONSTRAINT does nothing for it.
"""

from __future__ import annotations

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import content
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.foreign_keys import (
    FOREIGN_KEYS,
    without_parent,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import sql
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.user_code import CALLS

from .session import ERROR, CatalogueSession, Scope

# A constraint runs with the rights of whoever reads the rows, maybe a superuser, and whoever owns the table can have put
# anything into it: lo_export as well as functions of their own. Only what computes from its arguments alone is run:
# built-in functions that are immutable, and built-in operators. The node tree names all of them; what is not built in
# (numbers from 16384 on), and domains with constraints of their own, also are in pg_depend.
CHECK_CONSTRAINTS = f"""
SELECT o.conname AS name, o.conrelid::bigint AS table, n.nspname AS schema, c.relname AS table_name,
       pg_get_expr(o.conbin, o.conrelid) AS expression,
       EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_constraint'::regclass AND d.objid = o.oid
               AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass)
               AND NOT EXISTS (SELECT FROM pg_type t WHERE d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
                               AND t.typtype = 'e'))
       OR {CALLS.format(tree="o.conbin")}
       AS calls
FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE o.contype = 'c' AND c.relkind = 'r'
ORDER BY c.relpages, n.nspname, c.relname, o.conname
"""  # noqa: S608 - our own words only


def orphans(catalogue: CatalogueSession, scope: Scope) -> None:
    """Rows that refer to nothing, for every foreign key from or to the tables that are checked."""
    for key in catalogue.rows("orphans", "all foreign keys", FOREIGN_KEYS):
        if key["child"] in scope.tables or key["parent"] in scope.tables:
            _orphans_of(catalogue, key)


def _orphans_of(catalogue: CatalogueSession, key: JsonObject) -> None:
    child, parent = f"{key['child_schema']}.{key['child_name']}", f"{key['parent_schema']}.{key['parent_name']}"
    what = f"{child} {key['name']}"
    if key["period"]:
        catalogue.skip("orphans", what, "foreign keys with PERIOD are not compared")
        return
    orphaned_rows = without_parent(key)
    for row in catalogue.rows("orphans", what, sql.SQL("SELECT count(*) AS n {}").format(orphaned_rows)):
        if row["n"]:
            child_columns = ", ".join(column["child"] for column in key["columns"])
            parent_columns = ", ".join(column["parent"] for column in key["columns"])
            rows = "1 row refers" if row["n"] == 1 else f"{row['n']} rows refer"
            said = f"{rows} to nothing: {child} ({child_columns}) → {parent} ({parent_columns})"
            query = sql.SQL("SELECT c.* {}").format(orphaned_rows).as_string(catalogue.session.connection)
            catalogue.add_finding("orphans", ERROR, what, said, count=row["n"], query=query)


def violations(catalogue: CatalogueSession, scope: Scope) -> None:
    """Rows that break a check constraint, valid or not: a dump of them could not be restored."""
    for row in catalogue.rows("constraints", "all check constraints", CHECK_CONSTRAINTS):
        if row["table"] not in scope.tables:
            continue
        what = f"{row['schema']}.{row['table_name']} {row['name']}"
        if row["calls"]:
            catalogue.skip("constraints", what, "it calls functions that are not run with the rights of whoever looks")
            continue
        broken = sql.SQL("FROM ONLY {} WHERE ({}) IS FALSE").format(
            sql.Identifier(row["schema"], row["table_name"]), sql.SQL(row["expression"])
        )
        for found in catalogue.rows("constraints", what, sql.SQL("SELECT count(*) AS n {}").format(broken)):
            if found["n"]:
                query = sql.SQL("SELECT * {}").format(broken).as_string(catalogue.session.connection)
                said = f"{found['n']} rows break the check constraint"
                catalogue.add_finding("constraints", ERROR, what, said, count=found["n"], query=query)


def count_rows(catalogue: CatalogueSession, scope: Scope) -> None:
    """Count each table by reading all of its pages: a damaged one shows, where checksums are on."""
    catalogue.session.execute("SET enable_indexonlyscan = off")
    for table in scope.filled:
        key = content.table_key(table)
        query = sql.SQL("SELECT count(*) AS n FROM ONLY {}").format(sql.Identifier(table["schema"], table["name"]))
        for row in catalogue.rows("rows", key, query):
            catalogue.tables[key] = {"rows": row["n"]}
