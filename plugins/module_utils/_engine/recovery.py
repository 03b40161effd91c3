# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Whether a host is the one that a transaction was begun on, and ending one of this host alone."""

from __future__ import annotations

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import InDoubt, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .decision import requested_decision
from .records import RECOVER, UNDO, identity_of
from .transaction import Transaction
from .undo_cli import start_stopped, stop_running


def require_same_directory(transaction: Transaction, expected: str | None) -> None:
    """That nothing is known of a transaction means something only where it was begun.

    :param expected: the id of the state directory where that was; None when nobody knows it.
    :raises InDoubt: where the state directory is another one.
    """
    found = identity_of(transaction.state_dir)
    if expected and found != expected:
        raise InDoubt(
            f"{transaction.state_dir} is not the state directory in which {transaction.records.id} was begun: it has "
            f"{'the id ' + found if found else 'no id'}, and that one had {expected}. This host was replaced, or its disk "
            "was. What the transaction did here is not known, and nothing was done. Where the old host is lost for good: "
            f"{RECOVER}{transaction.records.id} -e rollback_member_hosts_lost=NAME, or rollback_decision_host_lost=NAME "
            "where it kept the decision."
        )


def recover(transaction: Transaction, operator: str, keep_days: int) -> JsonObject:
    """Finish or undo it, start its services and unlock; once it has ended, only its ``outcome``.

    :param keep_days: see `Transaction.finish`.
    :returns: ``decision``, ``undone``, ``services``, ``outcome``.
    :raises Refused: when it never began here, or other hosts have to be asked as well.
    """
    records = transaction.records
    header = records.header()
    if header is None:
        raise Refused(f"Transaction {records.id} never began on this host: nothing to recover.")
    if len(header.hosts) > 1:
        hosts = ", ".join(header.hosts)
        raise Refused(f"{records.id} spans {hosts}: {RECOVER}{records.id} asks all of them.")
    if records.outcome is not None:
        return {"outcome": records.outcome["outcome"]}
    promised = [header.host] if records.promise is not None and not records.tombstoned else []
    decision = transaction.decide(requested_decision(header.hosts, promised), promised, operator)
    undone = []
    if decision == UNDO:
        undone = transaction.undo(decision, "recovered after an interruption", stop=lambda: stop_running(records))
    services = start_stopped(records)
    outcome = transaction.finish(decision, [], keep_days)
    return {"decision": decision, "undone": undone, "services": services, "outcome": outcome}
