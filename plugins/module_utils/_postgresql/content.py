# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What is inside a database: a count and a content hash for each table, and what must be valid around them.

The hash is made by the server, row by row, and added up, so that neither the order of rows nor the size of a table
matters, and nothing of it travels. It is the same on every version and for every setting (see ``SESSION_SETTINGS``).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import show_progress
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .migration_heads import migration_head
from .server import DatabaseError, Session, sql

CANCELLED, LOCKED, NOT_ALLOWED = "57014", "55P03", "42501"
#: How long to wait for somebody's lock where the answer is only good to know.
LOCK_WAIT_MS = 2_000
#: Not of a user's making, or gone with its session.
USER_SCHEMA = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
NOT_OF_EXTENSION = """NOT EXISTS (SELECT FROM pg_depend e
    WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')"""
#: What an extension says of a table of its own whose rows are people's (pg_extension_config_dump): which rows, as
#: ``WHERE …``, empty for all; NULL for any other table.
CONDITION = (
    "(SELECT e.extcondition[array_position(e.extconfig, c.oid)] FROM pg_extension e WHERE c.oid = ANY(e.extconfig))"
)
NOT_ONLY_OF_EXTENSION = f"({NOT_OF_EXTENSION} OR EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY(e.extconfig)))"

TABLES = f"""
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name,
       c.relpages * current_setting('block_size')::bigint AS bytes, {CONDITION} AS condition,
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             ORDER BY a.attname COLLATE "C") AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {USER_SCHEMA} AND {NOT_ONLY_OF_EXTENSION}
ORDER BY bytes, schema, name
"""  # noqa: S608 - our own words only

#: As it is now, even where our snapshot is older; a partitioned table has no file, and no view is one.
IS_TABLE = """
SELECT %s::regclass::oid::bigint AS oid,
       pg_relation_filenode(%s::regclass) IS NOT NULL OR c.relkind = 'p' AS is_table
FROM (SELECT 1) q LEFT JOIN pg_class c ON c.oid = %s::regclass
"""

# Two halves of a SHA-256 each, so that the sums stay in fast integers; a sum, because XOR would lose equal rows.
SUM = """count(*) AS rows, coalesce(sum(('x' || substr(h, 1, 16))::bit(64)::bigint), 0)::text AS a,
       coalesce(sum(('x' || substr(h, 17, 16))::bit(64)::bigint), 0)::text AS b"""
HASH = f"""
SELECT {SUM}
FROM (SELECT encode(sha256(convert_to(ROW({{columns}})::text, {{encoding}})), 'hex') AS h FROM {{table}} t) q
"""  # noqa: S608 - our own words only

#: Large objects are read in pieces, so that a hole is like the zeros that a restore writes there.
PIECE_BYTES = 256 * 1024
LARGE_OBJECTS = f"""
WITH RECURSIVE piece (lo, at, bytes, digest) AS (
    SELECT m.oid, 0::bigint, length(d.data), sha256(d.data) FROM pg_largeobject_metadata m
    CROSS JOIN LATERAL (SELECT lo_get(m.oid, 0, {PIECE_BYTES}) AS data OFFSET 0) d
    UNION ALL
    SELECT p.lo, p.at + {PIECE_BYTES}, length(d.data), sha256(d.data) FROM piece p
    CROSS JOIN LATERAL (SELECT lo_get(p.lo, p.at + {PIECE_BYTES}, {PIECE_BYTES}) AS data OFFSET 0) d
    WHERE p.bytes = {PIECE_BYTES})
SELECT {SUM} FROM (
    SELECT encode(sha256(convert_to(format('%s %s %s', lo, at, digest), 'UTF8')), 'hex') AS h FROM piece) q
"""  # noqa: S608 - our own words only
ABOUT_LARGE_OBJECTS = f"""
SELECT {SUM} FROM (SELECT encode(sha256(convert_to(format('%s %s %s %L', m.oid, pg_get_userbyid(m.lomowner),
    (SELECT string_agg(format('%s %s %s', CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END, a.privilege_type,
        a.is_grantable), ',' ORDER BY a.grantee, a.privilege_type)
     FROM aclexplode(coalesce(m.lomacl, acldefault('L', m.lomowner))) a WHERE a.grantee <> m.lomowner),
    obj_description(m.oid, 'pg_largeobject')), getdatabaseencoding())), 'hex') AS h FROM pg_largeobject_metadata m) q
"""  # noqa: S608 - our own words only

SEQUENCES = f"""
SELECT n.nspname || '.' || c.relname AS key,
       CASE WHEN has_sequence_privilege(c.oid, 'SELECT, USAGE') THEN pg_sequence_last_value(c.oid) END::text AS value
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND {NOT_ONLY_OF_EXTENSION}
"""  # noqa: S608 - our own words only
FACTS = {
    "sequences": SEQUENCES,
    "extensions": "SELECT extname AS key, extversion AS value FROM pg_extension",
    "invalid": "SELECT c.oid::regclass::text AS key, 'index' AS value FROM pg_index i JOIN pg_class c"
    " ON c.oid = i.indexrelid WHERE NOT i.indisvalid UNION ALL"
    " SELECT o.conrelid::regclass || ' ' || o.conname, 'constraint' FROM pg_constraint o WHERE NOT o.convalidated",
    "roles": "SELECT DISTINCT r.rolname AS key, '' AS value FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid"
    " WHERE s.refclassid = 'pg_authid'::regclass"
    " AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
    "tablespaces": "SELECT DISTINCT t.spcname AS key, '' AS value FROM pg_class c JOIN pg_tablespace t"
    " ON t.oid = c.reltablespace WHERE t.spcname <> 'pg_global'",
}


def read_inside(session: Session, migration_tables: Mapping[str, str] | None = None) -> JsonObject:
    """Everything but the rows: sequences, extensions, what is not valid, roles and tablespaces that are needed.

    :param migration_tables: tables that say which schema there is, besides those of known tools (see `version_tables`).
    """
    facts: JsonObject = {}
    for name, query in FACTS.items():
        facts[name] = {row["key"]: row["value"] for row in sorted(session.rows(query), key=lambda row: str(row["key"]))}
    facts["roles"] = sorted(facts["roles"])
    facts["tablespaces"] = sorted(facts["tablespaces"])
    facts["large_objects"] = session.value("SELECT count(*) FROM pg_largeobject_metadata")
    facts["large_object_hash"] = hash_large_objects(session)
    facts["public_schema"] = bool(session.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'public'"))
    facts["bytes"] = session.value("SELECT pg_database_size(current_database())")
    facts["migration"] = migration_head(session, migration_tables)
    facts["migration_tables"] = dict(migration_tables or {})
    return facts


def read_sequences(session: Session) -> dict[str, str | None]:
    """Where each sequence stands; None before its first use. They have no snapshots."""
    return {row["key"]: row["value"] for row in session.rows(SEQUENCES)}


def hash_large_objects(session: Session) -> JsonObject | None:
    """``content``, and ``about`` (owners, grants and comments); None where our role may not read them."""
    found = {}
    for name, query in (("content", LARGE_OBJECTS), ("about", ABOUT_LARGE_OBJECTS)):
        try:
            (row,) = session.rows(query, attempt="Reading large objects")
        except DatabaseError as error:
            if error.code != NOT_ALLOWED:
                raise
            return None
        found[name] = hashlib.sha256("\0".join(map(str, row.values())).encode()).hexdigest()[:32]
    return found


def differences_outside_tables(session: Session, then: JsonObject, seconds: float) -> tuple[JsonObject, list[str]]:
    """What else holds people's data and is not as at the capture: ``sequences`` and ``large_objects``.

    :param then: what `read_inside` said; ``sequences_until`` where sequences stood when the capture ended.
    :return: these, and what could not be read in time.
    """
    found: JsonObject = {}
    until: JsonObject = then.get("sequences_until") or then["sequences"]
    now = read_sequences(session)
    moved = {
        key: {"now": now[key], "then": value}
        for key, value in then["sequences"].items()
        if key in now and not _between(now[key], value, until.get(key))
    }
    if moved:
        found["sequences"] = moved
    count = session.value("SELECT count(*) FROM pg_largeobject_metadata")
    differs, unread = count != then["large_objects"], []
    if count and not differs and then.get("large_object_hash"):
        session.execute("SET statement_timeout = %s", [int(seconds * 1000)])
        try:
            found_now = hash_large_objects(session)
            differs = found_now not in (None, then["large_object_hash"])
            unread = ["large objects"] if found_now is None else []
        except DatabaseError as error:
            if error.code != CANCELLED:
                raise
            unread = ["large objects"]
        session.execute("SET statement_timeout = 0")
    if differs:
        found["large_objects"] = {"now": count, "then": then["large_objects"]}
    return found, unread


def _between(now: str | None, low: str | None, high: str | None) -> bool:
    if now in (low, high):
        return True
    return None not in (now, high) and sorted([int(low or 0), int(now or 0), int(high or 0)])[1] == int(now or 0)


def read_tables(session: Session) -> list[JsonObject]:
    """All tables with rows of their own (leaves of partitioned ones too), the small ones first. Waits for no lock."""
    return session.rows(TABLES)


def table_key(table: JsonObject) -> str:
    """E.g. ``public.post``: how a table is called in facts and reports."""
    return f"{table['schema']}.{table['name']}"


def hash_table(session: Session, table: JsonObject) -> JsonObject:
    """Count and hash one table's rows: ``{"rows": …, "hash": …}``. Streams inside the server.

    :param table: ``schema``, ``name``, ``columns``, ``partitioned`` where its partitions are meant as well, and ``condition``
        where not all rows are.
    """
    encoding = session.value("SELECT getdatabaseencoding()")
    name = sql.Identifier(table["schema"], table["name"])
    query = sql.SQL(HASH).format(
        columns=sql.SQL(", ").join([sql.Identifier("t", name) for name in table["columns"]]),
        encoding=sql.Literal("SQL_ASCII" if encoding == "SQL_ASCII" else "UTF8"),
        table=sql.SQL("(SELECT * FROM {} {} {})").format(
            sql.SQL("" if table.get("partitioned") else "ONLY"), name, sql.SQL(table.get("condition") or "")
        ),
    )
    with _locked(session, table, name):
        row = session.rows(query, attempt=f"Reading table {table_key(table)}")[0]
    names = "\0".join(table["columns"])
    digest = hashlib.sha256(f"{names}\0{row['rows']}\0{row['a']}\0{row['b']}".encode()).hexdigest()
    return {"rows": row["rows"], "hash": digest[:32]}


@contextmanager
def _locked(session: Session, table: JsonObject, name: Any) -> Iterator[None]:
    """Nobody can put another thing in a table's place, such as a view that runs code with our rights, while we read it.

    :raises LastGoodError: when somebody has done so since it was listed.
    """
    alone = not session.in_transaction
    if alone:
        session.execute("BEGIN")
    try:
        attempt = f"Reading table {table_key(table)}"
        session.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(name), attempt=attempt)
        found = session.rows(IS_TABLE, [name.as_string(session.connection)] * 3)[0]
        if not found["is_table"] or table.get("oid", found["oid"]) != found["oid"]:
            raise LastGoodError(
                f"{attempt} failed: it is not the table that it was a moment ago. Somebody has replaced it."
            )
        yield
    finally:
        if alone:
            session.execute("ROLLBACK")


def hash_tables(session: Session) -> JsonObject:
    """Count and hash all tables: ``schema.name`` → ``{"rows": …, "hash": …}``."""
    tables, found = read_tables(session), {}
    for number, table in enumerate(tables, 1):
        key = table_key(table)
        show_progress(f"Counting and hashing {key}, {number} of {len(tables)} tables")
        found[key] = hash_table(session, table)
    return dict(sorted(found.items()))


def hash_within(session: Session, seconds: float, skip: Callable[[str], bool] | None = None) -> Iterator[Any]:
    """Count and hash tables, the small ones first, until the time is up; nobody's lock is waited for.

    :param skip: tables (by key) to leave out.
    :return: pairs of key and ``{"rows", "hash"}``; the latter is None for what was not read in time, and a text for
        what can't be read at all.
    """
    deadline = time.monotonic() + seconds
    session.execute(f"SET lock_timeout = {LOCK_WAIT_MS}")
    tables = read_tables(session)
    for number, table in enumerate(tables, 1):
        key = table_key(table)
        show_progress(f"Comparing {key}, {number} of {len(tables)} tables")
        if skip is not None and skip(key):
            continue
        left = int((deadline - time.monotonic()) * 1000)
        if left <= 0:
            yield key, None
            continue
        session.execute("SET statement_timeout = %s", [left])
        try:
            yield key, hash_table(session, table)
        except DatabaseError as error:
            yield key, None if error.code in (CANCELLED, LOCKED) else error.message
        except LastGoodError as error:
            yield key, error.message
    session.execute("SET statement_timeout = 0")


def not_captured(facts: JsonObject, tables: Iterable[JsonObject]) -> set[str]:
    """Keys of extensions' tables that earlier versions left out of a restore point: they can't be compared with it."""
    if not facts or facts.get("of_extensions"):
        return set()
    return {table_key(table) for table in tables if table.get("condition") is not None}


def compare_tables(wanted: JsonObject, found: JsonObject) -> list[str]:
    """Sentences on tables that are missing, too many, or hold something else; empty when all is equal."""
    differences = [f"table {key} is missing" for key in wanted if key not in found]
    differences += [f"table {key} is not of the restore point" for key in found if key not in wanted]
    for key, there in found.items():
        if key in wanted and there["rows"] != wanted[key]["rows"]:
            differences.append(f"table {key} has {there['rows']} rows instead of {wanted[key]['rows']}")
        elif key in wanted and there["hash"] != wanted[key]["hash"]:
            differences.append(f"table {key} has other content")
    return differences


OF_LARGE_OBJECTS = {"content": "content", "about": "owners, grants or comments"}


def compare_inside(wanted: JsonObject, found: JsonObject) -> list[str]:
    """Sentences on what is not as at the capture; versions of extensions are not in a dump and may differ."""
    differences = [f"extension {name} is missing" for name in wanted["extensions"] if name not in found["extensions"]]
    differences += [
        f"{kind} {key} is not valid" for key, kind in found["invalid"].items() if key not in wanted["invalid"]
    ]
    for key, value in wanted["sequences"].items():
        if key not in found["sequences"]:  # earlier versions counted those of extensions
            differences += [f"sequence {key} is missing"] if "sequences_until" in wanted else []
        elif value is not None and (found["sequences"][key] is None or not _reached(found["sequences"][key], value)):
            differences.append(f"sequence {key} stands at {found['sequences'][key]} instead of {value}")
    if found["large_objects"] != wanted["large_objects"]:
        differences.append(f"there are {found['large_objects']} large objects instead of {wanted['large_objects']}")
    now, then = found.get("large_object_hash") or {}, wanted.get("large_object_hash") or {}
    if now and then:
        differences += [f"large objects have other {OF_LARGE_OBJECTS[what]}" for what in now if now[what] != then[what]]
    return differences


def _reached(found: str, wanted: str) -> bool:
    """A dump reads a sequence a moment after the snapshot, so it may have moved on; descending ones move down."""
    return found == wanted or abs(int(found)) >= abs(int(wanted))
