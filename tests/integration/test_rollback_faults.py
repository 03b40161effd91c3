# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollbacks of a real stack that are cut off, fail on one host, or meet each other: all old or all new, every time."""

from __future__ import annotations

import fcntl
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from integration.play import Play
from integration.rollback_stack import (
    ALL,
    FAILING,
    HOSTS,
    STAGE,
    RollbackStack,
    checks,
    damaged,
    is_open,
    journalled,
    projects,
)

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
    assert stack.site.look() != stack.good
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
    assert stack.site.look() == expected
    assert {path.name for path in transactions(stack, play).values()} == {ended.artefacts["rollback_id"]}


@pytest.mark.parametrize("moment", BEFORE_PROMISES)
def test_killed_before_the_promises_all_is_old(all_hosts: RollbackStack, moment: str) -> None:
    stack = all_hosts
    before, health, traces = stack.site.look(), stack.health(), stack.traces()
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
    before, health, traces = stack.site.look(), stack.health(), stack.traces()
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


@pytest.mark.parametrize("moment", ["promised", "decided"])
def test_killed_when_all_have_promised_all_is_new(all_hosts: RollbackStack, moment: str) -> None:
    stack = all_hosts
    expected = stack.expected(stack.site.look())
    play = stack.start("multi_rollback", **ALL)
    for host in HOSTS if moment == "promised" else ["demo_db"]:
        stack.wait_for(play, journalled(moment), host)
    play.kill()
    assert any(is_open(path) for path in transactions(stack, play).values())
    recovers(stack, play, expected)
    assert set(stack.health().values()) == {200}
    traces = stack.traces()
    assert traces["timers"] == traces["open"] == []
    assert all(traces[f"{project} worktrees"] == [] for project in stack.site.facts["projects"])
    assert [name for name in traces["databases"] if "lastgood" in name] == []


@pytest.mark.parametrize(
    ("number", "status", "event", "host"),
    [(signal.SIGINT, 99, "stopped", "demo_stages"), (signal.SIGTERM, -signal.SIGTERM, "prepared", "demo_db")],
)
def test_interrupted_all_is_old_after_recovery(
    all_hosts: RollbackStack, number: signal.Signals, status: int, event: str, host: str
) -> None:
    stack = all_hosts
    before, health = stack.site.look(), stack.health()
    play = stack.start("multi_rollback", **ALL)
    stack.wait_for(play, journalled(event), host)
    play.process.send_signal(number)
    assert play.wait().status == status
    recovers(stack, play, before)
    assert stack.health() == health


def test_a_silent_controller_is_not_waited_for(all_hosts: RollbackStack) -> None:
    stack = all_hosts
    before, health = stack.site.look(), stack.health()
    play = stack.start("multi_rollback", **ALL, rollback_confirm_timeout=900)
    stack.wait_for(play, journalled("switched"), "demo_core")
    play.kill()
    found = transactions(stack, play)
    for path in found.values():
        pass_time(path, 900)
    while not all(journalled("undone")(path) for path in found.values()) or stack.traces()["timers"]:
        time.sleep(0.1)
    assert stack.site.look() == before
    assert stack.health() == health
    assert all(is_open(path) and (path / "tombstone").exists() for path in found.values())
    recovers(stack, play, before)
    assert stack.health() == health


def pass_time(transaction: Path, seconds: int) -> None:
    """As if nobody had called for so long: a test can't wait, and a slow machine must not be too slow for it."""
    file = transaction / "deadline"
    deadline = json.loads(file.read_text(encoding="utf-8"))
    assert deadline["timeout"] == seconds
    earlier = file.with_name("deadline.earlier")
    earlier.write_text(json.dumps({**deadline, "boottime": deadline["boottime"] - seconds}), encoding="utf-8")
    earlier.rename(file)


def test_two_recoveries_at_once_end_alike(all_hosts: RollbackStack) -> None:
    stack = all_hosts
    before, health = stack.site.look(), stack.health()
    play = stack.start("multi_rollback", **ALL)
    stack.wait_for(play, journalled("stopped"), "demo_core")
    play.kill()
    recoveries = [stack.start("recover", rollback_operator=name) for name in ("anna", "bert")]
    ended = [recovery.wait() for recovery in recoveries]
    assert [each.status for each in ended] == [0, 0], ended[0].said + ended[1].said
    assert stack.site.look() == before
    assert stack.health() == health


def test_a_failed_check_on_one_host_is_taken_back_on_all(all_hosts: RollbackStack) -> None:
    stack = all_hosts
    before, health, traces = stack.site.look(), stack.health(), stack.traces()
    ended = stack.play("multi_rollback", **ALL, rollback_projects=projects(**checks(STAGE, http=FAILING)))
    assert ended.status == 2
    assert ended.outcome == "undone"
    assert "demo_stages: Checks failed: blog_writing: http://127.0.0.1:9/never" in ended.words
    assert stack.site.look() == before
    assert stack.health() == health
    assert stack.traces() == traces


def test_killed_while_it_is_taken_back_all_is_old(all_hosts: RollbackStack) -> None:
    stack = all_hosts
    before, health, traces = stack.site.look(), stack.health(), stack.traces()
    play = stack.start("multi_rollback", **ALL, demo_acceptance=FAILING)
    stack.wait_for(play, journalled("intent", phase="undo"), "demo_stages")
    play.kill()
    recovers(stack, play, before)
    assert stack.health() == health
    assert stack.traces() == traces


def test_a_failed_preparation_on_one_host_ends_it_on_all(all_hosts: RollbackStack) -> None:
    stack = all_hosts
    before, pids, traces = stack.site.look(), stack.pids(), stack.traces()
    packages = stack.entry("demo_stages", "packages", f"{stack.path(STAGE)}/.venv")
    wheel = next(packages.glob("*/mistune-*.whl"))
    play = stack.start("multi_rollback", **ALL)
    stack.wait_for(play, journalled("begun"), "demo_db")
    with damaged(wheel):
        ended = play.wait()
    assert ended.status == 2
    assert ended.outcome == "undone"
    assert "demo_stages: " in ended.words
    assert wheel.name in ended.words
    assert stack.site.look() == before
    assert stack.pids() == pids
    assert stack.traces() == traces


@pytest.mark.parametrize("round_", range(3))
def test_of_two_operators_at_once_one_is_refused(healthy: RollbackStack, round_: int) -> None:
    healthy.damage_files()
    gate = healthy.site.base / f"gate-{round_}"
    # Whoever has the stack keeps it until the other has ended.
    command = ["/bin/sh", "-c", f"until [ -e {gate} ]; do sleep 0.1; done"]
    values = {
        "rollback_point": "last_good",
        "rollback_only": STAGE,
        "rollback_hooks": {"before_stop": [{"name": "gate", "host": "demo_db", "command": command}]},
    }
    plays = [healthy.start("config_rollback", **values, rollback_operator=name) for name in ("anna", "bert")]
    while all(play.process.poll() is None for play in plays):
        time.sleep(0.05)
    gate.touch()
    ended = {name: play.wait() for name, play in zip(("anna", "bert"), plays)}
    winner, loser = sorted(ended, key=lambda name: ended[name].status)
    assert [ended[winner].status, ended[loser].status] == [0, 2], ended[loser].said
    assert ended[winner].outcome == "rolled_back"
    assert ended[loser].outcome == "refused"
    held_by = f"stack blog is held by transaction {ended[winner].artefacts['rollback_id']}"
    assert held_by in ended[loser].words
    assert f"by {winner} and still open on demo_db" in ended[loser].words
    assert healthy.site.look() == healthy.good
    assert len(transactions(healthy, plays[0])) == 2  # of the winner, on its two hosts


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """Keep a host's transaction to ourselves: its next call waits."""
    with lock.open("a", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
