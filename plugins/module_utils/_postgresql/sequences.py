# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Sequences and the columns that take their values: which one is behind what is in use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .server import Session, sql

# Owned by a column (serial, identity), or used in its default.
SEQUENCES = """
SELECT DISTINCT s.seqrelid::bigint AS oid, n.nspname AS schema, c.relname AS name, used.refobjid::bigint AS table,
       tn.nspname AS table_schema, t.relname AS table_name, a.attname AS column, s.seqincrement AS step, s.seqmin AS least,
       s.seqmax AS most
FROM (
    SELECT d.objid AS sequence, d.refobjid, d.refobjsubid FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    UNION
    SELECT d.refobjid, f.adrelid, f.adnum FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
    WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
) used (sequence, refobjid, refobjsubid)
JOIN pg_sequence s ON s.seqrelid = used.sequence AND NOT s.seqcycle
JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class t ON t.oid = used.refobjid JOIN pg_namespace tn ON tn.oid = t.relnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = used.refobjsubid AND NOT a.attisdropped
WHERE a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype)
ORDER BY 2, 3
"""


def highest_in_use(row: JsonObject) -> Any:
    """Asks for the last value of a sequence's column that the sequence could have given (``value``)."""
    column = sql.Identifier(row["column"])
    return sql.SQL("SELECT {}({}) AS value FROM {} WHERE {} BETWEEN {} AND {}").format(
        sql.SQL("max" if row["step"] > 0 else "min"),
        column,
        sql.Identifier(row["table_schema"], row["table_name"]),
        column,
        sql.Literal(row["least"]),
        sql.Literal(row["most"]),
    )


def sequence_state(row: JsonObject) -> Any:
    """Asks where a sequence stands."""
    return sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(row["schema"], row["name"]))


def next_value(row: JsonObject, state: JsonObject) -> int:
    """What it would give next."""
    return int(state["last_value"] + row["step"] if state["is_called"] else state["last_value"])


def behind(session: Session, tables: Sequence[int]) -> Iterator[tuple[JsonObject, int]]:
    """The sequences of these tables (OIDs) that would give a value that is in use, and the last of these values."""
    query = f"SELECT * FROM ({SEQUENCES}) s WHERE s.table = ANY(%s::oid[])"  # noqa: S608 - our own words only
    for row in session.rows(query, [list(tables)]):
        used = session.value(highest_in_use(row))
        state: JsonObject = session.rows(sequence_state(row))[0]
        if used is not None and is_behind(row, next_value(row, state), int(used)):
            yield row, int(used)


def is_behind(row: JsonObject, upcoming: int, used: int) -> bool:
    """Whether that value, or one after it, is in use already."""
    return upcoming <= used if row["step"] > 0 else upcoming >= used
