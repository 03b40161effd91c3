# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollback of tables under kill -9: of the module at each line of its journal, of its programs, and of the server."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State
from ansible_collections.lastgood.rollback.plugins.module_utils._components.tables.component import Tables
from integration.test_database_crash import order, run_and_die
from support.database_site import FIRST, Site
from support.postgres_server import PostgresServer, running_server, wait_until
from support.tables_site import EVERYTHING, TablesSite, client, copied_shop, good_shop, make_shop, quiet, shop

__all__ = ["good_shop", "shop"]

PREPARE_LINES = SWITCH_LINES = UNDO_LINES = 4
#: What a look finds after a death at each line: of the exchange, and of what follows it.
AFTER_SWITCH = [State.PREPARED, State.PARTIAL, State.PARTIAL, State.SWITCHED]
AFTER_UNDO = [State.SWITCHED, State.PARTIAL, State.PARTIAL, State.UNTOUCHED]
#: They are fresh after an undo, whatever they were before.
COMPUTED = ("public.b_counts", "public.a_above")


def rows(site: TablesSite) -> dict[str, str]:
    """Content without what is computed from it."""
    return {name: found for name, found in site.content().items() if name not in COMPUTED}


@pytest.fixture
def stage(shop: TablesSite) -> tuple[TablesSite, Plan, dict[str, str], dict[str, str]]:
    """A damaged shop, a plan, and what it held before and after the damage."""
    good = rows(shop)
    shop.damage()
    return shop, shop.wanted(EVERYTHING), good, rows(shop)


Stage = tuple[TablesSite, Plan, dict[str, str], dict[str, str]]


def test_prepare_killed_at_each_line(stage: Stage) -> None:
    site, plan, good, damaged = stage
    component = site.component()
    for die in range(PREPARE_LINES):
        assert run_and_die(site, plan, "prepare", die) == -signal.SIGKILL
        assert component.state(plan) in (State.UNTOUCHED, State.PREPARED)
        assert rows(site) == damaged
        if die % 2:
            component.undo(plan)
            assert (site.others(), component.state(plan)) == ([], State.UNTOUCHED)
    assert run_and_die(site, plan, "prepare", PREPARE_LINES + 2) == 0
    component.switch(plan)
    assert rows(site) == good


def test_switch_and_undo_killed_at_each_line(stage: Stage) -> None:
    site, plan, good, damaged = stage
    component, objects = site.component(), site.objects()
    for die in range(UNDO_LINES):
        component.prepare(plan)
        assert run_and_die(site, plan, "switch", die) == -signal.SIGKILL
        assert component.state(plan) is AFTER_SWITCH[die]
        component.switch(plan)
        assert (rows(site), site.objects()) == (good, objects)
        assert component.state(plan) is State.SWITCHED
        assert run_and_die(site, plan, "undo", die) == -signal.SIGKILL
        assert component.state(plan) is AFTER_UNDO[die]
        component.undo(plan)
        assert component.count_written(plan) == {}
        component.discard_rejected(plan)
        assert (rows(site), site.objects(), site.others()) == (damaged, objects, [])
    component.prepare(plan)
    assert run_and_die(site, plan, "switch", SWITCH_LINES) == 0
    assert run_and_die(site, plan, "undo", UNDO_LINES) == 0


@pytest.mark.parametrize("moment", [0.02, 0.08, 0.2])
def test_a_switch_killed_at_any_moment_is_all_old_or_all_new(stage: Stage, moment: float) -> None:
    site, plan, good, damaged = stage
    component = site.component()
    component.prepare(plan)
    with order(site, plan, "switch", -1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(moment)
        process.kill()
        process.wait(20)
    state = component.state(plan)
    assert rows(site) == (damaged if state is State.PREPARED else good)
    component.undo(plan)
    assert component.count_written(plan) == {}
    component.discard_rejected(plan)
    assert (rows(site), site.others()) == (damaged, [])


def test_a_switch_killed_while_it_waits_for_a_lock_leaves_nobody_waiting(stage: Stage) -> None:
    site, plan, good, damaged = stage
    component = site.component()
    component.prepare(plan)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LOCK TABLE%' AND wait_event_type = 'Lock'"
    with client(site) as cursor:
        cursor.execute("SELECT count(*) FROM customer")
        with order(site, plan, "switch", -1) as process:
            wait_until(lambda: site.query(waiting) == "1")
            process.kill()
            process.wait(20)
        assert component.state(plan) is State.PREPARED
    assert rows(site) == damaged
    component.switch(plan)
    assert rows(site) == good


class Mortal(CommandRunner):
    """Ends pg_restore with SIGKILL as soon as it fills tables, or adds keys and indexes to them."""

    def run(self, argv: Any, attempt: str, **words: Any) -> Any:
        mortal = {"--section=data", "--section=post-data"} & set(argv)
        return super().run(["timeout", "-s", "KILL", "0.01", *argv] if mortal else argv, attempt, **words)

    def as_user(self, user: Any) -> CommandRunner:
        return Mortal(user, self.env)

    def with_env(self, env: Any) -> CommandRunner:
        return Mortal(self.user, {**self.env, **env})


def test_a_restore_that_is_killed_is_begun_again(stage: Stage) -> None:
    site, plan, good, damaged = stage
    component = site.component()
    torn = Tables(replace(component.context, run=Mortal()))
    with pytest.raises(LastGoodError, match="Restoring restore point point"):
        torn.prepare(plan)
    assert rows(site) == damaged
    component.prepare(plan)
    component.switch(plan)
    assert rows(site) == good


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TablesSite, PostgresServer]]:
    """A damaged shop on a server of its own, on which commits are not synchronous."""
    settings = {"synchronous_commit": "off", "wal_writer_delay": "10s"}
    base = tmp_path_factory.mktemp("crashing")
    with running_server(settings) as server:
        site = Site(server, quiet(base), base, name="good_shop")
        site.make_roles()
        make_shop(server, "good_shop")
        with copied_shop(server, site.capture(), quiet(base), base) as copy:
            # A crash empties an unlogged table, as it must.
            copy.query("ALTER TABLE visit SET LOGGED")
            copy.damage()
            copy.query("CHECKPOINT")
            yield copy, server


def crash(server: PostgresServer) -> None:
    """kill -9 of the server's first process; the others end by themselves."""
    os.kill(postmaster(server), signal.SIGKILL)
    wait_until(lambda: started(server))


def postmaster(server: PostgresServer) -> int:
    """The number of the server's first process."""
    return int((server.data / "postmaster.pid").read_text().split()[0])


def started(server: PostgresServer) -> bool:
    """Whether it could be started: not as long as others of its processes still live."""
    try:
        server.start()
    except subprocess.CalledProcessError:
        return False
    return True


def dying(workspace: Path, line: int, die: Callable[[], None]) -> Context:
    """A context with a journal, at one line of which something dies."""
    left = [line]

    def tick() -> None:
        left[0] -= 1
        if left[0] == -1:
            die()

    @contextmanager
    def change(_what: str, **_facts: Any) -> Iterator[None]:
        tick()
        yield
        tick()

    return Context(FIRST, workspace, CommandRunner(), change, lambda _line: None)


@pytest.mark.parametrize("phase", ["prepare", "switch", "undo"])
def test_the_server_killed_at_each_line_is_all_old_or_all_new(
    crashing: tuple[TablesSite, PostgresServer], phase: str
) -> None:
    site, server = crashing
    component, before = site.component(), rows(site)
    plan = site.wanted(["customer", "orders", "event", "visit"])
    for line in range({"prepare": PREPARE_LINES, "switch": SWITCH_LINES, "undo": UNDO_LINES}[phase]):
        if phase != "prepare":
            component.prepare(plan)
        if phase == "undo":
            component.switch(plan)
        first = postmaster(server)
        mortal = Tables(dying(component.context.workspace, line, lambda: crash(server)))
        with suppress(LastGoodError):
            getattr(mortal, phase)(plan)
        assert postmaster(server) != first, "the server was not killed"
        state, found = component.state(plan), rows(site)
        assert (found == before) is (
            state in (State.UNTOUCHED, State.PREPARED) or (phase == "undo" and state is State.PARTIAL)
        )
        component.undo(plan)
        assert component.count_written(plan) == {}
        component.discard_rejected(plan)
        assert (component.state(plan), rows(site), site.others()) == (State.UNTOUCHED, before, [])
