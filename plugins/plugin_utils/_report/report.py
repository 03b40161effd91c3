# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The report of one transaction as one JSON value, from the journals of all its hosts. Pure.

Everything that is shown is chosen here by name: what a host registered may hold more than people should read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.discards import all_discard_lines, kept_places
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.kinds.registry import DATABASE_KINDS
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.reported import journal

from .checklist import RollbackRecord, ticked
from .outcome import causes
from .timeline import timeline

SCHEMA = 1
#: By whether what was replaced can be had back.
_PARTS_TITLES = {True: "What was discarded, and where it is kept", False: "What it was about, and what is kept"}


@dataclass(frozen=True)
class Material:
    """What a report is made of.

    :param plan: the transaction's plan.
    :param ended: what the filter ``outcome`` returned.
    :param registered: host → what it registered, by variable name.
    :param contacts: as `parse_contacts` returned them.
    :param keep_days: how long what was replaced is kept at least.
    :param can_undo: whether there is a playbook that undoes a finished rollback.
    :param log: where the log was written, and how many lines of this transaction it holds.
    :param deliveries: what became of each message.
    """

    plan: Mapping[str, Any]
    ended: Mapping[str, Any]
    registered: Mapping[str, Mapping[str, Any]]
    contacts: Sequence[Mapping[str, str]] = ()
    keep_days: int = 7
    can_undo: bool = False
    log: Mapping[str, Any] | None = None
    deliveries: Sequence[Mapping[str, Any]] = field(default_factory=list)

    @cached_property
    def _read(self) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
        readable, misread = {}, {}
        for host, registered in self.registered.items():
            try:
                found = journal(host, registered, self.plan["id"])
                if found is not None:
                    readable[host] = found
            except Unreadable as error:
                misread[host] = error.message
        return readable, misread

    @property
    def transactions(self) -> dict[str, Mapping[str, Any]]:
        """Host → this transaction, where its journal could be read."""
        return self._read[0]

    @property
    def misread(self) -> dict[str, str]:
        """Host → why nothing that it reports of this transaction is believed."""
        return self._read[1]


def build_report(material: Material) -> dict[str, Any]:
    """The report; docs/report.md describes its keys."""
    transactions = material.transactions
    plan, ended = material.plan, material.ended
    word, _colon, summary = str(ended["title"]).partition(": ")
    checks = list(_checks(transactions))
    found = timeline({host: transaction["events"] for host, transaction in transactions.items()})
    record = RollbackRecord(
        transactions,
        plan["hosts"],
        checks,
        material.log,
        material.deliveries,
        bool(plan.get("rehearse")),
        misread=list(material.misread),
    )
    point = plan.get("point") or {}
    undo = _undo(material, found["end"] if found else None)
    return {
        "schema": SCHEMA,
        "id": plan["id"],
        "stack": plan["stack"],
        "outcome": ended["outcome"],
        "success": bool(ended["success"]),
        "tone": "good" if ended["success"] else "warning" if ended["outcome"] == "undone" else "bad",
        "headline": word.capitalize(),
        "summary": f"{summary[:1].upper()}{summary[1:]}.",
        "operator": _first(transactions, "operator"),
        "point": {"name": point.get("name"), "created": point.get("created")} if point else None,
        "kinds": list(plan.get("kinds", [])),
        "hosts": list(plan["hosts"]),
        "silent_hosts": [host for host in plan["hosts"] if host not in transactions],
        "decision_host": plan["decision_host"],
        "began": _first(transactions, "created"),
        "ended": found["end"] if found else None,
        "downtime_ms": ended["downtime_ms"],
        "downtime": next((row[1] for row in ended["rows"] if row[0] == "Downtime"), "none"),
        "causes": list(_causes(material)),
        "failures": [event for event in _events(transactions) if event["event"] == "failed"],
        "timeline": found,
        "databases": list(_databases(transactions, ended["outcome"])),
        "components": list(_components(transactions)),
        "parts_title": _PARTS_TITLES[undo["possible"]],
        "checks": checks,
        "checklist": ticked(record),
        "contacts": [dict(contact) for contact in material.contacts],
        "next": [row[1] for row in ended["rows"] if row[0] == "Next"],
        "undo": undo,
        "deliveries": [dict(delivery) for delivery in material.deliveries],
        "log": dict(material.log) if material.log else None,
        "events": list(_events(transactions)),
    }


def _causes(material: Material) -> Iterator[str]:
    """What went wrong, and what could not be understood of it."""
    known = causes(material.registered)
    yield from known
    yield from (f"{host}: {why}" for host, why in material.misread.items() if not any(why in cause for cause in known))


def _first(transactions: Mapping[str, Mapping[str, Any]], name: str) -> Any:
    return min((each[name] for each in transactions.values() if each.get(name) is not None), default=None)


def _events(transactions: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """All journals in one, by time; without facts, which are for programs."""
    merged = [
        (event["at"], host, number, event)
        for host, transaction in transactions.items()
        for number, event in enumerate(transaction["events"])
    ]
    for at, host, _number, event in sorted(merged, key=lambda entry: entry[:3]):
        yield {"at": at, "host": host, "event": event["event"], "what": event["what"]}


def _checks(transactions: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The last checks of each host: journalled when they were made, and kept with its promise."""
    for host, transaction in transactions.items():
        made = [event["facts"]["checks"] for event in transaction["events"] if event["event"] == "checked"]
        for check in made[-1] if made else transaction["checks"]:
            yield {
                "host": host,
                "name": str(check.get("name", "")),
                "ok": bool(check.get("ok")),
                "detail": str(check.get("detail") or ""),
                "ms": check.get("ms"),
            }


def _databases(transactions: Mapping[str, Mapping[str, Any]], outcome: str) -> Iterator[dict[str, Any]]:
    """Row counts of each table that differed: before, after, and at the restore point."""
    for host, transaction in transactions.items():
        undone = bool(transaction["tombstoned"])
        for component in transaction["components"]:
            if component["kind"] not in DATABASE_KINDS:
                continue
            verification = transaction.get("evidence", {}).get(component["component"], {}).get("verification", {})
            proven = verification.get("content") == "equal" and not undone and outcome in ("rolled_back", "recovered")
            rows = component["discards"].get("rows", {})
            yield {
                "host": host,
                "name": component["name"],
                "tables": [
                    {
                        "name": table,
                        "before": row["now"],
                        "after": row["now"] if undone else row["then"] if proven else None,
                        "point": row["then"],
                        "differs": row["differs"],
                        "restored": proven,
                    }
                    for table, row in rows.items()
                ],
                "compared": verification.get("tables"),
                "rows": verification.get("rows"),
                "content": verification.get("content"),
                "not_compared": list(component["discards"].get("not_compared", [])),
            }


def _components(transactions: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for host, transaction in transactions.items():
        took = {
            event["facts"]["component"]: event["facts"].get("ms")
            for event in transaction["events"]
            if event["event"] == "switched"
        }
        for component in transaction["components"]:
            yield {
                "host": host,
                "component": component["component"],
                "kind": component["kind"],
                "name": component["name"],
                "state": component["state"],
                "switch_ms": took.get(component["component"]),
                "discards": all_discard_lines(component["discards"]),
                "kept": [{"label": label, "place": place} for label, place in kept_places(component["kept"])],
            }


def _undo(material: Material, ended: float | None) -> dict[str, Any]:
    """How the rollback itself can be taken back; only what is true of this outcome."""
    outcome = material.ended["outcome"]
    if material.misread:
        words = (
            f"Whether it can be taken back is not known: what {', '.join(material.misread)} told can't be understood."
        )
        return {"possible": False, "words": words, "command": None, "until": None}
    taken_back = any(transaction["tombstoned"] for transaction in material.transactions.values())
    if outcome in ("rolled_back", "undone_as_asked", "recovered") and material.ended["success"] and not taken_back:
        command = next((str(row[1]) for row in material.ended["rows"] if row[0] == "Undo"), "")
        if command and not command.startswith("ansible-playbook "):
            return {"possible": False, "words": f"It can't be undone: {command}.", "command": None, "until": None}
        command = command or f"ansible-playbook lastgood.rollback.undo_rollback -e rollback_id={material.plan['id']}"
        words = "The rollback can be undone as long as no later one of this stack has been finished."
        if not material.can_undo:
            words = "Put back by hand what is wanted from the places named above. Later rollbacks push a replaced database out."
        return {
            "possible": True,
            "words": words,
            "command": command if material.can_undo else None,
            "until": None if ended is None else ended + material.keep_days * 86400,
        }
    words = "There is nothing to take back: what is live is what was live before."
    if outcome not in ("undone", "recovered", "rehearsed"):
        words = "The transaction has not ended yet: first bring it to its end, as said above."
    return {"possible": False, "words": words, "command": None, "until": None}


def report_rows(hosts: Mapping[str, Mapping[str, Any]], id: str) -> list[list[str]]:
    """Where the report of a transaction is, and what became of it and of its messages, for the final table."""
    paths = [facts["report_written"]["html"] for facts in hosts.values() if "html" in facts.get("report_written", {})]
    failures = [
        facts["__rollback_report_failure"] for facts in hosts.values() if facts.get("__rollback_report_failure")
    ]
    unsent = [facts["__rollback_notify_failure"] for facts in hosts.values() if facts.get("__rollback_notify_failure")]
    deliveries = [each for facts in hosts.values() for each in facts.get("__rollback_deliveries", [])]
    rows = [["Report", path] for path in paths if Path(path).stem == id]
    rows += [["Report", f"not complete: {failure}"] for failure in failures]
    if deliveries:
        rows.append(["Messages", _counted(deliveries)])
    reasons = [facts["__rollback_not_scheduled"] for facts in hosts.values() if facts.get("__rollback_not_scheduled")]
    rows += [
        ["", f"No timer sends what is due later, since {reason}: let notify_retry.yml run on a schedule"]
        for reason in reasons
    ]
    rows += [["Messages", f"none: {failure}"] for failure in unsent]
    return rows


def _counted(deliveries: Sequence[Mapping[str, Any]]) -> str:
    """How many were sent; whom it could not be sent to; what is yet to come."""
    failed = [f"{each['to']} ({each['detail']})" for each in deliveries if each["failed"]]
    sent = sum(bool(each["sent"]) for each in deliveries)
    words = [f"{sent} sent", f"{len(deliveries) - sent - len(failed)} due later"]
    if failed:
        words.append(f"{len(failed)} to be tried again: {'; '.join(failed)}")
    return ", ".join(words)


def delivery_rows(deliveries: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """What each message is about, to whom it goes, and whether it was sent."""
    return [[each["what"], each["to"], "sent" if each["sent"] else each["detail"]] for each in deliveries]
