# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) How a rollback ended: one word for all hosts, and the rows of the final table. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import RECOVER
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.discards import discard_lines, kept_places
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.kinds.registry import UNDO_NEEDS_KEPT
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.no_undo import asked_for, undo_option
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.open_transactions import (
    next_words,
    open_transactions,
)
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.reported import (
    answer,
    decision,
    ended_as,
    transactions,
)

from .timeline import PHASES, timeline

Registered = Mapping[str, Mapping[str, Any]]

TITLES = {
    "rolled_back": "Rolled back: everything is at the restore point, and its checks held",
    "undone": "UNDONE: the rollback failed and everything is as it was before",
    "undo_incomplete": "UNDO INCOMPLETE: something is left to do by hand",
    "in_doubt": "IN DOUBT: the decision can't be read",
    "refused": "REFUSED: nothing was touched",
    "nothing_to_do": "Nothing to do: everything already is at the restore point",
    "planned": "Planned: nothing was changed",
    "rehearsed": "Rehearsed: it would work, and the live system was not touched",
    "undone_as_asked": "Undone as asked: everything is as it was before the rollback, and its checks held",
    "recovered": "Recovered: the interrupted transaction has ended, the same on all hosts",
}
MOVED = "Rehearsed: it would work, BUT the live system moved meanwhile"
#: The decision can be read then, but not what became of it on some host.
UNREADABLE = "IN DOUBT: what was done on a host can't be told"
#: The decision is known then, and what a host reports of its part can't be believed.
MISREAD = "KEPT, as decided; but what was done on a host can't be told"
UNENDED = "NOT ENDED: everything is where it was asked to go, but the transaction is still open"
#: Everything is where it was asked to go.
_KEPT = ("rolled_back", "undone_as_asked")
NO_WAY_BACK = "once it has finished, this can't be undone as a whole; kept instead: "
#: Of those that rows have left.
_MOST_TABLES = 8
#: What Ansible puts before the words of a filter or a module.
_WRAPPED = re.compile(
    r"^Task failed: .*The filter plugin '[\w.]+' failed: |^Task failed: (Module|Action) failed: ", re.DOTALL
)
_GOOD = ("rolled_back", "undone_as_asked", "nothing_to_do", "planned", "rehearsed", "recovered")


def summarize(
    plan: Mapping[str, Any],
    hosts: Registered,
    *,
    check: bool = False,
    rehearse: bool = False,
    accept: Sequence[str] = (),
    databases: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Put together what the hosts reported.

    :param plan: nothing but the ``stack`` when it never came to one.
    :param hosts: host → what it registered, by variable name.
    :param accept: ``rollback_accept``.
    :param databases: of the catalogue, by name.
    :returns: ``outcome``, ``success``, ``title``, ``tone``, ``rows``, ``downtime_ms`` (None without any, and where it
        is not over).
    """
    hosts, misread = _readable(hosts)
    ended = _outcome(plan, hosts, check=check)
    here = [registered for registered in hosts.values() if registered.get("__rollback_recovering")]
    recovering = bool(here)
    # The decision host itself waits for hosts that are absent, and ends with them.
    unended = ended in _KEPT and any(
        registered.get("__rollback_finish_failure") and not ended_as("a host", registered) for registered in here
    )
    outcome = "recovered" if recovering and ended in (*_KEPT, "undone") and not unended else ended
    failures = causes(hosts)
    if rehearse and ended == "undone" and not failures:
        outcome = "rehearsed"
    moved = _moved(hosts) if outcome == "rehearsed" else []
    success = outcome in _GOOD and not moved and not unended and not misread
    downtime_ms = _downtime_ms(hosts)
    rows: list[list[str]] = [["Transaction", str(plan.get("id", "none was begun"))]]
    if plan.get("point"):
        rows.append(["Restore point", f"{plan['point']['name']} of {plan['point']['created']}"])
    if plan.get("source"):
        rows.append(["File", f"{plan['source']['path']} ({plan['source']['checksum'] or 'not verified'})"])
    if plan.get("undoes"):
        rows.append(["Undoes", str(plan["undoes"])])
    if plan.get("code"):
        rows.append(["Code", " of ".join(filter(None, [plan["code"]["words"], plan["code"]["to"]]))])
    if outcome == "recovered":
        rows.append(["State", _state(ended, plan)])
    rows += _absent_rows(hosts) if recovering else []
    rows += [["Cause" if index == 0 else "", failure] for index, failure in enumerate(failures)]
    if outcome not in ("planned", "nothing_to_do", "refused"):
        rows += _component_rows(hosts)
        if outcome == "rehearsed":
            rows += _rehearsed_rows(hosts, moved)
        rows += _set_aside_rows(hosts) if ended in _KEPT else []
        rows.append(["Downtime", _downtime_words(downtime_ms, hosts)])
        rows += _time_rows(hosts)
        rows += _unbinding_rows(plan, hosts) + _kept_rows(hosts)
    asked = asked_for(hosts, accept, databases or {}) if outcome in ("planned", "rehearsed") else ""
    rows += [["For real", asked]] if asked else []
    following = _next_rows(outcome, plan, hosts) or (_undo_rows(plan, hosts, accept) if ended in _KEPT else [])
    rows += following
    return {
        "outcome": outcome,
        "success": success,
        "title": MOVED
        if moved
        else UNENDED
        if unended
        else MISREAD
        if misread and ended in _KEPT
        else _title(outcome, plan, _set_aside(hosts), _still_open(plan, hosts), _decision(plan, hosts)),
        "tone": "good" if success else "bad",
        "rows": rows,
        "downtime_ms": downtime_ms,
        "suggestion": following[0][1] if following else "",
    }


def _state(ended: str, plan: Mapping[str, Any]) -> str:
    if ended == "undone":
        return "as it was before the undo" if plan.get("undoes") else "as it was before the rollback"
    return "as it was before the rollback that was undone" if plan.get("undoes") else "at the restore point"


def _still_open(plan: Mapping[str, Any], hosts: Registered) -> list[str]:
    """Ids of transactions that were open before this one could be planned."""
    found = {
        host: {"open": registered["__rollback_open"]}
        for host, registered in hosts.items()
        if "__rollback_open" in registered
    }
    return list(open_transactions(found, plan.get("stack", "")))


def _title(
    outcome: str,
    plan: Mapping[str, Any],
    set_aside: Mapping[str, Mapping[str, Any]],
    still_open: Sequence[str],
    decided: str | None,
) -> str:
    if outcome == "refused" and still_open:
        return f"REFUSED: {', '.join(still_open)} is still open; nothing was touched by this run"
    title = UNREADABLE if outcome == "in_doubt" and decided else TITLES[outcome]
    if outcome == "rolled_back" and set_aside:
        rows, of = (sum(each[word] for each in set_aside.values()) for word in ("rows", "of"))
        without = f"Rolled back without {rows:,} of {of:,} rows"
        title = f"{without}: these are set aside; all else is at the restore point, and its checks held"
    if plan.get("undoes"):
        title = title.replace("the rollback failed", "the undo failed")
        return title if plan["was_healthy"] else title.replace(", and its checks held", "")
    if plan.get("code") and not plan.get("point"):
        return title.replace("the restore point", "the wanted commit")
    return title.replace("the restore point", "the named file") if plan.get("source") else title


def _outcome(plan: Mapping[str, Any], hosts: Registered, *, check: bool) -> str:
    begun = any(registered.get("__rollback_begun") for registered in hosts.values())
    if not begun:
        if any("__rollback_failure" in registered for registered in hosts.values()):
            return "refused"
        return "planned" if check and _work(hosts) else "nothing_to_do"
    decision = _decision(plan, hosts)
    if decision == "keep":
        return "undone_as_asked" if plan.get("undoes") else "rolled_back"
    if _all_ended(hosts) and not _services_left(hosts):
        return "undone"
    doubts = {registered.get("__rollback_undo_outcome") for registered in hosts.values()}
    return "in_doubt" if decision is None or "in_doubt" in doubts else "undo_incomplete"


def _readable(hosts: Registered) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """What the hosts registered, without journals whose types are wrong: that is reported, and nothing concluded from them."""
    readable, misread = {}, []
    for host, registered in hosts.items():
        try:
            transactions(host, registered, "__rollback_history")
            answer(host, registered.get("__rollback_open"))
            readable[host] = registered
        except Unreadable as error:
            misread.append(host)
            why = registered.get("__rollback_finish_failure") or error.message
            nothing = {"__rollback_history": {}, "__rollback_open": {}}
            readable[host] = {**registered, **nothing, "__rollback_finish_failure": why}
    return readable, misread


def _decision(plan: Mapping[str, Any], hosts: Registered) -> str | None:
    """What stands on the decision host, as far as it could be read."""
    host = plan.get("decision_host", "")
    return decision(host, hosts.get(host, {}))


def _all_ended(hosts: Registered) -> bool:
    """Whether it has ended as undone on all hosts."""
    return {ended_as(host, registered) for host, registered in hosts.items()} == {"undone"}


def _work(hosts: Registered) -> bool:
    return any(
        result["changed"] for registered in hosts.values() for result in registered.get("__rollback_planned", [])
    )


def causes(hosts: Registered) -> list[str]:
    """Each cause once; a host that was only stopped by another's failure has none of its own."""
    found: dict[str, list[str]] = {}
    for host, registered in hosts.items():
        causes = [registered.get("__rollback_failure", {}).get("msg"), registered.get("__rollback_undo_failure")]
        # What could not be undone can't be ended either: that would hide the cause behind what follows from it.
        if not registered.get("__rollback_undo_outcome"):
            causes.append(registered.get("__rollback_finish_failure"))
        for cause in causes:
            if cause:
                found.setdefault(_WRAPPED.sub("", str(cause)), []).append(host)
    return [f"{', '.join(names)}: {cause}" if len(names) < len(hosts) else cause for cause, names in found.items()]


def _transactions(hosts: Registered) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for host, registered in hosts.items():
        for transaction in transactions(host, registered, "__rollback_history"):
            yield host, transaction


def _component_rows(hosts: Registered) -> list[list[str]]:
    return [
        [host, result["component"]]
        for host, registered in hosts.items()
        for result in registered.get("__rollback_planned", [])
        if result["changed"]
    ]


def _set_aside(hosts: Registered) -> dict[str, Mapping[str, Any]]:
    """Component → what has left its tables; of an older version nothing is known."""
    return {
        f"{component['component']} on {host}": component["set_aside"]
        for host, transaction in _transactions(hosts)
        for component in transaction["components"]
        if component.get("set_aside", {}).get("rows")
    }


def _set_aside_rows(hosts: Registered) -> list[list[str]]:
    """Which rows are not where people look for them."""
    rows = []
    for name, found in _set_aside(hosts).items():
        rows.append(
            ["SET ASIDE", f"{found['rows']:,} of {found['of']:,} rows of {name} are not in their tables any more"]
        )
        largest = sorted(found["tables"].items(), key=lambda item: -item[1])
        rows += [["", f"  {count:,} of {table}"] for table, count in largest[:_MOST_TABLES]]
        rows += [["", f"  and of {len(largest) - _MOST_TABLES} tables more"]] if len(largest) > _MOST_TABLES else []
    return rows


def _time_rows(hosts: Registered) -> list[list[str]]:
    """How long each phase took, from the first host that entered it to the last that left it."""
    found = timeline({host: transaction["events"] for host, transaction in _transactions(hosts)})
    spans = [span for host in found["hosts"] for span in host["phases"]] if found else []
    shown = []
    for phase in PHASES:
        mine = [span for span in spans if span["phase"] == phase]
        if mine:
            took = max(span["end"] for span in mine) - min(span["start"] for span in mine)
            shown.append(f"{phase} {took:.1f} s")
    return [["Time", ", ".join(shown)]] if shown else []


def _rehearsed_rows(hosts: Registered, moved: list[str]) -> list[list[str]]:
    """What the real thing would take, and whether the live system is where it was."""
    planned = [result for registered in hosts.values() for result in registered.get("__rollback_planned", [])]
    changed = [result for result in planned if result["changed"]]
    lines = [line for result in changed for line in discard_lines(result["discards"])]
    live = f"{len(planned) - len(moved)} of {len(planned)} components looked at again: as they were"
    rows = [[f"Would take {label.lower()}", words] for label, words in _forecast_rows(changed)]
    rows += [["Would discard" if number == 0 else "", line] for number, line in enumerate(lines or ["nothing"])]
    return [*rows, ["Live system", live], *(["Moved", name] for name in moved)]


def _moved(hosts: Registered) -> list[str]:
    """Components that a second plan did not find as the first one, or did not find at all."""
    moved = []
    for host, registered in hosts.items():
        seen = {result["component"]: result["fingerprint"] for result in registered.get("__rollback_seen", [])}
        for result in registered.get("__rollback_planned", []):
            if seen.get(result["component"]) != result["fingerprint"]:
                moved.append(f"{host}: {result['component']}")
    return moved


def _absent_rows(hosts: Registered) -> list[list[str]]:
    """Which hosts a recovery did not reach, and which wait for the decision meanwhile."""
    absent = _absent(hosts)
    decided = any(decision(host, registered) for host, registered in hosts.items())
    if not absent:
        return []
    rows = [["Missing", f"{', '.join(absent)}: joins the outcome that is decided, whenever it is recovered as well"]]
    waiting = [
        host
        for host, registered in hosts.items()
        if registered.get("__rollback_promise", {}).get("state") == "promised"
    ]
    if waiting and not decided:
        rows.append(["Waiting", f"{', '.join(waiting)}: promised never to undo alone, so nothing was changed there"])
    return rows


def _absent(hosts: Registered) -> list[str]:
    return [host for host, registered in hosts.items() if not registered.get("__rollback_recovering")]


def _unbinding_rows(plan: Mapping[str, Any], hosts: Registered) -> list[list[str]]:
    """The checks of a state that nobody had called healthy: they are shown, and decide nothing."""
    if not plan.get("undoes") or plan["was_healthy"]:
        return []
    checks = [check for _host, transaction in _transactions(hosts) for check in transaction["checks"]]
    passed = sum(bool(check.get("ok")) for check in checks)
    return [
        ["Checks", f"{passed} of {len(checks)} hold, as it was not known to be healthy before that rollback either"]
    ]


def _kept_rows(hosts: Registered) -> list[list[str]]:
    rows = []
    for host, transaction in _transactions(hosts):
        for component in transaction["components"]:
            rows += [[f"Kept on {host}", f"{label}: {place}"] for label, place in kept_places(component["kept"])]
    return rows


def _downtime_ms(hosts: Registered) -> int | None:
    """From the first service that stopped to the last that was ready again, on any host; None unless it is over for sure."""
    stops, starts = _times(hosts, "stopped"), _times(hosts, "started")
    return round((max(starts) - min(stops)) * 1000) if stops and starts and not _services_left(hosts) else None


def _downtime_words(downtime_ms: int | None, hosts: Registered) -> str:
    if downtime_ms is not None:
        return f"{downtime_ms / 1000:.1f} s"
    if not _times(hosts, "stopped"):
        return downtime_unknown(hosts) or "none"
    started = _times(hosts, "started")
    return "not known to be over: services are not as they were" if started else "not over: no service was ready again"


def downtime_unknown(hosts: Registered) -> str:
    """Why nobody can say that no service stood still, though no journal says when one did; empty when it can be said."""
    silent = [
        host
        for host, registered in hosts.items()
        if registered.get("__rollback_begun") and "transactions" not in registered.get("__rollback_history", {})
    ]
    if silent:
        return f"not known: the journal of {', '.join(silent)} could not be read"
    unseen = unseen_stops(transaction for _host, transaction in _transactions(hosts))
    return f"not known: {', '.join(unseen)} may have been stopped for a while" if unseen else ""


def unseen_stops(transactions: Iterable[Mapping[str, Any]]) -> list[str]:
    """Services that were to be stopped, and of which no journal says what became of that."""
    found = []
    for transaction in transactions:
        stops = [event["facts"] for event in transaction["events"] if event["event"] == "stopped"]
        seen = {name for facts in stops for name in (*facts["services"], *facts.get("others", ()))}
        found += [
            one["name"] for one in transaction.get("services", ()) if one["ran_before"] and one["name"] not in seen
        ]
    return found


def _services_left(hosts: Registered) -> bool:
    """Whether an undo could not bring every service to the state that it was in."""
    return any(registered.get("__rollback_services_left") for registered in hosts.values())


def _times(hosts: Registered, name: str) -> list[float]:
    """When services stopped, or were ready."""
    events = [event for _host, transaction in _transactions(hosts) for event in transaction["events"]]
    return [at for event in events if event["event"] == name for at in event["facts"]["services"].values()]


def _next_rows(outcome: str, plan: Mapping[str, Any], hosts: Registered) -> list[list[str]]:
    if outcome == "refused":
        return [["Next", next_words(name)] for name in _still_open(plan, hosts)]
    recover = f"{RECOVER}{plan.get('id')}"
    absent = _absent(hosts) if any(registered.get("__rollback_recovering") for registered in hosts.values()) else []
    if outcome == "undo_incomplete" and absent and not causes(hosts):
        return [["Next", f"bring {', '.join(absent)} back, then: {recover}"]]
    if outcome == "undo_incomplete" and _all_ended(hosts):
        return [["Next", "restart the services that are named above by hand; everything else is as it was"]]
    if outcome == "undo_incomplete" or (outcome == "in_doubt" and _decision(plan, hosts)):
        return [["Next", f"put right what is named above by hand, then: {recover}"]]
    if outcome == "in_doubt":
        return [["Next", f"bring {plan['decision_host']} back, then: {recover}"]]
    if outcome in _KEPT and any(registered.get("__rollback_finish_failure") for registered in hosts.values()):
        tried = any(registered.get("__rollback_recovering") for registered in hosts.values())
        return [["Next", f"{'put right what is named above, then' if tried else 'some tidying was left'}: {recover}"]]
    return []


def _undo_rows(plan: Mapping[str, Any], hosts: Registered, accept: Sequence[str]) -> list[list[str]]:
    """How to take a finished rollback back as a whole, and how long that can be asked for; or why it can't."""
    components = [component for _host, transaction in _transactions(hosts) for component in transaction["components"]]
    if not components:
        return []
    lost = [
        each["component"]
        for each in components
        if not each["can_go_back"] or (each["kind"] in UNDO_NEEDS_KEPT and not each["kept"])
    ]
    if lost:
        return [["Undo", f"not as a whole ({', '.join(lost)}): what is kept of it is named above"]]
    command = f"ansible-playbook lastgood.rollback.undo_rollback -e rollback_id={plan['id']} {undo_option(accept)}"
    return [
        ["Undo", command.rstrip()],
        ["", f"can be asked for until another rollback of {plan['stack']} has ended"],
    ]


def plan_rows(hosts: Registered) -> list[list[str]]:
    """What each component would do, what would be discarded and how long it stands still, before it is done."""
    results = [
        (host, result) for host, registered in hosts.items() for result in registered.get("__rollback_planned", [])
    ]
    rows = []
    for host, result in results:
        if result["changed"]:
            rows.append([host, result["component"]])
            rows += [["", f"  discards {line}"] for line in discard_lines(result["discards"])]
            rows += [["", f"  note: {warning}"] for warning in result["notes"]]
            rows += [] if result["can_go_back"] else [["", f"  note: {NO_WAY_BACK}{result['kept_instead']}"]]
    unchanged = sum(not result["changed"] for _host, result in results)
    changed = [result for _host, result in results if result["changed"]]
    rows.append(["Unchanged", f"{unchanged} of {len(results)} components are as they should be"])
    return rows + _forecast_rows(changed)


def _forecast_rows(changed: list[Mapping[str, Any]]) -> list[list[str]]:
    """How long the services stand still, and how much room it takes."""
    if not changed:
        return []
    switch_ms = sum(result["predicted_downtime"]["ms"] for result in changed)
    disk_mb = sum(result["disk_bytes"] for result in changed) / 1e6
    paces = [
        f"{result['component']} about {result['predicted_downtime']['rows_per_second']:,} rows a second"
        for result in changed
        if "rows_per_second" in result["predicted_downtime"]
    ]
    return [
        ["Standstill", f"about {switch_ms / 1000:.1f} s of switching, besides stopping and starting services"],
        *(["", f"  {pace}"] for pace in paces),
        ["Disk", f"about {disk_mb:,.0f} MB more while prepared"],
    ]
