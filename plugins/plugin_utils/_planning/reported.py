# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What hosts report of transactions, believed only where every value has its type. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.shape import MOMENT, require
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import ENDS, KEEP, UNDO

from .kinds.registry import SHAPES as DISCARDS

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
    "parts?": {str: {"projects": [{str: object}], "checked": [object]}},
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
    "created?": (None, MOMENT),
    "tombstoned?": bool,
    "reason?": (None, str),
    "services?": [_SERVICE],
    "checks?": [{str: object}],
    "components?": [_COMPONENT],
    "events?": [{"event": str, "at?": MOMENT, "what?": str, "facts?": {str: object}}],
}
#: Facts of an event that downtime is computed from.
_TIMES = {"services": {str: MOMENT}, "others?": [str]}
_CHECK = {"name": str, "ok": bool, "detail?": (None, str), "ms?": (None, float)}
#: Of a transaction, what its report reads.
_JOURNAL = {
    "operator?": (None, str),
    "created?": (None, MOMENT),
    "tombstoned": bool,
    "checks": [_CHECK],
    "events": [{"at": MOMENT, "event": str, "what": str, "facts": {"phase?": str}}],
    "services": [{"name": str, "ran_before": bool}],
    "evidence?": {str: {"verification?": {"content?": (None, str), "tables?": (None, int), "rows?": (None, int)}}},
    "components": [
        {"component": str, "kind": str, "name": str, "state": str, "discards": DISCARDS, "kept": {str: object}}
    ],
}
#: Facts of the events that it reads more of.
_FACTS = {
    "stopped": _TIMES,
    "started": _TIMES,
    "checked": {"checks": [_CHECK]},
    "switched": {"component": str, "ms?": (None, float)},
}
#: Of every transaction that is open, what forbids to begin another.
_OPEN = {
    "id": str,
    "stack": (None, str),
    "outcome": (None, ENDS),
    "created": (None, MOMENT),
    "operator": (None, str),
    "phase": (None, str),
    "down": [str],
}
_POINT = {"name": str, "good": bool, "stack": (None, str), "good_hosts": {str: object}}
_ANSWER = {"transactions?": [_OPEN], "last_hosts?": {str: [str]}, "restore_points?": [_POINT]}
_SEVERITY = frozenset({"error", "warning"})
_INTEGRITY = {
    "name": str,
    "healthy": bool,
    "findings": [{"check": str, "severity": _SEVERITY, "object": str, "detail": str}],
    "not_checked": [{"check": str, "reason": str}],
    "tables": {str: {"rows": int}},
    "ms": float,
}


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


def journal(host: str, registered: Mapping[str, Any], identity: str) -> Mapping[str, Any] | None:
    """What a host reports of one transaction, as far as its report reads it; None where it reports nothing of it.

    :raises Unreadable: with the host, and the place in what it reported.
    """
    place = f"What {host} tells of its transactions"
    answer = require(registered.get("__rollback_history") or {}, {"transactions?": [{"id": str}]}, place)
    found: Mapping[str, Any] | None = next(
        (one for one in answer.get("transactions", []) if one["id"] == identity), None
    )
    if found is None:
        return None
    require(found, _JOURNAL, f"What {host} tells of {identity}")
    for number, event in enumerate(found["events"]):
        facts = event["facts"]
        begins_or_ends = event["event"] in ("intent", "done") and facts.get("phase") == "prepare"
        shape = _FACTS.get(event["event"], {"component": str} if begins_or_ends else {})
        require(facts, shape, f"What {host} tells of {identity}, events[{number}].facts")
    return found


def answer(host: str, raw: Any) -> Mapping[str, Any]:
    """What a host answered that was asked for its open transactions, or its restore points.

    :raises Unreadable: see `transactions`.
    """
    found: Mapping[str, Any] = require(raw or {}, _ANSWER, f"What {host} tells of what it has")
    return found


def health(host: str, raw: Any) -> list[Mapping[str, Any]]:
    """The checks that a host made of its projects.

    :raises Unreadable: see `transactions`.
    """
    found = require(raw or {}, {"checks?": [{**_CHECK, "detail": str}]}, f"What {host} tells of its projects")
    checks: list[Mapping[str, Any]] = found.get("checks", [])
    return checks


def integrity(host: str, raw: Any, *, failed: bool) -> list[Mapping[str, Any]]:
    """What a host found in its databases.

    :param failed: whether it has said that one of them could not be looked at: that one has no findings.
    :raises Unreadable: see `transactions`.
    """
    place = f"What {host} tells of its databases"
    results = require(raw or {}, {"results?": [{str: object}]}, place).get("results", [])
    found = [(number, one) for number, one in enumerate(results) if not (failed and "findings" not in one)]
    return [require(one, _INTEGRITY, f"{place}, results[{number}]") for number, one in found]


def planned(host: str, raw: Any) -> list[Mapping[str, Any]]:
    """What each component of a host would do.

    :raises Unreadable: see `transactions`.
    """
    shape = [{"component": str, "changed": bool, "can_go_back": bool, "kept_instead?": (None, str)}]
    found: list[Mapping[str, Any]] = require(raw or [], shape, f"What {host} tells of its plan")
    return found
