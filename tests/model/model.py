# Copyright: (c) 2026, the lastgood.rollback authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules by which one host answers: a state machine with a few durable facts and a dozen messages.

A host decides nothing by looking at others. Everything it may do follows from what stands on its own disk (``Disk``)
and from the message that arrived (``Message``), which may be any message, at any time, any number of times.
``receive`` is therefore the whole contract of the engine's side on a host; who sends messages is in ``actors.py``.

A step here is atomic, as the lock of a transaction makes it on a host. Of a ``kill -9`` inside a step the model knows
one thing: a word or a record that was written and not yet synced, which the next message reads and a loss of power
takes away. For all else that such a kill leaves behind, each component finds the truth by looking.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from .rules import ALL_RULES, Rule

# The words for a host's state in one transaction; the engine's journal carries the same ones.
ABSENT = "absent"  # nothing of this transaction has reached the host yet
OPEN = "open"
PREPARED = "prepared"
SWITCHED = "switched"
PROMISED = "promised"
UNDOING = "undoing"  # nothing but its undo can follow; its databases are back, the rest may not be
UNDONE = "undone"
FINISHED = "finished"
ENDED = (UNDONE, FINISHED)

KEEP = "keep"
UNDO = "undo"
DATABASES = "undo_databases"  # the message that undoes only these; on any other host than theirs it is not sent

# What may become of a host's records.
DAMAGED = "damaged"  # reality stays, and what was to be undone can't be read
REPLACED = "replaced"  # by an empty host of the same name

# What a host answers, besides the decision that stands.
OK = "ok"
REFUSED = "refused"
WAITS = "waits"  # promised: only a recorded decision may move it
IN_DOUBT = "in doubt"  # nothing can be concluded from its records


class Disk(NamedTuple):
    """What is durable on one host. ``new`` and ``data`` are reality, the rest are files of the transaction."""

    word: str = ABSENT
    armed: bool = False  # the timer; armed before the first service is stopped, so also: services may be down
    new: bool = False  # the host runs what this transaction switches to
    data: bool = False  # and so do its databases, which a led undo takes back in a call of their own
    checked: bool = False  # it has promised after its checks: watched, never read by the protocol
    record: str = ""  # the decision, on the decision host only
    ever: tuple[str, ...] = ()  # every decision that was ever written here: watched, never read by the protocol
    foreign: bool = False  # somebody deployed over it after the switch: undo has to refuse
    gone: str = ""  # what has become of the records: DAMAGED, or REPLACED with the whole host
    unsynced: tuple[str, bool, str, tuple[str, ...]] | None = None  # word, armed, record, ever: back after a power loss


class Message(NamedTuple):
    """A call of one phase on one host. ``shows`` is the decision it carries or, for ``decide``, asks for."""

    action: str
    shows: str = ""


PHASES = ("begin", "prepare", "stop", "switch", "promise")
MESSAGES = (
    *(Message(phase) for phase in PHASES),
    Message("undo"),
    Message("undo", UNDO),
    Message(DATABASES),
    Message(DATABASES, UNDO),
    Message("finish", KEEP),
    Message("decide", KEEP),
    Message("decide", UNDO),
    Message("prune"),
    Message("hold"),
    Message("hold", UNDO),
)


@cache
def receive(disk: Disk, message: Message, rules: frozenset[Rule] = ALL_RULES) -> tuple[Disk, str]:
    """What a host does with a message: its disk afterwards, and its answer. What it has obeyed already is ``ok``."""
    if is_doubtful(disk, rules):
        return disk, IN_DOUBT
    disk = read(disk, rules)
    after, answer = _obey(disk, message, rules)
    return (after if after == disk else after._replace(unsynced=None)), answer


def is_doubtful(disk: Disk, rules: frozenset[Rule] = ALL_RULES) -> bool:
    """Whether its records are known to be unbelievable."""
    return (disk.gone == DAMAGED and Rule.CHAIN in rules) or (disk.gone == REPLACED and Rule.IDENTITY in rules)


def befallen(disk: Disk, what: str) -> Disk:
    """The disk when its journal is damaged, or when the host is replaced by an empty one."""
    return disk._replace(gone=DAMAGED) if what == DAMAGED else Disk(gone=REPLACED)


def read(disk: Disk, rules: frozenset[Rule] = ALL_RULES) -> Disk:
    """The disk once it has been read for an answer: synced."""
    return disk._replace(unsynced=None) if disk.unsynced and Rule.SYNC_FIRST in rules else disk


@cache
def killed(disk: Disk, message: Message, rules: frozenset[Rule] = ALL_RULES) -> Disk:
    """The disk when the call is killed between writing and syncing. A change of reality is synced ahead, as intent."""
    after, _answer = receive(disk, message, rules)
    if after == disk or (after.new, after.data) != (disk.new, disk.data):
        return disk
    return after._replace(unsynced=disk.unsynced or (disk.word, disk.armed, disk.record, disk.ever))


@cache
def alone(disk: Disk, event: str, rules: frozenset[Rule] = ALL_RULES) -> Disk:
    """What a host does of itself: ``timer``, or ``reboot`` (after a loss of power). A promise stops both."""
    if event == "reboot" and disk.unsynced:
        word, armed, record, ever = disk.unsynced
        checked = disk.checked and word in (PROMISED, FINISHED)
        disk = disk._replace(word=word, armed=armed, checked=checked, record=record, ever=ever, unsynced=None)
    bound = (disk.word == PROMISED and Rule.PROMISE_BINDS in rules) or is_doubtful(disk, rules)
    if not disk.armed or bound or disk.word in ENDED or disk.foreign:
        return disk
    return _undone(disk)


def stands(disk: Disk, rules: frozenset[Rule] = ALL_RULES) -> str:
    """The decision that can be read on the decision host, or nothing."""
    if disk.record or Rule.END_ANSWERS not in rules:
        return disk.record
    return {FINISHED: KEEP, UNDONE: UNDO}.get(disk.word, "")


def _obey(disk: Disk, message: Message, rules: frozenset[Rule]) -> tuple[Disk, str]:
    if message.action in PHASES:
        return _forward(disk, message.action, rules)
    if message.action in ("undo", DATABASES):
        return _undo(disk, message, rules)
    if message.action == "finish":
        return _finish(disk, rules)
    if message.action == "decide":
        return _decide(disk, message.shows, rules)
    return _hold(disk, message.shows, rules) if message.action == "hold" else _prune(disk, rules)


def _forward(disk: Disk, phase: str, rules: frozenset[Rule]) -> tuple[Disk, str]:
    if disk.word in (UNDOING, UNDONE):
        return _after_the_end(disk, phase, rules)
    before = {"begin": ABSENT, "prepare": OPEN, "stop": PREPARED, "switch": PREPARED, "promise": SWITCHED}[phase]
    if disk.word != before:
        order = (ABSENT, OPEN, PREPARED, SWITCHED, PROMISED, FINISHED)
        return disk, OK if order.index(disk.word) > order.index(before) else REFUSED
    if phase == "begin":
        return disk._replace(word=OPEN), OK
    if phase == "prepare":
        return disk._replace(word=PREPARED), OK
    if phase == "stop":
        return disk._replace(armed=True), OK
    if phase == "switch":
        return (disk._replace(word=SWITCHED, new=True, data=True), OK) if disk.armed else (disk, REFUSED)
    return disk._replace(word=PROMISED, armed=Rule.PROMISE_BINDS not in rules, checked=True), OK


def _after_the_end(disk: Disk, phase: str, rules: frozenset[Rule]) -> tuple[Disk, str]:
    """A message for a host that has undone: refused, unless the rule that says so was taken out."""
    if phase == "stop" and Rule.STOP_REFUSED not in rules:
        return disk._replace(armed=True), OK
    if phase == "switch" and Rule.TOMBSTONE not in rules:
        return disk._replace(word=SWITCHED, new=True, data=True), OK
    if phase == "promise" and Rule.PROMISE_REFUSED not in rules:
        return disk._replace(word=PROMISED), OK
    return disk, REFUSED


def _undo(disk: Disk, message: Message, rules: frozenset[Rule]) -> tuple[Disk, str]:
    if disk.word == UNDONE:
        return disk, OK
    if disk.foreign:
        return disk, REFUSED
    if disk.word == FINISHED and Rule.NEW_TRANSACTION in rules:
        return disk, REFUSED
    if disk.word == PROMISED and message.shows != UNDO and Rule.UNDO_SHOWS_DECISION in rules:
        return disk, WAITS
    if not disk.new and Rule.TOMBSTONE_ALWAYS not in rules:
        return disk, OK
    if message.action == DATABASES:
        return disk._replace(word=UNDOING, data=disk.data and disk.gone == DAMAGED, checked=False), OK
    return _undone(disk), OK


def _undone(disk: Disk) -> Disk:
    undone = disk._replace(word=UNDONE, armed=False, checked=False, unsynced=None)
    # Nothing is found that would be to undo.
    return undone if disk.gone == DAMAGED else undone._replace(new=False, data=False)


def _finish(disk: Disk, rules: frozenset[Rule]) -> tuple[Disk, str]:
    if disk.word == FINISHED:
        return disk, OK
    if disk.word == PROMISED or (disk.word == SWITCHED and Rule.PROMISE not in rules):
        return disk._replace(word=FINISHED, armed=False), OK
    return disk, REFUSED


def _decide(disk: Disk, wanted: str, rules: frozenset[Rule]) -> tuple[Disk, str]:
    standing = stands(disk, rules)
    if disk.word == UNDOING and wanted == KEEP and not standing and Rule.TOMBSTONE in rules:
        return disk, REFUSED
    if standing and (Rule.WRITE_ONCE in rules or standing == wanted):
        return disk, standing
    return disk._replace(record=wanted, ever=tuple(sorted({*disk.ever, wanted}))), wanted


def _hold(disk: Disk, shows: str, rules: frozenset[Rule]) -> tuple[Disk, str]:
    """Stay as you are and wait: what is switched promises, what is not never will be."""
    if shows != UNDO and Rule.HOLD_SHOWS_DECISION in rules:
        return disk, REFUSED
    if disk.word == SWITCHED:
        return disk._replace(word=PROMISED, armed=False), OK
    return (disk if disk.word in (PROMISED, *ENDED) else _undone(disk)), OK


def _prune(disk: Disk, rules: frozenset[Rule]) -> tuple[Disk, str]:
    """Drop the record, never the word: ``undone`` and ``finished`` outlive everything else of a transaction."""
    knows = {Rule.PRUNE_AFTER_ACKS, Rule.TOMBSTONE_ALWAYS} <= rules  # else the word does not tell whether it has ended
    if disk.word not in ENDED and knows:
        return disk, REFUSED
    return disk._replace(record=""), OK


@cache
def futures(disk: Disk, rules: frozenset[Rule] = ALL_RULES, kills: bool = True) -> frozenset[Disk]:
    """Every disk that any sequence of messages and events (killed calls too?) could make of this one, and itself."""
    seen = {disk}
    todo = [disk]
    while todo:
        here = todo.pop()
        reached = {receive(here, message, rules)[0] for message in MESSAGES}
        if kills:
            reached |= {killed(here, message, rules) for message in MESSAGES}
        reached |= {alone(here, "timer", rules), alone(here, "reboot", rules), read(here, rules)}
        if here.new and here.word in (SWITCHED, PROMISED):
            reached.add(here._replace(foreign=True))
        todo.extend(reached - seen)
        seen |= reached
    return frozenset(seen)


@cache
def is_spent(disk: Disk, message: Message, rules: frozenset[Rule] = ALL_RULES, kills: bool = True) -> bool:
    """Whether a message can change nothing here any more, whatever else happens: it need not be carried along."""
    return all(receive(future, message, rules)[0] == future for future in futures(disk, rules, kills))
