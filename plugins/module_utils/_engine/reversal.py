# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Taking back what a finished rollback switched on this host: the plans of a new transaction towards it.

From its plans on that is a transaction like any other. Which rollback may be taken back (the last one that is kept) is
decided for all hosts by the controller; whether it can be is seen here, by inspecting each thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import FinishedRollback
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State

from .records import RECOVER
from .transaction import Transaction


def plan_reversal(transaction: Transaction, finished: Transaction, accept: Sequence[str]) -> list[Plan]:
    """What the new transaction has to do to take the earlier one back on this host, in the order of the switch.

    :param accept: see `FinishedRollback`.
    :raises Refused: when the earlier one has not ended by being kept, or one of its things can't go back.
    """
    ended = finished.records.outcome
    if ended is None or finished.records.tombstoned:
        how = f"ended as {ended['outcome']}" if ended else f"has not ended; first: {RECOVER}{finished.records.id}"
        raise Refused(f"Only a finished rollback can be undone as a whole, and {finished.records.id} {how}.")
    return [_plan_component(transaction, finished, plan, accept) for plan in finished.components.plans()]


def _plan_component(transaction: Transaction, finished: Transaction, plan: Plan, accept: Sequence[str]) -> Plan:
    workspace = finished.components.workspace(plan)
    if not workspace.is_dir():
        raise Refused(
            f"{plan.key} can't be undone as a whole: what {finished.records.id} kept of it was removed when its time was "
            "over. Roll back to a restore point instead."
        )
    state = finished.components.state(plan)
    if state is not State.SWITCHED:
        raise Refused(
            f"{plan.key} is not as {finished.records.id} left it ({state.value}): somebody has deployed, renamed or "
            f"changed it since. Nothing was touched: compare it with the report of that rollback, and roll back to a restore "
            "point instead."
        )
    components = transaction.components
    component = components.of(replace(plan, undoes=finished.records.id))
    return components.complete(component.plan_reversal(FinishedRollback(finished.records.id, plan, workspace, accept)))
