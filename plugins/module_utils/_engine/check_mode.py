# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What is known of a transaction on this host in a few words, and what a call would make of it in check mode."""

from __future__ import annotations

from dataclasses import dataclass, replace

from . import timer as _timer
from .records import KEEP, UNDO, HostState, Records

ABSENT = "absent"
_ENDS = (HostState.UNDONE.value, HostState.FINISHED.value)
_FORWARD = {
    "begin": (ABSENT, HostState.OPEN.value),
    "prepare": (HostState.OPEN.value, HostState.PREPARED.value),
    "switch": (HostState.PREPARED.value, HostState.SWITCHED.value),
    "promise": (HostState.SWITCHED.value, HostState.PROMISED.value),
}


@dataclass(frozen=True)
class View:
    """The durable facts that a call may change.

    :param state: a word of the protocol, or ``absent``.
    :param kept_as: the outcome, if it is kept.
    """

    state: str
    decision: str | None = None
    outcome: str | None = None
    armed: bool = False
    kept_as: str = "rolled_back"

    def ended(self, state: str, decision: str | None) -> View:
        """The view of its end."""
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


def look(records: Records) -> View:
    """What stands on the disk."""
    if not records.directory.is_dir():
        return View(ABSENT)
    ended, header = records.outcome, records.header()
    return View(
        state=records.state().value,
        decision=records.decision,
        outcome=str(ended["outcome"]) if ended else None,
        armed=_timer.deadline(records.directory) is not None,
        kept_as=header.kept_as if header else "rolled_back",
    )


def foresee(view: View, call: str, decision: str | None) -> View:
    """What the call would leave, if nothing refuses it.

    :param decision: what is asked for or shown.
    """
    if view.outcome is not None:
        return view
    if call in _FORWARD:
        before, after = _FORWARD[call]
        armed = view.armed and call != "promise"
        return replace(view, state=after, armed=armed) if view.state == before else view
    if call == "arm":
        before_promise = view.state in (HostState.OPEN.value, HostState.PREPARED.value, HostState.SWITCHED.value)
        return replace(view, armed=view.armed or before_promise)
    if call == "decide":
        return replace(view, decision=view.decision or decision)
    if call == "recover":
        kept = (view.decision or (KEEP if view.state == HostState.PROMISED.value else UNDO)) == KEEP
        end = HostState.FINISHED.value if kept else HostState.UNDONE.value
        return view.ended(end, KEEP if kept else UNDO)
    return _foresee_end(view, call, view.decision or decision)


def _foresee_end(view: View, call: str, standing: str | None) -> View:
    """What ``undo``, ``hold`` and ``finish`` would leave."""
    promised = view.state == HostState.PROMISED.value
    if call == "finish":
        end = HostState.FINISHED.value if promised and standing == KEEP else view.state
        return view.ended(end, view.decision) if end in _ENDS else view
    if call == "hold" and (promised or view.state == HostState.SWITCHED.value):
        return replace(view, state=HostState.PROMISED.value, armed=False)
    if standing == KEEP or (promised and standing != UNDO):
        return view
    return replace(view, state=HostState.UNDONE.value)
