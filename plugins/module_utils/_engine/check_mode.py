# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What is known of a transaction on this host in a few words, and what a call would make of it in check mode."""

from __future__ import annotations

from dataclasses import dataclass, replace

from . import timer as _timer
from .decision import resolved_decision
from .records import KEEP, UNDO, HostState, Records

ABSENT = "absent"
_HERE = "here"
_ENDS = (HostState.UNDONE.value, HostState.FINISHED.value)
_FORWARD = {
    "begin": (ABSENT, HostState.OPEN.value),
    "prepare": (HostState.OPEN.value, HostState.PREPARED.value),
    "switch": (HostState.PREPARED.value, HostState.SWITCHED.value),
    "promise": (HostState.SWITCHED.value, HostState.PROMISED.value),
}


@dataclass(frozen=True)
class Snapshot:
    """The durable facts that a call may change.

    :param state: a word of the protocol, or ``absent``.
    :param kept_as: the outcome, if it is kept.
    """

    state: str
    decision: str | None = None
    outcome: str | None = None
    armed: bool = False
    kept_as: str = "rolled_back"

    def ended(self, state: str, decision: str | None) -> Snapshot:
        """The snapshot of its end."""
        return replace(
            self,
            state=state,
            decision=decision,
            outcome="undone" if state == HostState.UNDONE.value else self.kept_as,
            armed=False,
        )

    def text(self) -> str:
        """For a diff."""
        timer = "armed" if self.armed else "not armed"
        return f"state: {self.state}\ndecision: {self.decision}\noutcome: {self.outcome}\ntimer: {timer}\n"


def snapshot(records: Records) -> Snapshot:
    """What the records on the disk say."""
    if not records.directory.is_dir():
        return Snapshot(ABSENT)
    ended, header = records.outcome, records.header()
    return Snapshot(
        state=records.state().value,
        decision=records.decision,
        outcome=str(ended["outcome"]) if ended else None,
        armed=_timer.deadline(records.directory) is not None,
        kept_as=header.kept_as if header else "rolled_back",
    )


def predict(current: Snapshot, call: str, decision: str | None) -> Snapshot:
    """What the call would leave, if nothing refuses it.

    :param decision: what is asked for, or was reported.
    """
    if current.outcome is not None:
        return current
    if call in _FORWARD:
        before, after = _FORWARD[call]
        armed = current.armed and call != "promise"
        return replace(current, state=after, armed=armed) if current.state == before else current
    if call == "arm":
        before_promise = current.state in (HostState.OPEN.value, HostState.PREPARED.value, HostState.SWITCHED.value)
        return replace(current, armed=current.armed or before_promise)
    if call == "decide":
        return replace(current, decision=current.decision or decision)
    if call == "recover":
        # Only a transaction of this host alone is recovered by a call.
        promised = [_HERE] if current.state == HostState.PROMISED.value else []
        outcome = resolved_decision(current.decision, [_HERE], promised, decision_host_read=True)
        end = HostState.FINISHED.value if outcome == KEEP else HostState.UNDONE.value
        return current.ended(end, outcome)
    return _predict_end(current, call, current.decision or decision)


def _predict_end(current: Snapshot, call: str, decided: str | None) -> Snapshot:
    """What ``undo``, ``hold`` and ``finish`` would leave."""
    promised = current.state == HostState.PROMISED.value
    if call == "finish":
        end = HostState.FINISHED.value if promised and decided == KEEP else current.state
        return current.ended(end, current.decision) if end in _ENDS else current
    if call == "hold" and (promised or current.state == HostState.SWITCHED.value):
        return replace(current, state=HostState.PROMISED.value, armed=False)
    if decided == KEEP or (promised and decided != UNDO):
        return current
    return replace(current, state=HostState.UNDONE.value)
