# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The checklist of every rollback, each item ticked by what the journals say. Pure.

The same items make docs/rollback_checklist.md, for whoever has to do it by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DONE, FAILED, NOT_DONE, NOT_NEEDED = "done", "failed", "not_done", "not_needed"
WORDS = {DONE: "done", FAILED: "failed", NOT_DONE: "not done", NOT_NEEDED: "not needed"}


@dataclass(frozen=True)
class RollbackRecord:
    """What the items are ticked by.

    :param transactions: host → its transaction as ``transaction_info`` returns it.
    :param hosts: all hosts of the plan.
    :param checks: what was checked after the switch, each with ``host``, ``name``, ``ok``.
    :param log: where the log was written and how many lines of this transaction it holds; None when it was not.
    :param rehearsed: whether nothing was ever to be switched.
    :param deliveries: each message with ``what``, ``to``, ``sent``, ``failed`` and ``detail``.
    :param misread: hosts that reported something that can't be understood, and so are not among the transactions.
    """

    transactions: Mapping[str, Mapping[str, Any]]
    hosts: Sequence[str]
    checks: Sequence[Mapping[str, Any]] = ()
    log: Mapping[str, Any] | None = None
    deliveries: Sequence[Mapping[str, Any]] = ()
    rehearsed: bool = False
    misread: Sequence[str] = ()

    def events(self, event: str, phase: str | None = None) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Host and event, for each of this name."""
        for host, transaction in self.transactions.items():
            for entry in transaction["events"]:
                if entry["event"] == event and phase in (None, entry["facts"].get("phase")):
                    yield host, entry

    def components(self, event: str, phase: str) -> set[tuple[str, str]]:
        """Host and key of the components that have such an event."""
        return {(host, entry["facts"]["component"]) for host, entry in self.events(event, phase)}


Tick = tuple[str, list[str]]


@dataclass(frozen=True)
class Item:
    """One line of the checklist.

    :param key: names it in JSON.
    :param title: what has to be done.
    :param by_hand: how, for whoever has to do it without the playbook.
    :param tick: its state, with the evidence in sentences.
    """

    key: str
    title: str
    by_hand: str
    tick: Callable[[RollbackRecord], Tick]


def ticked(record: RollbackRecord) -> list[dict[str, Any]]:
    """All items: ``key``, ``title``, ``state`` (``done``, ``failed``, ``not_done``, ``not_needed``) and ``evidence``."""
    found = []
    for item in ITEMS:
        state, evidence = item.tick(record)
        if record.misread and state in (DONE, NOT_NEEDED) and item.tick is not _notify:
            state = NOT_DONE
            evidence = [*evidence, f"What {', '.join(record.misread)} told of it can't be understood."]
        found.append({"key": item.key, "title": item.title, "state": state, "evidence": evidence})
    return found


def _stop(record: RollbackRecord) -> Tick:
    ran = [
        (host, service["name"])
        for host, transaction in record.transactions.items()
        for service in transaction["services"]
        if service["ran_before"]
    ]
    times = {
        (host, name): at for host, entry in record.events("stopped") for name, at in entry["facts"]["services"].items()
    }
    stopped = set(times)
    down = {(host, name) for host, entry in record.events("stopped") for name in entry["facts"].get("others", ())}
    left = [f"{name} on {host}" for host, name in ran if (host, name) not in stopped | down]
    if not any(True for _each in record.events("services")):
        return NOT_DONE if _switched(record) else NOT_NEEDED, ["No service was to be stopped."]
    if left:
        return FAILED, [f"Never seen to stop: {', '.join(left)}."]
    order = sorted(stopped, key=lambda each: (times[each], each))
    evidence = [f"{len(stopped)} stopped, in this order: {', '.join(name for _host, name in order)}."]
    if down - stopped:
        evidence.append(f"Already down: {', '.join(sorted(name for _host, name in down - stopped))}.")
    return DONE, evidence


def _backup(record: RollbackRecord) -> Tick:
    wanted = record.components("intent", "prepare")
    ready = record.components("done", "prepare")
    if not wanted:
        return NOT_NEEDED, ["Nothing was to be replaced."]
    if wanted - ready:
        return FAILED, [f"Not prepared: {_listed(wanted - ready)}."]
    return DONE, [f"What {_count(len(ready), 'component')} would replace was kept before anything was touched."]


def _execute(record: RollbackRecord) -> Tick:
    wanted = record.components("intent", "prepare")
    switched = record.components("switched", "switch")
    undone = [host for host, _entry in record.events("undone")]
    if record.rehearsed and not switched:
        return NOT_NEEDED, [
            "This was a rehearsal: what was prepared was taken away again, and nothing was to be switched."
        ]
    if undone:
        taken = f"{len(switched)} of {len(wanted)} components were switched, and taken back"
        return FAILED, [f"{taken} on {', '.join(undone)}."]
    if not wanted:
        return NOT_NEEDED, ["Nothing was to be switched."]
    if wanted - switched:
        return FAILED if switched else NOT_DONE, [f"Not switched: {_listed(wanted - switched)}."]
    hosts = {host for host, _key in switched}
    return DONE, [f"{_count(len(switched), 'component')} switched on {_count(len(hosts), 'host')}."]


def _data(record: RollbackRecord) -> Tick:
    promised = {host for host, _entry in record.events("promised")}
    missing = [host for host in record.hosts if host not in promised and not record.rehearsed]
    evidence = [
        f"{component.partition(':')[2]}: {_count(proof['verification']['tables'], 'table')}, "
        f"{_count(proof['verification']['rows'], 'row')}, content {proof['verification']['content']}."
        for transaction in record.transactions.values()
        for component, proof in transaction.get("evidence", {}).items()
        if proof.get("verification", {}).get("tables") is not None
    ]
    if missing:
        return NOT_DONE, [f"Not confirmed by {', '.join(missing)}.", *evidence]
    if record.rehearsed:
        return NOT_NEEDED, ["This was a rehearsal: the live data was not touched.", *evidence]
    return DONE, ["Each host looked at every component and found what it was switched to.", *evidence]


def _functions(record: RollbackRecord) -> Tick:
    failed = [f"{check['name']} on {check['host']}" for check in record.checks if not check["ok"]]
    if failed:
        return FAILED, [f"{len(failed)} of {len(record.checks)} checks failed: {', '.join(failed)}."]
    if not record.checks:
        return NOT_DONE, ["No check was carried out."]
    return DONE, [f"All {len(record.checks)} checks held."]


def _document(record: RollbackRecord) -> Tick:
    silent = [host for host in record.hosts if not record.transactions.get(host, {}).get("events")]
    if record.log is None:
        return NOT_DONE, ["The log was not written."]
    written = f"{record.log['lines']} lines in {record.log['path']}."
    if silent:
        return FAILED, [written, f"The journal of {', '.join(silent)} could not be read."]
    return DONE, [written]


def _notify(record: RollbackRecord) -> Tick:
    failed = [f"{each['to']}: {each['detail']}" for each in record.deliveries if each["failed"]]
    sent = [f"{each['what']} sent to {each['to']}." for each in record.deliveries if each["sent"]]
    if failed:
        return FAILED, [*sent, *(f"Not delivered, and kept for another try: {each}" for each in failed)]
    if not sent:
        return NOT_DONE, ["Nobody has been notified from here."]
    return DONE, sent


def _switched(record: RollbackRecord) -> bool:
    return any(True for _each in record.events("switched"))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _listed(components: set[tuple[str, str]]) -> str:
    return ", ".join(f"{key} on {host}" for host, key in sorted(components))


ITEMS = (
    Item(
        "stop",
        "Stop the applications",
        "Stop the services through their manager, first those that depend on others. Note which ones ran before. Never "
        "end processes by a pattern of their names.",
        _stop,
    ),
    Item(
        "backup",
        "Make the emergency backup",
        "Keep what is there now, whole, before anything is replaced: the database under another name or as a dump that was "
        "proven readable, the present commit under a branch with uncommitted files beside it, environments and "
        "configuration files as copies.",
        _backup,
    ),
    Item(
        "execute",
        "Execute the rollback",
        "Build the old state beside the live one, check it there, and only then switch: all of it, or nothing.",
        _execute,
    ),
    Item(
        "data",
        "Verify the data",
        "Compare row counts and content of every table with the restore point, and look for rows whose parent is missing; "
        "compare the commit, the installed packages and the files.",
        _data,
    ),
    Item(
        "functions",
        "Test the functionality",
        "Start the services in the order of their dependencies, wait until each answers (/api/health, /workflow/), and run "
        "the critical tests.",
        _functions,
    ),
    Item(
        "document",
        "Document what happened",
        "Write down what happened when, in logs/rollback.log (YYYY-MM-DD HH:MM:SS - ROLLBACK - what happened), what was "
        "discarded, and where it is kept.",
        _document,
    ),
    Item(
        "notify",
        "Notify the stakeholders",
        "Tell the contacts at once: the primary, the secondary and the tertiary one. Send a status to all stakeholders "
        "within the hour, and a post-mortem within 24 hours.",
        _notify,
    ),
)


def checklist_document() -> str:
    """docs/rollback_checklist.md."""
    lines = [
        "# Checklist of a rollback",
        "",
        "<!-- Generated from plugins/plugin_utils/_report/checklist.py by `make docs`; change it there. -->",
        "",
        "Every report has this list, each item ticked by what the journals of the hosts say. For a rollback by hand, print it",
        "and tick it yourself.",
        "",
    ]
    for number, item in enumerate(ITEMS, 1):
        lines += [f"## {number}. {item.title}", "", f"- [ ] {item.by_hand}", ""]
    return "\n".join(lines)
