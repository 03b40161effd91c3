# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can't be undone as a whole is asked for in plan: which kinds that are, the words for it, and every printed command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import component_class
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.host_components import complete
from ansible_collections.lastgood.rollback.plugins.modules import pg_restore
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.inputs import load_inputs
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.no_undo import no_undo_refusal
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.check import planned
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.outcome import summarize
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.recovery import history_rows

WHOLE = {"mode": "reset", "paths": None}
ENVIRONMENT = {"path": "/srv/core/.venv", "id": "7f3a"}


@pytest.mark.parametrize(
    ("kind", "facts", "kept"),
    [
        ("code", WHOLE, ""),
        ("code", {**WHOLE, "mode": "revert"}, "the commits, on an emergency branch, and what was never committed"),
        ("code", {"mode": "paths", "paths": ["app.py"]}, "the commits, where they are, and what was never committed"),
        ("tables", {}, "the rows as they were, in a database beside it"),
        *((kind, {"old_oid": 16384, "keep_previous": 1}, "") for kind in ("database", "schema", "migrations")),
        ("database", {"old_oid": 16384, "keep_previous": 0}, ""),
        ("database", {"old_oid": None, "keep_previous": 1}, "nothing, since there is no such database now"),
        ("files", {}, ""),
        ("packages", {**ENVIRONMENT, "before": {"kind": "directory"}}, ""),
        ("packages", {**ENVIRONMENT, "before": {"kind": "link", "target": "/"}}, ""),
        (
            "packages",
            {**ENVIRONMENT, "before": {"kind": "link", "target": "gone"}},
            "nothing, since there is no environment",
        ),
        ("packages", {**ENVIRONMENT, "before": {"kind": "missing"}}, "nothing, since there is no environment now"),
    ],
)
def test_which_plans_have_no_way_back_and_what_is_kept_instead(kind: str, facts: dict[str, Any], kept: str) -> None:
    plan = Plan(kind, "x", (), changed=True, before={}, after={}, facts=facts)
    planned = complete(plan, component_class)
    assert planned.can_go_back is (kept == "")
    assert planned.kept_instead.startswith(kept)
    assert (planned.kept_instead == "") is (kept == "")
    # What was said of it before, or of the plan that a reversal was made from, is not believed.
    stale = replace(planned, order=99, can_go_back=not planned.can_go_back, kept_instead="much", entry_kind="other")
    assert complete(stale, component_class) == planned


FORECAST = {"discards": {}, "notes": [], "disk_bytes": 0, "predicted_downtime": {"ms": 0}, "fingerprint": "5a13"}


def result(component: str, *, changed: bool = True, is_reversible: bool = False) -> dict[str, Any]:
    kept = "" if is_reversible else f"much of {component}"
    return {**FORECAST, "component": component, "changed": changed, "can_go_back": is_reversible, "kept_instead": kept}


def hosts(*results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Planned on db1; on web1 nothing that would be asked for."""
    return {
        "db1": {"__rollback_planned": list(results)},
        "web1": {"__rollback_planned": [result("code:/srv/core", is_reversible=True)]},
    }


TABLES, FILE = result("tables:blog"), result("code:/srv/core")
OF_BLOG = {"blog": {"host": "db1", "accept": ["no_undo"]}}


@pytest.mark.parametrize(
    ("results", "accept", "databases", "named"),
    [
        ([TABLES], [], {}, ["tables:blog"]),
        ([TABLES, FILE], ["owner_code"], {"blog": {"accept": None}}, ["tables:blog", "code:/srv/core"]),
        ([TABLES, FILE], ["slots", "no_undo"], {}, []),
        ([TABLES], [], OF_BLOG, []),
        ([TABLES, FILE], [], OF_BLOG, ["code:/srv/core"]),
        ([result("migrations:blog"), result("database:blog")], [], OF_BLOG, []),
        ([TABLES], [], {"shop": OF_BLOG["blog"]}, ["tables:blog"]),
        ([result("code:blog")], [], OF_BLOG, ["code:blog"]),
        ([result("tables:blog", changed=False)], [], {}, []),
        ([result("database:blog", is_reversible=True)], [], {}, []),
    ],
)
def test_it_is_refused_by_name_unless_it_is_accepted(
    results: list[dict[str, Any]], accept: list[str], databases: dict[str, Any], named: list[str]
) -> None:
    said = no_undo_refusal(hosts(*results), accept, databases)
    kept = "; ".join(f"{name} on db1 (kept instead: much of {name})" for name in named)
    assert kept in said
    assert bool(said) is bool(named)
    if named:
        assert "Nothing was touched." in said
        assert said.endswith(f"-e rollback_accept={','.join([*accept, 'no_undo'])}")
    assert "web1" not in said


def test_a_plan_and_a_rehearsal_say_what_the_real_one_will_ask_for() -> None:
    ended = {
        "__rollback_begun": True,
        "__rollback_decided": {"decision": "undo"},
        "__rollback_finish": {"outcome": "undone"},
    }
    rehearsed = {
        host: {**told, **ended, "__rollback_seen": told["__rollback_planned"]} for host, told in hosts(TABLES).items()
    }
    plan = {"id": "1-blog", "stack": "blog", "decision_host": "db1"}
    row = ["For real", "add -e rollback_accept=slots,no_undo, since tables:blog on db1 can't be undone as a whole"]
    for found, words in ((hosts(TABLES), {"check": True}), (rehearsed, {"check": False, "rehearse": True})):
        for databases, rows in (({}, [row]), (OF_BLOG, [])):
            told = summarize(plan, found, **words, accept=["slots"], databases=databases)
            assert (told["outcome"], told["success"]) == ("planned" if words["check"] else "rehearsed", True)
            assert [each for each in told["rows"] if each[0] == "For real"] == rows


COMMAND = "ansible-playbook lastgood.rollback.full_rollback -i hosts -e rollback_point=last_good"


@pytest.mark.parametrize(
    ("component", "accept", "databases", "suggested"),
    [
        (result("database:blog", is_reversible=True), [], {}, [COMMAND]),
        (result("database:blog", is_reversible=True), ["slots"], {}, [f"{COMMAND} -e rollback_accept=slots"]),
        (result("database:blog"), [], OF_BLOG, [COMMAND]),
        (
            result("database:blog"),
            ["slots"],
            {},
            [f"{COMMAND} -e rollback_accept=slots,no_undo", "no_undo: database:blog on db1 can't be undone as a whole"],
        ),
    ],
)
def test_what_check_proposes_is_not_refused_for_it(
    component: dict[str, Any], accept: list[str], databases: dict[str, Any], suggested: list[str]
) -> None:
    shown = [["db1", "blog", "WRONG", "x"], ["Next", COMMAND], ["", "mend this"]]
    verdict = {"proposal": {"playbook": "full_rollback"}, "rows": shown, "suggestions": [COMMAND, "mend this"]}
    found = planned({**verdict, "suggestion": COMMAND}, hosts(component), accept, databases)
    assert found["suggestions"] == [*suggested, "mend this"]
    assert found["suggestion"] == suggested[0]
    assert found["rows"] == [
        shown[0],
        ["Next", suggested[0]],
        *(["", words] for words in [*suggested[1:], "mend this"]),
    ]


def test_the_command_of_an_undo_has_what_the_undo_is_asked_for_as_well() -> None:
    component = {"component": "files:/srv", "kind": "files", "can_go_back": True, "kept": {}}
    history = {"transactions": [{"components": [component], "events": [], "checks": []}]}
    kept = {"__rollback_begun": True, "__rollback_decided": {"decision": "keep"}, "__rollback_history": history}
    plan = {"id": "1-blog", "stack": "blog", "decision_host": "db1"}
    command = "ansible-playbook lastgood.rollback.undo_rollback -e rollback_id=1-blog"
    for accept, option in (([], ""), (["slots", "no_undo", "rows_set_aside"], " -e rollback_accept=slots")):
        told = summarize(plan, {"db1": kept}, check=False, accept=accept)
        assert ["Undo", f"{command}{option}"] in told["rows"]
        past = {
            "id": "1-blog",
            "stack": "blog",
            "outcome": "rolled_back",
            "state": "finished",
            "tombstoned": False,
            "created": 1.0,
            "operator": "ops",
            "hosts": ["db1"],
            "services": [],
            "events": [],
            "reason": None,
            "plan": {"id": "1-blog"},
        }
        rows = history_rows({"db1": {"__rollback_history": {"transactions": [past]}}}, accept)
        assert [f"To undo 1-blog: {command}{option}"] in rows


def test_the_playbooks_and_the_module_know_the_same_words() -> None:
    options = yaml.safe_load(pg_restore.DOCUMENTATION)["options"]
    assert list(load_inputs()["rollback"].options["rollback_accept"].choices) == options["accept"]["choices"]


@pytest.mark.parametrize("entry", ["main", "file", "commits", "single_files", "undo_rollback"])
def test_every_way_into_a_rollback_takes_them(entry: str) -> None:
    path = Path(__file__).resolve().parents[4] / "roles" / "rollback" / "meta" / "argument_specs.yml"
    specs = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
    assert "no_undo" in specs[entry]["options"]["rollback_accept"]["choices"]
