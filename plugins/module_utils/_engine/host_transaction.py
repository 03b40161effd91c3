# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) One transaction on one host as it is: its components as they are found, and what every step asks first.

The steps themselves are in ``transaction``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    Damaged,
    Refused,
    StateConflict,
    Unreadable,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import show_progress
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import Component, Context
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import component_class

from . import timer
from .lock import flock
from .records import Header, Records

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: What is said of a component in each state.
_STATE_WORDS = {
    State.UNTOUCHED: "is as it was before",
    State.PREPARED: "is as it was before, and what was prepared stands beside it",
    State.PARTIAL: "is switched in part",
    State.SWITCHED: "is switched",
    State.FOREIGN: "was changed by somebody else",
}


class HostTransaction:
    """What is known of a transaction on this host, inspected anew each time.

    :param state_dir: holds ``transactions`` and ``restore_points``.
    :param transaction_id: of a transaction that may or may not have begun here.
    :param passwords: by component key, for calls after the promise, when none are kept any more.
    :raises Refused: for an id that is not one.
    """

    def __init__(
        self, state_dir: Path, transaction_id: str, passwords: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        if not _ID.fullmatch(transaction_id):
            raise Refused(f"{transaction_id!r} is not a transaction's id: use letters, digits, '.', '_' and '-'.")
        self.state_dir = state_dir.absolute()  # the timer's process works elsewhere
        self.records = Records(self.state_dir / "transactions" / transaction_id)
        self._passwords = dict(passwords or {})
        #: What was wrong with the timer and has been put right, in sentences.
        self.warnings: list[str] = []

    # -- inspection -------------------------------------------------------------------------------------------------

    def components(self) -> list[JsonObject]:
        """Every component with its state in reality, and where what it replaced is kept."""
        return [
            {
                "component": plan.key,
                "kind": plan.kind,
                "name": plan.name,
                "state": self._state(plan).value,
                "before": plan.before,
                "after": plan.after,
                "discards": plan.discards,
                "kept": self.component(plan).kept(plan),
                "set_aside": self.component(plan).set_aside(plan),
                "can_go_back": is_reversible(plan),
            }
            for plan in self.plans()
        ]

    def kept(self, plan: Plan) -> JsonObject:
        """Where what this component replaced is kept; empty before it was prepared."""
        return self.component(plan).kept(plan) if plan.key in self.records.plans() else {}

    def _state(self, plan: Plan) -> State:
        return self.component(plan).state(plan)

    def plans(self) -> list[Plan]:
        """What is to be switched here, in that order."""
        plans = self.records.plans().values()
        return sorted(plans, key=lambda plan: component_class(plan.kind).order)

    def _refuse_conflicts(self, plans: Sequence[Plan]) -> None:
        foreign = [plan.key for plan in plans if self._state(plan) is State.FOREIGN]
        if foreign:
            raise StateConflict(
                f"Changed by somebody else since this transaction planned it: {', '.join(foreign)}. Nothing more was "
                "touched; look at it by hand, put it back to what it was before or after the switch, then run recover."
            )

    def component(self, plan: Plan) -> Component:
        """The component that carries a plan out, with what it needs around it."""
        known = {**self.records.secrets().get(plan.key, {}), **self._passwords.get(plan.key, {})}
        return make_component(plan.kind, self.records, self.workspace(plan), known, reversal=plan.undoes is not None)

    def workspace(self, plan: Plan) -> Path:
        """Where a component keeps its evidence; there from prepare on, until it is pruned."""
        return self._workspace(self.number(plan), plan)

    def _workspace(self, number: int, plan: Plan) -> Path:
        return self.records.directory / "workspace" / f"{number}-{plan.kind}"

    def number(self, plan: Plan) -> int:
        """The position of a plan among those of this transaction here, also of one that is about to become the last."""
        keys = list(self.records.plans())
        return keys.index(plan.key) if plan.key in keys else len(keys)

    def with_actual_state(self, error: Unreadable) -> Unreadable:
        """The same error, with the actual state of each component, and what to do about it."""
        found = [f"{plan.key} {self._actual_state(number, plan)}" for number, plan in self.records.kept_plans().items()]
        directory = self.records.directory
        return Unreadable(
            f"{error.message} So what {self.records.id} has done here is in doubt, and nothing more is done. Found by "
            f"looking: {'; '.join(found) or 'nothing, since no plan of a component can be read either'}. Put this host by "
            f"hand into the state that the other hosts are in, start its services, then move {directory} elsewhere: until "
            "then it holds the lock."
        )

    def _actual_state(self, number: int, plan: Plan) -> str:
        """The state of one component, in words."""
        try:
            known = self.records.secrets().get(plan.key, {})
            workspace = self._workspace(number, plan)
            component = make_component(plan.kind, self.records, workspace, known, reversal=plan.undoes is not None)
            return _STATE_WORDS[component.state(plan)]
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one, the others are to be inspected
            return f"can't be looked at ({str(error) or error.__class__.__name__})"

    def _journal(self, event: str, what: str, **facts: Any) -> None:
        self.records.journal.write(event, what, **facts)

    @contextmanager
    def _failure_journalled(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            with suppress(Damaged):  # the failure itself matters more than that it could not be written down
                self._journal("failed", f"{what}: {error}")
            raise

    # -- guards --------------------------------------------------------------------------------------------------

    def _require_known(self, attempt: str) -> Header:
        header = self.records.header()
        if header is None:
            raise Refused(f"Can't {attempt}: transaction {self.records.id} never began on this host.")
        return header

    def _require_open(self, attempt: str) -> Header:
        header = self._require_known(attempt)
        if self.records.outcome is not None:
            raise Refused(f"Can't {attempt}: transaction {header.id} has ended ({self.records.outcome['outcome']}).")
        if self.records.tombstoned:
            raise Refused(f"Can't {attempt}: transaction {header.id} was undone on this host.")
        return header

    @contextmanager
    def locked(self, *, touch: bool = True) -> Iterator[None]:
        """Serialise module, timer and operator on this host for the time of a call.

        :param touch: whether this is a call of the controller, which moves an armed deadline on.
        """
        if not self.records.directory.is_dir():
            raise Refused(f"Transaction {self.records.id} is not known on this host.")
        show_progress(f"Waiting for whoever else is at work on {self.records.id} here")
        with flock(self.records.directory / "lock"):
            show_progress(f"At work on {self.records.id}")
            self.records.sync()
            if not touch:
                yield
                return
            self._touch()
            try:
                yield
            finally:
                self._touch()

    def _touch(self) -> None:
        """Move an armed deadline on, and see that a process waits for it."""
        directory = self.records.directory
        with suppress(OSError):  # a full disk; the deadline that was set before still counts
            try:
                timer.touch(directory)
            except Unreadable as error:
                header = self._require_known("set the deadline anew")
                timer.set_deadline(directory, header.confirm_timeout)
                self._warn(f"{error.message} The dead man's timer has been given a new deadline.")
            if timer.deadline(directory) is not None and self.records.is_armed and not timer.is_waiting(directory):
                self._start_timer(self._require_known("start the timer again"))
                self._warn(
                    f"The dead man's timer of {self.records.id} did not run any more: it was killed, or could not undo "
                    f"({directory / 'timer.log'} says why). It has been started again."
                )

    def _start_timer(self, header: Header) -> None:
        waves = header.plan.get("parts", {}).get(header.host, {}).get("waves", ())
        services = [service for wave in waves for service in wave]
        timer.arm(self.records.directory, header.confirm_timeout, services)

    def _warn(self, what: str) -> None:
        self.warnings.append(what)
        self._journal("failed", what)


def is_reversible(plan: Plan) -> bool:
    """Whether a rollback by this plan can be undone as a whole once it has finished."""
    return component_class(plan.kind, reversal=True).is_reversible(plan)


def kept_instead(plan: Plan) -> str:
    """What stays of what is replaced where it can't; empty where it can."""
    return "" if is_reversible(plan) else component_class(plan.kind, reversal=True).kept_instead(plan)


def make_component(
    kind: str, records: Records, workspace: Path, passwords: Mapping[str, Any], *, reversal: bool = False
) -> Component:
    """A component with the engine's context around it.

    :param reversal: for a plan that takes a finished rollback back.
    """
    journal = records.journal
    context = Context(
        transaction=records.id,
        workspace=workspace,
        run=CommandRunner(),
        change=journal.change,
        note=journal.note,
        secrets=passwords,
    )
    return component_class(kind, reversal=reversal)(context)
