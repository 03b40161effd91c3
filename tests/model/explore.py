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
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import NamedTuple

from .actors import Host, State, Step, World, letter, steps
from .forbidden import HARM, IN_STATES, IN_STEPS, Forbidden
from .model import DAMAGED, REPLACED, Disk, Message, receive
from .rules import ALL_RULES, Rule

# What is explored with all rules in. Outsiders and killed calls cost states, hence fewer recoveries there.
WORLDS = (
    World(hosts=2, recoveries=2),
    World(hosts=3, recoveries=2),
    World(hosts=2, recoveries=2, outsiders=True),
    World(hosts=2, recoveries=2, outsiders=True, database=1),
    World(hosts=3, recoveries=1, outsiders=True),
    World(hosts=3, recoveries=1, outsiders=True, database=1),
    World(hosts=2, recoveries=1, kills=True),
    World(hosts=3, recoveries=0, kills=True),
)
# What is claimed of a host that has its records says nothing of one that has lost them, so they are looked at apart.
LOST_WORLDS = (
    World(hosts=2, recoveries=1, losses=(DAMAGED, REPLACED)),
    World(hosts=3, recoveries=0, losses=(DAMAGED, REPLACED)),
)
# The last recovery was told that host ``b`` is lost: it may be, or only be away.
PASSED_OVER_WORLDS = (
    World(hosts=3, recoveries=1, lost=(1,)),
    World(hosts=2, recoveries=1, losses=(REPLACED,), lost=(1,)),
)
# Three minutes and 900,000 states more, which the tests leave to this program.
LONG_WORLDS = (
    World(hosts=2, recoveries=2, kills=True),
    World(hosts=3, recoveries=1, kills=True),
    World(hosts=2, recoveries=2, lost=(1,)),
)


class Explored(NamedTuple):
    """What was seen: how much, every combination of disks, and the first trace into something forbidden."""

    states: int
    steps: int
    depth: int
    disks: frozenset[tuple[Disk, ...]]
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
                bad = bad or next((name for name, holds in in_states if holds(reached, world)), None)
                parents[after] = here
                depth[after] = depth[here] + 1
                queue.append(after)
            if bad is not None:
                trace, last = _trace(parents, here, after, world, bad)
                return Explored(len(parents), taken, depth[after], _disks(parents), bad, trace, last)
    return Explored(len(parents), taken, max(depth.values()), _disks(parents), None, (), None)


def _disks(states: Iterable[State]) -> frozenset[tuple[Disk, ...]]:
    return frozenset(state.disks for state in states)


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
    if world.recoveries != 2 or world.lost or state.places[1] < state.places[2]:
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
    fixed = 2 if world.database == 1 or world.lost else 1
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
    world: World

    def __str__(self) -> str:
        lines = [f"Without {self.rule.name}:", ""]
        lines += [f"  {number:>2}  {line}" for number, line in enumerate(folded(self.trace), start=1)]
        ends = ", ".join(
            f"{letter(index)} {disk.word} ({'new' if disk.new else 'old'})"
            for index, disk in enumerate(self.last.disks)
        )
        lines += ["", f"  ends with  {ends}", f"  harm       {self.harm.value}"]
        position, instead = self.differs()
        return "\n".join([*lines, f"  with it    {self.trace[position].brief} {instead}"])

    def differs(self) -> tuple[int, str]:
        """The first step that is another one when the rule is in: its position in the trace, and what happens there."""
        world = self.world._replace(rules=ALL_RULES)
        here = world.start()
        for position, step in enumerate(self.trace):
            same = [after for taken, after in steps(here, world) if taken == step]
            if same:
                here = same[0]
                continue
            if step.late:
                disk = here.hosts["ab".index(step.target)].disk
                return position, f"is answered: {receive(disk, Message(step.action, step.shows))[1]}"
            if step.actor == "host":
                return position, "changes nothing"
            answers = [taken.answer for taken, _after in steps(here, world) if taken.brief == step.brief]
            return position, f"is answered: {answers[0]}" if answers else "is not sent"
        raise LookupError(f"{self.rule.name}: the trace is one of the whole protocol, too")


def folded(trace: tuple[Step, ...]) -> list[str]:
    """The steps as lines; neighbours that differ only in their host share one."""
    lines: list[str] = []
    for _key, group in groupby(trace, key=lambda step: step._replace(target="")):
        same = list(group)
        text = f"{same[0].actor:<12}" + ", ".join(step.brief for step in same)
        lines.append(f"{text:<48}-> {same[0].answer}" if same[0].answer else text)
    return lines


def without(rule: Rule) -> CounterExample:
    """The shortest way into harm when one rule is taken out. ``LookupError`` if there is none: a rule too many."""
    rules = ALL_RULES - {rule}
    outsiders = rule in (Rule.DATABASES_FIRST, Rule.HOLD, Rule.HOLD_SHOWS_DECISION)
    elsewhere = rule in (Rule.DECISION_HOST, Rule.HOLD_SHOWS_DECISION)
    database = 1 if elsewhere else 0  # on another host than the decision: easier to read
    hosts = 3 if rule is Rule.SETTLED_BY_THE_END else 2
    empty = rule in (Rule.IDENTITY, Rule.SETTLED_BY_THE_END)
    losses = (DAMAGED,) if rule is Rule.CHAIN else (REPLACED,) if empty else ()
    lost = (1,) if rule is Rule.LOST_HAS_NOT_PROMISED else ()
    for recoveries in (1,) if lost else (0, 1, 2):
        world = World(hosts, recoveries, rules, outsiders, database, rule is Rule.SYNC_FIRST, losses, lost)
        explored = explore(world, frozenset({HARM[rule]}))
        if explored.forbidden is not None and explored.last is not None:
            return CounterExample(rule, explored.forbidden, explored.trace, explored.last, world)
    raise LookupError(f"{rule.name}: nothing forbidden can be reached without it")


def row(world: World, explored: Explored) -> str:
    """One line of the table of what was explored."""
    also = "killed calls" if world.kills else "a damaged or replaced host" if world.losses else ""
    if world.outsiders:
        also = f"an outsider; database on {letter(world.database)}"
    if world.lost:
        also = "b called lost, one replaced" if world.losses else "b called lost"
    return (
        f"{world.hosts:>5}  {world.recoveries:>10}  {also:<26}  {explored.states:>7}  {explored.steps:>7}  "
        f"{explored.depth:>5}  {explored.forbidden.value if explored.forbidden else 'nothing'}"
    )


HEADER = f"hosts  recoveries  {'faults besides the usual':<26}   states    steps  depth  forbidden found"


def main() -> int:
    """Explore every world, then take out each rule in turn."""
    write = sys.stdout.write
    write(HEADER + "\n")
    found = []
    for world in (*WORLDS, *LOST_WORLDS, *PASSED_OVER_WORLDS, *LONG_WORLDS):
        explored = explore(world)
        found.append(explored.forbidden)
        write(row(world, explored) + "\n")
        sys.stdout.flush()
    for rule in Rule:
        write(f"\n{without(rule)}\n")
    return 1 if any(found) else 0


if __name__ == "__main__":
    sys.exit(main())
