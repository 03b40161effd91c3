# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases that these tests did not design, what is done to them, and ways to look at all of one by psql alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from foreign import regression
from support.database_site import Site, identifier, literal
from support.postgres_server import PostgresServer

SCALE = int(os.environ.get("LASTGOOD_SCALE", "20"))
TABLES = int(os.environ.get("LASTGOOD_TABLES", "500"))
KEYS = 10
Layout = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Foreign:
    """A database, and a disaster for each scope.

    :param make: makes it under its name.
    :param rows: damages rows; for scope=tables.
    :param more: damages everything, together with the rows; for scope=database.
    :param migration: changes the schema, and rows of tables whose columns it lets live; for scope=schema.
    :param copied: what a copy of the database has not by itself.
    """

    name: str
    owner: str
    make: Callable[[PostgresServer, str], None]
    rows: Sequence[str]
    more: Sequence[str]
    migration: Sequence[str]
    copied: Callable[[PostgresServer, str], None] = field(default=lambda _server, _name: None)


def make_pgbench(server: PostgresServer, name: str) -> None:
    """With its foreign keys, and a history."""
    server.psql("postgres", f"CREATE DATABASE {name} OWNER keeper")
    where = ["-h", str(server.sockets), "-p", str(server.port), "-U", "keeper"]
    server.run("pgbench", "-i", "-q", "-s", str(SCALE), "--foreign-keys", *where, name)
    server.run("pgbench", "-n", "-c", "4", "-t", "1000", *where, name)


def make_wide(server: PostgresServer, name: str) -> None:
    """Many tables in which everything refers to everything: ten keys and ten indexes each."""
    server.psql("postgres", f"CREATE DATABASE {name} OWNER keeper")
    columns = ", ".join(f"r{number} int" for number in range(KEYS))
    values = ", ".join(f"1 + (g * {number + 3}) %% 20" for number in range(KEYS))
    table = f"EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, body text, {columns})', i)"
    fill = f"EXECUTE format('INSERT INTO t%s SELECT g, md5(g::text), {values} FROM generate_series(1, 20) g', i)"
    refer = f"EXECUTE format('ALTER TABLE t%s ADD FOREIGN KEY (r%s) REFERENCES t%s', i, k, (i + k * k + 1) % {TABLES})"
    index = "EXECUTE format('CREATE INDEX ON t%s (r%s)', i, k)"
    in_batches(server, name, 50, f"{table}; {fill}")
    in_batches(server, name, 25, f"FOR k IN 0..{KEYS - 1} LOOP {refer}; {index}; END LOOP")


def in_batches(server: PostgresServer, name: str, size: int, what: str) -> None:
    """Some tables a transaction: it can't lock any number of them."""
    for first in range(0, TABLES, size):
        loop = f"FOR i IN {first}..{min(first + size, TABLES) - 1} LOOP {what}; END LOOP"
        server.psql(name, f"DO $$ BEGIN {loop}; END $$", user="keeper")


LOSE = "EXECUTE format('UPDATE t%s SET body = ''lost'' WHERE id %% 3 = 0', i)"
FOREIGN = {
    "pgbench": Foreign(
        "pgbench",
        "keeper",
        make_pgbench,
        rows=[
            "UPDATE pgbench_accounts SET abalance = -1 WHERE aid % 2 = 0",
            "DELETE FROM pgbench_history WHERE aid % 3 = 0",
            "UPDATE pgbench_branches SET bbalance = NULL",
        ],
        more=[
            "ALTER TABLE pgbench_tellers DROP COLUMN tbalance",
            "DROP TABLE pgbench_history",
            "CREATE INDEX newer ON pgbench_accounts (abalance)",
        ],
        migration=[
            "UPDATE pgbench_accounts SET abalance = -1 WHERE aid % 2 = 0",
            "ALTER TABLE pgbench_accounts ADD COLUMN newer text DEFAULT 'newer'",
            "ALTER TABLE pgbench_tellers DROP COLUMN tbalance",
            "ALTER TABLE pgbench_branches ALTER COLUMN bbalance TYPE bigint",
            "ALTER TABLE pgbench_history DROP CONSTRAINT pgbench_history_aid_fkey",
            "CREATE TABLE newest AS SELECT 1 AS n",
        ],
    ),
    "wide": Foreign(
        "wide",
        "keeper",
        make_wide,
        rows=[f"DO $$ BEGIN FOR i IN 0..{TABLES - 1} LOOP {LOSE}; END LOOP; END $$"],
        more=["ALTER TABLE t1 DROP COLUMN r3", "DROP TABLE t2 CASCADE", "ALTER TABLE t3 RENAME COLUMN body TO corpus"],
        migration=[
            f"DO $$ BEGIN FOR i IN {TABLES // 2}..{TABLES - 1} LOOP {LOSE}; END LOOP; END $$",
            "ALTER TABLE t1 DROP COLUMN r3",
            "DROP TABLE t2 CASCADE",
            "ALTER TABLE t3 ADD COLUMN newer int",
            "DROP INDEX t4_r1_idx",
            f"ALTER TABLE t{TABLES - 1} ALTER COLUMN r1 TYPE bigint",
        ],
    ),
    "regression": Foreign(
        "regression",
        "postgres",
        regression.load,
        rows=[
            "DELETE FROM tenk1 WHERE unique1 % 2 = 0",
            "UPDATE onek SET stringu1 = 'lost'",
            "UPDATE ONLY person SET age = 1",
            "DELETE FROM clstr_tst WHERE a % 3 = 0",
            "DELETE FROM rule_and_refint_t3",
            "DELETE FROM fk_notpartitioned_pk",
            "UPDATE array_op_test SET i = NULL",
        ],
        more=[
            "ALTER TABLE int4_tbl ADD COLUMN newer int",
            "ALTER TABLE onek2 DROP COLUMN stringu2",
            "DROP TABLE tenk2 CASCADE",
        ],
        migration=[
            "DELETE FROM onek2 WHERE unique1 % 2 = 0",
            "ALTER TABLE tenk1 ADD COLUMN newer text",
            "ALTER TABLE transition_table_level1 DROP COLUMN level1_node_name",
            "DROP TABLE array_op_test",
            "CREATE TABLE newest AS SELECT 1 AS n",
        ],
        copied=regression.configure,
    ),
}

COLUMNS = """
SELECT json_object_agg(t, columns) FROM (
    SELECT format('%I.%I', n.nspname, c.relname) AS t, coalesce(array_agg(quote_ident(a.attname) ORDER BY a.attname COLLATE "C")
        FILTER (WHERE a.attname IS NOT NULL), '{}') AS columns
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND n.nspname !~ '^(pg_|information_schema$|lastgood_kept_)'
    GROUP BY 1
) q
"""
SEQUENCES = (
    "SELECT json_object_agg(schemaname || '.' || sequencename, last_value) FROM pg_sequences WHERE schemaname !~ '^pg_'"
)
OBJECTS = "SELECT string_agg(md5(lo_get(oid)), ',' ORDER BY oid) FROM pg_largeobject_metadata"
WHOLE_TABLES = """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^(pg_|information_schema$)' ORDER BY 1
"""
AT_ONCE = 100


def layout(site: Site) -> Layout:
    """Table → columns, in alphabetical order: a restored table that inherits may have them in another one."""
    found: Layout = json.loads(site.query(COLUMNS))
    return found


def rows(site: Site, columns: Layout | None = None) -> dict[str, str]:
    """Table → count and MD5 of its rows, whatever their order; materialized views too.

    :param columns: look at these only, in the tables that have all of them.
    """
    there = layout(site)
    wanted = {table: names for table, names in (columns or there).items() if {*names} <= {*there.get(table, ())}}
    found = {}
    names = [table for table in wanted if table in there]
    for first in range(0, len(names), AT_ONCE):
        looks = " UNION ALL ".join(
            f"SELECT {literal(table)} AS t, count(*) || ' ' || coalesce(md5(string_agg(h, '' ORDER BY h COLLATE \"C\")), '')"
            f" AS h FROM (SELECT md5(ROW({', '.join(wanted[table])})::text) AS h FROM ONLY {table}) r"
            for table in names[first : first + AT_ONCE]
        )
        found.update(json.loads(site.query(f"SELECT json_object_agg(t, h) FROM ({looks}) q")))
    return {**found, "large objects": site.query(OBJECTS)}


def schema(site: Site) -> list[str]:
    """The lines of the schema as pg_dump prints it, sorted, for the same reason; without what is kept beside the data."""
    said = site.server.run(
        "pg_dump", "-s", "-N", "lastgood_kept_*", "-h", str(site.server.sockets), "-p", str(site.server.port),
        "-U", "postgres", "-d", site.name,
    )  # fmt: skip
    lines = (line.rstrip(",") for line in said.stdout.splitlines())
    return sorted(line for line in lines if line and not line.startswith(("\\restrict", "\\unrestrict", "--")))


def sequences(site: Site) -> dict[str, int | None]:
    """Sequence → its last value."""
    found: dict[str, int | None] = json.loads(site.query(SEQUENCES) or "{}")
    return found


def tables(site: Site) -> list[str]:
    """All tables, as the option of that name takes them; a partitioned one stands for its partitions."""
    return site.query(WHOLE_TABLES).splitlines()


def copy(site: Site, foreign: Foreign, name: str) -> None:
    """A copy of the good database, to be broken."""
    site.query(f"CREATE DATABASE {identifier(name)} TEMPLATE {foreign.name} OWNER {foreign.owner}", "postgres")
    foreign.copied(site.server, name)
