# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Which finished rollback of a stack may be taken back, and the plan for it. Pure: no I/O, no clock.

Last in, first out. A rollback that was undone as asked is off the pile; an undo that is the newest of all may be undone
itself, which puts the rollback back.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import (
    RECOVER,
    service_key,
    service_name,
)

from .plan import PlanRefused
from .reported import transactions

Found = Mapping[str, Mapping[str, Any]]
USAGE = "ansible-playbook lastgood.rollback.undo_rollback -e rollback_id="


def plan_reversal(
    hosts: Found,
    known: Mapping[str, Collection[str]],
    services: Mapping[str, Collection[str]],
    *,
    id: str,
    undoes: str,
    stack: str,
    rehearse: bool = False,
) -> dict[str, Any]:
    """The earlier rollback's own plan, for a new transaction that takes it back.

    :param hosts: host → ``__rollback_remembered`` of ``transaction_info``.
    :param known: project → its hosts, of the catalogue: what is checked is looked up there.
    :param services: host → keys of its services, of the catalogue: how they are started is looked up there.
    :param id: of the transaction to be.
    :param undoes: id of the rollback to take back; it is named, never guessed.
    :param rehearse: whether everything is taken away again before the switch.
    :raises PlanRefused: with the reason, and what could be undone instead.
    """
    found = _transactions(hosts, stack)
    if not undoes:
        raise PlanRefused([f"Which rollback? Nothing was touched. Usage: {USAGE}<id>. {_offer(found)}"])
    if undoes not in found:
        raise PlanRefused(
            [f"No transaction {undoes} of {stack} is known on {', '.join(sorted(hosts))}. {_offer(found)}"]
        )
    reported = found[undoes]
    still_open = sorted(host for host, each in reported.items() if each["outcome"] is None)
    if still_open:
        raise PlanRefused([f"{undoes} has not ended on {', '.join(still_open)}. First: {RECOVER}{undoes}"])
    others = [name for name, each in found.items() if any(one["outcome"] is None for one in each.values())]
    if others:
        raise PlanRefused([f"{others[0]} of {stack} has not ended. First: {RECOVER}{others[0]}"])
    if not _is_kept(reported):
        raise PlanRefused([f"{undoes} was not kept: everything already is as it was before it. {_offer(found)}"])
    plan = next((each["plan"] for each in reported.values() if each["plan"]), None)
    if plan is None:
        raise PlanRefused(
            [f"{undoes} was made by a module that was called on its own: only playbooks can be undone so."]
        )
    pile = _pile(found)
    if undoes not in _undoable(found):
        raise PlanRefused([_why_not(undoes, pile, found)])
    parts = {host: _reversal_part(part) for host, part in plan["parts"].items()}
    absent = [
        f"{name} on {host}"
        for host, part in parts.items()
        for name in part["checked"]
        if host not in known.get(name, ())
    ]
    if absent:
        raise PlanRefused(
            [
                f"{undoes} is checked by {', '.join(absent)}, and the catalogue has no such project there any more: its checks "
                "are not kept anywhere else. Put it back into rollback_projects, with the checks that what comes back has to "
                "pass."
            ]
        )
    unknown = [
        f"{service['name']} on {host}"
        for host, part in parts.items()
        for wave in part["waves"]
        for service in wave
        if service_key(service) not in services.get(host, ())
    ]
    if unknown:
        raise PlanRefused(
            [
                f"{undoes} stopped {', '.join(unknown)}, and the catalogue has no such service there any more: how it is started "
                "is not kept anywhere else. Put it back into rollback_projects."
            ]
        )
    return {
        **plan,
        "id": id,
        "undoes": undoes,
        "rehearse": rehearse,
        "was_healthy": _was_healthy(reported),
        "point": None,
        "source": None,
        "code": None,
        "schema_only": {},
        "parts": parts,
    }


def _reversal_part(part: Mapping[str, Any]) -> dict[str, Any]:
    """What one host has to do; older versions kept the words of commands where only names stand now."""
    checked = [each if isinstance(each, str) else each["name"] for each in part["checked"]]
    projects = [{name: value for name, value in each.items() if name != "commands"} for each in part["projects"]]
    waves = [[service_name(service) for service in wave] for wave in part["waves"]]
    return {**part, "checked": checked, "projects": projects, "waves": waves, "keys": []}


def undoable(hosts: Found) -> dict[str, list[str]]:
    """Stack → the ids that may be undone as a whole now; for the history. None while another transaction is open."""
    stacks = {
        str(each["stack"]) for host, registered in hosts.items() for each in _reported(host, registered) if each["plan"]
    }
    found = {stack: _transactions(hosts, stack) for stack in sorted(stacks)}
    return {
        stack: sorted(_undoable(known))
        for stack, known in found.items()
        if all(each["outcome"] for reported in known.values() for each in reported.values())
    }


def _transactions(hosts: Found, stack: str) -> dict[str, dict[str, Any]]:
    """Id → host → what it reported; of one stack, oldest first."""
    found: dict[str, dict[str, Any]] = {}
    for host, registered in hosts.items():
        for each in _reported(host, registered):
            found.setdefault(each["id"], {})[host] = each
    mine = {
        name: reported for name, reported in found.items() if any(each["stack"] == stack for each in reported.values())
    }
    return dict(sorted(mine.items(), key=lambda item: (_created(item[1]), item[0])))


def _reported(host: str, registered: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return transactions(host, registered, "__rollback_remembered") or transactions(
        host, registered, "__rollback_history"
    )


def _created(reported: Found) -> float:
    return min((each["created"] for each in reported.values() if each["created"]), default=0.0)


def _is_kept(reported: Found) -> bool:
    return all(each["outcome"] is not None and not each["tombstoned"] for each in reported.values())


def _was_healthy(reported: Found) -> bool:
    """Whether every service was ready before that rollback; false as well where there was none to ask."""
    services = [service for each in reported.values() for service in each["services"]]
    return bool(services) and all(service["ran_before"] and service["ready_before"] for service in services)


def _undoes(reported: Found) -> str | None:
    return next((each["plan"]["undoes"] for each in reported.values() if each["plan"].get("undoes")), None)


def _pile(found: Mapping[str, Found]) -> list[str]:
    """The rollbacks that stand, the last one last."""
    pile: list[str] = []
    for name, reported in found.items():
        undone = _undoes(reported)
        if not _is_kept(reported):
            continue
        if undone is None or undone not in pile:  # an undo of an undo stands for the rollback that it puts back
            pile.append(name)
        else:
            pile.remove(undone)
    return pile


def _undoable(found: Mapping[str, Found]) -> set[str]:
    kept = [name for name, reported in found.items() if _is_kept(reported)]
    return {*_pile(found)[-1:], *(name for name in kept[-1:] if _undoes(found[name]))}


def _why_not(undoes: str, pile: list[str], found: Mapping[str, Found]) -> str:
    if undoes not in pile:
        by = next(
            (name for name, reported in found.items() if _undoes(reported) == undoes and _is_kept(reported)),
            "a later one",
        )
        return f"{undoes} was undone already, by {by}. {_offer(found)}"
    above = pile[pile.index(undoes) + 1 :]
    return f"Later rollbacks stand above {undoes}: {', '.join(reversed(above))}. Undo those first, the last one first."


def _offer(found: Mapping[str, Found]) -> str:
    """What could be undone, with the words to ask for it."""
    names = sorted(_undoable(found))
    if not names:
        return "There is no finished rollback to undo."
    reported = next(iter(found[names[-1]].values()))
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(_created(found[names[-1]])))
    what = "undo" if _undoes(found[names[-1]]) else "rollback"
    return f"The last finished {what} is of {when}, by {reported['operator']}: {USAGE}{names[-1]}"
