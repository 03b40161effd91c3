# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a plan says that rolling back tables or a schema takes, against how long it takes, for databases of several shapes.

    make benchmark-database

``LASTGOOD_ROWS`` (400000) is the size of the largest tables, ``LASTGOOD_SCALES`` (5,20) are pgbench's scales.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.database_site import FIRST, SECOND, Site
from support.postgres_server import PostgresServer, running_server
from support.schema_site import SchemaSite
from support.tables_site import TablesSite, quiet

ROWS = int(os.environ.get("LASTGOOD_ROWS", "400000"))
SCALES = [int(scale) for scale in os.environ.get("LASTGOOD_SCALES", "5,20").split(",")]
#: What it took, compared with what was predicted.
LEAST, MOST = 0.7, 1.3
TEXTS, SMALL_TABLES = 30, 200

#: Shape → statements that make it; each migration that is taken back adds a column to the first table.
SHAPES = {
    "narrow": f"CREATE TABLE n AS SELECT g AS id, g % 7 AS v FROM generate_series(1, {3 * ROWS}) g;"
    "ALTER TABLE n ADD PRIMARY KEY (id)",
    "wide": f"CREATE TABLE w AS SELECT g AS id, {', '.join(f'md5((g + {n})::text) AS t{n}' for n in range(TEXTS))}"
    f" FROM generate_series(1, {ROWS // 4}) g; ALTER TABLE w ADD PRIMARY KEY (id)",
    "many": f"""DO $$ BEGIN FOR i IN 1..{SMALL_TABLES} LOOP
        EXECUTE format('CREATE TABLE m%s AS SELECT g AS id, md5(g::text) AS name FROM generate_series(1, 500) g', i);
        EXECUTE format('ALTER TABLE m%s ADD PRIMARY KEY (id)', i); EXECUTE format('CREATE INDEX ON m%s (name)', i);
        END LOOP; END $$""",
    "keys": f"""CREATE TABLE author AS SELECT g AS id, md5(g::text) AS name FROM generate_series(1, {ROWS // 10}) g;
        ALTER TABLE author ADD PRIMARY KEY (id);
        CREATE TABLE post AS SELECT g AS id, 1 + (g * 7919::bigint % {ROWS // 10})::int AS author, md5(g::text) AS title,
            repeat(md5(g::text), 4) AS body FROM generate_series(1, {ROWS // 2}) g;
        ALTER TABLE post ADD PRIMARY KEY (id), ADD FOREIGN KEY (author) REFERENCES author;
        CREATE INDEX ON post (author); CREATE INDEX ON post (title);
        CREATE TABLE word AS SELECT g AS id, 1 + (g * 7907::bigint % {ROWS // 2})::int AS post,
            1 + (g * 7901::bigint % {ROWS // 10})::int AS author FROM generate_series(1, {ROWS}) g;
        ALTER TABLE word ADD PRIMARY KEY (id), ADD FOREIGN KEY (post) REFERENCES post,
            ADD FOREIGN KEY (author) REFERENCES author; CREATE INDEX ON word (post)""",
}
ALL = [*SHAPES, *(f"pgbench {scale}" for scale in SCALES)]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that writes as a real one does."""
    settings = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB", "max_wal_size": "4GB"}
    with running_server({**settings, "max_locks_per_transaction": "512"}) as server:
        Site(server, quiet(server.base), server.base).make_roles()
        yield server


def made(server: PostgresServer, shape: str) -> tuple[str, list[str]]:
    """A database of this shape; its name, and its tables."""
    name = shape.replace(" ", "")
    server.psql("postgres", f"CREATE DATABASE {name}")
    if shape in SHAPES:
        server.psql(name, SHAPES[shape])
    else:
        where = ["-h", str(server.sockets), "-p", str(server.port), "-U", "postgres"]
        server.run("pgbench", "-i", "-q", "-s", shape.split()[1], "--foreign-keys", *where, name)
    server.psql(name, "VACUUM ANALYZE")
    server.psql("postgres", "CHECKPOINT")
    return name, server.psql(
        name, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    ).splitlines()


def compared(shape: str, scope: str, site: Site, **options: object) -> float:
    """Plan, prepare, switch; tell; what the switch took of what the plan said."""
    transaction = {"tables": FIRST, "schema": SECOND}[scope]
    begun = time.monotonic()
    plan = site.plan(site.point, transaction, **options)  # type: ignore[attr-defined]
    planned = time.monotonic() - begun
    assert plan.changed
    component = site.component(transaction)
    rehearsed = component.prepare(plan)["verification"].get("predicted_ms", 0) / 1000
    site.query("CHECKPOINT")
    begun = time.monotonic()
    component.switch(plan)
    took = time.monotonic() - begun
    ratio = took / (plan.downtime["ms"] / 1000)
    print(
        f"{shape:>12} {scope}: predicted {plan.downtime['ms'] / 1000:6.2f} s, rehearsed {rehearsed:6.2f} s, took {took:6.2f} s:"
        f" {ratio:.2f}; planned in {planned:.1f} s; {plan.downtime.get('rows_per_second', 0):,} rows a second"
    )
    return ratio


@pytest.mark.parametrize("shape", ALL)
def test_the_switch_takes_what_the_plan_said(server: PostgresServer, tmp_path: Path, shape: str) -> None:
    name, tables = made(server, shape)
    there = TablesSite(server, quiet(tmp_path), tmp_path, name=name)
    point = there.point = Site(server, quiet(tmp_path), tmp_path, name=name).capture()
    damaged = server.psql(
        name, f"SELECT attname FROM pg_attribute WHERE attrelid = '{tables[0]}'::regclass AND attnum = 2"
    )
    there.query(f"DELETE FROM {tables[-1]} WHERE ctid IN (SELECT ctid FROM {tables[-1]} LIMIT 1)")
    there.query(f"UPDATE {tables[0]} SET {damaged} = NULL WHERE ctid IN (SELECT ctid FROM {tables[0]} LIMIT 1)")
    ratios = [compared(shape, "tables", there, tables=tables)]
    there.query(f"ALTER TABLE {tables[0]} ADD COLUMN newer int")
    schema = SchemaSite(server, quiet(tmp_path), tmp_path, name=name)
    schema.point = point  # type: ignore[attr-defined]
    ratios.append(compared(shape, "schema", schema))
    schema.drop([each for each in schema.databases() if each.startswith(name)])
    assert all(LEAST <= ratio <= MOST for ratio in ratios), ratios
