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

from ansible_collections.lastgood.rollback.plugins.module_utils._components._base import Plan
from ansible_collections.lastgood.rollback.plugins.module_utils._errors import Foreign
from ansible_collections.lastgood.rollback.plugins.module_utils._identity import me
from ansible_collections.lastgood.rollback.plugins.module_utils._records import KEEP, UNDO, Header
from ansible_collections.lastgood.rollback.plugins.module_utils._transaction import Transaction
from ansible_collections.lastgood.rollback.plugins.module_utils._types import JsonObject


def run_alone(transaction: Transaction, plan: Plan, passwords: Mapping[str, str]) -> tuple[JsonObject, int]:
    """From begin to finish; on any failure everything is taken back before the error goes on.

    :returns: the evidence of prepare, and how long the switch took (ms).
    :raises Foreign: when even the undo was refused; the message then holds both causes.
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
    try:
        evidence = transaction.prepare(plan, passwords)
        downtime_ms = sum(entry["ms"] for entry in transaction.switch())
        transaction.promise([])
        transaction.decide(KEEP, [host], operator)
    except BaseException as error:
        _take_back(transaction, error, operator)
        raise
    transaction.finish(KEEP, [])
    return evidence, downtime_ms


def _take_back(transaction: Transaction, cause: BaseException, operator: str) -> None:
    if transaction.decide(UNDO, [], operator) == KEEP:
        return
    try:
        transaction.undo(UNDO, str(cause))
    except Foreign as error:
        raise Foreign(f"{cause} The undo was refused as well: {error.message}") from cause
    transaction.finish(UNDO, [])
