# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) One transaction on one host, from begin to finish or undo. It knows components only by their protocol.

The rules of the decision are those of docs/protocol.md; the guards that enforce them on a host are here and in
``host_transaction``.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    InDoubt,
    LastGoodError,
    Refused,
    UndoIncomplete,
    VerificationFailed,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import ensure_private_directory
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import ComponentClasses
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State

from . import timer
from .host_components import HostComponents
from .host_transaction import HostTransaction
from .lock import create_with_first_record, host_lock, refuse_if_held
from .records import KEEP, UNDO, Header, HostState, identity_of
from .retention import prune


def new_id(stack: str) -> str:
    """An id that sorts by time and cannot collide: ``20261123T143000Z-blog-7f3a``."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{stack}-{secrets.token_hex(2)}"


class Transaction(HostTransaction):
    """The phases of a transaction on this host. Every method may be repeated after a crash.

    :param state_dir: see `HostTransaction`, as for ``transaction_id``.
    :param classes: see `HostComponents`, as for ``passwords``.
    """

    def __init__(
        self,
        state_dir: Path,
        transaction_id: str,
        classes: ComponentClasses,
        passwords: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(state_dir, transaction_id)
        self.components = HostComponents(self.records, classes, passwords)

    # -- begin ---------------------------------------------------------------------------------------------------

    def begin(self, header: Header, services: Sequence[Mapping[str, Any]] = ()) -> bool:
        """Open the transaction and so take the stack's lock on this host; false when it was open already.

        :param services: options of the services that it may stop here: whoever undoes starts them by these.
        :raises LockHeld: when another open transaction holds the stack.
        :raises Refused: when it was undone before it began: a message that came late.
        """
        with host_lock(self.state_dir):
            if self.records.tombstoned or self.records.outcome is not None:
                raise Refused(f"Transaction {header.id} has already ended on {header.host}: begin a new one.")
            known = self.records.header()
            if known is not None:
                self._refuse_another(known, header)
                return False
            refuse_if_held(self.state_dir, self.records.id, header.stack, ())
            state_id = identity_of(self.state_dir, make=True)
            create_with_first_record(self.records.directory, lambda records: records.write_header(header, services))
        began = f"Transaction {header.id} began on {header.host} for {header.operator}"
        self._journal("begun", began, state_id=state_id)
        return True

    def refuse_if_held(self, stack: str | None, lock_keys: Sequence[str] = (), keys: Sequence[str] = ()) -> None:
        """What `begin` and `prepare` would refuse, without changing anything.

        :raises LockHeld: see `begin`.
        """
        refuse_if_held(self.state_dir, self.records.id, stack, lock_keys, keys)

    def _refuse_another(self, known: Header, header: Header) -> None:
        for name in ("stack", "host", "hosts", "decision_host"):
            was, is_now = getattr(known, name), getattr(header, name)
            if was != is_now:
                raise Refused(
                    f"Transaction {known.id} was begun here with {name} {was!r}, not {is_now!r}: begin a new one."
                )

    # -- prepare -------------------------------------------------------------------------------------------------

    def prepare(self, plan: Plan, passwords: Mapping[str, Any]) -> JsonObject:
        """Build one component's next state without touching the live one; returns its evidence.

        :raises LockHeld: when another open transaction holds one of the component's things.
        """
        with self.locked():
            header = self.require_open("prepare")
            known = self.records.plans().get(plan.key)
            if known is not None and known.after != plan.after:
                raise Refused(f"{plan.key} was already prepared in {header.id} for another target.")
            plan = known or self.components.complete(plan)
            ready = self.records.evidence().get(plan.key)
            if self.records.switch_begun() or self.records.promise is not None:
                if ready is None:
                    raise Refused(f"Can't prepare {plan.key}: {header.id} is already being switched on this host.")
                return ready  # a message that came late, or twice
            if ready is not None and self.components.state(plan) is State.PREPARED:
                return ready
            facts = {"phase": "prepare", "component": plan.key}
            with host_lock(self.state_dir):
                refuse_if_held(self.state_dir, header.id, None, plan.things)
                self.records.reserve()
                if passwords:
                    self.records.write_secrets(plan.key, passwords)
                self.records.keep_plan(self.components.number(plan), plan)
                self._journal("intent", f"Prepare {plan.key}", **facts, plan=plan.to_json())
            ensure_private_directory(self.components.workspace(plan))
            with self._failure_journalled(f"Prepare {plan.key}"):
                evidence = self.components.of(plan).prepare(plan)
            self._journal("done", f"Prepared {plan.key}", **facts, evidence=evidence)
            self._journal("prepared", f"{plan.key} stands ready beside the live system")
            return evidence

    # -- switch --------------------------------------------------------------------------------------------------

    def switch(self) -> list[JsonObject]:
        """Flip every prepared component of this host; returns ``{"component", "ms"}`` for each.

        :raises Refused: after an undo, or when a component is not prepared: then nothing was switched.
        """
        with self.locked():
            self.require_open("switch")
            if self.records.promise is not None:
                return []  # a message that came late, or twice
            plans = self.components.plans()
            unprepared = [plan.key for plan in plans if plan.key not in self.records.evidence()]
            if unprepared:
                raise Refused(f"Not prepared: {', '.join(unprepared)}. Nothing was switched.")
            self.components.refuse_conflicts(plans)
            return [self._switch_one(plan) for plan in plans]

    def _switch_one(self, plan: Plan) -> JsonObject:
        component = self.components.of(plan)
        began = time.monotonic()
        state = component.state(plan)
        if state is not State.SWITCHED:
            if state is State.UNTOUCHED:
                raise Refused(f"{plan.key} is no longer prepared: what stood beside it is gone.")
            self._journal("intent", f"Switch {plan.key}", phase="switch", component=plan.key)
            with self._failure_journalled(f"Switch {plan.key}"):
                component.switch(plan)
        elapsed_ms = round((time.monotonic() - began) * 1000)
        self._journal("switched", f"Switched {plan.key}", phase="switch", component=plan.key, ms=elapsed_ms)
        return {"component": plan.key, "ms": elapsed_ms}

    # -- promise and decide --------------------------------------------------------------------------------------

    def promise(self, checks: list[JsonObject], *, binding: bool = True) -> None:
        """Inspect all components, sync, and promise never to undo alone.

        :param checks: what verify found, kept with the promise for the report.
        :param binding: whether one that failed forbids the promise.
        :raises Refused: once this host has undone.
        :raises VerificationFailed: when a check failed or a component is not what it was switched to.
        """
        with self.locked():
            self.require_open("promise")
            if self.records.promise is not None:
                self._disarm()
                return
            failed = [str(check.get("name")) for check in checks if not check.get("ok")]
            if checks:
                passed = len(checks) - len(failed)
                self._journal("checked", f"{passed} of {len(checks)} checks held", checks=checks)
            if failed and binding:
                raise VerificationFailed(f"Checks failed: {', '.join(failed)}.")
            for plan in self.components.plans():
                state = self.components.of(plan).state(plan)
                if state is not State.SWITCHED:
                    raise VerificationFailed(f"{plan.key} should be switched, but is {state.value}.")
            os.sync()
            self.records.write_promise(checks)
            self._disarm()
            self._journal("promised", "Promised to wait for the decision and never to undo alone")

    def keep_as_is(self, decision: str | None, reason: str) -> None:
        """Keep this host as it is, because another can't be undone: what is switched promises, what is not never will be.

        :param decision: the one of the decision host; it must be to undo, else a promise could come to mean keep.
        """
        if self.records.directory.is_dir():
            with self.locked():
                if self._known_decision(decision) != UNDO and self.records.outcome is None:
                    raise Refused(f"{self.records.id} is held only where it was decided to undo it: run recover.")
                if self.records.promise is None and self.records.state() is HostState.SWITCHED:
                    self.records.write_promise([])
                    self._journal("promised", f"Stays switched and undoes nothing alone: {reason}")
                if self.records.promise is not None:
                    self._disarm()
                    return
        elif decision != UNDO:
            raise Refused(f"{self.records.id} is held only where it was decided to undo it: run recover.")
        self.undo(decision, reason)

    def _disarm(self) -> None:
        """What follows from a promise: nobody undoes alone, so nobody needs the passwords for it."""
        timer.disarm(self.records.directory)
        self.records.forget_secrets()

    def decide(self, requested: str, promised: Sequence[str], by: str) -> str:
        """Record the decision on the decision host; returns the one that is recorded, which may be another.

        :param requested: ``keep`` or ``undo``.
        :param promised: hosts that are known to have promised; all of the plan's, for ``keep``.
        """
        with self.locked():
            header = self.require_known("decide")
            if header.host != header.decision_host:
                raise Refused(f"{header.host} is not the decision host of {header.id}: ask {header.decision_host}.")
            decided = self._known_decision(None)
            if decided is None and requested == KEEP:
                self._refuse_keep(header, promised)
            decision = decided or self.records.decide(requested, by)
            self._journal("decided", f"The decision is to {decision}", decision=decision)
            return decision

    def _refuse_keep(self, header: Header, promised: Sequence[str]) -> None:
        if self.records.tombstoned:
            raise Refused("Keep may not be decided: this host has undone.")
        here = {header.host} if self.records.promise is not None else set()
        missing = sorted(set(header.hosts) - (set(promised) - {header.host} | here))
        if missing:
            raise Refused(f"Keep may not be decided: no promise of {', '.join(missing)}.")

    def _known_decision(self, reported: str | None) -> str | None:
        """The decision: on the decision host what is recorded there, whatever the caller says; elsewhere what the caller read.

        A host that has ended answers by how it ended.
        """
        header, ended = self.records.header(), self.records.outcome
        if ended is not None:
            return UNDO if self.records.tombstoned else KEEP
        if header is not None and header.host == header.decision_host:
            return self.records.decision
        return reported

    # -- undo ----------------------------------------------------------------------------------------------------

    def undo(
        self,
        decision: str | None,
        reason: str,
        kinds: Sequence[str] | None = None,
        *,
        stop: Callable[[], object] | None = None,
        start: Callable[[], object] | None = None,
        if_silent: bool = False,
    ) -> list[JsonObject]:
        """Take back what was switched, in reverse order, and remove what was prepared.

        :param decision: the one of the decision host as the caller read it; None when it can't be read.
        :param kinds: only these kinds of components (databases go first); None for all.
        :param stop: called before the first component whose switch has begun is touched.
        :param start: called once what is live is as it was before, even when not all that was prepared could be removed.
        :param if_silent: only when the armed deadline has passed: a call may have come at the last moment.
        :returns: ``{"component", "ms", "kept"}`` of each that was taken back now.
        :raises InDoubt: after a promise, without a decision.
        :raises StateConflict: when a component is neither old nor new; then nothing at all is undone.
        """
        with host_lock(self.state_dir):
            if not self.records.directory.is_dir():
                create_with_first_record(self.records.directory, lambda records: records.write_tombstone(reason))
        with self.locked(touch=not if_silent):
            if if_silent and timer.seconds_left(self.records.directory) != 0.0:
                return []
            if self._nothing_to_undo(decision):
                return []
            self.records.release_reserve()
            plans = list(reversed(self.components.plans()))
            # A component that was never switched can only look foreign because of one that was (a reset brings
            # back a tracked configuration file): it is cleaned up after those, when it looks like itself again.
            begun = self.records.switch_begun()
            switched = [plan for plan in plans if plan.key in begun]
            self.components.refuse_conflicts(switched)
            self.records.write_tombstone(reason)
            if stop is not None and not self._is_as_before(switched):
                stop()
            ordered = [*switched, *(plan for plan in plans if plan.key not in begun)]
            try:
                done = [self._undo_one(plan) for plan in ordered if kinds is None or plan.kind in kinds]
                if not self.records.undo_finished and all(
                    self.components.state(plan) is State.UNTOUCHED for plan in plans
                ):
                    self._journal("undone", f"Everything of {self.records.id} on this host is as it was before")
            finally:
                if start is not None and self._is_as_before(switched):
                    start()
            return [entry for entry in done if entry is not None]

    def _nothing_to_undo(self, reported: str | None) -> bool:
        """Whether there is nothing left to undo; refuses where undoing is not allowed."""
        if self.records.outcome is not None and self.records.tombstoned:
            return True
        decided = self._known_decision(reported)
        if decided == KEEP:
            raise Refused(f"Transaction {self.records.id} was decided to be kept: it is finished, not undone.")
        # A tombstone after a promise: the decision to undo was seen before, and this undo was interrupted.
        if self.records.promise is not None and decided != UNDO and not self.records.tombstoned:
            raise InDoubt(
                "This host has promised and the decision can't be read: bring the decision host back and run recover."
            )
        return False

    def _is_as_before(self, plans: Sequence[Plan]) -> bool:
        """Whether what is live is as before; false also where that can't be seen."""
        try:
            return all(self.components.state(plan) in (State.UNTOUCHED, State.PREPARED) for plan in plans)
        except (LastGoodError, OSError):
            return False

    def _undo_one(self, plan: Plan) -> JsonObject | None:
        component = self.components.of(plan)
        if component.state(plan) is State.UNTOUCHED:
            return None
        began = time.monotonic()
        self._journal("intent", f"Undo {plan.key}", phase="undo", component=plan.key)
        with self._failure_journalled(f"Undo {plan.key}"):
            component.undo(plan)
            state = component.state(plan)
            if state is not State.UNTOUCHED:
                raise UndoIncomplete(
                    f"{plan.key} is {state.value} after its undo: look at it by hand, then recover again."
                )
        elapsed_ms = round((time.monotonic() - began) * 1000)
        kept = component.kept(plan)
        self._journal("done", f"Undone {plan.key}", phase="undo", component=plan.key, ms=elapsed_ms, kept=kept)
        return {"component": plan.key, "ms": elapsed_ms, "kept": kept}

    # -- finish --------------------------------------------------------------------------------------------------

    def finish(self, decision: str | None, acknowledged: Sequence[str], keep_days: int = 7) -> str | None:
        """End the transaction and unlock; returns the outcome, or None while other hosts have not acknowledged.

        :param decision: the one of the decision host.
        :param acknowledged: the hosts that have ended already; the decision host ends last, because its record must
            stay as long as anybody may ask for it.
        :param keep_days: how long the workspaces of the stack's earlier transactions are kept.
        """
        with self.locked():
            ended = self.records.outcome
            if ended is not None:
                self.records.forget_services()
                return str(ended["outcome"])
            outcome = (
                self._finish_undone() if self.records.tombstoned else self._finish_kept(self._known_decision(decision))
            )
            header = self.records.header()
            if header is not None and header.host == header.decision_host:
                missing = sorted(set(header.hosts) - {header.host} - set(acknowledged))
                if missing:
                    self._journal("note", f"Stays open until {', '.join(missing)} have ended as well")
                    return None
            self.records.release_reserve()
            self._disarm()  # before the end is recorded: nobody comes back to an ended transaction
            self._journal("finished", f"Transaction {self.records.id} ended: {outcome}", outcome=outcome)
            self.records.close(outcome, at=time.time())
            self.records.forget_services()
            if header is not None:
                self._prune(header.stack, keep_days)
            return outcome

    def _prune(self, stack: str, keep_days: int) -> None:
        try:
            prune(self.state_dir, stack, keep_days)
        except (LastGoodError, OSError) as error:  # the rollback itself has succeeded
            self._journal("note", f"Earlier transactions of {stack} could not be pruned: {error}")

    def _finish_undone(self) -> str:
        left = [plan.key for plan in self.components.plans() if self.components.state(plan) is not State.UNTOUCHED]
        if left:
            raise UndoIncomplete(f"Not yet undone: {', '.join(left)}. Run recover again.")
        for plan in self.components.plans():
            try:
                written = self.components.of(plan).count_written(plan)
            except (LastGoodError, OSError) as error:  # everything is back; this is only good to know
                self._journal("note", f"What was written to what {plan.key} rejected is not counted: {error}")
                continue
            if not written:  # not only good to know: a database that nobody needs must not be left
                self.components.of(plan).discard_rejected(plan)
        return "undone"

    def _finish_kept(self, decided: str | None) -> str:
        if decided != KEEP:
            raise InDoubt("Nothing may be finished without the decision to keep: run recover.")
        if self.records.promise is None:
            raise Refused("This host never promised, so nobody can have decided to keep: run recover.")
        for plan in self.components.plans():
            self._journal("intent", f"Finish {plan.key}", phase="finish", component=plan.key)
            with self._failure_journalled(f"Finish {plan.key}"):
                self.components.of(plan).finish(plan)
        return self.require_known("finish").kept_as
