# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What amcheck finds in the pages of tables and B-tree indexes."""

from __future__ import annotations

from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import sql

from .session import ERROR, CatalogueSession, Scope

CHECK = "pages"
HEAP, BTREE = "verify_heapam", "bt_index_check"

FUNCTIONS = """
SELECT n.nspname AS schema, p.proname AS name, max(p.pronargs) AS arguments,
       bool_and(has_function_privilege(p.oid, 'EXECUTE')) AS allowed
FROM pg_extension e
JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE e.extname = 'amcheck' AND p.proname IN ('verify_heapam', 'bt_index_check')
GROUP BY 1, 2
"""

# The small ones first. A TOAST table belongs to the table whose large values it holds.
RELATIONS = """
SELECT c.oid::bigint AS oid, coalesce(m.oid, c.oid)::bigint AS table, n.nspname || '.' || c.relname AS name,
       NULL::bool AS unique, coalesce(mn.nspname, n.nspname) = 'pg_catalog' AS system
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_am a ON a.oid = c.relam AND a.amname = 'heap'
LEFT JOIN pg_class m ON m.reltoastrelid = c.oid LEFT JOIN pg_namespace mn ON mn.oid = m.relnamespace
WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence <> 't'
ORDER BY system, c.relpages, name
"""
INDEXES = """
SELECT i.indexrelid::bigint AS oid, coalesce(m.oid, t.oid)::bigint AS table, n.nspname || '.' || c.relname AS name,
       i.indisunique AS unique, coalesce(mn.nspname, n.nspname) = 'pg_catalog' AS system
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree'
JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class t ON t.oid = i.indrelid
LEFT JOIN pg_class m ON m.reltoastrelid = t.oid LEFT JOIN pg_namespace mn ON mn.oid = m.relnamespace
WHERE c.relkind = 'i' AND c.relpersistence <> 't' AND i.indisvalid AND i.indisready
ORDER BY system, c.relpages, name
"""


def pages(catalogue: CatalogueSession, scope: Scope) -> None:
    """Check heap and B-tree pages; the system's own tables as well, unless only some tables are asked for."""
    functions = {row["name"]: row for row in catalogue.rows(CHECK, "all tables and indexes", FUNCTIONS)}
    for name, what, query in ((BTREE, "all B-tree indexes", INDEXES), (HEAP, "all tables", RELATIONS)):
        function = functions.get(name)
        if function is None:
            missing = (
                "the extension amcheck is not installed in this database" if not functions else f"it has no {name}"
            )
            catalogue.skip(CHECK, what, missing)
        elif not function["allowed"]:
            catalogue.skip(CHECK, what, f"only a superuser, or who was granted EXECUTE on {name}, may check pages")
        else:
            for row in catalogue.rows(CHECK, what, query):
                if row["table"] in scope.tables or (scope.everything and row["system"]):
                    _check(catalogue, function, row)


def _check(catalogue: CatalogueSession, function: JsonObject, relation: JsonObject) -> None:
    name = sql.Identifier(function["schema"], function["name"])
    if function["name"] == BTREE:
        # Not only the order of the entries: each row must have one.
        words: list[Any] = [sql.SQL("{}::oid::regclass").format(sql.Literal(relation["oid"])), sql.SQL("true")]
        if function["arguments"] > len(words):
            words.append(sql.Literal(relation["unique"]))
        catalogue.rows(CHECK, relation["name"], sql.SQL("SELECT {}({})").format(name, sql.SQL(", ").join(words)))
        return
    query = sql.SQL(
        "SELECT count(*) AS n, (array_agg(format('block %s, line %s: %s', blkno, offnum, msg) ORDER BY blkno, offnum))[1:3]"
        " AS said FROM {}({}::oid::regclass, check_toast => true)"
    ).format(name, sql.Literal(relation["oid"]))
    for row in catalogue.rows(CHECK, relation["name"], query):
        if row["n"]:
            catalogue.add_finding(
                CHECK, ERROR, relation["name"], f"is damaged: {'; '.join(row['said'])}", count=row["n"]
            )
