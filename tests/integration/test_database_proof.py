# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proofs at length: damaged bits, clients that never stop writing, and servers and programs that die at every step."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import ChecksumMismatch, LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.store import open_entry
from integration.test_database_crash import PREPARE_LINES, SWITCH_LINES, Hammer, order
from integration.test_pg_restore import call
from support.database_site import Site
from support.postgres_server import PostgresServer, running_server, wait_until

#: ``make proof`` asks for 200.
FLIPS = int(os.environ.get("LASTGOOD_FLIPS", "40"))
CLIENTS = 16


def test_each_flipped_bit_is_a_refusal_and_the_live_database_stays_untouched(site: Site) -> None:
    """The module opens a restore point in this way; that it refuses as a whole is seen once by the module itself."""
    site.create()
    site.query(
        "CREATE TABLE noise AS SELECT g, (SELECT string_agg(md5(g * 100 + n || ''), '') FROM generate_series(1, 20) n)"
        " FROM generate_series(1, 14000) g"
    )
    options = dict(site.server.options)
    made = call(site, "restore_point", name="p1", stack="blog", databases=[{"name": "blog", **options}])
    assert made.get("changed"), made
    site.damage()
    before = (site.oid(), site.content(), site.databases())
    state_dir = site.directory / "lastgood"
    archive = next((state_dir / "restore_points/p1").rglob("toc.dat")).parent
    files = sorted(path for path in archive.iterdir())
    sizes = [path.stat().st_size for path in files]
    assert sum(sizes) > 5_000_000
    chance = random.Random(20260101)
    refused = 0
    for number in range(FLIPS):
        # Each file has its turn, the large ones more often.
        path = files[number] if number < len(files) else chance.choices(files, sizes)[0]
        content = bytearray(path.read_bytes())
        place, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
        content[place] ^= bit
        path.write_bytes(content)
        with pytest.raises(ChecksumMismatch, match="is damaged"):
            open_entry(state_dir, "p1", "database", "blog")
        refused += 1
        if number == FLIPS - 1:
            said = call(site, "pg_restore", name="blog", restore_point="p1", **options)
            assert (said.get("failed"), said.get("outcome")) == (True, "refused"), said
        content[place] ^= bit
        path.write_bytes(content)
    assert refused == FLIPS
    assert (site.oid(), site.content(), site.databases()) == before
    assert open_entry(state_dir, "p1", "database", "blog").point == "p1"


@pytest.fixture
def own_server(make_context: Callable[..., Any], tmp_path: Path) -> Iterator[Site]:
    """A database on a server that may be killed: acknowledged commits are kept in memory for long."""
    with running_server(
        {"synchronous_commit": "off", "wal_writer_delay": "10s", "wal_writer_flush_after": "0"}
    ) as server:
        site = Site(server, make_context, tmp_path)
        site.make_roles()
        site.create()
        yield site


def postmaster(server: PostgresServer) -> int:
    """Its process number."""
    return int((server.data / "postmaster.pid").read_text().split("\n", 1)[0])


def start_again(server: PostgresServer) -> None:
    """After a kill -9: its children take a moment to notice."""
    wait_until(lambda: server.run("pg_ctl", "-D", str(server.data), "-w", "start", "-l", str(server.base / "log"),
                                  check=False).returncode == 0, 60)  # fmt: skip


@pytest.mark.parametrize("crash", [False, True], ids=["no crash", "server killed right after the switch"])
def test_sixteen_clients_write_through_the_whole_rollback(own_server: Site, crash: bool) -> None:
    site = own_server
    site.query("CREATE TABLE knock (n int PRIMARY KEY); GRANT ALL ON knock TO hammer")
    point = site.capture()
    site.damage()
    old = int(site.oid())
    hammers = [Hammer(site, number) for number in range(CLIENTS)]
    for hammer in hammers:
        hammer.start()
    try:
        wait_until(lambda: all(hammer.acknowledged for hammer in hammers), 120)
        killed = hammers[0].acknowledged[0].server if crash else ""
        plan = site.roll_back(point)
        if crash:
            os.kill(postmaster(site.server), signal.SIGKILL)
            start_again(site.server)
        wait_until(lambda: all(is_through(hammer, old, killed) for hammer in hammers), 120)
    finally:
        for hammer in hammers:
            hammer.enough.set()
        for hammer in hammers:
            hammer.join()
    assert site.component().state(plan) is State.SWITCHED
    kept, live = site.component().result(plan, {})["previous_database"], int(site.oid())
    rows = {
        old: set(map(int, site.query("SELECT n FROM knock", kept).split())),
        live: set(map(int, site.query("SELECT n FROM knock").split())),
    }
    assert not rows[old] & rows[live]
    for hammer in hammers:
        held = [row.number in rows[row.oid] for row in hammer.acknowledged]
        lost = [row for row, is_there in zip(hammer.acknowledged, held) if not is_there]
        # The killed server wrote to the new database without waiting for the disk: its last rows there may be lost. That is
        # what synchronous_commit = off means, and its orphaned processes go on acknowledging for a moment.
        assert {(row.oid, row.server) for row in lost} <= {(live, killed)}
        doubtful = [
            is_there for row, is_there in zip(hammer.acknowledged, held) if (row.oid, row.server) == (live, killed)
        ]
        assert doubtful == sorted(doubtful, reverse=True), "only the last ones of a client may be lost"


def is_through(hammer: Hammer, old: int, killed: str) -> bool:
    """Whether a client writes to the new database, on a server that lives."""
    last = hammer.acknowledged[-1]
    return last.oid != old and last.server != killed


def without_unlogged(content: dict[str, str]) -> dict[str, str]:
    """A crash empties unlogged tables, as it must."""
    return {**content, "public.visit": ""}


def test_the_server_killed_at_each_line_of_the_journal(own_server: Site) -> None:
    site = own_server
    good = without_unlogged(site.content())
    point = site.capture()
    site.damage()
    # Else the first crash would lose the damage itself: it was committed asynchronously.
    site.query("CHECKPOINT")
    damaged, oid = without_unlogged(site.content()), site.oid()
    plan = site.plan(point)
    component = site.component()
    for phase, lines in (("prepare", PREPARE_LINES), ("switch", SWITCH_LINES), ("undo", SWITCH_LINES)):
        for die in range(lines):
            if phase != "prepare":
                component.prepare(plan)
            if phase == "undo":
                component.switch(plan)
            with order(site, plan, phase, die, postmaster(site.server)) as process:
                ended = process.wait(120)
            start_again(site.server)
            state = component.state(plan)
            assert ended in (0, 1), "it said so, or was through already"
            live = without_unlogged(site.content())
            assert live == (good if state is State.SWITCHED else damaged), (phase, die)
            assert state is not State.FOREIGN
            component.undo(plan)
            assert (site.oid(), without_unlogged(site.content())) == (oid, damaged), (phase, die)
            site.drop([name for name in site.databases() if name != "blog"])
    component.prepare(plan)
    component.switch(plan)
    assert without_unlogged(site.content()) == good


def crash(server: PostgresServer, *, whole: bool) -> None:
    """kill -9 of the server, or of one client's process, after which it starts anew by itself, under the same start time."""
    if whole:
        os.kill(postmaster(server), signal.SIGKILL)
        start_again(server)
        return
    where = {"host": str(server.sockets), "port": server.port, "user": "hammer", "dbname": "blog"}
    with closing(psycopg2.connect(**where)) as client:
        os.kill(client.info.backend_pid, signal.SIGKILL)
    wait_until(lambda: server.psql("postgres", "SELECT 1", check=False) == "1", 60)


@pytest.mark.parametrize("whole", [True, False], ids=["server", "one client's process"])
def test_a_crash_that_empties_unlogged_tables_after_prepare_is_not_switched_to(own_server: Site, whole: bool) -> None:
    site = own_server
    good = site.content()
    point = site.capture()
    site.damage()
    site.query("CHECKPOINT")
    oid, plan, component = site.oid(), site.plan(point), site.component()
    component.prepare(plan)
    crash(site.server, whole=whole)
    damaged = site.content()
    with pytest.raises(
        LastGoodError, match=r"has crashed since, and so has emptied public\.visit\. Nothing was switched"
    ):
        component.switch(plan)
    assert (site.oid(), site.content(), component.state(plan)) == (oid, damaged, State.PREPARED)
    # It is built anew, and not taken for finished.
    component.prepare(plan)
    component.switch(plan)
    assert site.content() == good


def restoring(parent: int) -> int:
    """The process number of the pg_restore that a process has started to fill a database, 0 if there is none now."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields, words = path.read_text(), path.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if b"--exit-on-error" in words and int(fields.rsplit(")", 1)[1].split()[1]) == parent:
            return int(path.parent.name)
    return 0


def test_a_killed_pg_restore_fails_the_prepare_and_nothing_else(site: Site) -> None:
    site.create()
    # A restore goes on for as long as there is a role of that name: it can't have ended when it is killed.
    site.query(
        "CREATE FUNCTION held() RETURNS bool LANGUAGE sql AS "
        "$$ SELECT count(pg_sleep(3600)) >= 0 FROM pg_roles WHERE rolname = 'holds_restores' $$; "
        "CREATE TABLE filler (g int CHECK (held())); INSERT INTO filler VALUES (1)"
    )
    good = site.content()
    point = site.capture()
    site.damage()
    before = (site.oid(), site.content())
    plan: Plan = site.plan(point)
    component = site.component()
    site.query("CREATE ROLE holds_restores")
    with order(site, plan, "prepare", -1) as process:
        found: list[int] = []
        wait_until(lambda: any(found) or found.append(restoring(process.pid)), 60)
        os.kill(max(found), signal.SIGKILL)
        assert process.wait(60) == 1
    site.query("DROP ROLE holds_restores")
    assert component.state(plan) is State.PREPARED
    assert (site.oid(), site.content()) == before
    component.undo(plan)
    assert (site.oid(), site.content(), site.databases()) == (*before, ["blog"])
    component.prepare(plan)
    component.switch(plan)
    assert site.content() == good
