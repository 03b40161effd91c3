# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Foreign keys: what the catalogue says of them, and which rows refer to nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .server import Session, sql

# Those of a partitioned table once (their copies have a parent); `=` is the very operator that the key uses.
_KEYS = """
SELECT o.conname AS name, o.conrelid::bigint AS child, o.confrelid::bigint AS parent, o.confmatchtype::text AS match,
       cn.nspname AS child_schema, c.relname AS child_name, c.relkind::text AS child_kind,
       pn.nspname AS parent_schema, p.relname AS parent_name, p.relkind::text AS parent_kind,
       {child_root} AS child_root, {parent_root} AS parent_root,
       coalesce((to_jsonb(o) ->> 'conperiod')::bool, false) AS period,
       o.convalidated AS valid, coalesce((to_jsonb(o) ->> 'conenforced')::bool, true) AS enforced,
       pg_get_constraintdef(o.oid) AS definition, obj_description(o.oid, 'pg_constraint') AS comment,
       (SELECT jsonb_agg(jsonb_build_object('child', ca.attname, 'parent', pa.attname,
                'operator', op.oprname, 'operator_schema', opn.nspname,
                'collation', CASE WHEN ca.attcollation <> pa.attcollation THEN co.collname END,
                'collation_schema', con.nspname) ORDER BY k.place)
        FROM unnest(o.conkey, o.confkey, o.conpfeqop) WITH ORDINALITY AS k (child, parent, operator, place)
        JOIN pg_attribute ca ON ca.attrelid = o.conrelid AND ca.attnum = k.child
        JOIN pg_attribute pa ON pa.attrelid = o.confrelid AND pa.attnum = k.parent
        JOIN pg_operator op ON op.oid = k.operator JOIN pg_namespace opn ON opn.oid = op.oprnamespace
        LEFT JOIN pg_collation co ON co.oid = pa.attcollation LEFT JOIN pg_namespace con ON con.oid = co.collnamespace
       ) AS columns
FROM pg_constraint o
JOIN pg_class c ON c.oid = o.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
JOIN pg_class p ON p.oid = o.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
WHERE o.contype = 'f' AND o.conparentid = 0{where}
ORDER BY c.relpages, cn.nspname, c.relname, o.conname
"""

#: All keys from or to a relation, by way of the partitioned table that a key was made for.
_TOUCHING = """ AND o.oid IN (
    WITH RECURSIVE tree AS (
        SELECT k.oid, k.conparentid FROM pg_constraint k
        WHERE k.contype = 'f' AND (k.conrelid = ANY(%s::oid[]) OR k.confrelid = ANY(%s::oid[]))
        UNION SELECT p.oid, p.conparentid FROM tree JOIN pg_constraint p ON p.oid = tree.conparentid)
    SELECT tree.oid FROM tree)"""
#: Schema and name of the partitioned table that a partition belongs to in the end; of any other table its own.
_ROOT = """(SELECT jsonb_build_array(rn.nspname, r.relname) FROM pg_class r JOIN pg_namespace rn ON rn.oid = r.relnamespace
        WHERE r.oid = coalesce(pg_partition_root({0}.oid)::oid, {0}.oid))"""
_ROOTS = {"child_root": _ROOT.format("c"), "parent_root": _ROOT.format("p")}
FOREIGN_KEYS = _KEYS.format(where="", **_ROOTS)
KEYS_TOUCHING = _KEYS.format(where=_TOUCHING, **_ROOTS)


def keys_touching(session: Session, tables: Sequence[int]) -> list[JsonObject]:
    """The foreign keys from or to these relations (OIDs), each once, as it was made."""
    return session.rows(KEYS_TOUCHING, [list(tables), list(tables)])


def enforced_keys(keys: Iterable[JsonObject]) -> list[JsonObject]:
    """Those that no row breaks, by the server's word; a key that was never validated may have orphans, and stays so."""
    return [key for key in keys if key["valid"] and key["enforced"] and not key["period"]]


def without_parent(key: JsonObject, child: Any = None, parent: Any = None) -> Any:
    """``FROM … WHERE …`` of the rows (``c``) of a foreign key that have no parent.

    MATCH SIMPLE lets a row with any NULL be, MATCH FULL only one with nothing but NULLs.

    :param child: looked at in place of the table that refers, with the same columns; the same for the parent.
    """
    mine = [sql.Identifier("c", column["child"]) for column in key["columns"]]
    joined = sql.SQL(" OR " if key["match"] == "f" else " AND ")
    refers = joined.join([sql.SQL("{} IS NOT NULL").format(column) for column in mine])
    return sql.SQL("FROM {} c WHERE ({}) AND NOT EXISTS (SELECT FROM {} p WHERE {})").format(
        child or side_of(key, "child"),
        refers,
        parent or side_of(key, "parent"),
        sql.SQL(" AND ").join([_equal(column) for column in key["columns"]]),
    )


def _equal(column: JsonObject) -> Any:
    mine: Any = sql.Identifier("c", column["child"])
    if column["collation"]:
        collation = sql.Identifier(column["collation_schema"], column["collation"])
        mine = sql.SQL("{} COLLATE {}").format(mine, collation)
    return sql.SQL("{} OPERATOR({}.{}) {}").format(
        sql.Identifier("p", column["parent"]),
        sql.Identifier(column["operator_schema"]),
        sql.SQL(column["operator"]),
        mine,
    )


def side_of(key: JsonObject, side: str) -> Any:
    """A foreign key's ``child`` or ``parent`` as keys see it: with its partitions, without what inherits from it."""
    table = sql.Identifier(key[f"{side}_schema"], key[f"{side}_name"])
    return table if key[f"{side}_kind"] == "p" else sql.SQL("ONLY {}").format(table)
