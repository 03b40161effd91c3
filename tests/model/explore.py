# Copyright: (c) 2026, the lastgood.rollback authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Go through every state that the protocol can reach, and say what was found there.

``python -m tests.model.explore`` (from the root of the repository) prints how much was explored, and for each rule the
shortest way into trouble without it. ``docs/protocol.md`` shows that output; a test compares the two.

Breadth first, hence the traces are the shortest there are. Nothing is bounded but the number of hosts and of
recoveries: any number of crashes, reboots, timers, losses and delays. States that differ only in which of two
interchangeable hosts or recoveries is which count once.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from .actors import DONE, HELD, PRUNING, UNDOING, Host, State, Step, World, letter, steps
from .model import ALL_RULES, ENDED, FINISHED, KEEP, PROMISED, REFUSED, UNDO, UNDONE, Rule


class Forbidden(Enum):
    """What must never happen. Each is looked for in every state, or in every step."""

    MIXTURE = "one host has ended new and another has ended old"
    BOTH_DECIDED = "keep and undo have both been decided"
    KEEP_TOO_EARLY = "keep is decided, and a host has not promised"
    NOT_UNIFORM = "all is reported as done, and the hosts are neither all finished nor all undone"
    DIFFERENT_IN_THE_END = "all is reported as done, and yet hosts differ"
    SERVICES_DOWN = "a host has ended with its services stopped"
    AFTER_UNDO = "a host that had undone is switched or promises"
    DATABASE_AFTER = "a led undo takes another host back while the database is still new"
    DATABASE_REFUSES = "the database refuses when a led undo has already taken another host back"
    BEHIND_THE_REPORT = "a host undoes alone after undo_incomplete was reported"


Edge = tuple[State, Step, State]


def _mixture(state: State) -> bool:
    return len({disk.new for disk in state.disks if disk.word in ENDED}) > 1


def _both_decided(state: State) -> bool:
    return any(len(disk.ever) > 1 for disk in state.disks)


def _keep_too_early(state: State) -> bool:
    safe = (PROMISED, FINISHED)
    return KEEP in state.hosts[0].disk.ever and any(disk.word not in safe or not disk.new for disk in state.disks)


def _not_uniform(state: State) -> bool:
    if not {PRUNING, DONE} & set(state.places):
        return False
    words = {(disk.word, disk.new, disk.armed) for disk in state.disks}
    return words not in ({(FINISHED, True, False)}, {(UNDONE, False, False)})


def _different_in_the_end(state: State) -> bool:
    return DONE in state.places and len({disk.new for disk in state.disks}) > 1


def _services_down(state: State) -> bool:
    return any(disk.armed and disk.word in ENDED for disk in state.disks)


def _after_undo(edge: Edge, _world: World) -> bool:
    before, step, after = edge
    if step.action not in ("switch", "promise"):
        return False
    return any(old.word == UNDONE and new.word != UNDONE for old, new in zip(before.disks, after.disks))


def _database_after(edge: Edge, world: World) -> bool:
    before, step, after = edge
    led = step.action == "undo" and step.shows == UNDO and step.target != letter(world.database)
    return led and before != after and after.disks[world.database].new and _newer(before) > _newer(after)


def _database_refuses(edge: Edge, world: World) -> bool:
    before, step, _after = edge
    if (step.action, step.shows, step.target, step.answer) != ("undo", UNDO, letter(world.database), REFUSED):
        return False
    leaders = [actor for actor, place in enumerate(before.places) if place == UNDOING]
    return any(host.heard[actor] for host in before.hosts for actor in leaders)


def _newer(state: State) -> int:
    return sum(disk.new for disk in state.disks)


def _behind_the_report(edge: Edge, _world: World) -> bool:
    before, step, after = edge
    return step.actor == "host" and HELD in before.places and _newer(before) > _newer(after)


IN_STATES: dict[Forbidden, Callable[[State], bool]] = {
    Forbidden.MIXTURE: _mixture,
    Forbidden.BOTH_DECIDED: _both_decided,
    Forbidden.KEEP_TOO_EARLY: _keep_too_early,
    Forbidden.NOT_UNIFORM: _not_uniform,
    Forbidden.DIFFERENT_IN_THE_END: _different_in_the_end,
    Forbidden.SERVICES_DOWN: _services_down,
}
IN_STEPS: dict[Forbidden, Callable[[Edge, World], bool]] = {
    Forbidden.AFTER_UNDO: _after_undo,
    Forbidden.DATABASE_AFTER: _database_after,
    Forbidden.DATABASE_REFUSES: _database_refuses,
    Forbidden.BEHIND_THE_REPORT: _behind_the_report,
}

# What to look for when a rule is taken out: the harm in the end, where an earlier sign would be the shorter trace.
HARM: dict[Rule, Forbidden] = {
    Rule.PROMISE: Forbidden.MIXTURE,
    Rule.PROMISE_BINDS: Forbidden.MIXTURE,
    Rule.PROMISE_REFUSED: Forbidden.MIXTURE,
    Rule.UNDO_SHOWS_DECISION: Forbidden.MIXTURE,
    Rule.SYNC_FIRST: Forbidden.MIXTURE,
    Rule.WRITE_ONCE: Forbidden.MIXTURE,
    Rule.DECISION_HOST: Forbidden.MIXTURE,
    Rule.DECISION_FOLLOWED: Forbidden.MIXTURE,
    Rule.RECOVERY_READS_ALL: Forbidden.MIXTURE,
    Rule.TOMBSTONE: Forbidden.DIFFERENT_IN_THE_END,
    Rule.TOMBSTONE_ALWAYS: Forbidden.DIFFERENT_IN_THE_END,
    Rule.STOP_REFUSED: Forbidden.SERVICES_DOWN,
    Rule.PRUNE_AFTER_ACKS: Forbidden.MIXTURE,
    Rule.END_ANSWERS: Forbidden.BOTH_DECIDED,
    Rule.DATABASES_FIRST: Forbidden.DATABASE_REFUSES,
    Rule.HOLD: Forbidden.BEHIND_THE_REPORT,
    Rule.NEW_TRANSACTION: Forbidden.MIXTURE,
}

# What is explored with all rules in. Outsiders cost states, hence fewer recoveries there with three hosts.
WORLDS = (
    World(hosts=2, recoveries=2),
    World(hosts=3, recoveries=2),
    World(hosts=2, recoveries=2, outsiders=True),
    World(hosts=2, recoveries=2, outsiders=True, database=1),
    World(hosts=3, recoveries=1, outsiders=True),
    World(hosts=3, recoveries=1, outsiders=True, database=1),
    World(hosts=2, recoveries=2, kills=True),
    World(hosts=3, recoveries=1, kills=True),
)


class Explored(NamedTuple):
    """What was seen: the canonical states, how many steps, how deep, and the first trace into something forbidden."""

    states: frozenset[State]
    steps: int
    depth: int
    forbidden: Forbidden | None
    trace: tuple[Step, ...]
    last: State | None


def explore(world: World, look_for: frozenset[Forbidden] = frozenset(Forbidden)) -> Explored:
    """Visit every reachable state of a world, or stop at the first that is forbidden, in the fewest steps."""
    start = canonical(world.start(), world)
    parents: dict[State, State | None] = {start: None}
    depth = {start: 0}
    queue = deque([start])
    taken = 0
    in_states = [(name, holds) for name, holds in IN_STATES.items() if name in look_for]
    in_steps = [(name, holds) for name, holds in IN_STEPS.items() if name in look_for]
    while queue:
        here = queue.popleft()
        for step, reached in steps(here, world):
            taken += 1
            after = canonical(reached, world)
            is_new = after not in parents
            bad = next((name for name, holds in in_steps if holds((here, step, reached), world)), None)
            if is_new:
                bad = bad or next((name for name, holds in in_states if holds(reached)), None)
                parents[after] = here
                depth[after] = depth[here] + 1
                queue.append(after)
            if bad is not None:
                trace, last = _trace(parents, here, after, world, bad)
                return Explored(frozenset(parents), taken, depth[after], bad, trace, last)
    return Explored(frozenset(parents), taken, max(depth.values()), None, (), None)


def find(world: World, wanted: Callable[[State], bool]) -> tuple[tuple[Step, ...], State] | None:
    """The shortest trace into a state that is ``wanted``, and that state; nothing if it can't be reached."""
    start = canonical(world.start(), world)
    parents: dict[State, State | None] = {start: None}
    queue = deque([start])
    while queue:
        here = queue.popleft()
        for _step, reached in steps(here, world):
            after = canonical(reached, world)
            if after in parents:
                continue
            parents[after] = here
            if wanted(after):
                return _trace(parents, here, after, world, None)
            queue.append(after)
    return None


def canonical(state: State, world: World) -> State:
    """The one of all equivalent states that stands for them: interchangeable hosts sorted, then recoveries sorted."""
    if world.recoveries != 2 or state.places[1] < state.places[2]:
        return _sorted_hosts(state, world)
    controller, one, other = state.places
    swapped = State(
        tuple(host._replace(heard=(host.heard[0], host.heard[2], host.heard[1])) for host in state.hosts),
        (controller, other, one),
    )
    if other < one:
        return _sorted_hosts(swapped, world)
    return min(_sorted_hosts(state, world), _sorted_hosts(swapped, world), key=_order)


def _sorted_hosts(state: State, world: World) -> State:
    fixed = 2 if world.database == 1 else 1
    if len(state.hosts) - fixed < 2:
        return state
    return state._replace(hosts=(*state.hosts[:fixed], *sorted(state.hosts[fixed:], key=_host_order)))


def _order(state: State) -> tuple[object, ...]:
    return (*(_host_order(host) for host in state.hosts), state.places)


def _host_order(host: Host) -> tuple[object, ...]:
    return (*host[1:], host.disk[:-1], host.disk.unsynced or ())


def _trace(
    parents: dict[State, State | None], before: State, last: State, world: World, bad: Forbidden | None
) -> tuple[tuple[Step, ...], State]:
    """Walk the path again without renaming hosts on the way, so that a host keeps its letter from beginning to end."""
    path = [last]
    at: State | None = before
    while at is not None:
        path.append(at)
        at = parents[at]
    path.reverse()
    here = world.start()
    taken: list[Step] = []
    for position, wanted in enumerate(path[1:], start=1):
        for step, reached in steps(here, world):
            same = canonical(reached, world) == wanted
            is_last = position == len(path) - 1
            if same and (bad not in IN_STEPS or not is_last or IN_STEPS[bad]((here, step, reached), world)):
                taken.append(step)
                here = reached
                break
    return tuple(taken), here


class CounterExample(NamedTuple):
    """What happens without a rule: the harm, the steps that lead to it, and the world at the end of them."""

    rule: Rule
    harm: Forbidden
    trace: tuple[Step, ...]
    last: State

    def __str__(self) -> str:
        lines = [f"Without rule {self.rule.number}, {self.rule.name}:", ""]
        lines += [f"  {number:>2}  {step}" for number, step in enumerate(self.trace, start=1)]
        ends = ", ".join(
            f"{letter(index)} {disk.word} ({'new' if disk.new else 'old'})"
            for index, disk in enumerate(self.last.disks)
        )
        return "\n".join([*lines, "", f"  {ends}", f"  forbidden: {self.harm.value}"])


def without(rule: Rule) -> CounterExample:
    """The shortest way into harm when one rule is taken out. ``LookupError`` if there is none: a rule too many."""
    rules = ALL_RULES - {rule}
    outsiders = rule in (Rule.DATABASES_FIRST, Rule.HOLD)
    database = 1 if rule is Rule.DECISION_HOST else 0  # on another host than the decision: easier to read
    for recoveries in (0, 1, 2):
        world = World(2, recoveries, rules, outsiders, database, kills=rule is Rule.SYNC_FIRST)
        explored = explore(world, frozenset({HARM[rule]}))
        if explored.forbidden is not None and explored.last is not None:
            return CounterExample(rule, explored.forbidden, explored.trace, explored.last)
    raise LookupError(f"{rule.name}: nothing forbidden can be reached without it")


def row(world: World, explored: Explored) -> str:
    """One line of the table of what was explored."""
    also = "killed calls" if world.kills else ""
    if world.outsiders:
        also = f"an outsider; database on {letter(world.database)}"
    return (
        f"{world.hosts:>5}  {world.recoveries:>10}  {also:<26}  {len(explored.states):>7}  {explored.steps:>7}  "
        f"{explored.depth:>5}  {explored.forbidden.value if explored.forbidden else 'nothing'}"
    )


HEADER = f"hosts  recoveries  {'faults besides the usual':<26}   states    steps  depth  forbidden found"


def main() -> int:
    """Explore every world, then take out each rule in turn."""
    write = sys.stdout.write
    write(HEADER + "\n")
    found = []
    for world in WORLDS:
        explored = explore(world)
        found.append(explored.forbidden)
        write(row(world, explored) + "\n")
        sys.stdout.flush()
    for rule in Rule:
        write(f"\n{without(rule)}\n")
    return 1 if any(found) else 0


if __name__ == "__main__":
    sys.exit(main())
