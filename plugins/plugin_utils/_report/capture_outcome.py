# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) How a capture ended: one word for all hosts, and the rows of its table. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.rate import size
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.open_transactions import (
    next_words,
    open_transactions,
)

from .outcome import causes

Registered = Mapping[str, Mapping[str, Any]]


def capture_outcome(hosts: Registered, name: str, stack: str) -> dict[str, Any]:
    """Put together what the hosts reported.

    :param hosts: host → ``__restore_point_captured``, ``__restore_point_health``, ``__restore_point_marked`` (each of
        its module), ``__restore_point_open`` (of ``transaction_info``), ``__restore_point_failure``; what it never came to is
        missing.
    :param name: the restore point's name.
    :param stack: its stack's name.
    """
    failed = {
        host: registered["__restore_point_failure"]
        for host, registered in hosts.items()
        if "__restore_point_failure" in registered
    }
    failures = causes({host: {"__rollback_failure": failure} for host, failure in failed.items()})
    if failed:
        failures += [f"{host} can't be reached." for host in hosts if host not in failed]
    marked = [registered.get("__restore_point_marked", {}) for registered in hosts.values()]
    good = bool(marked) and not failed and all(each.get("good") for each in marked)
    planned = not failed and not any(marked)
    still_open = open_transactions(
        {host: _only(registered, "__restore_point_open") for host, registered in hosts.items()}, stack
    )
    rows = [["Restore point", name]]
    rows += [["Cause" if number == 0 else "", failure] for number, failure in enumerate(failures)]
    rows += [row for host, registered in hosts.items() for row in _host_rows(host, registered)]
    rows += list(_check_rows(hosts))
    removed = sorted({old for each in marked for old in each.get("removed", [])})
    if removed:
        rows.append(["Removed", f"older ones: {', '.join(removed)}"])
    following: list[str] = []
    if good:
        kinds = {str(each).partition(":")[0] for registered in hosts.values() for each in _components(registered)}
        playbook = "full_rollback" if kinds == {"database"} else "multi_rollback"
        following = ["To go back", f"ansible-playbook lastgood.rollback.{playbook} -e rollback_point={name}"]
    elif still_open:
        following = ["Next", "; ".join(map(next_words, still_open))]
    elif failed:
        following = ["Next", "mend what is named above, then capture again; last_good is what it was before"]
    rows += [following] if following else []
    title = "Captured: the restore point is good on all hosts"
    if not good:
        title = (
            "Planned: nothing was captured" if planned else "NOT CAPTURED: there is no new restore point to go back to"
        )
    return {
        "outcome": "captured" if good else "planned" if planned else "not_captured",
        "good": good,
        "title": title,
        "tone": "good" if good or planned else "bad",
        "rows": rows,
        "suggestion": following[1] if following else "",
    }


def _only(registered: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {name: registered[name]} if name in registered else {}


def _host_rows(host: str, registered: Mapping[str, Any]) -> Iterator[list[str]]:
    captured = registered.get("__restore_point_captured", {})
    for number, component in enumerate(_components(registered)):
        amount = captured.get("bytes")
        yield [
            host if number == 0 else "",
            f"{component}{f' ({size(amount)} in all)' if number == 0 and amount else ''}",
        ]


def _components(registered: Mapping[str, Any]) -> list[Any]:
    return registered.get("__restore_point_captured", {}).get("components") or []


def _check_rows(hosts: Registered) -> Iterator[list[str]]:
    checks = [
        {**check, "host": host}
        for host, registered in hosts.items()
        for check in registered.get("__restore_point_health", {}).get("checks", [])
    ]
    if checks:
        yield ["Checks", f"{sum(bool(check['ok']) for check in checks)} of {len(checks)} held"]
    for check in checks:
        if not check["ok"]:
            yield ["", f"FAILED on {check['host']}: {check['name']}: {check['detail']}"]
