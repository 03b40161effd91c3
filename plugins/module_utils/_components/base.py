# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What the engine knows of a component: a plan, six phases, and an inspection of reality.

A component is stateless. ``plan`` reads reality and returns a `Plan` that holds everything the later phases need; the
engine writes it to the journal before ``prepare`` is called, so that after a kill -9 at any line the plan alone is
enough to go on or to go back. Every phase may be called again and must end in the same place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused, Unreadable
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .context import Context, PointEntry
from .plan import Plan, State


@dataclass(frozen=True)
class FinishedRollback:
    """One component's part of a rollback that was kept and has ended, and is to be taken back now.

    :param transaction: the id of that rollback.
    :param plan: its plan; `Component.state` said SWITCHED of it a moment ago.
    :param workspace: what it kept; it is there.
    :param accept: what the operator accepts to be hurt, in the words of ``pg_restore``.
    """

    transaction: str
    plan: Plan
    workspace: Path
    accept: Sequence[str] = ()


class Component(ABC):
    """One kind of thing on one host that can be put back. See the module's docstring for the rules."""

    #: The word for it in plans, manifests and messages.
    kind: ClassVar[str]
    #: Position in the switch; the undo goes the other way round.
    order: ClassVar[int]
    #: Whether a capture takes long, so that what is quick to copy is then copied close to the first look.
    captured_last: ClassVar[bool] = False

    def __init__(self, context: Context) -> None:
        self.context = context

    @classmethod
    def variant(cls, options: Mapping[str, Any]) -> str:
        """The kind that carries the options out: its own, unless an option asks for another way to the same end."""
        return cls.kind

    @classmethod
    def entry_kind(cls) -> str:
        """The kind of its entry in a restore point: its own, unless it is a part of what is captured as another."""
        return cls.kind

    @classmethod
    @abstractmethod
    def entry_name(cls, options: Mapping[str, Any]) -> str:
        """The name of this component's entry in a restore point, from the module's options."""

    @classmethod
    def capture_options(cls, listed: Sequence[Any]) -> list[Mapping[str, Any]]:
        """The options of each capture, from what is listed under the kind's option of ``restore_point``."""
        return list(listed)

    @classmethod
    def capture_lock_keys(cls, options: Mapping[str, Any]) -> list[str]:
        """The lock keys of what a capture reads, as `Plan.things` has them, where its entry's name does not say it."""
        return []

    @abstractmethod
    def capture(self, options: Mapping[str, Any], into: Path) -> JsonObject:
        """Write what is needed to come back to now below ``into`` (exists, empty, 0700); return facts for the manifest.

        The store lists and checksums every file below ``into`` by itself. The facts must suffice for `plan` later.
        """

    def delete_captured(self, facts: JsonObject, needed: Sequence[JsonObject]) -> None:  # noqa: B027 - most keep nothing
        """Delete what `capture` keeps outside of the restore point, such as a ref, when that one is deleted.

        :param facts: what `capture` returned for it.
        :param needed: the same of this component in the restore points that stay.
        """

    @abstractmethod
    def fingerprint(self, options: Mapping[str, Any]) -> JsonObject:
        """A cheap description of what is live, read before and after a capture: any difference means never good."""

    @abstractmethod
    def plan(self, options: Mapping[str, Any], point: PointEntry | None) -> Plan:
        """Read reality, compare with the options, refuse what can be refused. Changes nothing.

        :param options: the module's options for this component, defaults filled in.
        :param point: the component's entry of the restore point, where the options name one. Checksums already held.
        :raises Refused: whenever it can be known now that it would not work.
        """

    def plan_reversal(self, finished: FinishedRollback) -> Plan:
        """Plan to go back to what a finished rollback replaced. Changes nothing.

        The plan goes through the same phases as any other, its ``undoes`` set. Where they differ from those of a rollback
        to a restore point, a class of its own is named in the registry's `REVERSALS`.

        :raises Refused: whenever it can be known now that it would not work; always, for a kind without this method.
        """
        raise Refused(
            f"{finished.plan.key} can't be undone as a whole: a finished rollback of {self.kind} has no way back but "
            "another rollback. What it replaced is kept; the report of that rollback says where."
        )

    @classmethod
    def is_reversible(cls, plan: Plan) -> bool:
        """Whether a rollback by this plan can be undone as a whole once it has finished."""
        return cls.plan_reversal is not Component.plan_reversal

    @classmethod
    def kept_instead(cls, plan: Plan) -> str:
        """Where it can't be: what stays of what is replaced, in words."""
        return "what it replaces"

    @abstractmethod
    def prepare(self, plan: Plan) -> JsonObject:
        """Build everything beside the live system and check it there; return evidence for the report (JSON)."""

    @abstractmethod
    def switch(self, plan: Plan) -> None:
        """Flip. Called when `state` is PREPARED or PARTIAL."""

    @abstractmethod
    def undo(self, plan: Plan) -> None:
        """Come back to what was before, from any state but FOREIGN, and remove what was prepared.

        What was written meanwhile is kept, never dropped.
        :raises StateConflict: when reality is neither what was before nor what was switched to.
        """

    def count_written(self, plan: Plan) -> JsonObject:
        """After an undo, when the services run again: what was written to what was rejected, remembered for `kept`.

        :returns: what was written to → numbers of rows; empty for nothing.
        """
        return {}

    def discard_rejected(self, plan: Plan) -> None:  # noqa: B027 - most have discarded it in the undo
        """After that, and only if nothing was written: remove what had to stay to be counted."""

    @abstractmethod
    def finish(self, plan: Plan) -> None:
        """After the decision to keep: drop what is no longer needed, keep what undoing later would need."""

    @abstractmethod
    def state(self, plan: Plan) -> State:
        """Inspect reality; trust nothing else."""

    @abstractmethod
    def kept(self, plan: Plan) -> JsonObject:
        """Where the things that were replaced are kept, for the report and the final table: label → place."""

    def set_aside(self, plan: Plan) -> JsonObject:
        """After the switch: ``rows`` that have left their ``tables``, ``of`` how many; empty for a kind that moves all."""
        return {}

    @abstractmethod
    def result(self, plan: Plan, evidence: Mapping[str, Any]) -> JsonObject:
        """The module's documented return values; the same keys in check mode (then with empty evidence)."""


class ComponentClasses(Protocol):
    """Which component is behind each kind: `registry.component_class`, or `only` for a module that needs but one kind."""

    def __call__(self, kind: str, *, reversal: bool = False) -> type[Component]:
        """The component of a kind.

        :param reversal: the one that takes a finished rollback back.
        :raises Unreadable: for a word that is no kind here; it was read from a journal.
        """


def only(*components: type[Component]) -> ComponentClasses:
    """For a module that is about these components and no others, and so carries nothing of the others."""
    known = {component.kind: component for component in components}

    def component_class(kind: str, *, reversal: bool = False) -> type[Component]:
        if kind not in known or (reversal and known[kind].plan_reversal is Component.plan_reversal):
            raise Unreadable(f"{kind!r} is no kind of component that this module knows.")
        return known[kind]

    return component_class
