# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database's switch under clients that never stop knocking, and every phase under kill -9."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State
from support.database_site import FIRST, Site
from support.postgres_server import running_server, wait_until

DRIVER = Path(__file__).resolve().parents[1] / "support" / "database_driver.py"
WRITE = """INSERT INTO public.knock VALUES (%s) RETURNING
    (SELECT oid::bigint FROM pg_database WHERE datname = current_database()), n, pg_postmaster_start_time()::text"""


class Row(NamedTuple):
    """A row whose commit a client was told of: in which database, and by a server that was started when."""

    oid: int
    number: int
    server: str


class Hammer(threading.Thread):
    """A client that writes one row at a time, and connects again whenever it is cut off."""

    def __init__(self, site: Site, number: int) -> None:
        super().__init__()
        self.number = number
        self.where = {"host": str(site.server.sockets), "port": site.server.port, "user": "hammer", "dbname": "blog"}
        self.acknowledged: list[Row] = []
        self.gaps: list[float] = []
        self.enough = threading.Event()

    def run(self) -> None:
        count, last = self.number * 1_000_000, time.monotonic()
        while not self.enough.is_set():
            try:
                connection = psycopg2.connect(**self.where)
                connection.autocommit = True
                with connection.cursor() as cursor:
                    while not self.enough.is_set():
                        count += 1
                        cursor.execute(WRITE, [count])
                        self.acknowledged.append(Row(*cursor.fetchone()))
                        self.gaps.append(time.monotonic() - last)
                        last = time.monotonic()
                connection.close()
            except psycopg2.Error:
                continue


def test_every_acknowledged_row_is_in_the_old_or_in_the_new_database(site: Site) -> None:
    site.create()
    site.query("CREATE TABLE knock (n int PRIMARY KEY); GRANT ALL ON knock TO hammer")
    point = site.capture()
    site.damage()
    plan = site.plan(point)
    component = site.component()
    previous = component.result(plan, component.prepare(plan))["previous_database"]
    old, hammers = int(site.oid()), [Hammer(site, number) for number in range(8)]
    for hammer in hammers:
        hammer.start()
    try:
        wait_until(lambda: all(len(hammer.acknowledged) > 20 for hammer in hammers))
        component.switch(plan)
        new = int(site.oid())
        # Each has to get through to the new one.
        wait_until(lambda: all(hammer.acknowledged[-1].oid == new for hammer in hammers))
    finally:
        for hammer in hammers:
            hammer.enough.set()
        for hammer in hammers:
            hammer.join()
    rows = {
        old: set(map(int, site.query("SELECT n FROM knock", previous).split())),
        new: set(map(int, site.query("SELECT n FROM knock").split())),
    }
    assert old != new
    assert not rows[old] & rows[new]
    for hammer in hammers:
        assert hammer.acknowledged
        for row in hammer.acknowledged:
            assert row.number in rows[row.oid]


def test_a_superusers_session_stops_an_owner_without_harm(site: Site) -> None:
    site.create(owner="keeper")
    site.options = {"login_user": "keeper"}
    point = site.capture()
    site.query("DELETE FROM visit")
    before = site.content()
    oid = site.oid()
    plan = site.plan(point)
    component = site.component()
    component.prepare(plan)
    where = {"host": str(site.server.sockets), "port": site.server.port, "dbname": "blog"}
    site.query("CREATE ROLE boss SUPERUSER LOGIN", "postgres")
    boss = psycopg2.connect(user="boss", **where)
    try:
        assert any("superuser" in warning for warning in site.plan(point).warnings)
        with pytest.raises(LastGoodError, match=r"being accessed by other users.*could not be ended"):
            component.switch(plan)
        assert component.state(plan) is State.PREPARED
    finally:
        boss.close()
        site.query("DROP ROLE boss", "postgres")
    component.undo(plan)
    assert (site.oid(), site.content(), site.databases()) == (oid, before, ["blog"])


def order(site: Site, plan: Plan, phase: str, die: int, victim: int = 0) -> subprocess.Popen[str]:
    """Start a phase in a process of its own."""
    context = site.make_context(FIRST)
    what: dict[str, Any] = {
        "phase": phase,
        "plan": plan.to_json(),
        "transaction": FIRST,
        "workspace": str(context.workspace),
        "die": die,
        "victim": victim,
    }
    return subprocess.Popen([sys.executable, str(DRIVER), json.dumps(what)], stdout=subprocess.PIPE, text=True)


def run_and_die(site: Site, plan: Plan, phase: str, die: int) -> int:
    """Let a phase kill itself at a line of its journal; its exit status."""
    with order(site, plan, phase, die) as process:
        return process.wait(60)


@pytest.fixture
def stage(site: Site) -> tuple[Site, Plan, dict[str, str], dict[str, str]]:
    """A damaged database, a plan, and what it held before and after the damage."""
    site.create()
    good = site.content()
    point = site.capture()
    site.damage()
    return site, site.plan(point), good, site.content()


Stage = tuple[Site, Plan, dict[str, str], dict[str, str]]
PREPARE_LINES, SWITCH_LINES = 6, 2


@pytest.mark.parametrize("die", range(PREPARE_LINES))
def test_prepare_killed_at_each_line(stage: Stage, die: int) -> None:
    site, plan, good, damaged = stage
    oid, component = site.oid(), site.component()
    assert run_and_die(site, plan, "prepare", die) == -signal.SIGKILL
    assert component.state(plan) in (State.UNTOUCHED, State.PREPARED)
    assert (site.oid(), site.content()) == (oid, damaged)
    component.undo(plan)
    assert (site.databases(), site.oid()) == (["blog"], oid)
    assert run_and_die(site, plan, "prepare", die) == -signal.SIGKILL
    component.prepare(plan)
    component.switch(plan)
    assert site.content() == good
    assert len(site.databases()) == 2


def test_the_lines_of_prepare_are_all_tried(stage: Stage) -> None:
    site, plan, _good, _damaged = stage
    assert run_and_die(site, plan, "prepare", PREPARE_LINES) == 0
    assert run_and_die(site, plan, "switch", SWITCH_LINES) == 0


@pytest.mark.parametrize("die", range(SWITCH_LINES))
def test_switch_and_undo_killed_at_each_line(stage: Stage, die: int) -> None:
    site, plan, good, damaged = stage
    oid, component = site.oid(), site.component()
    component.prepare(plan)
    assert run_and_die(site, plan, "switch", die) == -signal.SIGKILL
    assert component.state(plan) is (State.SWITCHED if die else State.PREPARED)
    component.switch(plan)
    assert site.content() == good
    assert run_and_die(site, plan, "undo", die) == -signal.SIGKILL
    assert component.state(plan) is (State.UNTOUCHED if die else State.SWITCHED)
    component.undo(plan)
    assert (site.oid(), site.content()) == (oid, damaged)
    component.count_written(plan)
    kept = component.kept(plan)
    assert f"rows written to {kept['database blog, rejected']}" in kept


def test_a_switch_killed_while_it_waits_leaves_the_old_database_open(stage: Stage) -> None:
    """Somebody else holds the database's lock, so the first rename waits; then the module is killed."""
    site, plan, good, damaged = stage
    component = site.component()
    component.prepare(plan)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER DATABASE%' AND wait_event_type = 'Lock'"
    site.query("ALTER ROLE hammer SUPERUSER", "postgres")
    where = {"host": str(site.server.sockets), "port": site.server.port, "user": "hammer", "dbname": "postgres"}
    with psycopg2.connect(**where) as blocker, blocker.cursor() as cursor:
        cursor.execute("COMMENT ON DATABASE blog IS 'locked'")
        with order(site, plan, "switch", -1) as process:
            wait_until(lambda: site.query(waiting, "postgres") == "1")
            process.kill()
            process.wait(20)
        blocker.rollback()
    blocker.close()
    assert component.state(plan) is State.PREPARED
    assert site.content() == damaged
    component.switch(plan)
    assert site.content() == good


def test_a_restore_that_outlives_its_module_is_ended(stage: Stage) -> None:
    site, plan, good, _damaged = stage
    component = site.component()
    restoring = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lastgood-%' AND datname LIKE '%_incoming'"
    )
    with order(site, plan, "prepare", -1) as process:
        wait_until(lambda: site.query(restoring, "postgres") != "0")
        process.kill()
        process.wait(20)
    component.prepare(plan)
    component.switch(plan)
    assert site.content() == good


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.05, 0.1])
def test_switch_killed_at_any_moment_is_all_old_or_all_new(stage: Stage, moment: float) -> None:
    site, plan, good, damaged = stage
    component = site.component()
    component.prepare(plan)
    with order(site, plan, "switch", -1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(moment)
        process.kill()
        process.wait(20)
    assert site.content() in (good, damaged)
    component.undo(plan)
    assert component.state(plan) is State.UNTOUCHED
    assert site.content() == damaged


def test_a_switch_survives_a_crash_of_the_server_although_commits_are_not_synchronous(
    make_context: Any, tmp_path: Path
) -> None:
    with running_server({"fsync": "on", "synchronous_commit": "off", "wal_writer_delay": "10s"}) as server:
        site = Site(server, make_context, tmp_path)
        site.make_roles()
        site.create()
        good = site.content()
        point = site.capture()
        site.damage()
        plan = site.plan(point)
        component = site.component()
        component.prepare(plan)
        component.switch(plan)
        server.stop("immediate")
        server.start()
        assert component.state(plan) is State.SWITCHED
        content = site.content()
        # A crash empties unlogged tables, as it must.
        assert {**content, "public.visit": ""} == {**good, "public.visit": ""}
