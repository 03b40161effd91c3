# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The main of every module of one component: planned, prepared for a transaction, or a transaction of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.masking import hidden, is_secret
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import Component, ComponentClasses
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.options import ComponentOptions
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.host_components import make_component
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.standalone import run_standalone
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.transaction import Transaction, new_id
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.store import open_entry

from .run import COMMON_SPEC, hide_secrets_of, run_guarded


def run_component(classes: ComponentClasses, options: ComponentOptions, kind: str = "") -> NoReturn:
    """The main of every component module.

    :param classes: the components that the module is about, and what takes a finished rollback of them back.
    :param options: the module's own, besides `COMMON_SPEC`.
    :param kind: the component's kind, unless an option names it.
    """
    spec = {**COMMON_SPEC, **options.argument_spec}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True, **options.constraints)
    show_what_is_no_secret(module, options, module.params)
    chosen = kind or module.params[options.kind_option]
    work = partial(_component_result, classes, chosen, module.params, options.secrets, check=module.check_mode)
    run_guarded(module, work)


def show_what_is_no_secret(module: AnsibleModule, options: ComponentOptions, given: Mapping[str, Any]) -> None:
    """Let Ansible mask the secrets among what is ``no_log``, and nothing else: ``blog`` would be blotted out of every path.

    :param given: a component's options, the secrets included.
    """
    for environment in [given[name] for name in options.secrets if isinstance(given.get(name), Mapping)]:
        shown = {str(value) for name, value in environment.items() if not is_secret(str(name), str(value))}
        module.no_log_values.difference_update(shown)
    verify, validate = given.get("verify") or {}, given.get("validate") or []
    hide_secrets_of(module, [*(verify.get("commands") or []), validate])


def _component_result(
    classes: ComponentClasses, kind: str, params: Mapping[str, Any], secrets: Sequence[str], *, check: bool
) -> JsonObject:
    state_dir = Path(params["state_dir"])
    transaction = Transaction(state_dir, params["transaction"] or new_id(kind), classes)
    passwords = {name: params[name] for name in secrets if params[name]}
    options = {name: value for name, value in params.items() if name not in COMMON_SPEC and name not in secrets}
    _hide_secrets(options, passwords)
    records = transaction.records
    carrier = classes(classes(kind).variant(options))
    component = make_component(carrier, records, records.directory / "workspace" / "planned", passwords)
    point = _point(state_dir, component.entry_kind(), component.entry_name(options), options.get("restore_point"))
    plan = _planned(transaction, component, options, point)

    evidence: JsonObject = {}
    changed, outcome, downtime_ms = plan.changed, None, 0
    warnings: list[str] = []
    if plan.changed and not check:
        if params["transaction"]:
            changed = plan.key not in records.evidence()
            evidence = transaction.prepare(plan, passwords)
        else:
            evidence, downtime_ms, warnings = run_standalone(transaction, plan, passwords)
            outcome = "rolled_back"
    elif not plan.changed:
        outcome = "nothing_to_do"
    return {
        "changed": changed,
        "diff": {"before": _text(plan.before), "after": _text(plan.after)},
        **component.result(plan, evidence),
        **plan_summary(plan, transaction.components.kept(plan)),
        "notes": [*plan.warnings, *warnings],
        "downtime_ms": downtime_ms,
        "transaction": transaction.records.id,
        "outcome": outcome,
    }


def _hide_secrets(options: JsonObject, passwords: JsonObject) -> None:
    """Take secrets out of the words of commands, since plans are kept in the journal; whole they are only lent."""
    verify, validate = options.get("verify") or {}, options.get("validate") or []
    commands = verify.get("commands") or []
    shown = [hidden(command) for command in commands]
    if shown != commands:
        passwords["commands"] = commands
        options["verify"] = {**verify, "commands": shown}
    if hidden(validate) != validate:
        passwords["validate"] = validate
        options["validate"] = hidden(validate)


def _planned(transaction: Transaction, component: Component, options: JsonObject, point: PointEntry | None) -> Plan:
    """The component's plan, unless somebody else is at it: what is half switched may seem to leave nothing to do.

    :raises LockHeld: when another open transaction holds one of its things, or may be why it can't be planned for.
    """
    try:
        plan = component.plan(options, point)
    except LastGoodError:
        transaction.refuse_if_held(None, keys=[f"{component.entry_kind()}:{component.entry_name(options)}"])
        raise
    transaction.refuse_if_held(None, plan.things)
    return transaction.components.complete(plan)


def plan_summary(plan: Plan, kept: JsonObject) -> JsonObject:
    """What the controller shows an operator of every component's plan."""
    return {
        "component": plan.key,
        "discards": plan.discards,
        "kept": kept,
        "notes": list(plan.warnings),
        "predicted_downtime": plan.downtime,
        "disk_bytes": plan.disk_bytes,
        "can_go_back": plan.can_go_back,
        "kept_instead": plan.kept_instead,
        # Of the thing as it is now; two plans with a rehearsal between them show whether it moved.
        "fingerprint": hashlib.sha256(_text(plan.before).encode()).hexdigest(),
    }


def _point(state_dir: Path, kind: str, name: str, restore_point: str | None) -> PointEntry | None:
    return open_entry(state_dir, restore_point, kind, name) if restore_point else None


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
