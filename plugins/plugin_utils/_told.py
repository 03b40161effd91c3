# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What hosts report of transactions, believed only where every value has its type. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._records import ENDS, KEEP, UNDO
from ansible_collections.lastgood.rollback.plugins.module_utils._shape import require

_SERVICE = {"name?": str, "ran_before?": bool, "ready_before?": bool}
_COMPONENT = {
    "component": str,
    "kind": str,
    "kept": {str: object},
    "can_go_back": bool,
    "set_aside?": {"rows?": int, "of?": int, "tables?": {str: int}},
}
#: Of a plan, what is read after its transaction has begun; one of a module that was called on its own is empty.
_PLAN = {
    "id?": str,
    "hosts?": [str],
    "decision_host?": str,
    "undoes?": (None, str),
    "rehearse?": bool,
    "of?": {str: {"projects": [{str: object}], "checked": [object]}},
}
_TRANSACTION = {
    "id?": str,
    "stack?": (None, str),
    "state?": str,
    "outcome?": (None, ENDS),
    "decision?": (None, frozenset({KEEP, UNDO})),
    "plan?": _PLAN,
    "hosts?": [str],
    "operator?": (None, str),
    "created?": (None, float),
    "tombstoned?": bool,
    "reason?": (None, str),
    "services?": [_SERVICE],
    "checks?": [{str: object}],
    "components?": [_COMPONENT],
    "events?": [{"event": str, "at?": float, "what?": str, "facts?": {str: object}}],
}
#: Facts of an event that downtime is computed from.
_TIMES = {"services": {str: float}, "others?": [str]}


def transactions(host: str, registered: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """What a host answered that was asked for its transactions; nothing where it was not asked, or did not answer.

    :param name: of the variable that the answer was registered in.
    :raises Unreadable: with the host, and the place in what it reported.
    """
    place = f"What {host} tells of its transactions"
    answer = require(registered.get(name) or {}, {"transactions?": [_TRANSACTION]}, place)
    found: list[Mapping[str, Any]] = list(answer.get("transactions", []))
    for transaction in found:
        for number, event in enumerate(transaction.get("events", [])):
            if event["event"] in ("stopped", "started"):
                at = f"{place}, events[{number}].facts"
                require(event.get("facts"), _TIMES, at)
    return found


def decision(host: str, registered: Mapping[str, Any]) -> str | None:
    """What stands on the decision host, as far as it could be read.

    :raises Unreadable: when it is no decision.
    """
    shape = {"decision?": (None, frozenset({KEEP, UNDO}))}
    found: str | None = require(
        registered.get("__rollback_decided") or {}, shape, f"What {host} tells of the decision"
    ).get("decision")
    return found


def ended_as(host: str, registered: Mapping[str, Any]) -> str | None:
    """The outcome on one host, of whichever of the two finishing steps was its own.

    :raises Unreadable: when it is none.
    """
    for name in ("__rollback_finish", "__rollback_finish_last"):
        answer = require(registered.get(name) or {}, {"outcome?": (None, str)}, f"How {host} says that it ended")
        if answer.get("outcome"):
            return str(answer["outcome"])
    return None
