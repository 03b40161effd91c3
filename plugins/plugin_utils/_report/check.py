# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) From the results of checks on all hosts to one verdict, and to the playbook that answers it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable
from ansible_collections.lastgood.rollback.plugins.module_utils._checks.health import STOPPED
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import RECOVER
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.catalogue import Stack
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning import no_undo
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.open_transactions import open_words
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.reported import answer, health, integrity
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.reported import planned as planned_by

from .outcome import causes

Registered = Mapping[str, Mapping[str, Any]]
Finding = dict[str, Any]

#: Kinds of findings whose answer is to bring the rows back from a restore point.
DAMAGE = ("connection", "orphans", "rows", "constraints", "comparison", "pages")
#: Kinds that can be put right in place; going back would only discard what people wrote since.
REPAIRS = {
    "indexes": "rebuild the index (REINDEX INDEX CONCURRENTLY …); nothing has to go back for that",
    "sequences": "move the sequence on (SELECT setval(…)); nothing has to go back for that",
    "triggers": "enable the triggers again (ALTER TABLE … ENABLE TRIGGER …), then check again",
    "stopped": "start the services that are named above, and see in their logs why they do not run; then check again",
    "unreachable": "bring the host back, then check again",
    "failed": "see why the check itself could not be made",
}
#: What answers a project of which only this fails.
ANSWERS = {
    "imports": "dependency_rollback",
    "tests": "code_rollback",
    "endpoint": "project_rollback",
    "service": "project_rollback",
}
#: What each of them puts back, as ``rollback_components`` says it.
COMPONENTS = {
    "emergency_rollback": ["database", "code"],
    "full_rollback": ["database"],
    "dependency_rollback": ["packages"],
    "code_rollback": ["code"],
    "project_rollback": ["code", "files", "packages"],
    "multi_rollback": ["code", "files", "packages"],
}


def summarize(stack: Stack, registered: Registered, here: Sequence[str], point: str) -> dict[str, Any]:
    """One verdict.

    :param registered: host → ``check_health`` (of ``health_info``), ``check_integrity`` (of ``pg_integrity_info``, one result a
        database), ``__check_open`` (of ``transaction_info``), ``__check_failure`` (a sentence).
    :param here: hosts that could be asked.
    :param point: the restore point to suggest.
    :returns: ``healthy``, ``title``, ``tone``, ``rows``, ``findings``, ``proposal`` (the rollback that is suggested, to be
        planned: ``playbook``, ``components``, ``only``, ``point``; None for none), ``suggestions`` and the first, ``suggestion``.
    """
    registered = {host: _readable(host, registered.get(host, {})) for host in stack.hosts}
    findings = [finding for host in stack.hosts for finding in _findings(stack, host, registered[host], host in here)]
    wrong = [finding for finding in findings if finding["severity"] == "error"]
    answer = _answer(stack, wrong)
    proposal = (
        {"playbook": answer[0], "components": COMPONENTS[answer[0]], "only": answer[1], "point": point}
        if answer
        else None
    )
    suggested = [*([_command(proposal)] if proposal else []), *_advice(wrong, answered=proposal is not None)]
    rows = [row for host in stack.hosts for row in _passed_rows(host, registered[host])]
    rows += [[finding["host"], finding["object"], _mark(finding), finding["detail"]] for finding in findings]
    counted = "1 thing is" if len(wrong) == 1 else f"{len(wrong)} things are"
    title = f"{stack.name} is NOT HEALTHY: {counted} wrong" if wrong else f"{stack.name} is healthy"
    return {
        "healthy": not wrong,
        "title": title,
        "tone": "good" if not findings else "bad" if wrong else "warning",
        "rows": _with_next(rows or [["nothing was checked"]], suggested),
        "findings": findings,
        "proposal": proposal,
        "suggestions": suggested,
        "suggestion": suggested[0] if suggested else "",
    }


def planned(
    verdict: Mapping[str, Any],
    registered: Registered,
    accept: Sequence[str] = (),
    databases: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The verdict, without the command that it proposes when a plan of that was refused, or found nothing to do.

    :param registered: host → ``__check_refusal`` (a sentence), where its part of the plan was refused, and
        ``__rollback_planned``, what each component would do.
    :param accept: ``rollback_accept``, with which that was planned: the command needs it as well.
    :param databases: of the catalogue, by name.
    :raises Unreadable: when what a host reports of that is not understood.
    """
    name = f"lastgood.rollback.{verdict['proposal']['playbook']}"
    refusals = causes(
        {host: {"__rollback_failure": {"msg": each.get("__check_refusal")}} for host, each in registered.items()}
    )
    changes = any(
        result["changed"]
        for host, each in registered.items()
        for result in planned_by(host, each.get("__rollback_planned"))
    )
    if changes and not refusals:
        return _with_words(verdict, registered, accept, databases or {})
    why = f"no rollback is proposed: {name} would change nothing, what it puts back is as it was at the restore point"
    if refusals:
        why = f"no rollback is proposed: {name} would be refused. {' '.join(refusals)}"
    left = verdict["suggestions"][1:]  # the first one is the command that was proposed
    return {**_suggesting(verdict, [why, *left]), "proposal": None, "suggestion": left[0] if left else ""}


def _with_words(
    verdict: Mapping[str, Any], registered: Registered, accept: Sequence[str], databases: Mapping[str, Any]
) -> dict[str, Any]:
    """The verdict, whose command has what it would be asked for, and says so where that is a way without return."""
    names = no_undo.names_not_accepted(registered, accept, databases)
    option = no_undo.accept_option(accept, *([no_undo.NO_UNDO] if names else []))
    if not option:
        return dict(verdict)
    command, *others = verdict["suggestions"]
    why = [f"{no_undo.NO_UNDO}: {names} can't be undone as a whole"] if names else []
    return _suggesting(verdict, [f"{command} {option}", *why, *others])


def _suggesting(verdict: Mapping[str, Any], suggested: list[str]) -> dict[str, Any]:
    rows = _with_next([row for row in verdict["rows"] if row[0] not in ("Next", "")], suggested)
    return {**verdict, "rows": rows, "suggestions": suggested, "suggestion": suggested[0]}


def _with_next(rows: list[list[str]], suggested: Sequence[str]) -> list[list[str]]:
    return [*rows, *(["Next" if index == 0 else "", text] for index, text in enumerate(suggested))]


def _mark(finding: Finding) -> str:
    return "WRONG" if finding["severity"] == "error" else "note"


def _readable(host: str, registered: Mapping[str, Any]) -> dict[str, Any]:
    """What a host reported, by subject; where a part of it is not understood, that is why the host could not be checked."""
    found: dict[str, Any] = {
        "open": [],
        "checks": [],
        "databases": [],
        "failure": str(registered.get("__check_failure") or ""),
    }
    try:
        found["open"] = answer(host, registered.get("__check_open")).get("transactions", [])
        found["checks"] = health(host, registered.get("check_health"))
        found["databases"] = integrity(host, registered.get("check_integrity"), failed=bool(found["failure"]))
    except Unreadable as error:
        found["failure"] = " ".join(filter(None, [found["failure"], error.message]))
    return found


def _findings(stack: Stack, host: str, registered: Mapping[str, Any], is_here: bool) -> Iterator[Finding]:
    if registered["failure"]:
        yield _finding(host, "failed", host, registered["failure"])
    elif not is_here:
        yield _finding(host, "unreachable", host, "can't be reached, or failed before it could be asked")
    for transaction in registered["open"]:
        yield _finding(host, "interrupted", transaction["id"], open_words(transaction["id"], {host: transaction}))
    for check in registered["checks"]:
        if not check["ok"]:
            project, _colon, what = check["name"].partition(": ")
            found = _finding(host, _kind(what, check["detail"]), check["name"], check["detail"])
            # What is proposed is typed into a shell: no name gets there that only a host knows.
            yield {**found, "project": project} if project in stack.projects else found
    for result in registered["databases"]:
        for found in result["findings"]:
            named = {**found, "object": f"{result['name']}: {found['object']}"}
            yield {"host": host, "kind": found["check"], "database": result["name"], **named}
        connected = all(found["check"] != "connection" for found in result["findings"])
        if result["not_checked"] and connected:
            yield _not_checked(host, result)


def _finding(host: str, kind: str, what: str, detail: str) -> Finding:
    return {"host": host, "kind": kind, "severity": "error", "object": what, "detail": detail}


def _not_checked(host: str, result: Mapping[str, Any]) -> Finding:
    left = result["not_checked"]
    reasons = list(dict.fromkeys(f"{one['check']}: {one['reason']}" for one in left))
    said = f"{len(left)} not looked at ({'; '.join(reasons[:3])}{'; …' if len(reasons) > 3 else ''})"
    found = _finding(host, "not_checked", f"{result['name']}: not all of it", said)
    return {**found, "severity": "warning", "database": result["name"]}


def _kind(what: str, detail: str) -> str:
    if what.startswith("service "):
        return "stopped" if detail.startswith(STOPPED) else "service"
    if what.startswith(("http://", "https://")):
        return "endpoint"
    return "imports" if what.startswith("import ") else "tests"


def _passed_rows(host: str, registered: Mapping[str, Any]) -> Iterator[list[str]]:
    """What held, in a line for the projects of a host and in one for each database."""
    checks = registered["checks"]
    if checks:
        passed = sum(check["ok"] for check in checks)
        yield [host, "projects", f"{passed} of {len(checks)}", "checks of endpoints, imports and tests held"]
    for result in registered["databases"]:
        tables = list(result["tables"].values())
        counted = f"{len(tables)} tables with {sum(table['rows'] for table in tables):,} rows"
        state = "whole" if result["healthy"] else "not whole"
        yield [host, result["name"], state, f"{counted} were read in {result['ms'] / 1000:.1f} s"]


def _answer(stack: Stack, wrong: Sequence[Finding]) -> tuple[str, list[str]] | None:
    """The playbook that answers what is wrong, and the only projects that it is about; None where none does."""
    kinds = {finding["kind"] for finding in wrong}
    if kinds & {"interrupted", "unreachable"}:
        return None
    projects = _by_project(wrong)
    if kinds & set(DAMAGE):
        # Projects can't be healthy on a database that they do not reach.
        both = bool(projects) and "connection" not in kinds
        return ("emergency_rollback" if both else "full_rollback"), []
    return _for_projects(stack, projects) if projects else None


def _advice(wrong: Sequence[Finding], *, answered: bool) -> Iterator[str]:
    """What else there is to do, each once."""
    kinds = {finding["kind"] for finding in wrong}
    if "interrupted" in kinds:
        names = sorted({finding["object"] for finding in wrong if finding["kind"] == "interrupted"})
        yield from (f"{RECOVER}{name}" for name in names)
    elif "unreachable" in kinds:
        yield REPAIRS["unreachable"]
    elif not (answered and kinds & set(DAMAGE)):
        yield from (advice for kind, advice in REPAIRS.items() if kind in kinds)


def _command(proposal: Mapping[str, Any]) -> str:
    only = f" -e rollback_only={','.join(proposal['only'])}" if proposal["only"] else ""
    return f"ansible-playbook lastgood.rollback.{proposal['playbook']} -e rollback_point={proposal['point']}{only}"


def _by_project(wrong: Sequence[Finding]) -> dict[str, set[str]]:
    """What fails of each project. One whose service is stopped can't answer: that is no reason to take it back."""
    stopped = {finding.get("project") for finding in wrong if finding["kind"] == "stopped"}
    found: dict[str, set[str]] = {}
    for finding in wrong:
        if "project" in finding and finding["project"] not in stopped:
            found.setdefault(finding["project"], set()).add(finding["kind"])
    return found


def _for_projects(stack: Stack, failing: Mapping[str, set[str]]) -> tuple[str, list[str]]:
    """One project, the one that all others that fail depend on, or all of them."""
    for name, kinds in failing.items():
        if not set(failing) - {name} - set(stack.dependants(name)):
            # Of several that fail, the cause is not known well enough to take back a part of it only.
            alone = next(iter(kinds)) if len(failing) == 1 and len(kinds) == 1 else "endpoint"
            return ANSWERS[alone], [name]
    return "multi_rollback", []
