# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What can't be undone as a whole once it has finished is asked for in plan, not reported afterwards. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .kinds.registry import DATABASE_KINDS
from .reported import planned

Registered = Mapping[str, Mapping[str, Any]]

#: The word of ``rollback_accept`` that allows it.
NO_UNDO = "no_undo"
#: Those of its words that an undo looks at as well.
_OF_AN_UNDO = ("slots", "subscriptions", "standbys", "workers")


def not_accepted(
    hosts: Registered, accept: Sequence[str], databases: Mapping[str, Any]
) -> list[tuple[str, Mapping[str, Any]]]:
    """Host and plan of each component that would change, has no way back, and was not accepted as that.

    :param hosts: host → ``__rollback_planned``, what each component would do.
    :param accept: ``rollback_accept``.
    :param databases: of the catalogue, by name; each may have an ``accept`` of its own.
    :raises Unreadable: when what a host reports of its plan is not understood.
    """
    return [
        (host, result)
        for host, registered in hosts.items()
        for result in planned(host, registered.get("__rollback_planned"))
        if result["changed"] and not result["can_go_back"]
        if NO_UNDO not in (*accept, *_accepted_of(result["component"], databases))
    ]


def names_not_accepted(hosts: Registered, accept: Sequence[str], databases: Mapping[str, Any]) -> str:
    """The names of these."""
    return ", ".join(f"{result['component']} on {host}" for host, result in not_accepted(hosts, accept, databases))


def _accepted_of(component: str, databases: Mapping[str, Any]) -> Sequence[str]:
    kind, _colon, name = component.partition(":")
    found: Sequence[str] = (databases.get(name) or {}).get("accept") or () if kind in DATABASE_KINDS else ()
    return found


def no_undo_refusal(hosts: Registered, accept: Sequence[str], databases: Mapping[str, Any]) -> str:
    """What can't be undone as a whole, what is kept instead, and how to allow it; empty when there is nothing to ask for."""
    found = not_accepted(hosts, accept, databases)
    if not found:
        return ""
    kept = "; ".join(
        f"{result['component']} on {host} (kept instead: {result['kept_instead']})" for host, result in found
    )
    return (
        f"Once it has finished, this can't be undone as a whole: {kept}. Nothing was touched. If it is wanted all the same, "
        f"run it again with {accept_option(accept, NO_UNDO)}"
    )


def asked_for(hosts: Registered, accept: Sequence[str], databases: Mapping[str, Any]) -> str:
    """For whoever only plans or rehearses: what the real one will ask for; empty for nothing."""
    names = names_not_accepted(hosts, accept, databases)
    return f"add {accept_option(accept, NO_UNDO)}, since {names} can't be undone as a whole" if names else ""


def accept_option(accept: Iterable[str], *more: str) -> str:
    """``rollback_accept`` as it has to be typed, with words besides those that are accepted already; empty for none."""
    words = dict.fromkeys([*accept, *more])
    return f"-e rollback_accept={','.join(words)}" if words else ""


def undo_option(accept: Iterable[str]) -> str:
    """The same for the undo of what was done with these words."""
    return accept_option(word for word in accept if word in _OF_AN_UNDO)
