# Copyright: (c) 2026, the lastgood.rollback authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who sends messages: a controller, recoveries, and what happens by itself. ``steps`` gives all that can come next.

How the world's misbehaviour is expressed:

- *crash*: an actor that takes no further step. Every prefix of every run is explored, so every moment of a crash is.
- *loss and delay*: an actor may give up on its calls at any time; they are then under way, and arrive whenever they
  like, several times, or never.
- *a controller that lives on*: recoveries may begin at any time and never stop the controller, however slow it is.
- *a host that is down or cut off*: recovery may get no answer from any host at any look, and give up on any call.
- *reboot and timer*: at any time, on every host.
- *an outsider* (only where ``World.outsiders``): deploys over a switched database, so that its undo has to refuse.
- *a loss of records* (only where ``World.losses``): one host's journal is damaged, or it is replaced by an empty host.
- *a host that is called lost* (only where ``World.lost``): the last recovery goes on without it, though it may only be away.
- *a killed call* (only where ``World.kills``): has written and not synced; a reboot is then a loss of power.

Host ``a`` holds the decision; ``World.database`` says which host holds the database. The other hosts are
interchangeable, and so are the recoveries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .model import (
    ABSENT,
    DATABASES,
    ENDED,
    FINISHED,
    KEEP,
    OK,
    PHASES,
    PROMISED,
    REFUSED,
    REPLACED,
    SWITCHED,
    UNDO,
    WAITS,
    Disk,
    Message,
    alone,
    befallen,
    is_doubtful,
    is_spent,
    killed,
    read,
    receive,
    stands,
)
from .rules import ALL_RULES, Rule

# Where an actor is. A controller begins in the first of PHASES, a recovery in READ (which is also "not begun yet").
READ = "read"
ASK_KEEP = "ask keep"
ASK_UNDO = "ask undo"
FINISHING = "finishing"
UNDOING_DATABASES = "undoing databases"
UNDOING = "undoing the rest"
UNDOING_OTHERS = "undoing the others"  # the host of the databases is silent: whoever answers is undone
DATABASES_IN_DOUBT = "databases in doubt"
IN_DOUBT = "in doubt"  # the decision can't be read: undo what has not promised, by messages that show no decision
PRUNING = "pruning"  # every host has acknowledged
DONE = "done"
HOLDING = "holding"  # the database refuses to be undone: nothing else may undo, not even by a timer
REPORTING = "reporting"
HELD = "held"  # undo_incomplete was reported, because the database refuses
GONE = "gone"  # ended without every acknowledgement: in_doubt, undo_incomplete, or just cut off

ASKS = {ASK_KEEP: KEEP, ASK_UNDO: UNDO}
CALLS = {
    FINISHING: Message("finish", KEEP),
    UNDOING_DATABASES: Message(DATABASES, UNDO),
    UNDOING: Message("undo", UNDO),
    UNDOING_OTHERS: Message("undo", UNDO),
    DATABASES_IN_DOUBT: Message(DATABASES),
    IN_DOUBT: Message("undo"),
}
# What follows on the databases: when they are back, and when their host is silent.
AFTER_DATABASES = {UNDOING_DATABASES: (UNDOING, UNDOING_OTHERS), DATABASES_IN_DOUBT: (IN_DOUBT, IN_DOUBT)}
NO_ANSWER = "no answer"
GIVES_UP = "gives up"
REPORT = "report"
KILLED = "killed before it has synced"


class Host(NamedTuple):
    """One host's disk, which actors have heard from it in their present place, and the calls under way to it."""

    disk: Disk
    heard: tuple[bool, ...]
    late: tuple[Message, ...] = ()


class State(NamedTuple):
    """The whole world at one moment. ``places`` is where the controller and each recovery are."""

    hosts: tuple[Host, ...]
    places: tuple[str, ...]

    @property
    def disks(self) -> tuple[Disk, ...]:
        """What is durable, which is all that a crash leaves."""
        return tuple(host.disk for host in self.hosts)


class Step(NamedTuple):
    """One thing that happens: who does what to which host, what it answers, and whether the call was a late one."""

    actor: str
    action: str
    target: str = ""  # a host's letter; nothing for ``gives up``, which concerns the whole phase
    shows: str = ""  # keep, undo, or nothing
    answer: str = ""
    late: bool = False

    @property
    def brief(self) -> str:
        """The call as it is written in scenarios: ``late undo(b, undo)``, ``decide(keep)``, ``timer(a)``."""
        inside = self.shows if self.action == "decide" else ", ".join(filter(None, (self.target, self.shows)))
        return f"{'late ' if self.late else ''}{self.action}({inside})"


class World(NamedTuple):
    """What is explored: how many hosts and recoveries, which rules hold, which faults there are beyond the usual ones.

    ``reduce=False`` carries messages along that can't do anything any more: to check that dropping them is safe.
    """

    hosts: int = 2
    recoveries: int = 2
    rules: frozenset[Rule] = ALL_RULES
    outsiders: bool = False
    database: int = 0
    kills: bool = False
    losses: tuple[str, ...] = ()
    lost: tuple[int, ...] = ()
    reduce: bool = True

    def drops(self, disk: Disk, message: Message) -> bool:
        """Whether a message under way can do nothing any more, and is forgotten."""
        return self.reduce and is_spent(disk, message, self.rules, self.kills)

    def passed_over(self, actor: int) -> tuple[int, ...]:
        """The hosts that an actor does not count on: the last recovery was told that they are lost."""
        return self.lost if actor and actor == self.recoveries else ()

    def start(self) -> State:
        """Nothing has happened yet: no host knows of the transaction."""
        silent = Host(Disk(), (False,) * (1 + self.recoveries))
        return State((silent,) * self.hosts, (PHASES[0], *(READ,) * self.recoveries))


def letter(index: int) -> str:
    """The name of a host in traces."""
    return "abcdefgh"[index]


def actor_name(actor: int, recoveries: int) -> str:
    """The name of an actor in traces."""
    if actor == 0:
        return "controller"
    return "recovery" if recoveries == 1 else f"recovery {actor}"


Next = Iterator[tuple[Step, State]]


def steps(state: State, world: World) -> Next:
    """Every step that is possible now, with the state after it. Steps that change nothing are left out."""
    for actor in range(len(state.places)):
        yield from _acts(state, world, actor)
    yield from _by_itself(state, world)


def _acts(state: State, world: World, actor: int) -> Next:
    place = state.places[actor]
    name = actor_name(actor, world.recoveries)
    if place in PHASES:
        yield from _forward(state, world, actor, name)
    elif place == READ:
        yield from _read(state, world, actor, name)
    elif place in ASKS:
        yield from _ask(state, world, actor, name)
    elif place in CALLS:
        yield from _follow(state, world, actor, name)
    elif place == REPORTING:
        yield Step(name, REPORT, "undo_incomplete"), _at(state, actor, HELD)
    elif place == HOLDING:
        yield from _hold(state, world, actor, name)
    elif place == PRUNING:
        yield from _prune(state, world, actor, name, DONE)


def _by_itself(state: State, world: World) -> Next:
    for index, host in enumerate(state.hosts):
        for event in ("timer", "reboot"):
            after = alone(host.disk, event, world.rules)
            if after != host.disk:
                yield Step("host", event, letter(index)), _with_disk(state, index, after, world)
        for message in host.late:
            after, answer = receive(host.disk, message, world.rules)
            if after != host.disk:
                step = Step("network", message.action, letter(index), message.shows, answer, late=True)
                yield step, _with_disk(state, index, after, world)
            cut = killed(host.disk, message, world.rules) if world.kills else host.disk
            if cut != host.disk:
                step = Step("network", message.action, letter(index), message.shows, KILLED, late=True)
                yield step, _with_disk(state, index, cut, world)
    database = state.hosts[world.database].disk
    if world.outsiders and not database.foreign and database.word in (SWITCHED, PROMISED):
        after = database._replace(foreign=True)
        yield Step("outsider", "deploy", letter(world.database)), _with_disk(state, world.database, after, world)
    if all(host.disk.new and host.disk.word in ENDED for host in state.hosts):
        yield from _undo_finished(state, world)
    if world.losses:
        yield from _losses(state, world)


def _losses(state: State, world: World) -> Next:
    """Of one host. Where that was the decision host, and nobody is left who acts, an operator may have it settled."""
    if not any(disk.gone for disk in state.disks):
        for index, disk in enumerate(state.disks):
            for what in world.losses if disk.word != ABSENT else ():
                yield Step("host", what, letter(index)), _with_disk(state, index, befallen(disk, what), world)
    acts = any(place not in (READ, DONE, HELD, GONE) for place in state.places)
    begun = any(any(host.heard) for host in state.hosts)
    knows = Rule.IDENTITY in world.rules
    if knows and state.disks[0].gone == REPLACED and not acts and not begun:
        yield _settled(state, world)


def _settled(state: State, world: World) -> tuple[Step, State]:
    """The operator names the lost host; every other one is read, and does the same. Calls that were under way are lost."""
    finished = any(disk.word == FINISHED for disk in state.disks[1:]) and Rule.SETTLED_BY_THE_END in world.rules
    message = Message("finish", KEEP) if finished else Message("undo", UNDO)
    after = state._replace(hosts=tuple(host._replace(late=()) for host in state.hosts))
    for index in range(1, len(state.hosts)):
        after = _with_disk(after, index, receive(state.disks[index], message, world.rules)[0], world)
    return Step("operator", "settle", "", message.shows), after


def _undo_finished(state: State, world: World) -> Next:
    """The operator wants a finished rollback undone: a new transaction, that starts as the first did, old for new."""
    if Rule.NEW_TRANSACTION in world.rules:
        yield Step("operator", "undo_rollback"), world.start()
        return
    for index, host in enumerate(state.hosts):
        after, answer = receive(host.disk, Message("undo"), world.rules)
        yield Step("operator", "undo", letter(index), "", answer), _with_disk(state, index, after, world)


def _forward(state: State, world: World, actor: int, name: str) -> Next:
    """One phase of the controller: call every host; go on when all have answered, give up when one does not."""
    phase = state.places[actor]
    following = (*PHASES, ASK_KEEP)[PHASES.index(phase) + 1]
    if following == "promise" and Rule.PROMISE not in world.rules:
        following = ASK_KEEP
    waiting = _silent(state, actor, world)
    if phase == "begin" and 0 in waiting:
        waiting = [0]  # the lock is taken on the decision host first
    ends = len(_silent(state, actor, world)) == 1
    yield from _calls(state, world, actor, name, Message(phase), waiting, following if ends else "")
    yield from _give_up(state, world, actor, name, Message(phase), waiting, ASK_UNDO)


def _read(state: State, world: World, actor: int, name: str) -> Next:
    """Recovery looks at one host after another, and stops as soon as it knows what to ask for."""
    silent = _silent(state, actor, world)
    lacks_one = world.passed_over(actor) and Rule.LOST_HAS_NOT_PROMISED in world.rules
    all_promised = ASK_UNDO if lacks_one else ASK_KEEP
    for index in silent:
        disk = read(state.hosts[index].disk, world.rules)
        doubtful = is_doubtful(disk, world.rules)
        standing = stands(disk, world.rules) if index == 0 and Rule.DECISION_FOLLOWED in world.rules else ""
        if standing:
            place = _following(standing, world)
        elif disk.word != PROMISED:
            place = ASK_UNDO
        else:
            place = all_promised if len(silent) == 1 else ""
        seen = Step(name, "read", letter(index), "", standing or disk.word)
        if not doubtful:  # else it is as good as silent
            yield seen, _heard(_with_disk(state, index, disk, world), actor, index, place)
        blind = Step(name, "read", letter(index), "", NO_ANSWER)
        if index == 0:
            blind_place = _in_doubt(world) if Rule.DECISION_HOST in world.rules else UNDOING
            yield blind, _at(state, actor, blind_place)
        elif Rule.RECOVERY_READS_ALL in world.rules:
            yield blind, _at(state, actor, ASK_UNDO)
        else:
            yield blind, _heard(state, actor, index, all_promised if len(silent) == 1 else "")


def _ask(state: State, world: World, actor: int, name: str) -> Next:
    """Compare-and-set on the decision host, then do what stands there."""
    wanted = ASKS[state.places[actor]]
    message = Message("decide", wanted)
    disk, answer = receive(state.hosts[0].disk, message, world.rules)
    obeyed = answer if Rule.DECISION_FOLLOWED in world.rules else wanted
    place = ASK_UNDO if answer == REFUSED else _following(obeyed, world)
    if not is_doubtful(disk, world.rules):
        yield Step(name, "decide", letter(0), wanted, answer), _at(_with_disk(state, 0, disk, world), actor, place)
    place = _in_doubt(world) if wanted == UNDO else GONE
    yield from _give_up(state, world, actor, name, message, [0], place)


def _follow(state: State, world: World, actor: int, name: str) -> Next:
    """Carry a decision (or the lack of one) to every host; prune once all have acknowledged."""
    place = state.places[actor]
    message = CALLS[place]
    waiting = _silent(state, actor, world)
    following, given_up = PRUNING, GONE
    if place in AFTER_DATABASES:
        waiting = [world.database]
        following, given_up = AFTER_DATABASES[place]
    elif place == UNDOING_OTHERS:
        waiting = [index for index in waiting if index != world.database]
        following = GONE
    elif place == IN_DOUBT:
        following = GONE
    yield from _calls(state, world, actor, name, message, waiting, following if len(waiting) == 1 else "")
    yield from _give_up(state, world, actor, name, message, waiting, given_up)
    if place in (FINISHING, UNDOING) and Rule.PRUNE_AFTER_ACKS not in world.rules:
        yield from _prune(state, world, actor, name, place)


def _following(decision: str, world: World) -> str:
    """Where a decision leads; an undo takes the databases first."""
    if decision == KEEP:
        return FINISHING
    return UNDOING_DATABASES if Rule.DATABASES_FIRST in world.rules else UNDOING


def _in_doubt(world: World) -> str:
    return DATABASES_IN_DOUBT if Rule.DATABASES_FIRST in world.rules else IN_DOUBT


def _refused_by_database(message: Message, world: World) -> str:
    """Where an actor goes when the database refuses an undo."""
    if message.shows != UNDO and Rule.HOLD_SHOWS_DECISION in world.rules:
        return GONE
    return HOLDING if Rule.HOLD in world.rules else REPORTING


def _hold(state: State, world: World, actor: int, name: str) -> Next:
    """Hold the other hosts, so that no timer undoes what the database does not follow. What has undone has undone."""
    waiting = [index for index in _silent(state, actor, world) if index != world.database]
    message = Message("hold", UNDO if Rule.HOLD_SHOWS_DECISION in world.rules else "")
    for index in waiting:
        disk, answer = receive(state.hosts[index].disk, message, world.rules)
        if is_doubtful(disk, world.rules):
            continue
        after = _heard(_with_disk(state, index, disk, world), actor, index, REPORTING if len(waiting) == 1 else "")
        yield Step(name, message.action, letter(index), message.shows, answer), after
    yield from _give_up(state, world, actor, name, message, waiting, GONE)


def _prune(state: State, world: World, actor: int, name: str, place: str) -> Next:
    message = Message("prune")
    disk, answer = receive(state.hosts[0].disk, message, world.rules)
    after = _with_disk(state, 0, disk, world)
    if not is_doubtful(disk, world.rules):
        yield Step(name, "prune", letter(0), "", answer), after if place in CALLS else _at(after, actor, place)
    if place not in CALLS:
        yield from _give_up(state, world, actor, name, message, [0], place)


def _calls(
    state: State, world: World, actor: int, name: str, message: Message, waiting: list[int], following: str
) -> Next:
    """The calls of one place that are answered at once; the last one leads to where ``following`` says.

    A refusal ends that place, as giving up does.
    """
    for index in waiting:
        disk, answer = receive(state.hosts[index].disk, message, world.rules)
        if is_doubtful(disk, world.rules):
            continue
        after = _with_disk(state, index, disk, world)
        step = Step(name, message.action, letter(index), message.shows, answer)
        if answer in (OK, WAITS):
            yield step, _heard(after, actor, index, following)
        elif message.action in PHASES:
            yield step, _at(after, actor, ASK_UNDO)
        elif disk.foreign:
            yield step, _at(after, actor, _refused_by_database(message, world))
        else:
            yield step, _at(after, actor, GONE)


def _give_up(
    state: State, world: World, actor: int, name: str, message: Message, waiting: list[int], place: str
) -> Next:
    """Stop waiting. Every call without an answer is under way from now on: lost, or late."""
    hosts = list(state.hosts)
    for index in waiting:
        host = hosts[index]
        if message not in host.late and not world.drops(host.disk, message):
            hosts[index] = host._replace(late=tuple(sorted((*host.late, message))))
    named = message.shows if message.action == "decide" else ",".join(letter(index) for index in waiting)
    step = Step(name, GIVES_UP, f"{message.action} {named}")
    yield step, _at(state._replace(hosts=tuple(hosts)), actor, place)


def _silent(state: State, actor: int, world: World) -> list[int]:
    passed_over = world.passed_over(actor)
    return [index for index, host in enumerate(state.hosts) if not host.heard[actor] and index not in passed_over]


def _with_disk(state: State, index: int, disk: Disk, world: World) -> State:
    host = state.hosts[index]
    if disk == host.disk:
        return state
    late = host.late
    if late:
        late = tuple(message for message in late if not world.drops(disk, message))
    hosts = (*state.hosts[:index], host._replace(disk=disk, late=late), *state.hosts[index + 1 :])
    return state._replace(hosts=hosts)


def _heard(state: State, actor: int, index: int, following: str) -> State:
    """The actor has heard from a host and, where ``following`` is given, goes on to that place."""
    if following:
        return _at(state, actor, following)
    host = state.hosts[index]
    heard = (*host.heard[:actor], True, *host.heard[actor + 1 :])
    return state._replace(hosts=(*state.hosts[:index], host._replace(heard=heard), *state.hosts[index + 1 :]))


def _at(state: State, actor: int, place: str) -> State:
    """The actor is at another place, where it has heard from nobody yet."""
    hosts = tuple(
        host._replace(heard=(*host.heard[:actor], False, *host.heard[actor + 1 :])) if host.heard[actor] else host
        for host in state.hosts
    )
    return State(hosts, (*state.places[:actor], place, *state.places[actor + 1 :]))


def recover(
    disks: tuple[Disk, ...],
    answering: frozenset[int],
    database: int = 0,
    rules: frozenset[Rule] = ALL_RULES,
    lost: tuple[int, ...] = (),
) -> tuple[tuple[Disk, ...], str, list[Step]]:
    """One recovery from beginning to end that nothing disturbs: the hosts ``answering`` always answer, others never.

    Those called ``lost`` are not asked.

    Returns the disks afterwards, the outcome (``rolled_back``, ``undone``, ``undo_incomplete`` or ``in_doubt``) and the
    steps. ``rolled_back`` may still lack the acknowledgement of a host that did not answer.
    """
    world = World(len(disks), 1, rules, database=database, lost=lost)
    state = State(tuple(Host(disk, (False, False)) for disk in disks), (GONE, READ))
    taken: list[Step] = []
    followed = READ
    while state.places[1] not in (DONE, HELD, GONE):
        followed = state.places[1] if state.places[1] in CALLS else followed
        step, state = _undisturbed(_acts(state, world, 1), answering)
        taken.append(step)
    undone = "undone" if state.places[1] == DONE else "undo_incomplete"
    outcomes = {FINISHING: "rolled_back", DATABASES_IN_DOUBT: "in_doubt", IN_DOUBT: "in_doubt"}
    outcome = outcomes.get(followed, undone)
    return state.disks, outcome, taken


def _undisturbed(options: Next, answering: frozenset[int]) -> tuple[Step, State]:
    """The first step that fits: a host answers exactly if it is ``answering``; giving up is the last resort."""
    names = {letter(index) for index in answering}
    resort: list[tuple[Step, State]] = []
    for step, after in options:
        if step.action == GIVES_UP:
            resort.append((step, after))
        elif step.action == REPORT or (step.answer != NO_ANSWER) == (step.target in names):
            return step, after
    return resort[0]
