# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The components of a transaction on this host: each as it is found, and what carries its plan out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import StateConflict, Unreadable
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import Component, ComponentClasses
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State

from .records import Records

#: The order of the switch, for plans of releases that did not write it down.
_ORDER = {"migrations": 5, "code": 10, "packages": 20, "files": 30, "database": 40, "tables": 40, "schema": 45}


class HostComponents:
    """Inspected anew each time.

    :param records: of the transaction.
    :param classes: which component is behind each kind.
    :param passwords: by component key, for calls after the promise, when none are kept any more.
    """

    def __init__(
        self, records: Records, classes: ComponentClasses, passwords: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self.records = records
        self._classes = classes
        self._passwords = dict(passwords or {})

    def kept(self, plan: Plan) -> JsonObject:
        """Where what this component replaced is kept; empty before it was prepared."""
        return self.of(plan).kept(plan) if plan.key in self.records.plans() else {}

    def state(self, plan: Plan) -> State:
        """What is found of it now."""
        return self.of(plan).state(plan)

    def plans(self) -> list[Plan]:
        """What is to be switched here, in that order."""
        return sorted(self.records.plans().values(), key=_order)

    def complete(self, plan: Plan) -> Plan:
        """See `complete`."""
        return complete(plan, self._classes)

    def refuse_conflicts(self, plans: Sequence[Plan]) -> None:
        """
        :raises StateConflict: when one of these was changed by somebody else.
        """
        foreign = [plan.key for plan in plans if self.state(plan) is State.FOREIGN]
        if foreign:
            raise StateConflict(
                f"Changed by somebody else since this transaction planned it: {', '.join(foreign)}. Nothing more was "
                "touched; look at it by hand, put it back to what it was before or after the switch, then run recover."
            )

    def of(self, plan: Plan, number: int | None = None) -> Component:
        """The component that carries a plan out, with what it needs around it.

        :param number: see `number`, for whoever can't ask the journal.
        """
        known = {**self.records.secrets().get(plan.key, {}), **self._passwords.get(plan.key, {})}
        component = self._classes(plan.kind, reversal=plan.undoes is not None)
        return make_component(component, self.records, self.workspace(plan, number), known)

    def workspace(self, plan: Plan, number: int | None = None) -> Path:
        """Where a component keeps its evidence; there from prepare on, until it is pruned."""
        position = self.number(plan) if number is None else number
        return self.records.directory / "workspace" / f"{position}-{plan.kind}"

    def number(self, plan: Plan) -> int:
        """The position of a plan among those of this transaction here, also of one that is about to become the last."""
        keys = list(self.records.plans())
        return keys.index(plan.key) if plan.key in keys else len(keys)


def complete(plan: Plan, classes: ComponentClasses) -> Plan:
    """The plan with what its kind says of its place and its way back, so that nobody else has to know the kind for that.

    Asked anew each time: what comes back may be gone by now, and a reversal is made from the plan that it takes back.
    """
    kind = classes(plan.kind)
    can_go_back = kind.is_reversible(plan)
    kept_instead = "" if can_go_back else kind.kept_instead(plan)
    return replace(
        plan, order=kind.order, can_go_back=can_go_back, kept_instead=kept_instead, entry_kind=kind.entry_kind()
    )


def _order(plan: Plan) -> int:
    """The position in the switch.

    :raises Unreadable: for a word that is no kind; it was read from a journal.
    """
    if plan.order is None and plan.kind not in _ORDER:
        raise Unreadable(f"{plan.kind!r} is no kind of component that this release knows.")
    return _ORDER[plan.kind] if plan.order is None else plan.order


def make_component(
    component: type[Component], records: Records, workspace: Path, passwords: Mapping[str, Any]
) -> Component:
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
    return component(context)
