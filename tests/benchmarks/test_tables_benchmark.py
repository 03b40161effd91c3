# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of databases that these tests did not design: pgbench, and a wide one in which everything refers to everything.

    pytest -s tests/benchmarks/test_tables_benchmark.py

``LASTGOOD_SCALE`` (20) is pgbench's scale, ``LASTGOOD_TABLES`` (500) the number of tables with ten keys and indexes each.
What it prints are measurements of one run: rows per second, predicted and real standstill, and this process's memory.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from integration.database_site import Site
from integration.postgres_server import PostgresServer, running_server
from integration.tables_site import TablesSite, quiet

SCALE = int(os.environ.get("LASTGOOD_SCALE", "20"))
TABLES = int(os.environ.get("LASTGOOD_TABLES", "500"))
KEYS = 10
#: What nothing that is streamed may take.
MOST_MB = 150
PGBENCH = ["pgbench_accounts", "pgbench_branches", "pgbench_history", "pgbench_tellers"]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """With room for the locks of thousands of foreign keys."""
    with running_server({"max_locks_per_transaction": "512", "max_wal_size": "4GB"}) as server:
        Site(server, quiet(server.base), server.base).make_roles()
        yield server


@contextmanager
def told(what: str) -> Iterator[list[float]]:
    """Print how long a block took."""
    spent: list[float] = []
    began = time.monotonic()
    yield spent
    spent.append(time.monotonic() - began)
    print(f"{what}: {spent[0]:.1f} s")


def captured(server: PostgresServer, directory: Path, name: str) -> TablesSite:
    """The database with its restore point; from now on as its owner."""
    site = TablesSite(server, quiet(directory), directory, name=name)
    with told("capture"):
        site.point = Site(server, quiet(directory), directory, name=name).capture()
    site.options = {"login_user": "keeper"}
    return site


def there_and_back(site: TablesSite, tables: list[str]) -> None:
    """Plan, prepare, switch, look, undo, look."""
    before, objects = site.content(), site.objects()
    with told("plan"):
        plan = site.wanted(tables)
    assert plan.changed
    component = site.component()
    with told("prepare"):
        component.prepare(plan)
    with told("switch") as spent:
        component.switch(plan)
    rows = sum(count or 0 for count in plan.after["tables"].values())
    predicted = plan.downtime["ms"] / 1000
    print(
        f"{rows / spent[0]:,.0f} rows a second; predicted {predicted:.1f} s, {predicted / spent[0]:.2f} of what it took"
    )
    assert not site.wanted(tables).changed
    assert site.objects() == objects
    with told("undo"):
        component.undo(plan)
    assert site.content() == before
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory: {most:.0f} MB")
    assert most < MOST_MB


def test_pgbench(server: PostgresServer, tmp_path: Path) -> None:
    server.psql("postgres", "CREATE DATABASE bench OWNER keeper")
    where = ["-h", str(server.sockets), "-p", str(server.port), "-U", "keeper"]
    server.run("pgbench", "-i", "-q", "-s", str(SCALE), "--foreign-keys", *where, "bench")
    site = captured(server, tmp_path, "bench")
    server.run("pgbench", "-n", "-T", "5", *where, "bench")
    there_and_back(site, PGBENCH)


def test_a_wide_database(server: PostgresServer, tmp_path: Path) -> None:
    server.psql("postgres", "CREATE DATABASE wide OWNER keeper")
    columns = ", ".join(f"r{number} int" for number in range(KEYS))
    values = ", ".join(f"1 + (g * {number + 3}) %% 20" for number in range(KEYS))
    fill = f"INSERT INTO t%s SELECT g, md5(g::text), {values} FROM generate_series(1, 20) g"
    for table in range(0, TABLES, 50):
        each = f"FOR i IN {table}..{min(table + 50, TABLES) - 1} LOOP"
        make = f"EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, body text, {columns})', i)"
        server.psql("wide", f"DO $$ BEGIN {each} {make}; EXECUTE format('{fill}', i); END LOOP; END $$", user="keeper")
    refer = f"EXECUTE format('ALTER TABLE t%s ADD FOREIGN KEY (r%s) REFERENCES t%s', i, k, (i + k * k + 1) % {TABLES})"
    index = "EXECUTE format('CREATE INDEX ON t%s (r%s)', i, k)"
    for table in range(0, TABLES, 25):
        each = f"FOR i IN {table}..{min(table + 25, TABLES) - 1} LOOP FOR k IN 0..{KEYS - 1} LOOP"
        server.psql("wide", f"DO $$ BEGIN {each} {refer}; {index}; END LOOP; END LOOP; END $$", user="keeper")
    site = captured(server, tmp_path, "wide")
    lose = "EXECUTE format('UPDATE t%s SET body = ''lost'' WHERE id % 3 = 0', i)".replace("id %", "id %%")
    site.query(f"DO $$ BEGIN FOR i IN 0..{TABLES - 1} LOOP {lose}; END LOOP; END $$")
    there_and_back(site, [f"t{number}" for number in range(TABLES)])
