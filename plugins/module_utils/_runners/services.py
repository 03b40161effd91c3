# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The module ``service_restart``: parameters in, times out; with a transaction it remembers what ran."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.host_transaction import HostTransaction
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.lock import refuse_if_held
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import (
    Records,
    service_key,
    service_name,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.service_log import log_services, started_again
from ansible_collections.lastgood.rollback.plugins.module_utils._services import control

from .run import COMMON_SPEC, hide_secrets_of, run_guarded


def run_services(*, argument_spec: Mapping[str, Any]) -> NoReturn:
    """The main of ``service_restart``."""
    module = AnsibleModule(argument_spec={**COMMON_SPEC, **argument_spec}, supports_check_mode=True)
    hide_secrets_of(module, control.commands_of(module.params["services"]))
    run_guarded(module, lambda: _result(module.params, check=module.check_mode))


def _result(params: Mapping[str, Any], *, check: bool) -> JsonObject:
    specs = control.parse(_with_kept_options(params))
    if not params["transaction"]:
        control.require_complete(specs)
    inspected = control.inspect(specs, CommandRunner())
    ran_before = {service.key: service.running for service in inspected}
    if params["transaction"]:
        transaction = HostTransaction(Path(params["state_dir"]), params["transaction"])
        if transaction.records.directory.is_dir():
            ran_before |= {service_key(entry): entry["ran_before"] for entry in transaction.records.services()}
        if not check:
            with transaction.locked():
                if params["state"] == "stopped" and transaction.is_over:
                    # Late, or again: nobody is left to start what would be stopped.
                    running = {service.key: service.running for service in inspected}
                    return _describe("started", specs, running, inspected, {}, {})
                if params["state"] != "started":
                    _journal_services(transaction.records, specs, inspected)
                return _carry_out(params["state"], specs, ran_before, inspected, transaction.records)
    else:
        keys = [spec.key for spec in specs]
        refuse_if_held(Path(params["state_dir"]), "", None, services=keys)
        if params["state"] != "stopped":
            ran_before = dict.fromkeys(ran_before, True)
    if check:
        return _describe(params["state"], specs, ran_before, inspected, {}, {})
    return _carry_out(params["state"], specs, ran_before, inspected, None)


def _with_kept_options(params: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The services with the options that their transaction has kept: a plan names them only."""
    if not params["transaction"]:
        return list(params["services"])
    kept = HostTransaction(Path(params["state_dir"]), params["transaction"]).records.service_options()
    return [kept.get(service_key(service), service) for service in params["services"]]


def _journal_services(records: Records, specs: list[control.Service], inspected: list[control.Inspected]) -> None:
    """Journalled before the first stop, so that whoever undoes knows what to start again, and what to expect of it."""
    known = {service_key(entry) for entry in records.services()}
    by_key = {service.key: service for service in inspected}
    new_specs = [spec for spec in specs if spec.key not in known]
    crashing = control.crashing([spec for spec in new_specs if by_key[spec.key].ready], CommandRunner())
    new: list[JsonObject] = [
        {
            "manager": spec.manager,
            "name": spec.name,
            "ran_before": by_key[spec.key].running,
            "ready_before": by_key[spec.key].ready and spec.key not in crashing,
            "options": service_name(spec.options()),
        }
        for spec in new_specs
    ]
    if new:
        records.write_services([spec.options() for spec in new_specs])
        running = [entry["name"] for entry in new if entry["ran_before"]]
        records.journal.write("services", f"Ran before: {', '.join(running) or 'none'}", services=new)


def _carry_out(
    state: str,
    specs: list[control.Service],
    ran_before: Mapping[str, bool],
    inspected: list[control.Inspected],
    records: Records | None,
) -> JsonObject:
    run = CommandRunner()
    stopped: dict[str, control.Stopped] = {}
    started: dict[str, control.Started] = {}
    to_start = [spec for spec in specs if ran_before[spec.key]]
    to_stop = _outdated(to_start, inspected, records) if state == "started" else specs
    if to_stop:
        found = control.stop(to_stop, run, lambda some: _log(records, "stopped", control.stop_times(some)))
        stopped = {entry.key: entry for entry in found}
    if state != "stopped":
        started = {entry.key: entry for entry in control.start(to_start, run, _not_ready_before(records))}
        _log(records, "started", {entry.name: entry.ready_at for entry in started.values()})
    return _describe(state, specs, ran_before, inspected, stopped, started)


def _outdated(
    specs: list[control.Service], inspected: list[control.Inspected], records: Records | None
) -> list[control.Service]:
    """Services that could not be stopped before everything was taken back, and so run on what was."""
    if records is None or not records.undo_finished or records.outcome is not None:
        return []
    running = {service.key for service in inspected if service.running}
    again = started_again(records)
    return [spec for spec in specs if spec.key in running and spec.name not in again]


def _not_ready_before(records: Records | None) -> set[str]:
    """Back at an earlier state, a service that was broken in it is broken again: that is what was asked for."""
    header = records.header() if records else None
    undoes = header.plan.get("undoes") if header else None
    if records is not None and undoes and not records.tombstoned:
        records = Records(records.directory.parent / undoes)
    elif records is None or not records.tombstoned:
        return set()
    return {service_key(entry) for entry in records.services() if not entry["ready_before"]}


def _log(records: Records | None, event: str, times: Mapping[str, float | None]) -> None:
    if records is not None:
        log_services(records, event, times)


def _describe(
    state: str,
    specs: list[control.Service],
    ran_before: Mapping[str, bool],
    inspected: list[control.Inspected],
    stopped: Mapping[str, control.Stopped],
    started: Mapping[str, control.Started],
) -> JsonObject:
    before = {service.key: service.running for service in inspected}
    after = {spec.key: state != "stopped" and ran_before[spec.key] for spec in specs}
    services: list[JsonObject] = [
        {
            "name": spec.name,
            "manager": spec.manager,
            "ran_before": ran_before[spec.key],
            "stopped_at": stopped[spec.key].stopped_at if spec.key in stopped else None,
            "ready_at": started[spec.key].ready_at if spec.key in started else None,
            "pid": started[spec.key].pid if spec.key in started else None,
            "waited_ms": started[spec.key].waited_ms if spec.key in started else 0,
        }
        for spec in specs
    ]
    first = min((entry["stopped_at"] for entry in services if entry["stopped_at"]), default=None)
    last = max((entry["ready_at"] for entry in services if entry["ready_at"]), default=None)
    return {
        "changed": before != after or (state == "restarted" and any(after.values())),
        "diff": {"before": _lines(before), "after": _lines(after)},
        "services": services,
        "downtime_ms": round((last - first) * 1000) if first and last else 0,
    }


def _lines(running: Mapping[str, bool]) -> str:
    return "".join(f"{key}: {'running' if running else 'stopped'}\n" for key, running in sorted(running.items()))
