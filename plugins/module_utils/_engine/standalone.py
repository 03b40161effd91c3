# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A module called on its own: a transaction with one component and one host, by the same rules."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import me
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, UndoIncomplete
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan

from .records import KEEP, UNDO, Header
from .transaction import Transaction


class StandaloneResult(NamedTuple):
    """The evidence of prepare, how long the switch took (ms), and what an operator should know."""

    evidence: JsonObject
    downtime_ms: int
    warnings: list[str]


def run_standalone(transaction: Transaction, plan: Plan, passwords: Mapping[str, Any]) -> StandaloneResult:
    """From begin to finish; on any failure everything is taken back before the error goes on.

    :raises UndoIncomplete: when even the undo failed; the message then holds both causes.
    """
    host = platform.node()
    operator = os.environ.get("SUDO_USER") or me().name
    transaction.begin(
        Header(
            id=transaction.records.id,
            stack=plan.key,
            host=host,
            hosts=(host,),
            decision_host=host,
            operator=operator,
            created=time.time(),
            python=sys.executable,
        )
    )
    evidence: JsonObject = {}
    downtime_ms = 0
    try:
        evidence = transaction.prepare(plan, passwords)
        downtime_ms = sum(entry["ms"] for entry in transaction.switch())
        transaction.promise([])
        transaction.decide(KEEP, [host], operator)
    except BaseException as error:
        if not _undo_unless_kept(transaction, operator, error):
            raise
    return StandaloneResult(evidence, downtime_ms, _finish(transaction))


def _undo_unless_kept(transaction: Transaction, operator: str, cause: BaseException) -> bool:
    """Whether the failure came after the decision to keep; else the decision is to undo, and all is taken back.

    :raises UndoIncomplete: when that fails.
    """
    try:
        if transaction.decide(UNDO, [], operator) == KEEP:
            return True
        transaction.undo(UNDO, str(cause))
        transaction.finish(UNDO, [])
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing reads as undone
        with suppress(LastGoodError):
            if transaction.records.decision == KEEP:
                return True
        raise UndoIncomplete(
            f"{_message(cause)} The undo failed as well: {_message(error)} Then run the module transaction with "
            f"state=recover and id={transaction.records.id}."
        ) from cause
    return False


def _finish(transaction: Transaction) -> list[str]:
    """End it; that it could not be ended is a warning, because the rollback itself is decided and done."""
    try:
        transaction.finish(KEEP, [])
    except Exception as error:  # noqa: BLE001 - whatever it is, what was decided is not taken back by it
        return [
            f"Rolled back, but the transaction {transaction.records.id} could not be ended and still holds its lock: "
            f"{_message(error)} Then run the module transaction with state=recover."
        ]
    return []


def _message(error: BaseException) -> str:
    return str(error) if isinstance(error, LastGoodError) else f"{error.__class__.__name__}: {error}."
