# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole database's rollback: what clients see of the switch, for a small and for a large one; and what preparing costs
against a bare ``pg_restore`` and ``ANALYZE`` of the same archive in the same run.

    make benchmark-database

``LASTGOOD_SMALL_MB`` (60) and ``LASTGOOD_LARGE_MB`` (500) are the sizes, ``LASTGOOD_JOBS`` (2) is for both restores.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import psycopg2
from support.database_site import Site
from support.postgres_server import PostgresServer, running_server, wait_until
from support.tables_site import quiet

SIZES = {name: int(os.environ.get(f"LASTGOOD_{name}_MB", size)) for name, size in (("SMALL", "60"), ("LARGE", "500"))}
JOBS = int(os.environ.get("LASTGOOD_JOBS", "2"))
CLIENTS = 4
#: Four tables with two indexes each, so that jobs have something to share.
TABLES, ROWS_PER_MEGABYTE = 4, 1050
#: What clients may miss, what preparing may cost, and what nothing that is streamed may take.
MOST_MS, MOST_RATIO, MOST_MB = 250, 1.15, 150


class Knocker(threading.Thread):
    """A client that connects for each question, and remembers the times of the answers."""

    def __init__(self, server: PostgresServer) -> None:
        super().__init__()
        self.where = {"host": str(server.sockets), "port": server.port, "user": "hammer", "dbname": "blog"}
        self.answers = [time.monotonic()]
        self.enough = threading.Event()

    def run(self) -> None:
        """Ask until it is enough."""
        while not self.enough.is_set():
            try:
                connection = psycopg2.connect(**self.where)
                with connection.cursor() as cursor:
                    cursor.execute("SELECT count(*) FROM small")
                connection.close()
                self.answers.append(time.monotonic())
            except psycopg2.Error:
                continue


def longest_gap(server: PostgresServer, during: Callable[[], Any]) -> tuple[int, int]:
    """Milliseconds that one of several clients had to wait for its answer: at the worst while this ran, and before it."""
    knockers = [Knocker(server) for _client in range(CLIENTS)]
    for knocker in knockers:
        knocker.start()
    try:
        time.sleep(3)
        begun = time.monotonic()
        during()
        ended = time.monotonic()
        wait_until(lambda: all(knocker.answers[-1] > ended for knocker in knockers), 60)
    finally:
        for knocker in knockers:
            knocker.enough.set()
        for knocker in knockers:
            knocker.join()
    gaps = [pair for knocker in knockers for pair in zip(knocker.answers[5:], knocker.answers[6:])]
    while_it_ran = max(after - before for before, after in gaps if after > begun)
    without = max(after - before for before, after in gaps if after <= begun)
    return round(while_it_ran * 1000), round(without * 1000)


def fill(site: Site, megabytes: int) -> None:
    """A database of about this size, indexes included."""
    site.query("CREATE DATABASE blog", "postgres")
    site.query("CREATE TABLE small AS SELECT 1 AS n; GRANT SELECT ON small TO hammer")
    rows = megabytes * ROWS_PER_MEGABYTE
    for number in range(TABLES):
        site.query(
            f"CREATE TABLE filler{number} AS SELECT g AS id, md5(g::text) AS name, repeat(md5(g::text), 20) AS body"
            f" FROM generate_series(1, {rows // TABLES}) g; ALTER TABLE filler{number} ADD PRIMARY KEY (id);"
            f" CREATE INDEX ON filler{number} (name)"
        )


def rival(site: Site, archive: Path) -> float:
    """Seconds for the bare tools, the empty database included; the archive stands where the server's account can read it."""
    begun = time.monotonic()
    site.query("CREATE DATABASE rival TEMPLATE template0", "postgres")
    connection = ["-h", str(site.server.sockets), "-p", str(site.server.port), "-U", "postgres"]
    site.server.run("pg_restore", *connection, "-e", f"-j{JOBS}", "-d", "rival", str(archive))
    site.query("ANALYZE", "rival")
    spent = time.monotonic() - begun
    site.query("DROP DATABASE rival", "postgres")
    return spent


def measure(megabytes: int, directory: Path) -> dict[str, Any]:
    """One database, there and back. What takes less than a second is repeated, in turn with the rival."""
    with running_server({"fsync": "on", "shared_buffers": "128MB", "max_wal_size": "4GB"}) as server:
        site = Site(server, quiet(directory), directory, options={"jobs": JOBS})
        site.make_roles()
        fill(site, megabytes)
        size = int(site.query("SELECT pg_database_size('blog') / 1000000"))
        point = site.capture()
        archive = server.base / "rival.dir"
        server.run("pg_dump", "-h", str(server.sockets), "-p", str(server.port), "-U", "postgres", "-Fd", "-f",
                   str(archive), "-d", "blog")  # fmt: skip
        site.query("UPDATE small SET n = 2")
        plan, component = site.plan(point), site.component()
        ours, bare = [], [rival(site, archive)]
        for _time in range(7 if megabytes <= SIZES["SMALL"] else 1):
            component.undo(plan)  # what the last time has prepared
            begun = time.monotonic()
            checks = component.prepare(plan)["verification"]["check_ms"] / 1000
            ours.append(time.monotonic() - begun - checks)
            bare.append(rival(site, archive))
        there, idle = longest_gap(server, lambda: component.switch(plan))
        assert site.query("SELECT n FROM small") == "1"
        back, _idle = longest_gap(server, lambda: component.undo(plan))
        assert site.query("SELECT n FROM small") == "2"
    prepared, bare_s = median(ours), median(bare)
    return {"MB": size, "gap ms": there, "back ms": back, "idle ms": idle, "prepare s": round(prepared, 2),
            "pg_restore s": round(bare_s, 2), "ratio": round(prepared / bare_s, 2), "checks s": round(checks, 1)}  # fmt: skip


def test_a_databases_rollback(tmp_path: Path) -> None:
    found = {name: measure(size, tmp_path / name) for name, size in SIZES.items() if not (tmp_path / name).mkdir()}
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("\n" + "".join(f"{title:>14}" for title in found["SMALL"]))
    for row in found.values():
        print("".join(f"{value:>14}" for value in row.values()))
    print(f"memory: {most:.0f} MB")
    assert max(row["gap ms"] for row in found.values()) < MOST_MS
    assert max(row["ratio"] for row in found.values()) <= MOST_RATIO
    assert most < MOST_MB
