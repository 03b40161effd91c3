# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Whether writing a row into a table runs code that its owner may have put there.

Checks, generated columns, indexes and domains run with the rights of whoever writes, maybe a superuser. Planning must not
do that: it only reads. What computes from its arguments alone is harmless: built-in functions that are immutable, and
built-in operators. The node tree names all of them; what is not built in (numbers from 16384 on) also stands in pg_depend.
"""

from __future__ import annotations

from .server import Session

#: Whether a node tree (put in for ``{tree}``) calls a function that is not built in, or not computed from its arguments alone.
CALLS = """EXISTS (SELECT FROM regexp_matches({tree}::text, ':(funcid|opfuncid) (\\d+)', 'g') used (word)
    LEFT JOIN pg_proc p ON p.oid = used.word[2]::oid AND p.oid < 16384
    WHERE p.oid IS NULL OR p.provolatile = 'v' OR (used.word[1] = 'funcid' AND p.provolatile <> 'i'))"""
#: Fire whenever a table is made or altered, a temporary one included.
EVENT_TRIGGERS = "SELECT evtname AS name FROM pg_event_trigger WHERE evtenabled <> 'D' ORDER BY 1"
RUNS_OWN_CODE = f"""
WITH me (oid) AS (SELECT format('%%I.%%I', %s::text, %s::text)::regclass::oid),
parts (class, oid, tree) AS (
    SELECT 'pg_constraint'::regclass, o.oid, o.conbin::text FROM pg_constraint o JOIN me ON o.conrelid = me.oid
        WHERE o.contype IN ('c', 'x')
    UNION ALL SELECT 'pg_class'::regclass, indexrelid, concat(indexprs::text, indpred::text)
        FROM pg_index JOIN me ON indrelid = me.oid
    UNION ALL SELECT 'pg_attrdef'::regclass, d.oid, d.adbin::text FROM pg_attrdef d JOIN me ON d.adrelid = me.oid
        JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE a.attgenerated <> ''
    UNION ALL SELECT 'pg_class'::regclass, me.oid, NULL FROM me)
SELECT EXISTS (SELECT FROM parts WHERE {CALLS.format(tree="tree")})
    OR EXISTS (SELECT FROM parts JOIN pg_depend d ON d.classid = parts.class AND d.objid = parts.oid
        WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_type'::regclass)
        AND NOT EXISTS (SELECT FROM pg_type t WHERE d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
                        AND t.typtype = 'e'))
"""  # noqa: S608 - our own words only


def runs_own_code(session: Session, schema: str, table: str) -> bool:
    """Whether a row that is written to a table like this one would run more than PostgreSQL's own computations."""
    return bool(session.value(RUNS_OWN_CODE, [schema, table]))
