# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The layout of a database: what one has to know of its tables to move rows from one schema to another.

A partitioned table is one table, whatever its partitions are: rows are read from its root and find their way from there.
"""

from __future__ import annotations

import hashlib
import json

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .content import NOT_OF_EXTENSION, USER_SCHEMA
from .foreign_keys import FOREIGN_KEYS
from .server import Session

BLOCK_BYTES = 8192
#: In a restore point, beside the schema.
LAYOUT_FILE = "layout.json"

# Nobody's lock is waited for: sizes are those that the last VACUUM or ANALYZE has seen.
TABLES = f"""
WITH mine AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind, pg_get_userbyid(c.relowner) AS owner
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' AND {USER_SCHEMA}
        AND {NOT_OF_EXTENSION}
), part AS (
    SELECT m.oid AS root, c.oid, n.nspname AS schema, c.relname AS name, pg_get_userbyid(c.relowner) AS owner,
           c.relkind::text AS kind, greatest(c.reltuples, 0)::bigint AS rows, c.relpages::bigint AS pages,
           (SELECT coalesce(sum(i.relpages), 0) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
            WHERE x.indrelid = c.oid)::bigint AS index_pages
    FROM mine m CROSS JOIN LATERAL (SELECT relid FROM pg_partition_tree(m.oid) UNION SELECT m.oid) t
    JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace
)
SELECT m.oid::bigint AS oid, m.nspname AS schema, m.relname AS name, m.relkind::text AS kind,
    (SELECT jsonb_agg(jsonb_build_array(p.schema, p.name, p.owner) ORDER BY p.oid) FROM part p
     WHERE p.root = m.oid AND p.kind = 'r') AS leaves,
    (SELECT count(*) FROM part p WHERE p.root = m.oid AND p.kind = 'f') AS foreign_parts,
    (SELECT sum(p.rows) FROM part p WHERE p.root = m.oid)::bigint AS rows,
    (SELECT sum(p.pages) FROM part p WHERE p.root = m.oid)::bigint * {BLOCK_BYTES} AS bytes,
    (SELECT sum(p.index_pages) FROM part p WHERE p.root = m.oid)::bigint * {BLOCK_BYTES} AS index_bytes,
    coalesce((SELECT jsonb_agg(jsonb_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
        'base', format_type((WITH RECURSIVE d AS (
            SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t WHERE t.oid = a.atttypid UNION ALL
            SELECT t.oid, t.typtype, t.typbasetype FROM d JOIN pg_type t ON t.oid = d.typbasetype WHERE d.typtype = 'd')
            SELECT d.oid FROM d WHERE d.typtype <> 'd'), -1),
        'required', a.attnotnull, 'generated', a.attgenerated <> '',
        'default', CASE WHEN a.attidentity <> ''
            THEN format('nextval(%L::regclass)', pg_get_serial_sequence(format('%I.%I', m.nspname, m.relname), a.attname))
            WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END) ORDER BY a.attnum)
     FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = m.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]') AS columns,
    coalesce((SELECT jsonb_agg(a.attname ORDER BY k.place) FROM pg_index i
     CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
     WHERE i.indrelid = m.oid AND i.indisprimary AND k.place <= i.indnkeyatts), '[]') AS key,
    coalesce((SELECT jsonb_object_agg(c.relname, pg_get_indexdef(i.indexrelid)) FROM pg_index i
     JOIN pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = m.oid AND i.indisunique AND i.indisvalid), '{{}}') AS unique,
    coalesce((SELECT jsonb_object_agg(o.conname, pg_get_constraintdef(o.oid)) FROM pg_constraint o
     WHERE o.conrelid = m.oid AND o.contype = 'x'), '{{}}') AS excluding
FROM mine m ORDER BY m.nspname, m.relname
"""  # noqa: S608 - our own words only


def read_layout(session: Session) -> JsonObject:
    """``tables`` (see the query) and ``keys`` (foreign keys, as `FOREIGN_KEYS` has them)."""
    return {"tables": session.rows(TABLES), "keys": session.rows(FOREIGN_KEYS)}


def table_name(table: JsonObject) -> str:
    """E.g. ``public.post``: how a table is called in facts, maps and reports."""
    return f"{table['schema']}.{table['name']}"


def layout_digest(layout: JsonObject) -> str:
    """Changes with any definition of a table, and with nothing else."""
    volatile = ("oid", "rows", "bytes", "index_bytes")
    tables = [{key: value for key, value in table.items() if key not in volatile} for table in layout["tables"]]
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()
