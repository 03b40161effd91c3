# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The named traces of the protocol's model on real hosts: real files, the timer's unit, and real losses of power.

Each host goes where the model says, at each step. What no disk has synced can't be taken away here, since a container's
power cut leaves the machine's cache alone: the traces about that are replayed in tests/integration.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from engine_calls import word_of
from lab_stack import ROOT, Stack, lab_is_up, wait_until
from model.actors import Step
from model.traces import Event, Trace, scenarios

# Of the lab itself: the stack has made them importable.
import machines  # isort: skip
import reach  # isort: skip
from layout import Host  # isort: skip

TOP = "/opt/lab-traces"
LETTERS = "abc"
WORDS_OF = {False: ["old"], True: ["new"]}
#: Many traces end with a transaction that is open, so that its timer is left.
_CLEAN = "systemctl stop 'lastgood-trace-*'; find /etc/systemd/system -name 'lastgood-trace-*' -delete"
PHASES = ("begin", "prepare", "stop", "switch", "promise")


class Peer:
    """One host of a trace, with a process there that does the calls."""

    def __init__(self, stack: Stack, host: Host, words: str) -> None:
        self.stack, self.host, self.words = stack, host, words
        self.process = self._connect()

    def _connect(self) -> subprocess.Popen[str]:
        command = f"sudo /usr/bin/python3 {TOP}/trace_on_host.py {TOP} {self.words}"
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return subprocess.Popen(reach.command_for(self.stack.lab, self.host, command), text=True, **pipes)

    def ask(self, action: str = "look", shows: str = "", known: list[str] | None = None) -> dict[str, Any]:
        """Have a call done: the answer, and how the host is after it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"action": action, "shows": shows, "known": known or []}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def fall_silent(self) -> None:
        """The deadline passes: the unit's process undoes, or has nothing to do."""
        before = self.ask()
        if self.ask("silence")["armed"] and before["word"] != "promised":
            wait_until(lambda: self.ask()["word"] == "undone" and self._is_back())

    def reboot(self) -> None:
        """Take the power away, and give it back."""
        armed = self.ask()["armed"]
        machines.power_off(self.stack.podman, self.host)
        self.close()
        machines.power_on(self.stack.podman, self.host)
        reach.wait_for(self.stack.lab, self.host)
        self.process = self._connect()
        if armed:
            wait_until(lambda: self.ask()["word"] == "undone" and self._is_back())

    def unit(self) -> str:
        """The timer's unit."""
        return self.stack.on(self.host.name, f"find /etc/systemd/system -name 'lastgood-{self.words.split()[0]}*'")

    def _is_back(self) -> bool:
        found = self.ask()
        return WORDS_OF[True] not in (found["words"], found["data"])

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class LabReplay:
    """The hosts of a trace, and what happens to them."""

    def __init__(self, stack: Stack, hosts: int) -> None:
        letters = LETTERS[:hosts]
        machines_of = list(stack.lab.hosts)[:hosts]
        transaction = f"trace-{time.time_ns()}"
        self.stack = stack
        self.peers = {
            letter: Peer(stack, host, shlex.join([transaction, letter, ",".join(letters)]))
            for letter, host in zip(letters, machines_of)
        }

    def take(self, step: Step) -> str:
        """Do what a step says; returns the answer in the model's words."""
        peer = self.peers.get(step.target)
        if step.action == "recover":
            return self.recover(step.target.split(","), step.shows.split()[1:])
        assert peer is not None
        if step.action in ("timer", "reboot"):
            peer.fall_silent() if step.action == "timer" else peer.reboot()
            return ""
        if step.action == "prune":
            return "ok"
        others = [letter for letter in self.peers if letter != step.target]
        known = list(self.peers) if step.action == "decide" else others
        return str(peer.ask(step.action, step.shows, known)["answer"])

    def recover(self, answering: list[str], lost: list[str]) -> str:
        """What recover.yml does, with those that answer, and without those that the operator calls lost."""
        first, *_rest = self.peers
        words = {letter: self.peers[letter].ask()["word"] for letter in answering}
        if first not in answering:
            for letter in answering:
                self.peers[letter].ask("undo")
            return "in_doubt"
        promised = [letter for letter, word in words.items() if word == "promised"]
        options = "keep" if len(promised) == len(self.peers) else "undo"
        decision = self.peers[first].ask("decide", options, promised)["answer"]
        if decision == "undo":
            for letter in sorted(answering):
                self.peers[letter].ask("undo", "undo")
        ended = list(lost)
        for letter in sorted(answering, reverse=True):
            told = self.peers[letter].ask("finish", decision, ended)
            ended += [letter] if told["ended"] else []
        if decision == "keep":
            return "rolled_back"
        return "undone" if set(ended) == set(self.peers) else "undo_incomplete"

    def close(self) -> None:
        """End what runs on the hosts."""
        for peer in self.peers.values():
            peer.close()
            self.stack.on(peer.host.name, _CLEAN)


@pytest.fixture(scope="module")
def with_engine() -> Iterator[Stack]:
    """The lab, with the engine's code beside on every host."""
    with lab_is_up() as stack:
        inside = "ansible_collections/lastgood/rollback/plugins/module_utils"
        pack = ["tar", "--create", "--exclude=__pycache__", f"--transform=s,^plugins/module_utils,{inside},"]
        pack += ["--transform=s,^tests/\\(lab/\\)\\?,,", "-C", str(ROOT), "plugins/module_utils"]
        pack += ["tests/engine_calls.py", "tests/lab/trace_on_host.py"]
        code = subprocess.run(pack, check=True, capture_output=True).stdout
        for host in stack.lab.hosts:
            words = f"rm -rf {TOP} && mkdir -p {TOP} && tar --extract --no-same-owner --directory {TOP}"
            reach.ssh(stack.lab, host, words, stdin=code)
        yield stack
        for host in stack.lab.hosts:
            stack.on(host.name, f"rm -rf {TOP}")


def on_real_hosts() -> Iterator[Trace]:
    """All but those in which what was not synced is lost."""
    return (trace for trace in scenarios() if not any(event.step.answer.startswith("killed") for event in trace.events))


@pytest.mark.parametrize("trace", [pytest.param(trace, id=trace.name) for trace in on_real_hosts()])
def test_real_hosts_go_where_the_model_goes(trace: Trace, with_engine: Stack) -> None:
    replay = LabReplay(with_engine, trace.hosts)
    try:
        foreign = set()
        for number, event in enumerate(trace.events, start=1):
            where = f"step {number}, {event.step.brief}"
            answer = replay.take(event.step)
            foreign |= {event.step.target} if event.step.actor == "outsider" else set()
            looks = {letter: peer.ask() for letter, peer in replay.peers.items()}
            assert [look["word"] for look in looks.values()] == [word_of(word) for word in event.words], where
            for (letter, look), new, data in zip(looks.items(), event.new, event.data):
                assert look["words"] == WORDS_OF[new], where
                assert look["data"] == (["deployed"] if letter in foreign else WORDS_OF[data]), where
            assert not event.record or looks["a"]["record"] == event.record, where
            assert answer == expected_answer(event), where
        assert not any(peer.unit() for peer in replay.peers.values() if peer.ask()["ended"])
    finally:
        replay.close()


def expected_answer(event: Event) -> str:
    """The model's answer, but for two: the record outlives everything here, and what has ended is not gone on with."""
    if event.step.action == "prune":
        return "ok"
    over = event.step.action in PHASES and event.words[LETTERS.index(event.step.target)] == "finished"
    return "refused" if over else event.step.answer
