# Copyright: (c) 2026, the lastgood.rollback authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the protocol promises holds in every reachable state, and no rule of it can be spared."""

from __future__ import annotations

from functools import cache
from itertools import combinations, permutations
from pathlib import Path

import pytest

from .actors import World, recover, steps
from .explore import (
    HEADER,
    LOST_WORLDS,
    PASSED_OVER_WORLDS,
    WORLDS,
    CounterExample,
    Explored,
    explore,
    find,
    row,
    without,
)
from .forbidden import HARM
from .model import (
    DAMAGED,
    ENDED,
    FINISHED,
    KEEP,
    MESSAGES,
    PROMISED,
    REPLACED,
    UNDO,
    UNDONE,
    Disk,
    Message,
    alone,
    killed,
    receive,
)
from .rules import Rule
from .traces import HAPPY, SCENARIOS, Scenario, Trace, crashes, play

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"

explored = cache(explore)
counter_example = cache(without)


def row_id(world: World) -> str:
    """A name for a world in pytest's output."""
    faults = (
        f"outsider-{world.database}"
        if world.outsiders
        else "kills"
        if world.kills
        else "losses"
        if world.losses
        else "usual"
    )
    return f"{world.hosts}hosts-{world.recoveries}recoveries-{faults}"


everywhere = pytest.mark.parametrize("world", WORLDS, ids=row_id)
for_each_rule = pytest.mark.parametrize("rule", Rule, ids=lambda rule: rule.name)


# Every reachable state


@everywhere
def test_nothing_forbidden_is_reachable(world: World) -> None:
    seen = explored(world)
    assert seen.forbidden is None, "\n".join(map(str, seen.trace))


@everywhere
def test_the_exploration_went_everywhere(world: World) -> None:
    """A model in which little can happen would prove little."""
    seen = explored(world)
    words = {tuple(disk.word for disk in disks) for disks in seen.disks}
    assert {word for row in words for word in row} == {
        *("absent", "open", "prepared", "switched", "promised", "undoing", "undone", "finished")
    }
    assert (FINISHED,) * world.hosts in words
    assert (UNDONE,) * world.hosts in words
    assert {disks[0].record for disks in seen.disks} == {"", KEEP, UNDO}
    assert any(disks[world.database].foreign for disks in seen.disks) == world.outsiders
    assert any(disk.unsynced for disks in seen.disks for disk in disks) == world.kills


@everywhere
def test_one_recovery_makes_all_hosts_equal_and_a_second_changes_nothing(world: World) -> None:
    everyone = frozenset(range(world.hosts))
    for disks in explored(world).disks:
        after, outcome, _steps = recover(disks, everyone, world.database)
        if outcome == "undo_incomplete":
            assert disks[world.database].foreign, disks
            assert [disk.new for disk in after] == [disk.new for disk in disks], (
                "a refusing database: nothing is undone"
            )
        else:
            words = {(disk.word, disk.new, disk.armed) for disk in after}
            assert words in ({(FINISHED, True, False)}, {(UNDONE, False, False)}), disks
            assert outcome == ("rolled_back" if after[0].new else "undone")
        assert recover(after, everyone, world.database)[:2] == (after, outcome)


@everywhere
def test_a_recovery_that_misses_hosts_does_no_harm(world: World) -> None:
    """Whoever answers: the next complete recovery still makes all hosts equal, and promises were kept meanwhile."""
    everyone = frozenset(range(world.hosts))
    for disks in explored(world).disks:
        for answering in _subsets(everyone):
            after, outcome, _steps = recover(disks, answering, world.database)
            for index, (old, new) in enumerate(zip(disks, after)):
                if index not in answering:
                    assert new == old
                elif 0 not in answering and disks[world.database].foreign:
                    assert new == old or new.word == UNDONE, "where the database refuses, recovery ends there"
                elif 0 not in answering and old.word not in (PROMISED, *ENDED):
                    assert new.word == UNDONE, "without the decision, what has not promised undoes"
                elif 0 not in answering:
                    assert (new.word, new.new) == (old.word, old.new), "without the decision, what has promised waits"
            if 0 not in answering:
                assert outcome == "in_doubt"
            last, outcome, _steps = recover(after, everyone, world.database)
            if outcome != "undo_incomplete":
                assert {(disk.word, disk.new) for disk in last} in ({(FINISHED, True)}, {(UNDONE, False)}), disks


def _subsets(everyone: frozenset[int]) -> list[frozenset[int]]:
    return [frozenset(some) for size in range(len(everyone)) for some in combinations(sorted(everyone), size)]


@everywhere
def test_the_end_is_final(world: World) -> None:
    """Whatever still arrives, or happens, at a host that has ended: so a recovery that is done stays done."""
    ended = {disk for disks in explored(world).disks for disk in disks if disk.word in ENDED and not disk.unsynced}
    assert {disk.word for disk in ended} == set(ENDED)
    for disk in ended:
        reached = {receive(disk, message)[0] for message in MESSAGES}
        reached |= {killed(disk, message) for message in MESSAGES}
        reached |= {alone(disk, "timer"), alone(disk, "reboot")}
        assert {(after.word, after.new, after.armed) for after in reached} == {(disk.word, disk.new, False)}
        for wanted in (KEEP, UNDO):
            expected = disk.record or {FINISHED: KEEP, UNDONE: UNDO}[disk.word]
            assert receive(disk, Message("decide", wanted))[1] == expected


@pytest.mark.parametrize("world", LOST_WORLDS, ids=row_id)
def test_a_host_that_has_lost_its_records_is_never_believed(world: World) -> None:
    seen = explored(world)
    assert seen.forbidden is None, "\n".join(map(str, seen.trace))
    lost = [disks for disks in seen.disks if any(disk.gone for disk in disks)]
    assert {disk.gone for disks in lost for disk in disks} == {"", DAMAGED, REPLACED}
    for disks in lost:
        after, outcome, _steps = recover(disks, frozenset(i for i, disk in enumerate(disks) if not disk.gone))
        assert [new for new in after if new.gone] == [old for old in disks if old.gone], "it stays as it was found"
        if disks[0].gone:
            assert outcome == "in_doubt"
            assert [new for old, new in zip(disks, after) if old.word == PROMISED] == [
                old._replace(unsynced=None) for old in disks if old.word == PROMISED
            ]


@pytest.mark.parametrize("world", PASSED_OVER_WORLDS, ids=row_id)
def test_a_host_that_was_called_lost_and_comes_back_joins_the_others(world: World) -> None:
    """Nothing forbidden is reached while it may only be away; and then one recovery that it answers makes all hosts equal."""
    seen = explored(world)
    assert seen.forbidden is None, "\n".join(map(str, seen.trace))
    everyone = frozenset(range(world.hosts))
    (lost,) = world.lost
    ended = {True: 0, False: 0}
    for disks in seen.disks:
        here = frozenset(index for index in everyone if not disks[index].gone)
        after, outcome, _steps = recover(disks, here - {lost}, lost=world.lost)
        assert after[lost] == disks[lost]
        if here - {lost} != everyone - {lost}:
            continue
        kept = outcome == "rolled_back"
        assert {(disk.word, disk.new, disk.armed) for disk in after if disk is not after[lost]} == {
            (FINISHED, True, False) if kept else (UNDONE, False, False)
        }, disks
        if KEEP not in disks[0].ever and disks[0].word != FINISHED:
            assert not kept, "nothing was decided yet"
        if here == everyone:
            last, outcome, _steps = recover(after, everyone)
            assert {(disk.word, disk.new) for disk in last} == {(FINISHED, True) if kept else (UNDONE, False)}, disks
            ended[kept] += disks[lost].word == PROMISED
    assert all(ended.values()), "it was called lost, and had promised, with either end"


def test_between_a_crash_and_recovery_hosts_may_differ() -> None:
    """The limit of the promise, as the documentation says it: this is not what the protocol prevents."""
    found = find(World(hosts=2, recoveries=0), lambda state: [disk.word for disk in state.disks] == [PROMISED, UNDONE])
    assert found is not None
    taken, state = found
    assert [step.brief for step in taken][-2:] == ["promise(a)", "timer(b)"]
    assert [disk.new for disk in state.disks] == [True, False]
    assert recover(state.disks, frozenset({0, 1}))[1] == "undone"


def test_a_refusing_database_is_the_one_thing_that_leaves_hosts_different() -> None:
    """A host that undoes alone can't know that the database is going to refuse; the outcome says so."""
    world = World(hosts=2, recoveries=0, outsiders=True)
    found = find(world, lambda state: state.disks[0].foreign and state.disks[1].word == UNDONE)
    assert found is not None
    after, outcome, _steps = recover(found[1].disks, frozenset({0, 1}))
    assert ([disk.new for disk in after], outcome) == ([True, False], "undo_incomplete")


# The exploration itself


@pytest.mark.parametrize(
    "world",
    [
        World(2, 2),
        World(2, 1, reduce=False),
        World(3, 0, reduce=False),
        World(2, 0, outsiders=True, reduce=False),
        World(2, 0, kills=True, reduce=False),
    ],
    ids=row_id,
)
def test_leaving_out_equivalent_states_loses_nothing(world: World) -> None:
    """Without symmetry, or with every late message carried along for good besides, the same disks are reached."""
    start = world.start()
    seen = {start}
    todo = [start]
    while todo:
        for _step, after in steps(todo.pop(), world):
            if after not in seen:
                seen.add(after)
                todo.append(after)
    reduced = explored(world._replace(reduce=True))
    assert len(seen) > reduced.states
    assert {state.disks for state in seen} == _renamed(reduced)


def _renamed(reduced: Explored) -> set[tuple[Disk, ...]]:
    """Every combination of disks, with the interchangeable hosts in every order."""
    return {(disks[0], *others) for disks in reduced.disks for others in permutations(disks[1:])}


# Each rule taken out

# The step that does the harm without the rule, and what happens to the trace when the rule is in.
TRACES: dict[Rule, tuple[str, str]] = {
    Rule.PROMISE: ("timer(b)", "decide(keep) is not sent"),
    Rule.PROMISE_BINDS: ("timer(b)", "timer(b) changes nothing"),
    Rule.PROMISE_REFUSED: ("promise(b)", "promise(b) is answered: refused"),
    Rule.UNDO_SHOWS_DECISION: ("undo(b)", "undo(b) is answered: waits"),
    Rule.SYNC_FIRST: ("reboot(b)", "reboot(b) changes nothing"),
    Rule.WRITE_ONCE: ("decide(undo)", "decide(undo) is answered: keep"),
    Rule.DECISION_HOST: ("undo(b, undo)", "undo(b, undo) is not sent"),
    Rule.DECISION_FOLLOWED: ("undo(b, undo)", "read(a) is answered: keep"),
    Rule.RECOVERY_READS_ALL: ("decide(keep)", "decide(keep) is not sent"),
    Rule.TOMBSTONE: ("late switch(a)", "late switch(a) is answered: refused"),
    Rule.TOMBSTONE_ALWAYS: ("late switch(a)", "late switch(a) is answered: refused"),
    Rule.STOP_REFUSED: ("late stop(a)", "late stop(a) is answered: refused"),
    Rule.PRUNE_AFTER_ACKS: ("prune(a)", "prune(a) is not sent"),
    Rule.END_ANSWERS: ("decide(undo)", "read(a) is answered: keep"),
    Rule.DATABASES_FIRST: ("undo(b, undo)", "undo(b, undo) is not sent"),
    Rule.HOLD: ("timer(b)", "report(undo_incomplete) is not sent"),
    Rule.HOLD_SHOWS_DECISION: ("hold(a)", "hold(a) is not sent"),
    Rule.NEW_TRANSACTION: ("undo(a)", "undo(a) is not sent"),
    Rule.CHAIN: ("timer(a)", "timer(a) changes nothing"),
    Rule.IDENTITY: ("undo(b)", "undo(b) is not sent"),
    Rule.SETTLED_BY_THE_END: ("settle(undo)", "settle(undo) is not sent"),
    Rule.LOST_HAS_NOT_PROMISED: ("decide(keep)", "decide(keep) is not sent"),
}


@for_each_rule
def test_without_the_rule_its_harm_is_found(rule: Rule) -> None:
    found = counter_example(rule)
    harmful, _with_it = TRACES[rule]
    assert found.harm is HARM[rule]
    assert harmful in [step.brief for step in found.trace]
    assert found.trace[0].brief == "begin(a)"


@for_each_rule
def test_with_the_rule_that_trace_breaks_off(rule: Rule) -> None:
    found = counter_example(rule)
    position, instead = found.differs()
    assert f"{found.trace[position].brief} {instead}" == TRACES[rule][1]


def test_an_unnecessary_rule_would_be_noticed() -> None:
    """The whole set of rules has no counter-example, so asking for one has to fail loudly."""
    found = counter_example(Rule.PROMISE)
    happy = CounterExample(found.rule, found.harm, found.trace[:8], found.last, found.world)
    with pytest.raises(LookupError, match="PROMISE"):
        happy.differs()


# Traces for the engine


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name.replace(" ", "-"))
def test_scenario(scenario: Scenario) -> None:
    trace = play(scenario.name, scenario.script)
    assert trace.words == scenario.words
    assert set(scenario.answers) <= set(trace.answers)


@pytest.mark.parametrize("hosts", [2, 3])
def test_killed_after_each_call(hosts: int) -> None:
    """Up to the last promise everything goes back; from there on, everything goes forward."""
    traces = list(crashes(hosts))
    calls = [trace.events[-2].step.brief for trace in traces]
    last_promise = calls.index("promise(b)" if hosts == 2 else "promise(c)")
    assert [set(trace.words) for trace in traces[:last_promise]] == [{UNDONE}] * last_promise
    assert [set(trace.words) for trace in traces[last_promise:]] == [{FINISHED}] * (len(traces) - last_promise)


def test_a_script_with_a_mistake_is_refused() -> None:
    with pytest.raises(ValueError, match="slow"):
        play("", (*HAPPY, "slow switch(a)"))


# The page


def test_the_page_shows_what_was_explored() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert (
        "\n".join([HEADER, *(row(world, explored(world)) for world in (*WORLDS, *LOST_WORLDS, *PASSED_OVER_WORLDS))])
        in page
    )


@for_each_rule
def test_the_page_shows_the_trace(rule: Rule) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert str(counter_example(rule)) in page
    assert rule.says in " ".join(page.split())


@pytest.mark.parametrize(
    "name",
    [
        "the controller is killed while promises are collected: hosts differ until recovery",
        "the decision host is away after keep: who promised waits",
    ],
)
def test_the_page_shows_the_scenario(name: str) -> None:
    (trace,) = [_play(scenario) for scenario in SCENARIOS if scenario.name == name]
    assert str(trace) in PAGE.read_text(encoding="utf-8")


def _play(scenario: Scenario) -> Trace:
    return play(scenario.name, scenario.script)
