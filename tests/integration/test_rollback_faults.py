# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollbacks of a real stack that are cut off: all old or all new, every time."""

from __future__ import annotations

import fcntl
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.play import Play
from support.rollback_stack import (
    ALL,
    CORE,
    FAILING,
    HOSTS,
    STAGE,
    RollbackStack,
    checks,
    is_open,
    journalled,
    projects,
)

AT_LENGTH = pytest.mark.at_length
#: Where a playbook is cut off before every host has promised: on which host, and what is waited for there.
BEFORE_PROMISES = {
    "preparing": ("demo_db", journalled("intent", phase="prepare")),
    "services are down": ("demo_core", journalled("stopped")),
    "switching": ("demo_stages", journalled("intent", phase="switch")),
    "starting": ("demo_core", journalled("started")),
}


@pytest.fixture
def all_hosts(stack: RollbackStack) -> Iterator[RollbackStack]:
    """A broken stack; the transaction of the test has ended afterwards."""
    assert stack.site.snapshot() != stack.good
    yield stack
    still_open = stack.traces()["open"]
    if still_open:
        stack.recover()  # the next test may go on
    assert still_open == []


def transactions(stack: RollbackStack, play: Play) -> dict[str, Path]:
    """Host → the directory of the play's transaction there."""
    return {
        host: path
        for host in HOSTS
        for path in (stack.state(host) / "transactions").glob("2*")
        if path.name not in play.known
    }


def recovers(stack: RollbackStack, play: Play, expected: dict[str, str]) -> None:
    """One recovery ends the transaction, with everything as expected."""
    ended = stack.recover()
    assert ended.status == 0, ended.said
    assert ended.outcome == "recovered"
    assert stack.site.snapshot() == expected
    assert {path.name for path in transactions(stack, play).values()} == {ended.artefacts["id"]}


#: The others are cut off by a signal here, and at every step on real hosts (tests/lab/test_traces.py, the fault matrix).
TRIED = "switching"


@pytest.mark.parametrize(
    "moment", [moment if moment == TRIED else pytest.param(moment, marks=AT_LENGTH) for moment in BEFORE_PROMISES]
)
def test_killed_before_the_promises_all_is_old(all_hosts: RollbackStack, moment: str) -> None:
    stack = all_hosts
    before, health, traces = stack.site.snapshot(), stack.health(), stack.traces()
    pids = stack.pids()
    play = stack.start("multi_rollback", **ALL)
    host, condition = BEFORE_PROMISES[moment]
    stack.wait_for(play, condition, host)
    play.kill()
    assert not any((path / "promise").exists() for path in transactions(stack, play).values())
    recovers(stack, play, before)
    assert stack.health() == health
    assert stack.traces() == traces
    if moment == "preparing":
        assert stack.pids() == pids
        again = stack.recover()
        assert again.status == 0, again.said
        assert "Nothing to recover: no transaction is open" in again.words


def test_killed_while_promises_are_collected_all_is_old(all_hosts: RollbackStack) -> None:
    stack = all_hosts
    before, health, traces = stack.site.snapshot(), stack.health(), stack.traces()
    play = stack.start("multi_rollback", **ALL)
    stack.wait_for(play, journalled("started"), "demo_stages")
    with held(transactions(stack, play)["demo_stages"] / "lock"):
        for host in ("demo_core", "demo_db"):
            stack.wait_for(play, journalled("promised"), host)
        play.kill()
    found = transactions(stack, play)
    assert {host for host in HOSTS if (found[host] / "promise").exists()} == {"demo_core", "demo_db"}
    recovers(stack, play, before)
    assert stack.health() == health
    assert stack.traces() == traces


def test_killed_when_all_have_promised_all_is_new(all_hosts: RollbackStack) -> None:
    stack = all_hosts
    expected, kept = stack.expected(stack.site.snapshot()), stack.traces()["databases"]
    play = stack.start("multi_rollback", **ALL)
    for host in HOSTS:
        stack.wait_for(play, journalled("promised"), host)
    play.kill()
    assert any(is_open(path) for path in transactions(stack, play).values())
    recovers(stack, play, expected)
    assert set(stack.health().values()) == {200}
    traces = stack.traces()
    assert traces["timers"] == traces["open"] == []
    assert all(traces[f"{project} worktrees"] == [] for project in stack.site.facts["projects"])
    assert set(traces["databases"]) <= set(kept)


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 99), pytest.param(signal.SIGTERM, -signal.SIGTERM, marks=AT_LENGTH)],
)
def test_interrupted_all_is_old_after_recovery(all_hosts: RollbackStack, number: signal.Signals, status: int) -> None:
    stack = all_hosts
    before, health = stack.site.snapshot(), stack.health()
    play = stack.start("multi_rollback", **ALL)
    stack.wait_for(play, journalled("stopped"), "demo_stages")
    play.process.send_signal(number)
    assert play.wait().status == status
    recovers(stack, play, before)
    assert stack.health() == health


@pytest.mark.at_length  # test_recover.py: a recovery beside a controller that lives on; the model has two recoveries as well
def test_two_recoveries_at_once_end_alike(all_hosts: RollbackStack) -> None:
    stack = all_hosts
    before, health = stack.site.snapshot(), stack.health()
    play = stack.start("multi_rollback", **ALL)
    stack.wait_for(play, journalled("stopped"), "demo_core")
    play.kill()
    recoveries = [stack.start("recover", rollback_operator=name) for name in ("anna", "bert")]
    ended = [recovery.wait() for recovery in recoveries]
    assert [each.status for each in ended] == [0, 0], ended[0].said + ended[1].said
    assert stack.site.snapshot() == before
    assert stack.health() == health


def test_one_host_that_fails_to_prepare_stops_all_before_anything_lives(all_hosts: RollbackStack) -> None:
    stack = all_hosts
    before, pids, traces = stack.site.snapshot(), stack.pids(), stack.traces()
    failing = projects(**checks(CORE, commands=[["python", "-c", "raise SystemExit('core is not well')"]]))
    ended = stack.play("multi_rollback", **ALL, rollback_projects=failing)
    assert ended.status == 2, ended.said
    assert ended.outcome == "undone"
    assert "core is not well" in ended.words
    assert stack.site.snapshot() == before
    assert stack.pids() == pids
    assert stack.traces() == traces


def test_one_host_that_fails_its_checks_takes_all_back(all_hosts: RollbackStack) -> None:
    stack = all_hosts
    before, health, traces = stack.site.snapshot(), stack.health(), stack.traces()
    failing = projects(**checks(STAGE, http=FAILING))
    ended = stack.play("multi_rollback", **ALL, rollback_projects=failing, rollback_check_timeout=5)
    assert ended.status == 2, ended.said
    assert ended.outcome == "undone"
    assert FAILING[0]["url"] in ended.words
    assert stack.site.snapshot() == before
    assert stack.health() == health
    assert stack.traces() == traces


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """Keep a host's transaction to ourselves: its next call waits."""
    with lock.open("a", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def test_a_database_that_refuses_its_undo_keeps_everything_else_as_it_is(all_hosts: RollbackStack) -> None:
    """Somebody puts another database in the place of the new one, and then a check fails."""
    stack = all_hosts
    before, traces = stack.site.snapshot(), stack.traces()
    failing = projects(**checks(STAGE, http=FAILING))
    play = stack.start("multi_rollback", **ALL, rollback_projects=failing, rollback_check_timeout=5)
    stack.wait_for(play, journalled("started"), "demo_stages")
    found = transactions(stack, play)
    with held(found["demo_stages"] / "lock"):
        for host in ("demo_core", "demo_db"):
            stack.wait_for(play, journalled("promised"), host)
        replace_database(stack)
    ended = play.wait()
    assert (ended.status != 0, ended.outcome) == (True, "undo_incomplete"), ended.said
    _play, _title, table = ended.said.partition("\nUNDO INCOMPLETE")
    assert "Changed by somebody else since this transaction planned it: database:blog" in " ".join(table.split())
    assert "Nothing may be finished" not in table, "one cause, and not what follows from it"
    assert stack.site.snapshot() == stack.expected(before), "nothing else went back"
    assert {host for host in HOSTS if (found[host] / "promise").exists()} == set(HOSTS)

    again = stack.recover()
    assert (again.status != 0, again.outcome) == (True, "undo_incomplete")
    bring_database_back(stack)
    recovers(stack, play, before)
    assert stack.traces() == traces


def test_services_that_cannot_be_stopped_hold_nothing_back_in_an_undo(all_hosts: RollbackStack) -> None:
    """Supervisor can't be reached any more when a check fails; whoever mends that recovers."""
    stack = all_hosts
    before, health, traces = stack.site.snapshot(), stack.health(), stack.traces()
    socket = Path(stack.site.facts["socket_dir"]) / "supervisor.sock"
    failing = projects(**checks(STAGE, http=FAILING))
    play = stack.start("multi_rollback", **ALL, rollback_projects=failing, rollback_check_timeout=5)
    stack.wait_for(play, journalled("started"), "demo_stages")
    with held(transactions(stack, play)["demo_stages"] / "lock"):
        for host in ("demo_core", "demo_db"):
            stack.wait_for(play, journalled("promised"), host)
        away = socket.rename(socket.with_suffix(".away"))
    ended = play.wait()
    assert (ended.status != 0, ended.outcome) == (True, "undo_incomplete"), ended.said
    assert stack.site.snapshot() == before
    away.rename(socket)
    recovers(stack, play, before)
    assert stack.health() == health
    assert stack.traces() == traces


def replace_database(stack: RollbackStack) -> None:
    """A copy of blog is blog now, and blog is elsewhere."""
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'blog'"
    for sql in ("ALTER DATABASE blog ALLOW_CONNECTIONS false", end, "ALTER DATABASE blog RENAME TO elsewhere",
                "CREATE DATABASE blog TEMPLATE elsewhere OWNER blog"):  # fmt: skip
        stack.site.psql(sql, "postgres", "postgres")


def bring_database_back(stack: RollbackStack) -> None:
    """What somebody does who reads what refused."""
    for sql in ("DROP DATABASE blog WITH (FORCE)", "ALTER DATABASE elsewhere RENAME TO blog",
                "ALTER DATABASE blog ALLOW_CONNECTIONS true"):  # fmt: skip
        stack.site.psql(sql, "postgres", "postgres")
