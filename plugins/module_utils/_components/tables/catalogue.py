# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What a database's catalogue knows of the tables that are put back, and of what hangs on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import content
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session, sql

#: SQLSTATE.
LOCK_NOT_AVAILABLE = "55P03"

#: Tables, partitioned ones and partitions; foreign tables only to be refused by name.
RELATIONS = f"""
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       pg_has_role(c.relowner, 'USAGE') AS owned
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' AND {content.USER_SCHEMA} AND {content.NOT_ONLY_OF_EXTENSION}
ORDER BY schema, name
"""  # noqa: S608 - our own words only

COLUMNS = """
SELECT a.attrelid::bigint AS relation, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
       CASE a.atttypid WHEN 'bpchar'::regtype THEN 'pg_catalog.bpchar' ELSE format_type(a.atttypid, NULL) END AS plain,
       a.attnotnull AS required, a.attgenerated <> '' AS generated,
       (SELECT e.collname FROM pg_collation e WHERE e.oid = a.attcollation) AS collation,
       (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = a.atttypid) AS labels
FROM pg_attribute a WHERE a.attrelid = ANY(%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

#: A table with all its partitions, itself among them; ``root`` is the one that was asked for.
PARTS = f"""
WITH RECURSIVE part (root, oid) AS (
    SELECT c.oid, c.oid FROM pg_class c WHERE c.oid = ANY(%s::oid[])
    UNION SELECT part.root, i.inhrelid FROM part JOIN pg_inherits i ON i.inhparent = part.oid
    JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition)
SELECT part.root::bigint AS root, c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       c.relforcerowsecurity AS forced, pg_relation_size(c.oid) AS bytes, greatest(c.reltuples, 0)::bigint AS about,
       (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid) AS indexes, {content.CONDITION} AS condition,
       pg_has_role(c.relowner, 'USAGE') AS owned
FROM part JOIN pg_class c ON c.oid = part.oid JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY c.oid
"""  # noqa: S608 - our own words only

#: Those of users. A partition's copy of its parent's trigger is one, too; a foreign key's are not.
TRIGGERS = """
SELECT n.nspname AS schema, c.relname AS relation, t.tgname AS name, t.tgenabled::text AS state
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_constraint o ON o.oid = t.tgconstraint
WHERE t.tgrelid = ANY(%s::oid[]) AND (NOT t.tgisinternal OR t.tgparentid <> 0) AND coalesce(o.contype, 't') = 't'
ORDER BY t.tgrelid, t.tgname
"""

#: What the server makes of a DELETE or an INSERT in its place, such as a mark in the row. COPY and TRUNCATE know none.
RULES = """
SELECT n.nspname AS schema, c.relname AS relation, r.rulename AS name, r.ev_enabled::text AS state
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.ev_class = ANY(%s::oid[]) ORDER BY r.ev_class, r.rulename
"""

#: Materialized views that show rows of these tables, by way of views and of each other; the deepest last.
MATVIEWS = """
WITH RECURSIVE up (oid) AS (
    SELECT unnest(%s::oid[]) UNION SELECT i.inhparent FROM up JOIN pg_inherits i ON i.inhrelid = up.oid),
above (oid, depth) AS (
    SELECT up.oid, 0 FROM up
    UNION SELECT r.ev_class, above.depth + 1 FROM above
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = above.oid
        AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> above.oid)
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, max(above.depth) AS depth,
       bool_and(pg_has_role(c.relowner, 'USAGE')) AS owned
FROM above JOIN pg_class c ON c.oid = above.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND c.relispopulated GROUP BY c.oid, n.nspname, c.relname ORDER BY depth, schema, name
"""

PUBLICATIONS = """
SELECT DISTINCT p.pubname AS name FROM pg_publication_tables p JOIN pg_namespace n ON n.nspname = p.schemaname
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename WHERE c.oid = ANY(%s::oid[]) ORDER BY 1
"""

#: A foreign key that was put to sleep by a superuser; made again it is awake.
SLEEPING_KEYS = """
SELECT DISTINCT o.conrelid::regclass::text AS relation, o.conname AS name
FROM pg_trigger t JOIN pg_constraint o ON o.oid = t.tgconstraint AND o.contype = 'f'
WHERE t.tgenabled <> 'O' AND (o.conrelid = ANY(%s::oid[]) OR o.confrelid = ANY(%s::oid[])) ORDER BY 1, 2
"""


@dataclass(frozen=True)
class TableTree:
    """What is put back as one: a table, or a partitioned table with all its partitions.

    :param columns: as `COLUMNS` has them, generated ones among them.
    :param parts: the relations that it consists of, as `PARTS` has them; for a plain table itself alone.
    """

    oid: int
    schema: str
    name: str
    kind: str
    columns: tuple[JsonObject, ...]
    parts: tuple[JsonObject, ...]

    @property
    def key(self) -> str:
        """How it is called in options, facts and reports."""
        return f"{self.schema}.{self.name}"

    @property
    def relation(self) -> Any:
        """Its name in SQL."""
        return sql.Identifier(self.schema, self.name)

    @property
    def source(self) -> Any:
        """Its rows, with its partitions, without those of tables that inherit from it, and without what is an extension's."""
        if self.kind == "p":
            return self.relation
        return sql.SQL("ONLY {} {}").format(self.relation, sql.SQL(self.condition))

    @property
    def condition(self) -> str:
        """``WHERE …`` where the others are rows of an extension; else empty."""
        return self.parts[0].get("condition") or ""

    @property
    def leaves(self) -> list[JsonObject]:
        """The parts that hold rows."""
        return [part for part in self.parts if part["kind"] != "p"]

    @property
    def oids(self) -> list[int]:
        """All its parts."""
        return [int(part["oid"]) for part in self.parts]

    @property
    def stored(self) -> list[str]:
        """The columns that COPY takes: a generated one is computed again."""
        return [column["name"] for column in self.columns if not column["generated"]]

    @property
    def signature(self) -> list[list[Any]]:
        """What must not change between plan and switch."""
        return [
            [column[word] for word in ("name", "type", "required", "generated", "collation")] for column in self.columns
        ]


def read_trees(session: Session, oids: Sequence[int]) -> dict[int, TableTree]:
    """Look at tables by their OIDs; those that are gone are left out."""
    columns: dict[int, list[JsonObject]] = {oid: [] for oid in oids}
    for row in session.rows(COLUMNS, [list(oids)]):
        columns[row["relation"]].append(row)
    parts: dict[int, list[JsonObject]] = {}
    for row in session.rows(PARTS, [list(oids)]):
        parts.setdefault(row["root"], []).append(row)
    found = {}
    for oid, listed in parts.items():
        own = next(part for part in listed if part["oid"] == oid)
        found[oid] = TableTree(oid, own["schema"], own["name"], own["kind"], tuple(columns[oid]), tuple(listed))
    return {oid: found[oid] for oid in sorted(found)}


def compare_columns(now: TableTree, then: TableTree) -> list[str]:
    """Sentences on why rows of then would not fit into now; empty when they do."""
    there = {column["name"]: column for column in then.columns}
    here = {column["name"]: column for column in now.columns}
    differences = [f"column {name} is not in the restore point" for name in here if name not in there]
    differences += [f"column {name} is gone" for name in there if name not in here]
    for name, column in here.items():
        other = there.get(name)
        if other is None:
            continue
        for word in ("type", "collation", "generated"):
            if column[word] != other[word]:
                differences.append(f"column {name} has {word} {column[word]} instead of {other[word]}")
        if column["required"] and not other["required"]:
            differences.append(f"column {name} takes no NULL any more")
        if not set(other["labels"] or ()) <= set(column["labels"] or ()):
            differences.append(f"the type of column {name} lacks values")
    return differences
