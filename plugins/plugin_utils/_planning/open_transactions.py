# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What forbids to begin anything with a stack: a transaction that is open, a host that is missing. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import RECOVER

from .reported import answer

Found = Mapping[str, Mapping[str, Any]]


def open_transactions(hosts: Found, stack: str) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Id → host → what it reported, of the transactions that hold this stack; oldest first.

    :param hosts: host → what it registered, with an answer of ``transaction_info`` under any name.
    :raises Unreadable: where an answer is none.
    """
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for host, registered in hosts.items():
        for reported in registered.values():
            for each in answer(host, reported).get("transactions", []):
                if each["outcome"] is None:
                    found.setdefault(each["id"], {})[host] = each
    return {
        name: reported
        for name, reported in sorted(found.items())
        if any(each["stack"] == stack for each in reported.values())
    }


def open_refusal(hosts: Found, stack: str) -> str:
    """Which transaction is open, how far it is, whose it is, since when, what is down, and what goes on; empty for none."""
    found = open_transactions(hosts, stack)
    return " ".join(f"{open_words(name, reported)} {next_words(name)}" for name, reported in found.items())


def open_words(name: str, reported: Mapping[str, Mapping[str, Any]]) -> str:
    """The sentences about one of them, without what to do."""
    known = next((each for each in reported.values() if each["stack"]), {})
    since = "an unknown time"
    if known.get("created") is not None:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(known["created"]))
    phases = ", ".join(f"{each['phase']} on {host}" for host, each in reported.items())
    down = [f"{service} on {host}" for host, each in reported.items() for service in each["down"]]
    return (
        f"Transaction {name} of {known.get('stack', 'an unknown stack')} is still open, begun {since} by "
        f"{known.get('operator') or 'somebody'}: {phases}."
        + (f" Down because of it: {', '.join(down)}." if down else "")
    )


def next_words(name: str) -> str:
    """What goes on with one of them."""
    return f"Wait if somebody runs it; if nobody runs it any more: {RECOVER}{name}"


def missing_refusal(hosts: Found, stack: str, here: Sequence[str], accepted: Sequence[str], point: str = "") -> str:
    """Hosts that belonged to the stack when it was last captured or rolled back, and do not any more; empty for none.

    They would stay as they are while all others go back: a mixture.

    :param hosts: host → what it registered, with answers of ``transaction_info`` and ``restore_point_info`` under any name.
    :param here: all hosts that hold a part of the stack by this inventory.
    :param accepted: names that the operator knows to be gone.
    :param point: the restore point that is gone back to; the newest good one counts in any case.
    :raises Unreadable: where an answer is none.
    """
    known: dict[str, str] = {}
    for host, registered in hosts.items():
        for reported in registered.values():
            found = answer(host, reported)
            for name in found.get("last_hosts", {}).get(stack, ()):
                known.setdefault(name, "the stack's last transaction")
            for name, hosts_of_it in _points(found, stack, point):
                known.update(dict.fromkeys(hosts_of_it, f"restore point {name}"))
    missing = {host: source for host, source in sorted(known.items()) if host not in (*here, *accepted)}
    if not missing:
        return ""
    words = ", ".join(f"{host} (known from {source})" for host, source in missing.items())
    return (
        f"Not a host of {stack} in this inventory: {words}. It would stay as it is while all others change. Bring it back into "
        "the inventory and its groups (is it disabled, or did a synchronisation fail?), or, when it is gone for good: "
        f"-e rollback_accept_missing_hosts={','.join(missing)}"
    )


def _points(reported: Mapping[str, Any], stack: str, point: str) -> Iterator[tuple[str, Sequence[str]]]:
    """Of a host's answer, newest first: the newest good restore point of the stack, and the one that is named."""
    good = [each for each in reported.get("restore_points", []) if each["good"] and each["stack"] == stack]
    for each in {each["name"]: each for each in (*good[:1], *(one for one in good if one["name"] == point))}.values():
        yield each["name"], list(each["good_hosts"])
