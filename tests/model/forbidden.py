# Copyright: (c) 2026, the lastgood.rollback authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What must never happen, as questions about a state or a step, and the harm that each rule keeps away."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from .actors import DONE, HELD, PRUNING, UNDOING, State, Step, World, actor_name, letter
from .model import DATABASES, ENDED, FINISHED, KEEP, PROMISED, REFUSED, UNDO, UNDONE, Disk
from .rules import Rule


class Forbidden(Enum):
    """What must never happen. Each is looked for in every state, or in every step."""

    MIXTURE = "one host has ended new and another has ended old"
    BOTH_DECIDED = "keep and undo have both been decided"
    KEEP_TOO_EARLY = "keep is decided, and a host has not promised after its checks"
    HALF = "a host has ended with its databases and the rest of it apart"
    NOT_UNIFORM = "all is reported as done, and the hosts are neither all finished nor all undone"
    DIFFERENT_IN_THE_END = "all is reported as done, and yet hosts differ"
    SERVICES_DOWN = "a host has ended with its services stopped"
    AFTER_UNDO = "a host that had undone is switched or promises"
    DATABASE_AFTER = "a led undo takes another host back while the database is still new"
    DATABASE_REFUSES = "the database refuses when a led undo has already taken another host back"
    UNTRUE = "a host calls itself undone and runs the new"
    BEHIND_THE_REPORT = "a host undoes alone after undo_incomplete was reported"


Edge = tuple[State, Step, State]


def _mixture(state: State, _world: World) -> bool:
    return len({disk.new for disk in state.disks if disk.word in ENDED}) > 1


def _both_decided(state: State, _world: World) -> bool:
    return any(len(disk.ever) > 1 for disk in state.disks)


def _keep_too_early(state: State, _world: World) -> bool:
    safe = (PROMISED, FINISHED)
    return KEEP in state.hosts[0].disk.ever and any(
        disk.word not in safe or not (disk.new and disk.data and disk.checked) for disk in state.disks if not disk.gone
    )


def _half(state: State, _world: World) -> bool:
    return any(disk.word in ENDED and disk.data != disk.new for disk in state.disks)


def _not_uniform(state: State, world: World) -> bool:
    if not {PRUNING, DONE} & set(state.places):
        return False
    words = {(disk.word, disk.new, disk.armed) for disk in _counted_on(state, world)}
    return words not in (set(), {(FINISHED, True, False)}, {(UNDONE, False, False)})


def _different_in_the_end(state: State, world: World) -> bool:
    return DONE in state.places and len({disk.new for disk in _counted_on(state, world)}) > 1


def _counted_on(state: State, world: World) -> list[Disk]:
    """Where all is reported as done: not what is gone, nor what was called lost, which joins the others once it is back."""
    return [disk for index, disk in enumerate(state.disks) if not disk.gone and index not in world.lost]


def _services_down(state: State, _world: World) -> bool:
    return any(disk.armed and disk.word in ENDED for disk in state.disks)


def _untrue(state: State, _world: World) -> bool:
    return any(disk.word == UNDONE and disk.new for disk in state.disks)


def _after_undo(edge: Edge, _world: World) -> bool:
    before, step, after = edge
    if step.action not in ("switch", "promise"):
        return False
    return any(old.word == UNDONE and new.word != UNDONE for old, new in zip(before.disks, after.disks))


def _database_after(edge: Edge, world: World) -> bool:
    before, step, after = edge
    if step.action != "undo" or step.target == letter(world.database):
        return False
    # Where the host of the databases is silent, the others are undone: that is another place.
    leads = any(
        place == UNDOING and step.actor == actor_name(actor, world.recoveries)
        for actor, place in enumerate(before.places)
    )
    return leads and after.disks[world.database].data and _newer(before) > _newer(after)


def _database_refuses(edge: Edge, world: World) -> bool:
    before, step, _after = edge
    if (step.shows, step.target, step.answer) != (UNDO, letter(world.database), REFUSED):
        return False
    if step.action not in ("undo", DATABASES):
        return False
    leaders = [actor for actor, place in enumerate(before.places) if place == UNDOING]
    return any(host.heard[actor] for host in before.hosts for actor in leaders)


def _newer(state: State) -> int:
    return sum(disk.new for disk in state.disks)


def _behind_the_report(edge: Edge, _world: World) -> bool:
    before, step, after = edge
    return step.actor == "host" and HELD in before.places and _newer(before) > _newer(after)


IN_STATES: dict[Forbidden, Callable[[State, World], bool]] = {
    Forbidden.MIXTURE: _mixture,
    Forbidden.BOTH_DECIDED: _both_decided,
    Forbidden.KEEP_TOO_EARLY: _keep_too_early,
    Forbidden.HALF: _half,
    Forbidden.NOT_UNIFORM: _not_uniform,
    Forbidden.DIFFERENT_IN_THE_END: _different_in_the_end,
    Forbidden.SERVICES_DOWN: _services_down,
    Forbidden.UNTRUE: _untrue,
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
    Rule.HOLD_SHOWS_DECISION: Forbidden.KEEP_TOO_EARLY,
    Rule.NEW_TRANSACTION: Forbidden.MIXTURE,
    Rule.CHAIN: Forbidden.UNTRUE,
    Rule.IDENTITY: Forbidden.MIXTURE,
    Rule.SETTLED_BY_THE_END: Forbidden.MIXTURE,
    Rule.LOST_HAS_NOT_PROMISED: Forbidden.MIXTURE,
}
