# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Materialized views over tables that are rolled back: whether they can be refreshed, and refreshing them.

Planning only reads the catalogue: what a view's owner may read and run. Preparing runs the query with the restored rows
where these are all that it reads, and where it calls nothing that people wrote. What is left shows in the exchange, before
it is committed.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import DatabaseError, Session, sql
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.session import LEFT_TO_DUMPS

from .catalogue import MATVIEWS

#: What people's own sessions have, for what is computed from text, of times, and by names without a schema.
OWN_SETTINGS = "SELECT name, reset_val AS theirs, setting AS ours FROM pg_settings WHERE name = ANY(%s)"
#: With its schema: what is in their search_path must not be found by a statement of ours.
SET_LOCAL = "SELECT pg_catalog.set_config(%s, %s, true)"

#: Each materialized view with what it reads by way of relations of some kinds.
CHAIN = """
WITH RECURSIVE chain (root, oid) AS (
    SELECT v, v FROM unnest(%s::oid[]) v
    UNION SELECT chain.root, c.oid FROM chain JOIN pg_rewrite r ON r.ev_class = chain.oid AND r.ev_type = '1'
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
    JOIN pg_class c ON c.oid = d.refobjid AND c.oid <> chain.oid AND c.relkind = ANY(%s::"char"[])),
used AS (
    SELECT chain.root, chain.oid AS reader, d.refclassid, d.refobjid, d.refobjsubid FROM chain
    JOIN pg_rewrite r ON r.ev_class = chain.oid AND r.ev_type = '1'
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refobjid <> chain.oid)
"""
#: What is missing for a refresh. The server reads as the owner of the view that names a table, and runs functions as the
#: owner of the one that is refreshed.
MISSING_RIGHTS = f"""
{CHAIN}, access AS (
    SELECT used.*, pg_get_userbyid(top.relowner)::text AS owner, pg_get_userbyid(CASE WHEN by.relkind = 'v'
        AND by.reloptions::text ~ 'security_invoker=(true|on|1|yes)' THEN top.relowner ELSE by.relowner END)::text AS role
    FROM used JOIN pg_class top ON top.oid = used.root JOIN pg_class by ON by.oid = used.reader)
SELECT DISTINCT a.root::bigint AS view, a.role, 'read' AS what, format('%%I.%%I', n.nspname, c.relname) AS object
FROM access a JOIN pg_class c ON a.refclassid = 'pg_class'::regclass AND c.oid = a.refobjid
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f') JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT has_table_privilege(a.role, c.oid, 'SELECT') AND NOT CASE WHEN a.refobjsubid > 0
    THEN has_column_privilege(a.role, c.oid, a.refobjsubid::smallint, 'SELECT')
    ELSE has_any_column_privilege(a.role, c.oid, 'SELECT') END
UNION SELECT a.root::bigint, a.owner, 'run', p.oid::regprocedure::text
FROM access a JOIN pg_proc p ON a.refclassid = 'pg_proc'::regclass AND p.oid = a.refobjid
WHERE NOT has_function_privilege(a.owner, p.oid, 'EXECUTE') ORDER BY 1, 2, 3, 4
"""  # noqa: S608 - our own words
#: Views of which nothing but the rows of these tables and what is built in has a part: tried elsewhere they do the same.
SELF_CONTAINED = f"""
{CHAIN}, base AS (
    SELECT used.root, c.* FROM used JOIN pg_class c ON used.refclassid = 'pg_class'::regclass AND c.oid = used.refobjid)
SELECT v::bigint AS view FROM unnest(%s::oid[]) v WHERE NOT EXISTS (SELECT FROM used WHERE used.root = v AND (
        refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) OR refclassid = 'pg_type'::regclass
        AND (SELECT typtype FROM pg_type WHERE oid = refobjid) <> 'e'))
    AND NOT EXISTS (SELECT FROM base WHERE base.root = v AND (relkind NOT IN ('r', 'p', 'v', 'm') OR relrowsecurity
        OR relkind = 'm' AND base.oid <> ALL(%s::oid[]) OR relkind IN ('r', 'p') AND base.oid <> ALL(%s::oid[])
        OR EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = base.oid AND i.inhrelid <> ALL(%s::oid[]))))
"""  # noqa: S608 - our own words
DEFINITIONS = f"""
{CHAIN} SELECT chain.root::bigint AS view, n.nspname AS schema, c.relname AS name, pg_get_viewdef(c.oid) AS definition
FROM chain JOIN pg_class c ON c.oid = chain.oid JOIN pg_namespace n ON n.oid = c.relnamespace
"""  # noqa: S608 - our own words
DEFINITION = """
SELECT pg_get_viewdef(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('v', 'm')
"""
UNIQUE_INDEXES = """
SELECT pg_get_indexdef(indexrelid) AS statement FROM pg_index
WHERE indrelid = %s AND indisunique AND indexprs IS NULL AND indpred IS NULL ORDER BY indexrelid
"""
ADVICE = (
    "Repair it, drop it, or empty it (REFRESH MATERIALIZED VIEW … WITH NO DATA): one that is empty is not refreshed."
)


def our_views(session: Session, oids: Sequence[int]) -> list[JsonObject]:
    """The materialized views over these tables that we refresh, in the order of their dependence."""
    return [view for view in session.rows(MATVIEWS, [list(oids)]) if view["owned"]]


def require_rights(live: Session, oids: Sequence[int]) -> None:
    """Refuse where the owner of a view may not read what it reads; by the catalogue alone.

    :raises Refused: names the view, the role and what it lacks.
    """
    views = {view["oid"]: _name(view) for view in our_views(live, oids)}
    missing = live.rows(MISSING_RIGHTS, [list(views), ["v"]]) if views else []
    if missing:
        reasons = [
            f"{views[row['view']]}, because role {row['role']} may not {row['what']} {row['object']}" for row in missing
        ]
        raise Refused(f"Materialized views could not be refreshed after the rollback: {'; '.join(reasons)}. {ADVICE}")


def require_refresh(live: Session, side: Session, oids: Sequence[int], label: str) -> None:
    """Refresh in the side database, with the restored rows, the views whose refresh comes to the same there; forget it.

    :param oids: of the live tables whose rows are restored.
    :raises Refused: names the view and what the server says.
    """
    views = our_views(live, oids)
    same = _same_views(live, side, [view["oid"] for view in views], list(oids))
    failed: list[str] = []
    side.show_views(shown=True)  # no code but what is built in
    side.execute("BEGIN")
    settings = live.rows(OWN_SETTINGS, [list(LEFT_TO_DUMPS)])
    for view in (view for view in views if view["oid"] in same):
        side.execute("SAVEPOINT view")
        try:
            _refresh(side, view, settings)
            for index in live.rows(UNIQUE_INDEXES, [view["oid"]]):
                side.execute(index["statement"], attempt=f"Making a unique index of materialized view {_name(view)}")
        except DatabaseError as error:
            side.execute("ROLLBACK TO SAVEPOINT view")
            failed.append(error.message)
    side.execute("ROLLBACK")
    side.show_views(shown=False)
    if failed:
        raise Refused(
            f"Materialized views can't be refreshed with the rows of {label}: {'; '.join(failed)}. Nothing was touched. {ADVICE}"
        )


def refresh(live: Session, oids: Sequence[int], *, around: bool) -> JsonObject:
    """Refresh what is computed from these tables, within the transaction that is open.

    :param around: whether to go on without a view that can't be refreshed.
    :return: such views, and why.
    :raises LastGoodError: names the first one, where nothing may be left.
    """
    left: JsonObject = {}
    settings = live.rows(OWN_SETTINGS, [list(LEFT_TO_DUMPS)])
    for view in our_views(live, oids):
        live.execute("SAVEPOINT view")
        try:
            _refresh(live, view, settings)
        except DatabaseError as error:
            if not around:
                raise LastGoodError(f"{error.message}. The rows were not exchanged. {ADVICE}") from error
            live.execute("ROLLBACK TO SAVEPOINT view")
            left[_name(view)] = error.message
    return left


def _same_views(live: Session, side: Session, views: list[int], tables: list[int]) -> set[int]:
    """Those that read nothing but these tables, call nothing that people wrote, and are defined in the same words there."""
    kinds = ["v", "m"]
    found = live.rows(SELF_CONTAINED, [views, kinds, views, views, tables, tables])
    same = {row["view"] for row in found}
    for row in live.rows(DEFINITIONS, [list(same), kinds]):
        if side.value(DEFINITION, [row["schema"], row["name"]]) != row["definition"]:
            same.discard(row["view"])
    return same


def _refresh(session: Session, view: JsonObject, settings: Sequence[JsonObject]) -> None:
    """Refresh one with the settings that people's sessions with the live database have; a failure takes them back, too."""
    for row in settings:
        session.rows(SET_LOCAL, [row["name"], row["theirs"]])
    statement = sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.Identifier(view["schema"], view["name"]))
    session.execute(statement, attempt=f"Refreshing materialized view {_name(view)}")
    for row in settings:
        session.rows(SET_LOCAL, [row["name"], row["ours"]])


def _name(view: JsonObject) -> str:
    return f"{view['schema']}.{view['name']}"
