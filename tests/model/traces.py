# Copyright: (c) 2026, the lastgood.rollback authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Named traces, to be replayed against a real engine: what is done to which host, its answer, and its word afterwards.

A scenario is written down as a script of calls. Who calls does not matter to a host, so scripts do not say it. A script
knows these lines, where ``*`` stands for every host, in order:

- ``begin(a)``, ``prepare(a)``, ``stop(a)``, ``switch(a)``, ``promise(a)``, ``prune(a)``;
- ``undo(a)`` and ``undo(a, undo)``: without and with the recorded decision shown; ``finish(a, keep)``;
- ``undo_databases(a)``, ``undo_databases(a, undo)``: the first call of an undo that somebody leads, where there are databases;
- ``hold(a, undo)``: the database refuses to be undone; a switched host promises, another one gets a tombstone;
- ``decide(keep)``, ``decide(undo)``: compare-and-set on the decision host, which is ``a``;
- ``late switch(a)``: the same call, from an actor that nobody counts on any more;
- ``killed promise(a)``: the call is killed after it has written, before it has synced;
- ``timer(a)``, ``reboot(a)``: of itself; ``deploy(a)``: an outsider changes what was switched;
- ``recover(a,b)``: one whole recovery, which only the named hosts answer; ``recover(a, lost b)``: it was told that ``b`` is lost.

``python -m tests.model.traces`` (from the root of the repository) prints the scenarios as they go.
``prepare`` includes naming the decision host and all members in the host's journal; ``stop`` includes arming the timer.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

from .actors import KILLED, Step, letter, recover
from .explore import without
from .model import Disk, Message, alone, killed, receive
from .rules import Rule

HAPPY = ("begin(*)", "prepare(*)", "stop(*)", "switch(*)", "promise(*)", "decide(keep)", "finish(*, keep)", "prune(a)")
SWITCHED_ALL = HAPPY[:4]
PROMISED_ALL = HAPPY[:5]


class Event(NamedTuple):
    """One step of a trace, and what every host must look like after it."""

    step: Step
    words: tuple[str, ...]
    new: tuple[bool, ...]
    data: tuple[bool, ...]
    record: str


class Trace(NamedTuple):
    """A named sequence of events on so many hosts."""

    name: str
    hosts: int
    events: tuple[Event, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The hosts' words at the end."""
        return self.events[-1].words

    def __str__(self) -> str:
        lines = [f"{self.name}:", ""]
        for number, event in enumerate(self.events, start=1):
            call = f"{event.step.brief:<22}{'-> ' + event.step.answer if event.step.answer else '':<33}"
            words = ", ".join(f"{letter(index)} {word}" for index, word in enumerate(event.words))
            lines.append(f"  {number:>2}  {call}{words}")
        return "\n".join(lines)

    @property
    def answers(self) -> list[str]:
        """``call -> answer`` for every event."""
        return [f"{event.step.brief} -> {event.step.answer}" for event in self.events]


class Scenario(NamedTuple):
    """A script, and what it has to end with: the hosts' words, and for some calls (by their text) the answer."""

    name: str
    script: tuple[str, ...]
    words: tuple[str, ...]
    answers: tuple[str, ...] = ()


SCENARIOS = (
    Scenario("everything goes well", HAPPY, ("finished", "finished")),
    Scenario(
        "a check fails after the switch",
        (*SWITCHED_ALL, "decide(undo)", "undo(*, undo)", "prune(a)"),
        ("undone", "undone"),
    ),
    Scenario(
        "a host fails in prepare, and the other one prepares too late",
        ("begin(*)", "prepare(a)", "decide(undo)", "undo(*, undo)", "late prepare(b)"),
        ("undone", "undone"),
        ("late prepare(b) -> refused",),
    ),
    Scenario(
        "the controller is killed between stop and switch: the timers bring the services back",
        (*HAPPY[:3], "timer(*)", "recover(a,b)"),
        ("undone", "undone"),
    ),
    Scenario(
        "the controller is killed while promises are collected: hosts differ until recovery",
        (*SWITCHED_ALL, "promise(a)", "timer(b)", "timer(a)", "recover(a,b)"),
        ("undone", "undone"),
        ("recover(a,b) -> undone",),
    ),
    Scenario(
        "the controller is killed when all have promised: recovery keeps",
        (*PROMISED_ALL, "timer(*)", "reboot(b)", "recover(a,b)"),
        ("finished", "finished"),
        ("recover(a,b) -> rolled_back",),
    ),
    Scenario(
        "the controller is killed after the decision: recovery follows it, and a second one changes nothing",
        (*PROMISED_ALL, "decide(keep)", "finish(a, keep)", "timer(b)", "reboot(b)", "recover(a,b)", "recover(a,b)"),
        ("finished", "finished"),
        ("recover(a,b) -> rolled_back",),
    ),
    Scenario(
        "the decision host is away after keep: who promised waits",
        (*PROMISED_ALL, "decide(keep)", "finish(a, keep)", "recover(b)", "undo(b)", "recover(a,b)"),
        ("finished", "finished"),
        ("recover(b) -> in_doubt", "undo(b) -> waits", "recover(a,b) -> rolled_back"),
    ),
    Scenario(
        "the decision host is away, and another host has not promised: it undoes, and keep is out of reach for good",
        (*SWITCHED_ALL, "promise(a)", "recover(b)", "late promise(b)", "recover(a,b)"),
        ("undone", "undone"),
        ("recover(b) -> in_doubt", "late promise(b) -> refused", "recover(a,b) -> undone"),
    ),
    Scenario(
        "another host is away in recovery: undo is decided, and it follows later",
        (*PROMISED_ALL, "recover(a)", "reboot(b)", "late decide(keep)", "recover(a,b)"),
        ("undone", "undone"),
        ("recover(a) -> undo_incomplete", "late decide(keep) -> undo", "recover(a,b) -> undone"),
    ),
    Scenario(
        "a host is called lost after all have promised: the others undo, and it follows once it is back",
        (*PROMISED_ALL, "recover(a, lost b)", "timer(b)", "reboot(b)", "recover(a,b)"),
        ("undone", "undone"),
        ("recover(a, lost b) -> undone", "recover(a,b) -> undone"),
    ),
    Scenario(
        "a host is called lost before it has promised, and was only away: it undoes alone, as the others have",
        (*SWITCHED_ALL, "promise(a)", "recover(a, lost b)", "timer(b)", "late decide(keep)", "recover(a,b)"),
        ("undone", "undone"),
        ("recover(a, lost b) -> undone", "late decide(keep) -> undo"),
    ),
    Scenario(
        "a host is called lost after keep: the others finish, and it follows once it is back",
        (*PROMISED_ALL, "decide(keep)", "recover(a, lost b)", "reboot(b)", "recover(a,b)"),
        ("finished", "finished"),
        ("recover(a, lost b) -> rolled_back", "recover(a,b) -> rolled_back"),
    ),
    Scenario(
        "a late switch after an undo",
        (*HAPPY[:3], "switch(a)", "decide(undo)", "undo(*, undo)", "late switch(b)"),
        ("undone", "undone"),
        ("late switch(b) -> refused",),
    ),
    Scenario(
        "a late promise after an undo",
        (*SWITCHED_ALL, "promise(a)", "timer(b)", "late promise(b)", "recover(a,b)"),
        ("undone", "undone"),
        ("late promise(b) -> refused",),
    ),
    Scenario(
        "a late stop after an undo must not take the services down",
        (*HAPPY[:2], "stop(a)", "decide(undo)", "undo(*, undo)", "late stop(b)"),
        ("undone", "undone"),
        ("late stop(b) -> refused",),
    ),
    Scenario(
        "a host that the rollback had not reached gets a tombstone: a late begin is refused",
        ("begin(a)", "recover(a,b)", "late begin(b)"),
        ("undone", "undone"),
        ("late begin(b) -> refused",),
    ),
    Scenario(
        "a controller that was presumed dead goes on after recovery has undone",
        (*SWITCHED_ALL, "recover(a,b)", "late promise(a)", "late promise(b)", "late decide(keep)"),
        ("undone", "undone"),
        ("late promise(a) -> refused", "late decide(keep) -> undo"),
    ),
    Scenario(
        "a controller that was presumed dead wants to undo after recovery has kept",
        (*PROMISED_ALL, "recover(a,b)", "late decide(undo)", "late undo(b)"),
        ("finished", "finished"),
        ("late decide(undo) -> keep", "late undo(b) -> refused"),
    ),
    Scenario(
        "two recoveries meet: one saw a host away and asks for undo, the other saw all promises",
        (*PROMISED_ALL, "decide(undo)", "decide(keep)", "undo(a, undo)", "undo(*, undo)", "prune(a)", "prune(a)"),
        ("undone", "undone"),
        ("decide(keep) -> undo",),
    ),
    Scenario(
        "a reboot without a promise undoes, one with a promise does not",
        (*SWITCHED_ALL, "promise(a)", "reboot(a)", "reboot(b)", "recover(a,b)"),
        ("undone", "undone"),
    ),
    Scenario(
        "an undo that shows no decision does not move a host that has promised",
        (*PROMISED_ALL, "undo(b)", "recover(a,b)"),
        ("finished", "finished"),
        ("undo(b) -> waits",),
    ),
    Scenario(
        "the decision is not pruned before its own host has ended",
        (*PROMISED_ALL, "decide(keep)", "finish(b, keep)", "prune(a)", "recover(a,b)"),
        ("finished", "finished"),
        ("prune(a) -> refused",),
    ),
    Scenario(
        "a straggler after pruning gets the decision that stood",
        (*HAPPY, "late decide(undo)", "late undo(b, undo)", "late switch(b)"),
        ("finished", "finished"),
        ("late decide(undo) -> keep", "late undo(b, undo) -> refused"),
    ),
    Scenario(
        "a finished rollback is not undone host by host",
        (*HAPPY, "undo(a)", "undo(a, undo)"),
        ("finished", "finished"),
        ("undo(a) -> refused", "undo(a, undo) -> refused"),
    ),
    Scenario(
        "the database refuses to be undone: nothing else is, and nothing happens behind the report",
        (*SWITCHED_ALL, "deploy(a)", "decide(undo)", "undo(a, undo)", "hold(b, undo)", "timer(b)", "reboot(b)"),
        ("switched", "promised"),
        ("undo(a, undo) -> refused",),
    ),
    Scenario(
        "nobody is held without a recorded undo",
        (*SWITCHED_ALL, "promise(a)", "deploy(a)", "hold(b)", "timer(b)"),
        ("promised", "undone"),
        ("hold(b) -> refused",),
    ),
    Scenario(
        "the databases are back and the controller is killed: nothing but undo can follow",
        (*SWITCHED_ALL, "decide(undo)", "undo_databases(a, undo)", "late switch(a)", "late promise(a)", "recover(a,b)"),
        ("undone", "undone"),
        ("late switch(a) -> refused", "late promise(a) -> refused", "recover(a,b) -> undone"),
    ),
    Scenario(
        "the databases are back and nobody calls again: the timer undoes the rest",
        (*SWITCHED_ALL, "promise(a)", "undo_databases(b)", "timer(b)", "recover(a,b)"),
        ("undone", "undone"),
        ("recover(a,b) -> undone",),
    ),
    Scenario(
        "the databases of a host that has promised wait for the decision as well",
        (*PROMISED_ALL, "undo_databases(b)", "recover(a,b)"),
        ("finished", "finished"),
        ("undo_databases(b) -> waits", "recover(a,b) -> rolled_back"),
    ),
    Scenario(
        "the databases of a host that has promised are back: it stays so until recovery, and keep is out of reach",
        (
            *PROMISED_ALL,
            "decide(undo)",
            "undo_databases(a, undo)",
            "timer(a)",
            "reboot(a)",
            "late decide(keep)",
            "recover(a,b)",
        ),
        ("undone", "undone"),
        ("late decide(keep) -> undo",),
    ),
    Scenario(
        "a promise that was not synced is, once it was read",
        (*SWITCHED_ALL, "promise(a)", "killed promise(b)", "recover(a,b)", "reboot(b)"),
        ("finished", "finished"),
        ("recover(a,b) -> rolled_back",),
    ),
    Scenario(
        "a promise that nobody has read is lost with the power: the boot undoes",
        (*SWITCHED_ALL, "promise(a)", "killed promise(b)", "reboot(b)", "recover(a,b)"),
        ("undone", "undone"),
        ("recover(a,b) -> undone",),
    ),
)


def play(name: str, script: tuple[str, ...], hosts: int = 2) -> Trace:
    """Carry a script out in the model. Raises ``ValueError`` for a line it does not know."""
    disks = (Disk(),) * hosts
    events: list[Event] = []
    for line in script:
        for target in _targets(line, hosts):
            step, disks = _one(line, target, disks)
            columns = zip(*((disk.word, disk.new, disk.data) for disk in disks))
            events.append(Event(step, *columns, disks[0].record))
    return Trace(name, hosts, tuple(events))


def _targets(line: str, hosts: int) -> str:
    inside = line.partition("(")[2]
    if inside.startswith("*"):
        return "".join(letter(index) for index in range(hosts))
    return "a" if line.endswith(("decide(keep)", "decide(undo)")) else inside[0]


def _one(line: str, target: str, disks: tuple[Disk, ...]) -> tuple[Step, tuple[Disk, ...]]:
    head, _bracket, inside = line.rstrip(")").partition("(")
    *how, action = head.split()
    if action == "recover":
        answering, _comma, lost = inside.partition(", ")
        indices = frozenset(map("abc".index, answering.split(",")))
        after, outcome, _steps = recover(disks, indices, lost=tuple(map("abc".index, lost.removeprefix("lost "))))
        return Step("recovery", action, answering, lost, outcome), after
    shows = inside if action == "decide" else inside.partition(", ")[2]
    index = "abc".index(target)
    disk, answer, actor = _on_host(disks[index], how, Message(action, shows))
    step = Step(actor, action, target, shows, answer, late=how == ["late"])
    return step, (*disks[:index], disk, *disks[index + 1 :])


def _on_host(disk: Disk, how: list[str], message: Message) -> tuple[Disk, str, str]:
    """The disk afterwards, the answer, and who acted."""
    if message.action in ("timer", "reboot"):
        return alone(disk, message.action), "", "host"
    if message.action == "deploy":
        return disk._replace(foreign=True), "", "outsider"
    if how == ["killed"]:
        return killed(disk, message), KILLED, "controller"
    if how not in ([], ["late"]):
        raise ValueError(f"{how}: a call is late, killed, or neither")
    after, answer = receive(disk, message)
    return after, answer, "network" if how else "controller"


def scenarios() -> Iterator[Trace]:
    """Every scenario that is written down above."""
    for scenario in SCENARIOS:
        yield play(scenario.name, scenario.script)


def crashes(hosts: int) -> Iterator[Trace]:
    """The controller is killed after each single call of a rollback that goes well; then one recovery, that all answer."""
    calls = [event.step.brief for event in play("", HAPPY, hosts).events]
    everyone = ",".join(letter(index) for index in range(hosts))
    for count in range(1, len(calls) + 1):
        yield play(f"killed after {calls[count - 1]}", (*calls[:count], f"recover({everyone})"), hosts)


def named_traces() -> Iterator[Trace]:
    """All that an engine should be able to replay."""
    yield from scenarios()
    yield from crashes(2)
    yield from crashes(3)


def counterexamples() -> Iterator[tuple[Rule, tuple[Step, ...], int]]:
    """For each rule the trace into harm without it, and the position of the step where a real engine must differ."""
    for rule in Rule:
        found = without(rule)
        yield rule, found.trace, found.differs()[0]


if __name__ == "__main__":
    sys.stdout.write("\n\n".join(map(str, scenarios())) + "\n")
