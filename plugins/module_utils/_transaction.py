# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) One transaction on one host, from begin to finish or undo. It knows components only by their protocol.

The rules of the decision are those of docs/protocol.md; the guards that enforce them on a host all stand here.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils import _timer
from ansible_collections.lastgood.rollback.plugins.module_utils._command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._components._base import Component, Context, Plan, State
from ansible_collections.lastgood.rollback.plugins.module_utils._components._registry import COMPONENTS
from ansible_collections.lastgood.rollback.plugins.module_utils._errors import (
    Foreign,
    InDoubt,
    LastGoodError,
    LockHeld,
    Refused,
    VerificationFailed,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._files import ensure_private_directory, fsync_directory
from ansible_collections.lastgood.rollback.plugins.module_utils._records import (
    KEEP,
    UNDO,
    Header,
    Records,
    all_records,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._types import JsonObject

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def new_id(stack: str) -> str:
    """An id that sorts by time and cannot collide: ``20261123T143000Z-blog-7f3a``."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{stack}-{secrets.token_hex(2)}"


class Transaction:
    """The phases of a transaction on this host. Every method may be repeated after a crash.

    :param state_dir: holds ``transactions`` and ``restore_points``.
    :param transaction_id: of a transaction that may or may not have begun here.
    :param passwords: by component key, for calls after the promise, when none are kept any more.
    :raises Refused: for an id that is not one.
    """

    def __init__(
        self, state_dir: Path, transaction_id: str, passwords: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        if not _ID.fullmatch(transaction_id):
            raise Refused(f"{transaction_id!r} is not a transaction's id: use letters, digits, '.', '_' and '-'.")
        self.state_dir = state_dir
        self.records = Records(state_dir / "transactions" / transaction_id)
        self._passwords = dict(passwords or {})

    # -- begin ---------------------------------------------------------------------------------------------------

    def begin(self, header: Header) -> bool:
        """Open the transaction and so take the stack's lock on this host; false when it was open already.

        :raises LockHeld: when another open transaction holds the stack.
        :raises Refused: when it was undone before it began: a message that came late.
        """
        with _host_lock(self.state_dir):
            if self.records.tombstoned or self.records.outcome is not None:
                raise Refused(f"Transaction {header.id} has already ended on {header.host}: begin a new one.")
            if self.records.header() is not None:
                return False
            self._refuse_if_held(header.stack, ())
            _create_directory(self.records.directory, header)
        self.records.journal.write("begun", f"Transaction {header.id} began on {header.host} for {header.operator}")
        return True

    def refuse_if_held(self, stack: str) -> None:
        """What `begin` would refuse, without changing anything.

        :raises LockHeld: see `begin`.
        """
        self._refuse_if_held(stack, ())

    def _refuse_if_held(self, stack: str | None, things: Sequence[str]) -> None:
        for other in all_records(self.state_dir):
            if other.id == self.records.id or other.outcome is not None:
                continue
            header = other.header()
            if header is None:
                continue
            held = {thing for plan in other.plans().values() for thing in plan.things} & set(things)
            if header.stack == stack or held:
                raise LockHeld(_held_by(header, f"stack {stack}" if header.stack == stack else ", ".join(sorted(held))))

    # -- prepare -------------------------------------------------------------------------------------------------

    def prepare(self, plan: Plan, passwords: Mapping[str, str]) -> JsonObject:
        """Build one component's next state beside the live one; returns its evidence.

        :raises LockHeld: when another open transaction holds one of the component's things.
        """
        with self.hold():
            header = self._require_open("prepare")
            known = self.records.plans().get(plan.key)
            if known is not None and known.after != plan.after:
                raise Refused(f"{plan.key} was already prepared in {header.id} for another target.")
            plan = known or plan
            if plan.key in self.records.evidence() and self._component(plan).state(plan) is State.PREPARED:
                return self.records.evidence()[plan.key]
            facts = {"phase": "prepare", "component": plan.key}
            with _host_lock(self.state_dir):
                self._refuse_if_held(None, plan.things)
                if passwords:
                    self.records.write_secrets(plan.key, passwords)
                self._journal("intent", f"Prepare {plan.key}", **facts, plan=plan.to_json())
            ensure_private_directory(self._workspace(plan))
            with self._failure_journalled(f"Prepare {plan.key}"):
                evidence = self._component(plan).prepare(plan)
            self._journal("done", f"Prepared {plan.key}", **facts, evidence=evidence)
            self._journal("prepared", f"{plan.key} stands ready beside the live system")
            return evidence

    def arm(self) -> None:
        """Start the dead man's timer; from now on silence means undo."""
        with self.hold():
            header = self._require_open("arm")
            if self.records.promise is None:
                _timer.arm(self.records.directory, header.confirm_timeout)
                self._journal("armed", f"Undoes by itself after {header.confirm_timeout} s without a call")

    # -- switch --------------------------------------------------------------------------------------------------

    def switch(self) -> list[JsonObject]:
        """Flip every prepared component of this host; returns ``{"component", "ms"}`` for each.

        :raises Refused: after an undo, or when a component is not prepared: then nothing was switched.
        """
        with self.hold():
            self._require_open("switch")
            self._refuse_tombstone("switch")
            plans = self._in_switch_order()
            unprepared = [plan.key for plan in plans if plan.key not in self.records.evidence()]
            if unprepared:
                raise Refused(f"Not prepared: {', '.join(unprepared)}. Nothing was switched.")
            self._refuse_foreign(plans)
            return [self._switch_one(plan) for plan in plans]

    def _switch_one(self, plan: Plan) -> JsonObject:
        component = self._component(plan)
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

    def promise(self, checks: list[JsonObject]) -> None:
        """Inspect all components, sync, and promise never to undo alone.

        :param checks: what verify found, kept with the promise for the report.
        :raises Refused: once this host has undone.
        :raises VerificationFailed: when a check failed or a component is not what it was switched to.
        """
        with self.hold():
            self._require_open("promise")
            self._refuse_tombstone("promise")
            failed = [str(check.get("name")) for check in checks if not check.get("ok")]
            if failed:
                raise VerificationFailed(f"Checks failed: {', '.join(failed)}.")
            for plan in self._in_switch_order():
                state = self._component(plan).state(plan)
                if state is not State.SWITCHED:
                    raise VerificationFailed(f"{plan.key} should be switched, but is {state.value}.")
            os.sync()
            self.records.write_promise(checks)
            _timer.disarm(self.records.directory)
            self.records.forget_secrets()
            self._journal("promised", "Promised to wait for the decision and never to undo alone")

    def decide(self, wish: str, promised: Sequence[str], by: str) -> str:
        """Record the decision on the decision host; returns the one that stands, which may be another.

        :param wish: ``keep`` or ``undo``.
        :param promised: hosts that are known to have promised; all of the plan's, for ``keep``.
        """
        with self.hold():
            header = self._header("decide")
            if header.host != header.decision_host:
                raise Refused(f"{header.host} is not the decision host of {header.id}: ask {header.decision_host}.")
            standing = self.records.decision
            missing = sorted(set(header.hosts) - set(promised))
            if standing is None and wish == KEEP and missing:
                raise Refused(f"Keep may not be decided: no promise of {', '.join(missing)}.")
            if standing is None and wish == KEEP and self.records.tombstoned:
                raise Refused("Keep may not be decided: this host has undone.")
            decision = standing or self.records.decide(wish, by)
            self._journal("decided", f"The decision is to {decision}", decision=decision)
            return decision

    # -- undo ----------------------------------------------------------------------------------------------------

    def undo(
        self,
        decision: str | None,
        reason: str,
        kinds: Sequence[str] | None = None,
        around: Callable[[], None] | None = None,
    ) -> list[JsonObject]:
        """Take back what was switched, in reverse order, and remove what was prepared.

        :param decision: what stands on the decision host as the caller read it; None when it can't be read.
        :param kinds: only these kinds of components (databases go first); None for all.
        :param around: called once it is certain that this host undoes, before the first component is touched.
        :returns: ``{"component", "ms", "kept"}`` of each that was taken back now.
        :raises InDoubt: after a promise, without a decision.
        :raises Foreign: when a component is neither old nor new; then nothing at all is undone.
        """
        ensure_private_directory(self.records.directory)
        with self.hold():
            standing = self.records.decision or decision
            if standing == KEEP:
                raise Refused(f"Transaction {self.records.id} was decided to be kept: it is finished, not undone.")
            if self.records.promise is not None and standing != UNDO:
                raise InDoubt(
                    "This host has promised and the decision can't be read: bring the decision host back and run recover."
                )
            if self.records.outcome is not None:
                return []
            self.records.write_tombstone(reason)
            plans = list(reversed(self._in_switch_order()))
            # A component that was never switched can only look foreign because of one that was (a reset brings
            # back a tracked configuration file): it is cleaned up after those, when it looks like itself again.
            begun = self.records.switch_begun()
            self._refuse_foreign([plan for plan in plans if plan.key in begun])
            plans.sort(key=lambda plan: plan.key not in begun)
            wanted = [plan for plan in plans if kinds is None or plan.kind in kinds]
            if around is not None:
                around()
            done = [self._undo_one(plan) for plan in wanted]
            return [entry for entry in done if entry is not None]

    def _undo_one(self, plan: Plan) -> JsonObject | None:
        component = self._component(plan)
        if component.state(plan) is State.UNTOUCHED:
            return None
        began = time.monotonic()
        self._journal("intent", f"Undo {plan.key}", phase="undo", component=plan.key)
        with self._failure_journalled(f"Undo {plan.key}"):
            component.undo(plan)
            state = component.state(plan)
            if state is not State.UNTOUCHED:
                raise Foreign(f"{plan.key} is {state.value} after its undo: look at it by hand, then recover again.")
        elapsed_ms = round((time.monotonic() - began) * 1000)
        kept = component.kept(plan)
        self._journal("done", f"Undone {plan.key}", phase="undo", component=plan.key, ms=elapsed_ms, kept=kept)
        return {"component": plan.key, "ms": elapsed_ms, "kept": kept}

    # -- finish --------------------------------------------------------------------------------------------------

    def finish(self, decision: str | None, acknowledged: Sequence[str]) -> str | None:
        """End the transaction and unlock; returns the outcome, or None while other hosts have not acknowledged.

        :param decision: what stands on the decision host.
        :param acknowledged: the hosts that have ended already; the decision host ends last, because its record must
            stand as long as anybody may ask for it.
        """
        with self.hold():
            ended = self.records.outcome
            if ended is not None:
                return str(ended["outcome"])
            standing = self.records.decision or decision
            outcome = self._finish_undone() if self.records.tombstoned else self._finish_kept(standing)
            header = self.records.header()
            if header is not None and header.host == header.decision_host:
                missing = sorted(set(header.hosts) - {header.host} - set(acknowledged))
                if missing:
                    self._journal("note", f"Stays open until {', '.join(missing)} have ended as well")
                    return None
            _timer.disarm(self.records.directory)
            self.records.forget_secrets()
            self._journal("finished", f"Transaction {self.records.id} ended: {outcome}", outcome=outcome)
            self.records.close(outcome, at=time.time())
            return outcome

    def _finish_undone(self) -> str:
        left = [plan.key for plan in self._in_switch_order() if self._state(plan) is not State.UNTOUCHED]
        if left:
            raise Foreign(f"Not yet undone: {', '.join(left)}. Run recover again.")
        return "undone"

    def _finish_kept(self, standing: str | None) -> str:
        if standing != KEEP:
            raise InDoubt("Nothing may be finished without the decision to keep: run recover.")
        if self.records.promise is None:
            raise Refused("This host never promised, so nobody can have decided to keep: run recover.")
        for plan in self._in_switch_order():
            self._journal("intent", f"Finish {plan.key}", phase="finish", component=plan.key)
            with self._failure_journalled(f"Finish {plan.key}"):
                self._component(plan).finish(plan)
        return "rolled_back"

    # -- looking -------------------------------------------------------------------------------------------------

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
                "kept": self._component(plan).kept(plan),
            }
            for plan in self._in_switch_order()
        ]

    def _state(self, plan: Plan) -> State:
        return self._component(plan).state(plan)

    def _in_switch_order(self) -> list[Plan]:
        plans = self.records.plans().values()
        return sorted(plans, key=lambda plan: COMPONENTS[plan.kind].order)

    def _refuse_foreign(self, plans: Sequence[Plan]) -> None:
        foreign = [plan.key for plan in plans if self._state(plan) is State.FOREIGN]
        if foreign:
            raise Foreign(
                f"Changed by somebody else since this transaction planned it: {', '.join(foreign)}. Nothing more was "
                "touched; look at it by hand, put it back to what it was before or after the switch, then run recover."
            )

    def _component(self, plan: Plan) -> Component:
        known = {**self.records.secrets().get(plan.key, {}), **self._passwords.get(plan.key, {})}
        return make_component(plan.kind, self.records, self._workspace(plan), known)

    def _workspace(self, plan: Plan) -> Path:
        keys = list(self.records.plans())
        number = keys.index(plan.key) if plan.key in keys else len(keys)
        return self.records.directory / "workspace" / f"{number}-{plan.kind}"

    def _journal(self, event: str, what: str, **facts: Any) -> None:
        self.records.journal.write(event, what, **facts)

    @contextmanager
    def _failure_journalled(self, what: str) -> Iterator[None]:
        try:
            yield
        except LastGoodError as error:
            self._journal("failed", f"{what}: {error.message}")
            raise

    # -- guards --------------------------------------------------------------------------------------------------

    def _header(self, attempt: str) -> Header:
        header = self.records.header()
        if header is None:
            raise Refused(f"Can't {attempt}: transaction {self.records.id} never began on this host.")
        return header

    def _require_open(self, attempt: str) -> Header:
        header = self._header(attempt)
        if self.records.outcome is not None:
            raise Refused(f"Can't {attempt}: transaction {header.id} has ended ({self.records.outcome['outcome']}).")
        self._refuse_tombstone(attempt)
        return header

    def _refuse_tombstone(self, attempt: str) -> None:
        if self.records.tombstoned:
            raise Refused(f"Can't {attempt}: transaction {self.records.id} was undone on this host.")

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Serialise module, timer and operator on this host for the time of a call."""
        if not self.records.directory.is_dir():
            raise Refused(f"Transaction {self.records.id} is not known on this host.")
        with _flock(self.records.directory / "lock"):
            _timer.touch(self.records.directory)
            yield
            _timer.touch(self.records.directory)


def make_component(kind: str, records: Records, workspace: Path, passwords: Mapping[str, str]) -> Component:
    """A component with the engine's context around it."""
    journal = records.journal
    context = Context(
        transaction=records.id,
        workspace=workspace,
        run=CommandRunner(),
        change=journal.change,
        note=journal.note,
        secrets=passwords,
    )
    return COMPONENTS[kind](context)


def _held_by(header: Header, what: str) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(header.created))
    return (
        f"{what} is held by transaction {header.id}, begun {since} by {header.operator} and still open on "
        f"{header.host}. Wait for it; if nobody runs it any more: ansible-playbook recover.yml -e rollback_id={header.id}"
    )


def _create_directory(directory: Path, header: Header) -> None:
    """The transaction's directory appears with its header in it, or not at all."""
    partial = Path(tempfile.mkdtemp(dir=directory.parent, prefix=".begin-"))
    try:
        Records(partial).write_header(header)
        partial.rename(directory)
    except BaseException:
        shutil.rmtree(partial)
        raise
    fsync_directory(directory.parent)


@contextmanager
def _host_lock(state_dir: Path) -> Iterator[None]:
    """Serialises the taking of locks on a host; held for an instant, never across a phase."""
    ensure_private_directory(state_dir / "transactions")
    with _flock(state_dir / "transactions" / ".lock"):
        yield


@contextmanager
def _flock(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
