# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What recovery finds: the transactions that are open on some host, with what each host knows of them. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.shape import require
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.decision import resolved_decision
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import KEEP, RECOVER, UNDO
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.no_undo import undo_option
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.plan import PlanRefused
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.reported import transactions
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.reversal import USAGE, undoable

from .outcome import unseen_stops

#: What the role gives as the reason for the undo of a rehearsal in which nothing failed.
REHEARSED = "the rehearsal is over"
#: What a host reports of a transaction, as far as recovery goes by it.
_INTERRUPTED = {
    "id": str,
    "state": str,
    "stack": (None, str),
    "decision": (None, frozenset({"keep", "undo"})),
    "plan": {str: object},
    "services": [{str: object}],
    "state_ids": {str: str},
}
#: What a host answers that is asked how one of them ended.
_ENDS = {"transactions": [{"state": str, "outcome": (None, str)}], "state_id?": (None, str)}

Found = Mapping[str, Mapping[str, Any]]


def interrupted(hosts: Found) -> list[dict[str, Any]]:
    """The open transactions, oldest first.

    :param hosts: host → ``__rollback_open`` of ``transaction_info``.
    :returns: for each ``id``, ``plan``, ``states`` (host → state of the protocol), ``stopped`` (hosts on which
        services were stopped) and ``foreseen`` (in words, what recovery would make of it).
    """
    found: dict[str, dict[str, Any]] = {}
    alone_by_id: dict[str, dict[str, Any]] = {}
    for host, registered in hosts.items():
        for raw in registered.get("__rollback_open", {}).get("transactions", []):
            transaction = require(raw, _INTERRUPTED, f"What {host} tells of a transaction")
            entry = found.setdefault(
                transaction["id"], {"id": transaction["id"], "plan": {}, "states": {}, "stopped": [], "decision": None}
            )
            entry.setdefault("state_ids", {}).update(transaction["state_ids"])
            entry["states"][host] = transaction["state"]
            if transaction["services"]:
                entry["stopped"].append(host)
            entry["plan"] = entry["plan"] or transaction["plan"]
            entry["decision"] = entry["decision"] or transaction["decision"]
            alone = alone_by_id.setdefault(transaction["id"], _plan_of_one(host, transaction))
            alone["stack"] = alone["stack"] or transaction["stack"]
    # A host that has only a tombstone knows no plan, but another may.
    entries = [{**found[name], "plan": found[name]["plan"] or alone_by_id[name]} for name in sorted(found)]
    return [{**entry, "foreseen": _foreseen(entry, hosts)} for entry in entries]


def _foreseen(entry: Mapping[str, Any], hosts: Found) -> str:
    """The rules of docs/protocol.md, for whoever asks before anything is done."""
    plan = entry["plan"]
    silent = [host for host in plan["hosts"] if "__rollback_open" not in hosts.get(host, {})]
    replaced = [host for host in plan["hosts"] if _is_another(host, entry, hosts.get(host, {}).get("__rollback_open"))]
    doubtful = [host for host, state in entry["states"].items() if state == "damaged"]
    promised = [host for host, state in entry["states"].items() if state == "promised"]
    is_lost = plan["decision_host"] in [*replaced, *doubtful]
    is_read = not is_lost and (plan["decision_host"] not in silent or entry["decision"] is not None)
    outcome = resolved_decision(entry["decision"], plan["hosts"], promised, decision_host_read=is_read)
    if outcome is None:
        why = ("was replaced" if replaced else "has damaged records") if is_lost else "can't be read"
        words = f"would be in doubt, since {plan['decision_host']} {why}"
    else:
        words = "would be kept" if outcome == KEEP else "would be undone"
        words += (
            ", as decided"
            if entry["decision"]
            else f", since {'all' if outcome == KEEP else 'not all'} hosts have promised"
        )
    return words + (f"; missing: {', '.join(silent)}" if silent else "")


def _is_another(host: str, entry: Mapping[str, Any], answer: Mapping[str, Any] | None) -> bool:
    """Whether an empty host has taken the place of the one that the transaction knew."""
    expected = entry["state_ids"].get(host)
    return bool(answer is not None and expected and answer.get("state_id") != expected)


def settled(hosts: Found, entry: Mapping[str, Any], lost: str | None, members: Sequence[str] = ()) -> dict[str, Any]:
    """What to go on with once the operator has said which hosts are lost for good.

    Without the host that kept the decision it is settled by what finished elsewhere: only after the decision to keep can any
    host have finished. Without another one the rest end as decided.

    :param hosts: host → ``__rollback_ends`` of ``transaction_info``, asked for this transaction.
    :param entry: one of `interrupted`.
    :param lost: the decision host's name; None where it is not lost.
    :param members: others that are lost.
    :returns: the entry, with ``settled``: the decision, or nothing; ``lost``; its plan is that of the hosts that are left.
    :raises PlanRefused: when a name is wrong, when a host is not lost, or when one of the others can't be read.
    """
    plan, lost_hosts = entry["plan"], [*filter(None, [lost]), *members]
    if not lost_hosts:  # then nobody was asked
        return {**entry, "settled": "", "lost": []}
    answers = {
        host: _ends(host, registered["__rollback_ends"])
        for host, registered in hosts.items()
        if "__rollback_ends" in registered
    }
    _refuse_lost(entry, lost, members, answers)
    remaining = {**plan, "hosts": [host for host in plan["hosts"] if host not in lost_hosts]}
    if not lost:
        return {**entry, "settled": "", "lost": lost_hosts, "plan": remaining}
    others = remaining["hosts"]
    ends = {host: answers[host]["transactions"] for host in others if host in answers}
    unread = [
        host
        for host in others
        if not ends.get(host) or ends[host][0]["state"] == "damaged" or _is_another(host, entry, answers[host])
    ]
    if unread or not others:
        raise PlanRefused(
            [
                f"The loss of {lost} can't be settled: what became of {entry['id']} on "
                f"{', '.join(unread) or 'any other host'} can't be read. One that is lost as well: rollback_member_hosts_lost."
            ]
        )
    finished = any(ends[host][0]["outcome"] in ("rolled_back", "undone_as_asked") for host in others)
    remaining["decision_host"] = others[0]
    return {**entry, "settled": KEEP if finished else UNDO, "lost": lost_hosts, "plan": remaining}


def _ends(host: str, raw: Any) -> dict[str, Any]:
    """What a host answered that was asked how a transaction ended on it."""
    answer: dict[str, Any] = require(raw, _ENDS, f"What {host} tells of the transaction's end")
    return answer


def _refuse_lost(entry: Mapping[str, Any], lost: str | None, members: Sequence[str], answers: Found) -> None:
    """Only hosts of this transaction that do not know of it any more are lost."""
    decides = entry["plan"]["decision_host"]
    if lost and lost != decides:
        raise PlanRefused([f"{lost} does not keep the decision of {entry['id']}, {decides} does."])
    if decides in members:
        raise PlanRefused([f"{decides} keeps the decision of {entry['id']}: name it in rollback_decision_host_lost."])
    strange = sorted(set(members) - set(entry["plan"]["hosts"]))
    if strange:
        raise PlanRefused([f"{', '.join(strange)} does not take part in {entry['id']}."])
    for host in [*filter(None, [lost]), *members]:
        if answers.get(host, {}).get("transactions"):
            raise PlanRefused([f"{host} is not lost: it knows of {entry['id']}. Run recover without calling it lost."])


def _plan_of_one(host: str, transaction: Mapping[str, Any]) -> dict[str, Any]:
    """A module that was called on its own made no plan for several hosts."""
    nothing = {"databases": [], "projects": [], "checked": [], "waves": [], "keys": []}
    return {
        "id": transaction["id"],
        "stack": transaction["stack"],
        "point": None,
        "kinds": [],
        "decision_host": host,
        "hosts": [host],
        "waves": 0,
        "parts": {host: nothing},
    }


def history_rows(hosts: Found, accept: Sequence[str] = ()) -> list[list[str]]:
    """One row a transaction, newest first: when, outcome, downtime, who, id and hosts; then what can be done.

    :param accept: ``rollback_accept``, with which the undoing was planned: the command needs it as well.
    """
    found: dict[str, dict[str, Any]] = {}
    for host, registered in hosts.items():
        for transaction in transactions(host, registered, "__rollback_history"):
            entry = found.setdefault(
                transaction["id"],
                {"outcomes": set(), "unseen": [], "hosts": [], "first": [], "last": [], **transaction},
            )
            entry["outcomes"].add(_ended_as(transaction))
            entry["unseen"] += unseen_stops([transaction])
            for name in ("hosts", "created", "operator", "plan"):  # a host that has only a tombstone knows none of them
                entry[name] = entry[name] or transaction[name]
            for event in transaction["events"]:
                if event["event"] in ("stopped", "started"):
                    entry["first" if event["event"] == "stopped" else "last"] += event["facts"]["services"].values()
    undone = {entry["plan"]["undoes"]: name for name, entry in found.items() if entry["plan"].get("undoes")}
    rows = [["When", "Outcome", "Downtime", "By", "Transaction"]]
    for name in sorted(found, reverse=True):
        entry = found[name]
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["created"])) if entry["created"] else ""
        outcomes = ", ".join(sorted(entry["outcomes"]))
        where = f"{name}\n  on {', '.join(entry['hosts'])}" if entry["hosts"] else name
        if name in undone and found[undone[name]]["outcomes"] == {"undone_as_asked"}:
            where += f"\n  undone by {undone[name]}"
        rows.append([began, outcomes, _downtime(entry), str(entry["operator"] or ""), where])
    if not found:
        return [["No transaction has begun on these hosts yet."]]
    ends = [
        [f"To end {name}: {RECOVER}{name}"]
        for name, entry in sorted(found.items())
        if any(outcome.startswith("open") for outcome in entry["outcomes"])
    ]
    return rows + ends + [[_undo_words(hosts, name, accept)] for names in undoable(hosts).values() for name in names]


def _ended_as(transaction: Mapping[str, Any]) -> str:
    """The outcome on one host. A rehearsal ends by taking away what it prepared; one that failed says why it did."""
    if transaction["outcome"] is None:
        return f"open ({transaction['state']})"
    rehearsed = transaction["outcome"] == "undone" and transaction["plan"].get("rehearse")
    return "rehearsed" if rehearsed and transaction["reason"] == REHEARSED else str(transaction["outcome"])


def _downtime(entry: Mapping[str, Any]) -> str:
    """In words, of all hosts of a transaction together."""
    if entry["first"]:
        return f"{max(entry['last']) - min(entry['first']):.1f} s" if entry["last"] else "not over"
    return "not known" if entry["unseen"] else "none"


def _undo_words(hosts: Found, name: str, accept: Sequence[str]) -> str:
    """The command that undoes a rollback, where every host has just planned it; else why not."""
    refused = {
        str(result.get("msg") or "it could not be planned")
        for registered in hosts.values()
        for result in registered.get("__rollback_offered", {}).get("results", [])
        if result["item"] == name and "prepared" not in result
    }
    return (
        f"{name} can't be undone as a whole: {' '.join(sorted(refused))}"
        if refused
        else f"To undo {name}: {USAGE}{name} {undo_option(accept)}".rstrip()
    )


def hold_rows(hosts: Found) -> list[list[str]]:
    """One row a checkout, also of those that had no hold: the operator named them."""
    return [
        [host, str(result["path"]), f"released the hold of {result['hold']}" if result["hold"] else "was not held"]
        for host, registered in hosts.items()
        for result in registered.get("__rollback_released", {}).get("results", [])
        if "path" in result
    ]
