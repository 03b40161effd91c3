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
    InDoubt,
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
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.decision import requested_decision
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.host_transaction import HostTransaction
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.inspection import described, with_actual_state
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.lock import down
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import (
    DAMAGED,
    KEEP,
    RECOVER,
    UNDO,
    Header,
    Records,
    all_records,
    identity_of,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.reversal import plan_reversal
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.transaction import Transaction
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.undo_cli import start_stopped, stop_running
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
    transaction = Transaction(Path(params["state_dir"]), params["id"], component_class, params["passwords"])
    try:
        _require_same_directory(transaction, params["state_id"])
        return _call(transaction, params, check=check)
    except Unreadable as error:
        raise with_actual_state(transaction.components, error) from error


def _require_same_directory(transaction: Transaction, expected: str | None) -> None:
    """That nothing is known of a transaction means something only where it was begun.

    :raises InDoubt: where the state directory is another one.
    """
    found = identity_of(transaction.state_dir)
    if expected and found != expected:
        raise InDoubt(
            f"{transaction.state_dir} is not the state directory in which {transaction.records.id} was begun: it has "
            f"{'the id ' + found if found else 'no id'}, and that one had {expected}. This host was replaced, or its disk was. "
            "What the transaction did here is not known, and nothing was done. Where the old host is lost for good: "
            f"{RECOVER}{transaction.records.id} -e rollback_member_hosts_lost=NAME, or rollback_decision_host_lost=NAME "
            "where it kept the decision."
        )


def _call(transaction: Transaction, params: Params, *, check: bool) -> JsonObject:
    before = snapshot(transaction.records)
    work = _STATES[params["state"]]
    facts: JsonObject = {
        "decision": None,
        "outcome": None,
        "prepared": [],
        "switched": [],
        "undone": [],
        "services": [],
    }
    if check:
        if params["state"] == "begin":
            transaction.refuse_if_held(params["stack"] or "")
        if params["state"] == "prepare":
            facts["prepared"] = [_planned(transaction, plan) for plan in _plan_reversal(transaction, params)]
        after = predict(before, params["state"], params["decision"])
    else:
        facts.update(work(transaction, params))
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


def _begin(transaction: Transaction, params: Params) -> JsonObject:
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
    return {}


def _plan_reversal(transaction: Transaction, params: Params) -> list[Plan]:
    """What the finished transaction kept here, as plans of this one."""
    finished = Transaction(transaction.state_dir, params["undoes"], component_class, params["passwords"])
    return plan_reversal(transaction, finished, params["accept"])


def _planned(transaction: Transaction, plan: Plan) -> JsonObject:
    return {"changed": plan.changed, **plan_summary(plan, transaction.components.kept(plan))}


def _prepare(transaction: Transaction, params: Params) -> JsonObject:
    plans = _plan_reversal(transaction, params)
    for plan in plans:
        transaction.prepare(plan, params["passwords"].get(plan.key, {}))
    return {"prepared": [_planned(transaction, plan) for plan in plans]}


def _switch(transaction: Transaction, params: Params) -> JsonObject:
    return {"switched": transaction.switch()}


def _promise(transaction: Transaction, params: Params) -> JsonObject:
    transaction.promise(params["checks"], binding=params["checks_decide"])
    return {}


def _decide(transaction: Transaction, params: Params) -> JsonObject:
    return {"decision": transaction.decide(params["decision"], params["promised"], params["operator"] or "unknown")}


def _undo(transaction: Transaction, params: Params) -> JsonObject:
    undone = transaction.undo(params["decision"], params["reason"] or "asked to undo", params["kinds"] or None)
    return {"undone": undone}


def _finish(transaction: Transaction, params: Params) -> JsonObject:
    return {"outcome": transaction.finish(params["decision"], params["acknowledged"], params["keep_days"])}


def _keep_as_is(transaction: Transaction, params: Params) -> JsonObject:
    transaction.keep_as_is(params["decision"], params["reason"] or "another host can't be undone")
    return {}


def _recover(transaction: Transaction, params: Params) -> JsonObject:
    """End a transaction of this host alone: as decided, else by how far it came."""
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
    requested = requested_decision(header.hosts, promised)
    decision = transaction.decide(requested, promised, params["operator"] or "recovery")
    facts: JsonObject = {"decision": decision}
    if decision == UNDO:
        reason = "recovered after an interruption"
        facts["undone"] = transaction.undo(decision, reason, stop=lambda: stop_running(records))
    facts["services"] = start_stopped(records)
    facts["outcome"] = transaction.finish(decision, [], params["keep_days"])
    return facts


def _arm(transaction: Transaction, params: Params) -> JsonObject:
    arm(transaction, require(params["state_ids"] or {}, {str: str}, "state_ids"))
    return {}


_STATES: dict[str, Callable[[Transaction, Params], JsonObject]] = {
    "begin": _begin,
    "prepare": _prepare,
    "arm": _arm,
    "switch": _switch,
    "promise": _promise,
    "decide": _decide,
    "undo": _undo,
    "hold": _keep_as_is,
    "finish": _finish,
    "recover": _recover,
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
    transaction = Transaction(Path(params["state_dir"]), records.id, component_class, params["passwords"])
    try:
        records.sync()
        header, outcome = records.header(), records.outcome
        return {
            **_header_facts(records, header),
            "outcome": outcome["outcome"] if outcome else None,
            "ended": outcome.get("at") if outcome else None,
            "phase": records.phase() if outcome is None else None,
            "down": down(records) if outcome is None else [],
            **_state_facts(records),
            # What is only asked whether it is open is not inspected: that may take long, and run other people's programs.
            **_components(
                transaction, inspect=not params["open_only"] and (params["id"] is not None or outcome is None)
            ),
        }
    except Unreadable as error:
        problem = with_actual_state(transaction.components, error).message
        return {**_header_facts(records, _readable_header(records)), **_UNKNOWN, "problem": problem}


#: Of a transaction that can't be read: its word is none of the protocol's, so that nothing follows from it.
_UNKNOWN: JsonObject = {
    "outcome": None,
    "ended": None,
    "state": DAMAGED,
    "phase": DAMAGED,
    "down": [],
    "reason": None,
    "promised": False,
    "checks": [],
    "tombstoned": False,
    "decision": None,
    "evidence": {},
    "services": [],
    "events": [],
    "components": [],
    "state_ids": {},
}


def _readable_header(records: Records) -> Header | None:
    with suppress(Unreadable):
        header = records.header()
        if header is not None:
            header.shown_plan()  # one that can't be shown counts as unreadable
        return header
    return None


def _header_facts(records: Records, header: Header | None) -> JsonObject:
    return {
        "id": records.id,
        "stack": header.stack if header else None,
        "host": header.host if header else None,
        "hosts": list(header.hosts) if header else [],
        "decision_host": header.decision_host if header else None,
        "operator": header.operator if header else None,
        "created": header.created if header else None,
        "plan": header.shown_plan() if header else {},
        "confirm_timeout": header.confirm_timeout if header else None,
        "python": header.python if header else None,
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


def _components(transaction: Transaction, *, inspect: bool) -> JsonObject:
    """The components; an ended transaction is inspected only when it is asked for by id: its things may be gone by now."""
    components, problem = _inspected(transaction) if inspect else ([], None)
    return {"components": components, "problem": problem}


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
