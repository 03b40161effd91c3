# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The modules ``transaction`` and ``transaction_info``: parameters in, facts out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    LastGoodError,
    Refused,
    Unreadable,
    os_error_message,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.shape import require
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import component_class
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.arming import arm
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.check_mode import predict, snapshot
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.host_transaction import HostTransaction
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.inspection import described, with_actual_state
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.lock import down
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import (
    DAMAGED,
    KEEP,
    Header,
    Records,
    all_records,
    identity_of,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.recovery import recover, require_same_directory
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.reversal import plan_reversal
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.transaction import Transaction
from ansible_collections.lastgood.rollback.plugins.module_utils._services import control

from .component import plan_summary
from .run import hide_only, hide_secrets_of, run_guarded

Params = Mapping[str, Any]

#: States that are about the transaction alone: inspecting its components would only cost time, much of it downtime.
_WITHOUT_COMPONENTS = ("begin", "arm", "decide")


def run_transaction(*, argument_spec: Mapping[str, Any], **constraints: Any) -> NoReturn:
    """The main of ``transaction``."""
    module = AnsibleModule(argument_spec=dict(argument_spec), supports_check_mode=True, **constraints)
    hide_only(module, [module.params["plan"], module.params["services"]])
    hide_secrets_of(module, control.commands_of(module.params["services"]))
    work = partial(_transaction_result, module.params, check=module.check_mode)
    run_guarded(module, work, failed=partial(_true_outcome, module.params))


def run_transaction_info(*, argument_spec: Mapping[str, Any]) -> NoReturn:
    """The main of ``transaction_info``."""
    module = AnsibleModule(argument_spec=dict(argument_spec), supports_check_mode=True)
    run_guarded(module, lambda: _info_result(module.params))


def _true_outcome(params: Params, outcome: str) -> str:
    """What a failed phase leaves: it has not been taken back yet, and after the decision to keep it never will be."""
    if outcome not in ("undone", "undo_incomplete"):
        return outcome
    try:
        records = HostTransaction(Path(params["state_dir"]), params["id"]).records
        header, ended = records.header(), records.outcome
        if ended is not None:
            return str(ended["outcome"])
        is_kept = KEEP in (records.decision, params["decision"] if params["state"] == "finish" else None)
        return header.kept_as if header is not None and is_kept else "undo_incomplete"
    except (LastGoodError, OSError):
        return "in_doubt"


def _transaction_result(params: Params, *, check: bool) -> JsonObject:
    transaction = _opened(params, params["id"])
    try:
        require_same_directory(transaction, params["state_id"])
        return _call(transaction, params, check=check)
    except Unreadable as error:
        raise with_actual_state(transaction.components, error) from error


def _opened(params: Params, transaction_id: str) -> Transaction:
    return Transaction(Path(params["state_dir"]), transaction_id, component_class, params["passwords"])


def _call(transaction: Transaction, params: Params, *, check: bool) -> JsonObject:
    before = snapshot(transaction.records)
    lists: JsonObject = {name: [] for name in ("prepared", "switched", "undone", "services")}
    facts: JsonObject = {"decision": None, "outcome": None, **lists}
    if check:
        if params["state"] == "begin":
            transaction.refuse_if_held(params["stack"] or "")
        if params["state"] == "prepare":
            facts["prepared"] = [_planned(transaction, plan) for plan in _plan_reversal(transaction, params)]
        after = predict(before, params["state"], params["decision"])
    else:
        facts.update(_STATES[params["state"]](transaction, params) or {})
        after = snapshot(transaction.records)
    components, problem = ([], None) if params["state"] in _WITHOUT_COMPONENTS else _inspected(transaction)
    return {
        "changed": before != after or bool(facts["switched"] or facts["undone"]),
        "diff": {"before": before.text(), "after": after.text()},
        "id": transaction.records.id,
        "state": after.state,
        "components": components,
        "problem": problem,
        "journal": str(transaction.records.journal.path),
        "state_id": identity_of(transaction.state_dir),
        **({"warnings": transaction.warnings} if transaction.warnings else {}),
        **facts,
        "decision": facts["decision"] or after.decision,
        "outcome": facts["outcome"] or after.outcome,
    }


def _inspected(transaction: Transaction) -> tuple[list[JsonObject], str | None]:
    """The components as they are; what was asked for is done, so a failure to inspect them is no failure of it."""
    if not transaction.records.directory.is_dir():
        return [], None
    try:
        return described(transaction.components), None
    except Unreadable:
        raise
    except LastGoodError as error:
        return [], error.message
    except OSError as error:
        return [], os_error_message(error)


def _begin(transaction: Transaction, params: Params) -> None:
    missing = [name for name in ("stack", "host", "hosts", "decision_host") if not params[name]]
    if missing:
        raise Refused(f"Can't begin {params['id']}: {', '.join(missing)} is missing.")
    transaction.begin(
        Header(
            id=params["id"],
            stack=params["stack"],
            host=params["host"],
            hosts=tuple(params["hosts"]),
            decision_host=params["decision_host"],
            operator=params["operator"] or "unknown",
            created=time.time(),
            python=sys.executable,
            confirm_timeout=params["confirm_timeout"],
            plan=params["plan"] or {},
        ),
        [service.options() for service in control.parse(params["services"])],
    )


def _plan_reversal(transaction: Transaction, params: Params) -> list[Plan]:
    """What the finished transaction kept here, as plans of this one."""
    return plan_reversal(transaction, _opened(params, params["undoes"]), params["accept"])


def _planned(transaction: Transaction, plan: Plan) -> JsonObject:
    return {"changed": plan.changed, **plan_summary(plan, transaction.components.kept(plan))}


def _prepare(transaction: Transaction, params: Params) -> JsonObject:
    plans = _plan_reversal(transaction, params)
    for plan in plans:
        transaction.prepare(plan, params["passwords"].get(plan.key, {}))
    return {"prepared": [_planned(transaction, plan) for plan in plans]}


#: State → what a call does; it returns what is known of the result by that.
_STATES: dict[str, Callable[[Transaction, Params], JsonObject | None]] = {
    "begin": _begin,
    "prepare": _prepare,
    "arm": lambda transaction, params: arm(transaction, require(params["state_ids"] or {}, {str: str}, "state_ids")),
    "switch": lambda transaction, _params: {"switched": transaction.switch()},
    "promise": lambda transaction, params: transaction.promise(params["checks"], binding=params["checks_decide"]),
    "decide": lambda transaction, params: {
        "decision": transaction.decide(params["decision"], params["promised"], params["operator"] or "unknown")
    },
    "undo": lambda transaction, params: {
        "undone": transaction.undo(params["decision"], params["reason"] or "asked to undo", params["kinds"] or None)
    },
    "hold": lambda transaction, params: transaction.keep_as_is(
        params["decision"], params["reason"] or "another host can't be undone"
    ),
    "finish": lambda transaction, params: {
        "outcome": transaction.finish(params["decision"], params["acknowledged"], params["keep_days"])
    },
    "recover": lambda transaction, params: recover(transaction, params["operator"] or "recovery", params["keep_days"]),
}


def _info_result(params: Params) -> JsonObject:
    state_dir = Path(params["state_dir"])
    wanted = [records for records in all_records(state_dir) if params["id"] in (None, records.id)]
    found = [_described(records, params) for records in wanted]
    if params["open_only"]:
        found = [transaction for transaction in found if transaction["outcome"] is None]
    headers = [_readable_header(records) for records in all_records(state_dir)]
    last_hosts = {header.stack: header.stack_hosts for header in headers if header and header.stack_hosts}
    return {"changed": False, "transactions": found, "last_hosts": last_hosts, "state_id": identity_of(state_dir)}


def _described(records: Records, params: Params) -> JsonObject:
    """All that is known; of one that can't be read, what inspection finds."""
    transaction = _opened(params, records.id)
    try:
        records.sync()
        header, outcome = records.header(), records.outcome
        # What is only asked whether it is open is not inspected: that may take long, and run other people's programs. An
        # ended one is inspected only when it is asked for by id: its things may be gone by now.
        is_asked = not params["open_only"] and (params["id"] is not None or outcome is None)
        components, problem = _inspected(transaction) if is_asked else ([], None)
        return {
            **_header_facts(records, header),
            "outcome": outcome["outcome"] if outcome else None,
            "ended": outcome.get("at") if outcome else None,
            "phase": records.phase() if outcome is None else None,
            "down": down(records) if outcome is None else [],
            **_state_facts(records),
            "components": components,
            "problem": problem,
        }
    except Unreadable as error:
        problem = with_actual_state(transaction.components, error).message
        return {**_header_facts(records, _readable_header(records)), **_UNKNOWN, "problem": problem}


#: Of a transaction that can't be read: its word is none of the protocol's, so that nothing follows from it.
_UNKNOWN: JsonObject = {
    **dict.fromkeys(("outcome", "ended", "reason", "decision")),
    **dict.fromkeys(("state", "phase"), DAMAGED),
    **dict.fromkeys(("promised", "tombstoned"), False),
    **{name: [] for name in ("down", "checks", "services", "events", "components")},
    **{name: {} for name in ("evidence", "state_ids")},
}


def _readable_header(records: Records) -> Header | None:
    with suppress(Unreadable):
        header = records.header()
        if header is not None:
            header.shown_plan()  # one that can't be shown counts as unreadable
        return header
    return None


def _header_facts(records: Records, header: Header | None) -> JsonObject:
    names = ("stack", "host", "decision_host", "operator", "created", "confirm_timeout", "python")
    return {
        "id": records.id,
        **{name: getattr(header, name, None) for name in names},
        "hosts": list(header.hosts) if header else [],
        "plan": header.shown_plan() if header else {},
        "journal": str(records.journal.path),
        "user": os.geteuid(),
    }


def _state_facts(records: Records) -> JsonObject:
    promise = records.promise
    return {
        "state": records.state().value,
        "promised": promise is not None,
        "checks": promise["checks"] if promise else [],
        "tombstoned": records.tombstoned,
        "reason": records.reason,
        "decision": records.decision,
        "evidence": records.evidence(),
        "services": [_without_options(service) for service in records.services()],
        "state_ids": records.state_ids,
        "events": _events(records),
    }


def _without_options(service: JsonObject) -> JsonObject:
    return {name: value for name, value in service.items() if name != "options"}


def _events(records: Records) -> list[JsonObject]:
    """The journal for reports: without the plans, which are private to the components, and without options of services."""
    shown = []
    for entry in records.journal.entries():
        facts = {name: value for name, value in entry.get("facts", {}).items() if name not in ("plan", "evidence")}
        if entry["event"] == "services":
            facts["services"] = [_without_options(service) for service in facts["services"]]
        shown.append({"at": entry["at"], "event": entry["event"], "what": entry["what"], "facts": facts})
    return shown
