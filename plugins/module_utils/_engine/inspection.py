# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What is found of a transaction's components on this host, for people."""

from __future__ import annotations

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State

from .host_components import HostComponents

#: What is said of a component in each state.
_STATE_WORDS = {
    State.UNTOUCHED: "is as it was before",
    State.PREPARED: "is as it was before, and what was prepared stands beside it",
    State.PARTIAL: "is switched in part",
    State.SWITCHED: "is switched",
    State.FOREIGN: "was changed by somebody else",
}


def described(components: HostComponents) -> list[JsonObject]:
    """Every component with its state in reality, and where what it replaced is kept."""
    return [
        {
            "component": plan.key,
            "kind": plan.kind,
            "name": plan.name,
            "state": components.state(plan).value,
            "before": plan.before,
            "after": plan.after,
            "discards": plan.discards,
            "kept": components.of(plan).kept(plan),
            "set_aside": components.of(plan).set_aside(plan),
            "can_go_back": components.complete(plan).can_go_back,
        }
        for plan in components.plans()
    ]


def with_actual_state(components: HostComponents, error: Unreadable) -> Unreadable:
    """The same error, with the actual state of each component, and what to do about it."""
    records = components.records
    found = [f"{plan.key} {_actual_state(components, number, plan)}" for number, plan in records.kept_plans().items()]
    directory = records.directory
    return Unreadable(
        f"{error.message} So what {records.id} has done here is in doubt, and nothing more is done. Found by "
        f"looking: {'; '.join(found) or 'nothing, since no plan of a component can be read either'}. Put this host by "
        f"hand into the state that the other hosts are in, start its services, then move {directory} elsewhere: until "
        "then it holds the lock."
    )


def _actual_state(components: HostComponents, number: int, plan: Plan) -> str:
    """The state of one component, in words."""
    try:
        return _STATE_WORDS[components.of(plan, number).state(plan)]
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one, the others are to be inspected
        return f"can't be looked at ({str(error) or error.__class__.__name__})"
