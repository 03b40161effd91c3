# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recovery while a host is away: it decides where it can, says who is missing, and whoever comes back joins."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.small_stack import WANTED, SmallStack


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """Keep a host's transaction to ourselves: its next call waits."""
    with lock.open("a", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def until_journalled(small: SmallStack, host: str, event: str, stack: str = "blog") -> Path:
    """Wait for an event in the only open transaction of a stack on a host; its directory."""
    while True:
        for path in (small.base / "state" / host / "transactions").glob(f"2*-{stack}-*/journal.jsonl"):
            if not (path.parent / "outcome.json").exists() and f'"event": "{event}"' in path.read_text():
                return path.parent
        time.sleep(0.003)


@pytest.fixture
def interrupted(tmp_path: Path) -> SmallStack:
    """Killed while promises were collected: web2 has promised, web1, which keeps the decision, has not."""
    small = SmallStack(tmp_path)
    small.damage()
    play = small.start("multi_rollback", **WANTED)
    directory = until_journalled(small, "web1", "armed")
    until_journalled(small, "web1", "switched")
    with held(directory / "lock"):
        until_journalled(small, "web2", "promised")
        small.kill(play)
    play.communicate()
    assert not (directory / "promise").exists()
    return small


def modes(small: SmallStack) -> list[str]:
    """What stands in the two settings files."""
    return [small.settings(number).read_text().strip() for number in (1, 2)]


def test_asked_in_check_mode_it_tells_what_would_become_of_it_and_changes_nothing(interrupted: SmallStack) -> None:
    small = interrupted
    before = contents(small.base / "state"), modes(small)
    shown = small.play("recover", "--check")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    said = " ".join(shown.stdout.split())
    assert "Planned: nothing was changed" in said
    assert "would be undone, since not all hosts have promised" in said
    assert "changed=0" in said and "changed=1" not in said
    assert (contents(small.base / "state"), modes(small)) == before
    assert small.play("recover").returncode == 0
    assert modes(small) == ["MODE=broken", "MODE=broken"]


def contents(top: Path) -> dict[str, bytes]:
    """All files below, by path."""
    return {str(path): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def test_without_the_decisions_host_it_is_in_doubt_and_who_comes_back_joins_what_was_decided(
    interrupted: SmallStack,
) -> None:
    small = interrupted
    doubtful = small.play("recover", "--limit", "web2")
    said = " ".join(doubtful.stdout.split())
    assert doubtful.returncode != 0
    assert "IN DOUBT: the decision can't be read" in said
    assert "Missing web1: joins the outcome that is decided" in said
    assert "Waiting web2: promised never to undo alone, so nothing was changed there" in said
    assert "bring web1 back, then: ansible-playbook lastgood.rollback.recover -i " in said
    assert modes(small)[1] == "MODE=good"

    decided = small.play("recover", "--limit", "web1")
    said = " ".join(decided.stdout.split())
    assert decided.returncode != 0
    assert "Missing web2: joins the outcome that is decided" in said
    assert "bring web2 back, then: ansible-playbook lastgood.rollback.recover -i " in said
    assert modes(small) == ["MODE=broken", "MODE=good"], "web2 is away and keeps its promise"

    joined = small.play("recover")
    assert joined.returncode == 0, joined.stdout + joined.stderr
    assert "as it was before the rollback" in " ".join(joined.stdout.split())
    assert modes(small) == ["MODE=broken", "MODE=broken"]

    again = small.play("recover")
    assert again.returncode == 0
    assert "Nothing to recover: no transaction is open on web1, web2" in " ".join(again.stdout.split())


def test_a_decision_host_that_was_replaced_is_in_doubt_and_its_loss_is_settled_by_the_others(
    interrupted: SmallStack,
) -> None:
    small = interrupted
    lost = small.base / "state" / "web1"
    lost.rename(small.base / "lost")
    doubtful = small.play("recover")
    assert doubtful.returncode != 0, doubtful.stdout
    said = " ".join(doubtful.stdout.split())
    assert "IN DOUBT: the decision can't be read" in said
    assert "This host was replaced, or its disk was" in said
    assert modes(small)[1] == "MODE=good"
    assert not list(lost.glob("transactions/2*"))

    ended = small.play("recover", rollback_decision_host_lost="web1")
    assert ended.returncode == 0, ended.stdout
    assert modes(small)[1] == "MODE=broken", "nobody had finished"
    assert (next((small.base / "state" / "web2").glob("transactions/2*")) / "outcome.json").exists()


def test_a_member_that_was_replaced_is_left_out_where_it_is_called_lost(interrupted: SmallStack) -> None:
    small = interrupted
    (small.base / "state" / "web2").rename(small.base / "lost")
    ended = small.play("recover", rollback_member_hosts_lost="web2")
    assert ended.returncode == 0, ended.stdout
    assert modes(small) == ["MODE=broken", "MODE=good"], "only web1 is left, and nothing was decided yet"
    assert (next((small.base / "state" / "web1").glob("transactions/2*")) / "outcome.json").exists()


def test_a_host_that_could_not_be_asked_is_named_where_nothing_is_open_on_the_others(tmp_path: Path) -> None:
    small = SmallStack(tmp_path)
    away = tmp_path / "away.yml"
    away.write_text("all: {hosts: {web3: {ansible_host: 127.0.0.1, ansible_port: 9, ansible_connection: ssh}}}\n")
    asked = small.play("recover", "-i", str(away))
    assert asked.returncode != 0
    said = " ".join(asked.stdout.split())
    assert "Nothing to recover: no transaction is open on web1, web2 " in said
    assert "Missing web3 could not be asked: run this again when it is back" in said


def test_beside_a_controller_that_lives_on_both_end_alike(tmp_path: Path) -> None:
    """Recovery decides while the controller waits for the last promise; that promise comes too late."""
    small = SmallStack(tmp_path)
    small.damage()
    controller = small.start("multi_rollback", **WANTED)
    until_journalled(small, "web1", "switched")
    directory = until_journalled(small, "web2", "switched")
    with held(directory / "lock"):
        until_journalled(small, "web1", "promised")
        recovery = small.start("recover")
        until_journalled(small, "web1", "decided")
        assert controller.poll() is None
    said, recovered = " ".join(controller.communicate()[0].split()), " ".join(recovery.communicate()[0].split())
    assert controller.returncode != 0, "it did not roll back"
    assert "Rolled back: everything" not in said
    assert modes(small) == ["MODE=broken", "MODE=broken"]
    ended = small.play("recover") if recovery.returncode != 0 else recovery
    assert ended.returncode == 0, recovered
    still_open = [
        path for path in (small.base / "state").glob("*/transactions/2*") if not (path / "outcome.json").exists()
    ]
    assert still_open == []


def test_one_that_cannot_be_undone_keeps_no_other_from_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stacks on one host are interrupted. Somebody has changed what the first one switched."""
    monkeypatch.setenv("ANSIBLE_SHOW_CUSTOM_STATS", "1")
    small = SmallStack(tmp_path)
    shop = {"app3": {**small.project(3), "group": "apps1"}}
    values_of: dict[str, dict[str, Any]] = {"blog": {}, "shop": {"rollback_stack": "shop", "rollback_projects": shop}}
    captured = small.play("capture", **values_of["shop"])
    assert captured.returncode == 0, captured.stdout
    small.damage()
    small.settings(3).write_text("MODE=broken\n")
    ids = {}
    for stack, values in values_of.items():
        play = small.start("multi_rollback", **WANTED, **values)
        ids[stack] = until_journalled(small, "web1", "switched", stack).name
        small.kill(play)
        play.communicate()
    small.settings(1).write_text("MODE=elsewhere\n")

    recovered = small.play("recover")
    assert recovered.returncode != 0
    refused, _title, ended = recovered.stdout.partition("Recovered: the interrupted transaction has ended")
    assert ids["blog"] in refused and "UNDO INCOMPLETE" in refused
    assert ids["shop"] in ended
    table = ended.partition("TASK")[0]
    assert "Cause" not in table and ids["blog"] not in table, "nothing of the first is told of the second"
    assert f"{ids['blog']}: UNDO INCOMPLETE" in ended, "and the playbook ends with what is left"
    left = " ".join(ended.rpartition("RUN:")[2].split())
    assert f"id: {ids['blog']} outcome: undo_incomplete" in left
    assert small.settings(3).read_text() == "MODE=broken\n"
    assert small.settings(1).read_text() == "MODE=elsewhere\n"

    small.settings(1).write_text("MODE=good\n")
    again = small.play("recover")
    assert again.returncode == 0, again.stdout
    assert modes(small) == ["MODE=broken", "MODE=broken"]
