# Copyright: (c) 2026, the lastgood.rollback authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of the protocol, by name, so that each can be taken out and the harm be looked for."""

from __future__ import annotations

from enum import Enum


class Rule(Enum):
    """Each rule that can be taken out: its place in the design, what it says, what happens without it.

    Rules marked "found" are not spelt out in the design's seven: the exploration asked for them.
    """

    PROMISE = (
        "1",
        "keep is asked for only after every host has promised",
        "one host keeps while the timer of another undoes",
    )
    PROMISE_BINDS = (
        "1",
        "a promise disarms the timer, and a boot with a promise does not undo",
        "one host keeps while another, though it has promised, undoes alone",
    )
    PROMISE_REFUSED = (
        "1, 4",
        "promise is refused once the host has undone",
        "a late promise after an undo: keep is decided over a host that is old",
    )
    UNDO_SHOWS_DECISION = (
        "1, found",
        "a host that has promised undoes only for a message that shows the recorded undo",
        "a controller in doubt undoes a host that recovery keeps",
    )
    SYNC_FIRST = (
        "1, 2, found",
        "what is read is synced before it is answered, also what an earlier, killed call wrote",
        "a promise or a decision that was acted upon is gone after a loss of power",
    )
    WRITE_ONCE = (
        "2",
        "the decision is written once: who comes second reads it",
        "keep and undo are both decided",
    )
    DECISION_HOST = (
        "2",
        "nobody decides without the host that holds the decision: hosts that promised wait",
        "recovery without that host undoes what was kept there",
    )
    DECISION_FOLLOWED = (
        "3",
        "whoever asks for a decision does what stands, not what it asked for",
        "the controller keeps while recovery undoes",
    )
    RECOVERY_READS_ALL = (
        "3",
        "recovery keeps only when it has read a promise on every host",
        "recovery keeps while the host it could not read undoes",
    )
    TOMBSTONE = (
        "4",
        "begin, prepare and switch are refused once the host has undone",
        "a late switch after an undo",
    )
    TOMBSTONE_ALWAYS = (
        "4",
        "undo writes a tombstone even where there was nothing to undo",
        "a host that was passed over is switched later",
    )
    STOP_REFUSED = (
        "4, found",
        "stop, too, is refused once the host has undone",
        "a late stop after an undo: services down, and nobody left to start them",
    )
    PRUNE_AFTER_ACKS = (
        "5",
        "the decision is kept until every host has acknowledged",
        "a pruned decision: recovery undoes one host of a finished rollback",
    )
    END_ANSWERS = (
        "5, found",
        "a host that has ended answers by its word when the record is pruned: finished is keep, undone is undo",
        "after pruning, a straggler gets the opposite decision written",
    )
    DATABASES_FIRST = (
        "6",
        "a led undo takes the databases first, and touches nothing else until they are back",
        "the database refuses when the code is already back",
    )
    HOLD = (
        "6, found",
        "when the database refuses, the other hosts are held before that is reported: nothing more undoes alone",
        "timers undo the other hosts behind the report",
    )
    HOLD_SHOWS_DECISION = (
        "6, found",
        "a host is held only under a recorded undo",
        "a host that was held, and never checked, counts as one that has promised",
    )
    NEW_TRANSACTION = (
        "7",
        "a host that has finished refuses undo: undoing a finished rollback is a new transaction",
        "an undo of a finished rollback is cut in half",
    )
    CHAIN = (
        "8",
        "a host whose journal is damaged is in doubt: it undoes nothing, alone or asked, and answers nothing",
        "a host that finds nothing to undo in what is left of its journal calls itself undone, and runs the new",
    )
    IDENTITY = (
        "8",
        "a host that was replaced by an empty one is in doubt, and never one that the transaction has not reached",
        "the empty host decides to undo what was kept",
    )
    SETTLED_BY_THE_END = (
        "8",
        "the loss of the decision host is settled by the others: keep if one has finished, else undo",
        "a host that has finished and one that waits end apart",
    )

    LOST_HAS_NOT_PROMISED = (
        "8",
        "a host that is called lost has not promised: where nothing was decided, the others undo",
        "the others keep, and the host that was only away undoes alone",
    )

    def __init__(self, number: str, says: str, prevents: str) -> None:
        self.number = number
        self.says = says
        self.prevents = prevents


ALL_RULES: frozenset[Rule] = frozenset(Rule)
