# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All filters. What each takes and gives is in the file ``<name>.yml`` beside this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.decision import requested_decision
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import service_key
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue import inputs, secrets
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.catalogue import CatalogueError
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning import no_undo, open_transactions, reversal
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning import plan as planning
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.commands import completed
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.kinds.code import code_options
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.stack import captured_by, read_stack
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report import capture_outcome as captures
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report import check, recovery, report
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report import outcome as outcomes

Hosts = Mapping[str, Mapping[str, Any]]
Groups = Mapping[str, Sequence[str]]


def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter with its refusals as Ansible's: all mistakes or reasons, with commands as they have to be typed."""

    @wraps(function)
    def filtered(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except (CatalogueError, inputs.InputError, planning.PlanRefused, Unreadable) as error:
            raise AnsibleFilterError(completed(str(error))) from error

    return filtered


def as_typed(text: str) -> str:
    return str(completed(str(text)))


@refusing
def capture_outcome(hosts: Hosts, name: str, stack: str) -> Any:
    return completed(captures.capture_outcome(hosts, name, stack))


@refusing
def capture_plan(raw: Mapping[str, Any], host: str, groups: Groups) -> dict[str, Any]:
    return captured_by(read_stack(raw, groups), host)


def catalogue_secrets(databases: Mapping[str, Any], projects: Mapping[str, Any] | None = None) -> list[str]:
    return secrets.catalogue_secrets(databases, projects or {})


@refusing
def check_proposal(
    verdict: Mapping[str, Any],
    hosts: Hosts,
    *,
    accept: Sequence[str] = (),
    databases: Mapping[str, Any] | None = None,
) -> Any:
    return completed(check.planned(verdict, hosts, accept, databases))


@refusing
def check_summary(
    hosts: Hosts, catalogue: Mapping[str, Any], groups: Groups, here: Sequence[str], point: str = "last_good"
) -> Any:
    return completed(check.summarize(read_stack(catalogue, groups), hosts, here, point))


def database_passwords(databases: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not isinstance(databases, Mapping):
        raise AnsibleFilterError("rollback_databases must be a mapping of names.")
    return planning.passwords(databases, names)


def gather(hostvars: Mapping[str, Any], hosts: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {host: {name: hostvars[host][name] for name in names if name in hostvars[host]} for host in hosts}


def history_rows(hosts: Hosts, *, accept: Sequence[str] = ()) -> Any:
    return completed(recovery.history_rows(hosts, accept))


@refusing
def missing_refusal(
    hosts: Hosts, stack: str, here: Sequence[str], *, accepted: Sequence[str] = (), point: str | None = None
) -> str:
    return open_transactions.missing_refusal(hosts, stack, here, accepted, point or "")


@refusing
def no_undo_refusal(hosts: Hosts, *, accept: Sequence[str] = (), databases: Mapping[str, Any] | None = None) -> str:
    return no_undo.no_undo_refusal(hosts, accept, databases or {})


@refusing
def open_refusal(hosts: Hosts, stack: str) -> str:
    return str(completed(open_transactions.open_refusal(hosts, stack)))


@refusing
def outcome(plan: Mapping[str, Any], hosts: Hosts, **options: Any) -> Any:
    try:
        return completed(outcomes.summarize(plan, hosts, **options))
    except KeyError as error:
        raise AnsibleFilterError(f"A host reported something unknown: {error}") from error


@refusing
def plan(
    raw: Mapping[str, Any],
    groups: Groups,
    *,
    id: str,
    components: Sequence[str],
    point: str | None = None,
    only: Sequence[str] | None = None,
    decision_host: str | None = None,
    source: str | None = None,
    checksum: str | None = None,
    allow_unverified: bool = False,
    database: str | None = None,
    tables: Sequence[str] | None = None,
    commits: Sequence[str] | None = None,
    mainline: int = 1,
    files: Sequence[str] | None = None,
    to: str | None = None,
    rehearse: bool = False,
) -> dict[str, Any]:
    stack = read_stack(raw, groups)
    request = planning.Request(
        id,
        point or None,
        planning.parse_kinds(components),
        tuple(only or ()),
        decision_host or None,
        source={"path": source, "checksum": checksum or None, "allow_unverified": allow_unverified} if source else None,
        database=database or None,
        tables=tuple(tables or ()),
        code=code_options(commits or [], mainline, files or [], to or None),
        rehearse=rehearse,
    )
    return planning.make_plan(stack, request)


@refusing
def plan_reversal(hosts: Hosts, catalogue: Mapping[str, Any], groups: Groups, **options: Any) -> dict[str, Any]:
    projects = read_stack(catalogue, groups).projects
    known = {name: project.hosts for name, project in projects.items()}
    services: dict[str, set[str]] = {}
    for project in projects.values():
        for host in project.hosts:
            services.setdefault(host, set()).update(service_key(service) for service in project.services)
    return reversal.plan_reversal(hosts, known, services, **options)


@refusing
def typed(value: Any, name: str) -> Any:
    option = next(role.options[name] for role in inputs.load_inputs().values() if name in role.options)
    return inputs.typed(option, value)


def undo_offers(hosts: Hosts) -> list[str]:
    return [name for names in reversal.undoable(hosts).values() for name in names]


@refusing
def with_point(plan: Mapping[str, Any], points: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return planning.with_point(plan, points)


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        ours: list[Callable[..., Any]] = [
            as_typed,
            capture_outcome,
            capture_plan,
            catalogue_secrets,
            check_proposal,
            check_summary,
            database_passwords,
            gather,
            history_rows,
            missing_refusal,
            no_undo_refusal,
            open_refusal,
            outcome,
            plan,
            plan_reversal,
            typed,
            undo_offers,
            with_point,
            outcomes.plan_rows,
            recovery.hold_rows,
            recovery.interrupted,
            recovery.settled,
            report.delivery_rows,
            report.report_rows,
            requested_decision,
        ]
        return {function.__name__: function for function in ours}
