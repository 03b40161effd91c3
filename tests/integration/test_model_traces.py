# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The named traces of the protocol's model, replayed against the real engine: each host ends where the model says.

Hosts are state directories with two pairs of real files each, one of which stands for its databases. What the model
calls a loss of power is played by taking away what no call has synced; that the timer's process runs by itself is shown
in test_timer.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import engine_calls
import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base import files
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import COMPONENTS
from ansible_collections.lastgood.rollback.plugins.module_utils._engine import arming, timer, undo_cli
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.recovery import settled
from engine_component import KINDS, Late, make_pair, plan_pair, words
from engine_host import ID, OK_CHECK, Host
from model.actors import Step
from model.traces import Event, Trace, crashes, scenarios

LETTERS = "abc"
WORDS_OF = {False: {"old"}, True: {"new"}}
PHASES = ("begin", "prepare", "stop", "switch", "promise")


class Killed(BaseException):
    """Stands for kill -9 between writing and syncing."""


class HostWithData(Host):
    """A host with a second pair of files, which are undone first, or alone, as databases are."""

    databases = Late.kind

    def __init__(self, base: Path, name: str, hosts: tuple[str, ...]) -> None:
        super().__init__(base, name, hosts)
        self.data = make_pair(base / name / "data")

    def prepare(self, transaction_id: str = ID, passwords: dict[str, str] | None = None) -> None:
        """Prepare both pairs."""
        super().prepare(transaction_id, passwords)
        self.transaction(transaction_id).prepare(plan_pair(self.data, kind=Late), {})


class Replay:
    """The hosts of a trace, and the calls on them."""

    def __init__(self, base: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
        names = tuple(LETTERS[:count])
        self.hosts = {name: HostWithData(base, name, names) for name in names}
        self.monkeypatch = monkeypatch
        self.unsynced: dict[str, Path] = {}

        def fsync(handle: int) -> None:  # no disk is waited for: whether it was asked is what counts here
            self.unsynced = {
                name: file
                for name, file in self.unsynced.items()
                if not os.path.samestat(os.fstat(handle), file.parent.stat())
            }

        monkeypatch.setattr(os, "fsync", fsync)

    def take(self, event: Step) -> str:
        """Do what a step says; returns the answer in the model's words."""
        if event.action == "recover":
            return self.recover(event.target.split(","), event.shows.split()[1:])
        if event.actor == "outsider":
            for name in ("one", "two"):
                (self.hosts[event.target].data / name).write_text("deployed")
            return ""
        if event.action in ("timer", "reboot"):
            self.by_itself(event.target, event.action)
            return ""
        if event.answer.startswith("killed"):
            self.killed_promise(event.target)
            return event.answer
        return self.call(event.target, event.action, event.shows)

    def call(self, name: str, action: str, shows: str) -> str:
        """One call, of a caller that believes what it asks for."""
        others = [other for other in self.hosts if other != name]
        known = list(self.hosts) if action == "decide" else others
        return engine_calls.call(self.hosts[name], action, shows, known)

    def by_itself(self, name: str, action: str) -> None:
        directory = self.hosts[name].records().directory
        if action == "reboot" and name in self.unsynced:  # the power went: what nobody synced is gone
            self.unsynced.pop(name).unlink()
        deadline = directory / "deadline"
        if deadline.exists():
            passed = {"boot": "another"} if action == "reboot" else {"boottime": 0.0}
            deadline.write_text(json.dumps({**json.loads(deadline.read_text()), **passed}))
        with pytest.raises(SystemExit):
            undo_cli.main(str(directory), ["--wait"])

    def killed_promise(self, name: str) -> None:
        """The call is gone right after the record has its name, before its directory was synced."""

        host = self.hosts[name]
        record = host.records().directory / "promise"
        real_sync = files.fsync_directory

        def killed(path: Path) -> None:
            if record.exists():
                raise Killed
            real_sync(path)

        with self.monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(files, "fsync_directory", killed)
            host.transaction().promise([OK_CHECK])
        self.unsynced[name] = record

    def recover(self, answering: list[str], lost: list[str]) -> str:
        """What recover.yml does, with those that answer, and without those that the operator calls lost.

        It counts nobody as lost in what it asks for: whether keep may be decided is the engine's to say.
        """
        first, *_rest = self.hosts
        states = {name: self.read(name) for name in answering}
        if first not in answering:
            for name in answering:
                self.call(name, "undo", "")
            return "in_doubt"
        counted = self.without(lost, answering)
        promised = [name for name, state in states.items() if state == "promised"]
        decision = ""
        if set(counted) <= set(promised):
            with suppress(Refused):
                decision = self.hosts[first].transaction().decide("keep", promised, "recovery")
        decision = decision or self.hosts[first].transaction().decide("undo", [], "recovery")
        if decision == "undo":
            for name in sorted(answering):
                self.call(name, "undo", "undo")
        ended = [name for name in sorted(answering, reverse=True) if self.finish(name, decision, answering, lost)]
        if decision == "keep":
            return "rolled_back"
        return "undone" if set(ended) == set(counted) else "undo_incomplete"

    def without(self, lost: list[str], answering: list[str]) -> list[str]:
        """The hosts that recovery goes on with, by the product's own rules."""
        ends = {name: {"__rollback_ends": {"transactions": self.ends(name)}} for name in answering}
        entry = {"id": ID, "plan": {"hosts": list(self.hosts), "decision_host": "a"}, "state_ids": {}}
        hosts: list[str] = settled(ends, entry, None, lost)["plan"]["hosts"]
        return hosts

    def ends(self, name: str) -> list[dict[str, str | None]]:
        """What a host tells of the transaction to whoever asks how it ended there."""
        ended = self.hosts[name].records().outcome
        return [{"state": self.read(name), "outcome": str(ended["outcome"]) if ended else None}]

    def finish(self, name: str, decision: str, others: list[str], lost: list[str]) -> bool:
        acknowledged = [*lost, *(other for other in others if self.hosts[other].records().outcome is not None)]
        try:
            return self.hosts[name].transaction().finish(decision, acknowledged) is not None
        except LastGoodError:
            return False

    def read(self, name: str) -> str:
        """As transaction_info does: what is answered is synced first."""
        records = self.hosts[name].records()
        if not records.directory.is_dir():
            return "absent"
        records.sync()
        return records.state().value


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine with a component of the tests; what the timer's process does is done by the trace's own events."""
    for kind, component in KINDS.items():
        monkeypatch.setitem(COMPONENTS, kind, component)
    monkeypatch.setattr(arming, "_write_unit", lambda _directory, _services: None)
    monkeypatch.setattr(timer, "_start_waiting", lambda _directory: None)
    monkeypatch.setattr(timer, "_await_waiting", lambda _directory: None)
    monkeypatch.setattr(os, "sync", lambda: None)  # all file systems of this machine: too slow for a hundred traces


def traces() -> Iterator[Trace]:
    yield from scenarios()
    yield from crashes(2)
    yield from crashes(3)


@pytest.mark.parametrize("trace", [pytest.param(trace, id=f"{trace.hosts} {trace.name}") for trace in traces()])
def test_the_engine_goes_where_the_model_goes(trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replay = Replay(tmp_path, trace.hosts, monkeypatch)
    foreign = set()
    for number, event in enumerate(trace.events, start=1):
        where = f"step {number}, {event.step.brief}"
        answer = replay.take(event.step)
        foreign |= {event.step.target} if event.step.actor == "outsider" else set()
        found = tuple(host.state if host.records().directory.is_dir() else "absent" for host in replay.hosts.values())
        assert found == tuple(engine_calls.word_of(word) for word in event.words), where
        for (name, host), new, data in zip(replay.hosts.items(), event.new, event.data):
            assert host.words == WORDS_OF[new], where
            assert words(host.data) == ({"deployed"} if name in foreign else WORDS_OF[data]), where
        if event.record:
            assert replay.hosts["a"].records().decision == event.record, where
        assert answer == expected_answer(event), where
    shutil.rmtree(tmp_path)


def expected_answer(event: Event) -> str:
    """The model's answer, but for two: the record outlives everything here, and what has ended is not gone on with."""
    if event.step.action == "prune":
        return "ok"
    over = event.step.action in PHASES and event.words[LETTERS.index(event.step.target)] == "finished"
    return "refused" if over else event.step.answer
