# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what checks found to the verdict and the playbook that answers it: a table of troubles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._checks.integrity.run import CHECKS
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.stack import read_stack
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.check import (
    ANSWERS,
    COMPONENTS,
    DAMAGE,
    REPAIRS,
    planned,
    summarize,
)

ROOT = Path(__file__).resolve().parents[4]
HOSTS = ["db1", "web1", "web2"]
GROUPS = {"all": HOSTS, "core": ["web1"], "stage": ["web2"]}
STACK = read_stack(
    {
        "rollback_stack": "blog",
        "rollback_databases": {"blog": {"host": "db1"}},
        "rollback_projects": {
            "core": {"group": "core", "path": "/srv/core"},
            "planning": {"group": "stage", "path": "/srv/planning", "requires": ["core"]},
            "images": {"group": "stage", "path": "/srv/images", "requires": ["core"]},
        },
    },
    GROUPS,
)
POINT = "ansible-playbook lastgood.rollback.{} -e rollback_point=last_good{}"


def reported(failing: tuple[str, ...] = (), findings: tuple[str, ...] = (), severity: str = "error") -> dict[str, Any]:
    """What the hosts say: everything is well but for the checks and kinds of findings that are named."""
    names = {"web1": ["core: http://core/"], "web2": ["planning: import flask", "images: http://images/"]}
    found = [{"check": kind, "severity": severity, "object": "x", "detail": "y"} for kind in findings]
    database = {"name": "blog", "healthy": not findings, "findings": found, "not_checked": [], "ms": 5}
    hosts: dict[str, Any] = {
        "db1": {"check_integrity": {"results": [{**database, "tables": {"public.post": {"rows": 1234}}}]}}
    }
    for host, there in names.items():
        mine = [name for name in failing if name.startswith("core") == (host == "web1")]
        checks = [{"name": name, "ok": name not in failing, "detail": "z"} for name in dict.fromkeys([*there, *mine])]
        hosts[host] = {"check_health": {"checks": checks}}
    return hosts


def verdict(hosts: dict[str, Any], here: list[str] | None = None) -> dict[str, Any]:
    return summarize(STACK, hosts, HOSTS if here is None else here, "last_good")


def test_a_healthy_stack_needs_nothing() -> None:
    found = verdict(reported())
    assert (found["healthy"], found["suggestion"], found["findings"]) == (True, "", [])
    assert found["rows"][0] == ["db1", "blog", "whole", "1 tables with 1,234 rows were read in 0.0 s"]


@pytest.mark.parametrize(
    ("failing", "findings", "command"),
    [
        ((), ("orphans",), POINT.format("full_rollback", "")),
        ((), ("connection",), POINT.format("full_rollback", "")),
        (("core: http://core/",), ("connection",), POINT.format("full_rollback", "")),
        (("core: http://core/",), ("pages",), POINT.format("emergency_rollback", "")),
        (("images: http://images/",), (), POINT.format("project_rollback", " -e rollback_only=images")),
        (
            ("planning: import flask",),
            (),
            POINT.format("dependency_rollback", " -e rollback_only=planning"),
        ),
        (("images: python -m pytest",), (), POINT.format("code_rollback", " -e rollback_only=images")),
        (
            ("images: python -m pytest", "images: http://images/"),
            (),
            POINT.format("project_rollback", " -e rollback_only=images"),
        ),
        (
            ("core: http://core/", "images: http://images/"),
            (),
            POINT.format("project_rollback", " -e rollback_only=core"),
        ),
        (("planning: import flask", "images: http://images/"), (), POINT.format("multi_rollback", "")),
        ((), ("sequences",), REPAIRS["sequences"]),
    ],
)
def test_what_sets_it_off_and_what_answers_it(
    failing: tuple[str, ...], findings: tuple[str, ...], command: str
) -> None:
    found = verdict(reported(failing, findings))
    assert (found["healthy"], found["suggestion"]) == (False, command)


def test_a_note_is_shown_and_is_no_reason_to_fail() -> None:
    found = verdict(reported(findings=("constraints",), severity="warning"))
    assert (found["healthy"], found["tone"], found["suggestion"]) == (True, "warning", "")
    assert ["db1", "blog: x", "note", "y"] in found["rows"]


def test_what_was_not_looked_at_is_shown() -> None:
    hosts = reported()
    hosts["db1"]["check_integrity"]["results"][0]["not_checked"] = [
        {"check": "pages", "object": "a", "reason": "the time was up"},
        {"check": "pages", "object": "b", "reason": "the time was up"},
    ]
    found = verdict(hosts)
    assert found["healthy"] is True
    assert ["db1", "blog: not all of it", "note", "2 not looked at (pages: the time was up)"] in found["rows"]


def test_an_open_rollback_is_ended_before_anything_else() -> None:
    hosts = reported(("core: http://core/",), ("orphans",))
    facts = {
        "id": "1-blog",
        "stack": "blog",
        "outcome": None,
        "phase": "start",
        "down": ["core"],
        "operator": "night shift",
        "created": 0.0,
    }
    hosts["web1"]["__check_open"] = {"transactions": [facts]}
    found = verdict(hosts)
    assert found["suggestions"] == ["ansible-playbook lastgood.rollback.recover -e rollback_id=1-blog"]
    (row,) = [row for row in found["rows"] if row[1] == "1-blog"]
    assert "by night shift: start on web1. Down because of it: core on web1." in row[3]


def test_a_host_that_is_away_or_could_not_be_asked_is_no_success() -> None:
    away = verdict(reported(), here=["db1", "web1"])
    assert (away["healthy"], away["findings"][0]["kind"]) == (False, "unreachable")
    assert away["suggestion"] == REPAIRS["unreachable"]
    failed = verdict({**reported(), "web2": {"__check_failure": "no python"}})
    assert (failed["healthy"], failed["findings"][0]["detail"]) == (False, "no python")


def test_every_playbook_that_is_suggested_exists() -> None:
    source = (ROOT / "plugins" / "plugin_utils" / "_report" / "check.py").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(\w+_rollback)\b", source))
    assert len(named) >= 6
    assert {name for name in named if not (ROOT / "playbooks" / f"{name}.yml").exists()} == set()


def test_every_check_of_a_database_has_an_answer() -> None:
    assert {*CHECKS, "connection"} <= {*DAMAGE, *REPAIRS}
    assert ANSWERS.keys() == {"imports", "tests", "endpoint", "service"}


def service(project: str, detail: str) -> dict[str, Any]:
    return {"name": f"{project}: service {project}-worker", "ok": False, "detail": detail, "ms": 1}


@pytest.mark.parametrize(
    ("detail", "kind", "suggested"),
    [
        ("is stopped (supervisor: STOPPED)", "stopped", REPAIRS["stopped"]),
        (
            "is running, but not ready: 503 instead of 200",
            "service",
            POINT.format("project_rollback", " -e rollback_only=images"),
        ),
        ("is failed, but not ready: FATAL", "service", POINT.format("project_rollback", " -e rollback_only=images")),
    ],
)
def test_a_service_that_is_stopped_or_not_ready_is_wrong(detail: str, kind: str, suggested: str) -> None:
    """One that is stopped answers nothing: nothing has to go back for that, whatever else of its project fails then."""
    hosts = reported(("images: http://images/",) if kind == "stopped" else ())
    hosts["web1"]["check_health"]["checks"].append(service("images", detail))
    found = verdict(hosts)
    assert not found["healthy"]
    assert kind in {finding["kind"] for finding in found["findings"]}
    assert found["suggestions"] == [suggested]


def test_a_proposal_says_what_has_to_be_planned() -> None:
    found = verdict(reported(("images: python -m pytest",)))
    assert found["proposal"] == {
        "playbook": "code_rollback",
        "components": ["code"],
        "only": ["images"],
        "point": "last_good",
    }
    assert verdict(reported())["proposal"] is None
    for playbook, components in COMPONENTS.items():
        text = (ROOT / "playbooks" / f"{playbook}.yml").read_text(encoding="utf-8")
        named = re.search(r"rollback_components: \[(.*)\]", text)
        assert (named[1].split(", ") if named else ["code", "files", "packages"]) == components


def test_what_would_be_refused_is_not_proposed() -> None:
    found = verdict(reported(("images: python -m pytest",)))
    refusal = {"__check_refusal": "The schema of database blog has moved on."}
    left = planned(found, {"web1": refusal, "db1": {}})
    assert (left["healthy"], left["suggestion"], left["proposal"]) == (False, "", None)
    assert "ansible-playbook" not in str(left)
    said = "no rollback is proposed: lastgood.rollback.code_rollback would be refused. web1: The schema of database blog has"
    assert left["rows"][-1] == ["Next", f"{said} moved on."]
    result = {"component": "code:/srv/core", "changed": True, "can_go_back": True}
    work = {"web1": {"__rollback_planned": [result]}, "db1": {"__rollback_planned": []}}
    assert planned(found, work) == found
    idle = planned(found, {"web1": {"__rollback_planned": [{**result, "changed": False}]}, "db1": {}})
    assert "code_rollback would change nothing" in idle["rows"][-1][1] and idle["suggestion"] == ""
