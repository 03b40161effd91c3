# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: what it says of a journal, and that whatever a host says is shown as text."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.action.write_report import append_log
from ansible_collections.lastgood.rollback.plugins.module_utils._base.text import visible
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.secrets import catalogue_secrets
from ansible_collections.lastgood.rollback.plugins.plugin_utils._messages.contacts import (
    ContactsRefused,
    parse_contacts,
)
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.checklist import ITEMS, checklist_document
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.outcome import TITLES, UNENDED
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.render import render
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.report import Material, build_report
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.text import log_lines, markdown, redacted
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.timeline import (
    downtime_window,
    drawing,
    seconds,
    timeline,
)
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[4]
TEMPLATES = ROOT / "roles" / "report" / "templates"
ID = "20261123T143000Z-blog-7f3a"
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>' onload='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "abc\u202egnp.exe\u202c",
    "x" * 10_000,
    "]](javascript:alert(1))|**bold**\n# heading",
    "</style></title><svg onload=alert(1)>",
)


def event(at: float, name: str, what: str = "", **facts: Any) -> dict[str, Any]:
    return {"at": at, "event": name, "what": what or name, "facts": facts}


DATABASE, CODE = "database:blog", "code:/srv/blog"
DB = [
    event(100, "begun"),
    event(101, "intent", phase="prepare", component=DATABASE),
    event(108, "done", phase="prepare", component=DATABASE),
    event(108, "prepared"),
    event(120, "armed"),
    event(130, "intent", phase="switch", component=DATABASE),
    event(130.1, "switched", phase="switch", component=DATABASE, ms=100),
    event(141, "promised"),
    event(142, "decided", decision="keep"),
    event(146, "finished", outcome="rolled_back"),
]
WEB = [
    event(100.5, "begun"),
    event(101, "intent", phase="prepare", component=CODE),
    event(102, "intent", "Keep the commit"),
    event(103, "done", "Keep the commit"),
    event(104, "done", phase="prepare", component=CODE),
    event(104, "prepared"),
    event(120, "armed"),
    event(121, "services", services=[]),
    event(124, "stopped", services={"blog": 122.0}, others=["cron"]),
    event(130, "intent", phase="switch", component=CODE),
    event(131, "switched", phase="switch", component=CODE, ms=900),
    event(137, "started", services={"blog": 136.0, "cron": 136.5}, others=[]),
    event(140, "checked", checks=[{"name": "health", "ok": True, "detail": "200", "ms": 12}]),
    event(141, "promised"),
    event(145, "finished", outcome="rolled_back"),
]


def transaction(events: list[dict[str, Any]], component: str, **more: Any) -> dict[str, Any]:
    kind, _colon, name = component.partition(":")
    rows = {
        "public.post": {"now": 12, "then": 10, "differs": True},
        "public.tag": {"now": 3, "then": 3, "differs": True},
    }
    discards = {"rows": rows, "not_compared": []} if kind == "database" else {"commits": []}
    services = [{"name": "blog", "ran_before": True}, {"name": "cron", "ran_before": True}] if kind == "code" else []
    return {
        "id": ID,
        "created": 100.0,
        "operator": "night shift",
        "tombstoned": False,
        "checks": [],
        "events": copy.deepcopy(events),
        "services": services,
        "evidence": {DATABASE: {"verification": {"content": "equal", "tables": 5, "rows": 99}}}
        if services == []
        else {},
        "components": [
            {"component": component, "kind": kind, "name": name, "state": "switched", "discards": discards}
            | {"kept": {"as it was": "blog_previous", "archives": ["/a.tar", "/b.tar"]}}
        ],
        **more,
    }


def material(outcome: str = "rolled_back", **more: Any) -> Material:
    registered = {
        "db1": {"__rollback_history": {"transactions": [transaction(DB, DATABASE)]}},
        "web1": {"__rollback_history": {"transactions": [transaction(WEB, CODE)]}},
    }
    plan = {"id": ID, "stack": "blog", "hosts": ["db1", "web1"], "decision_host": "db1", "kinds": ["code"]}
    plan["point"] = {"name": "release-1", "created": "2026-11-23T10:12:35.997719Z"}
    success = outcome not in ("undone", "undo_incomplete", "in_doubt", "refused")
    ended = {"outcome": outcome, "success": success, "title": TITLES[outcome], "rows": [], "downtime_ms": 14_500}
    return Material(**{"plan": plan, "ended": ended, "registered": registered, **more})


def item(report: dict[str, Any], key: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in report["checklist"] if each["key"] == key)
    return found


def states(report: dict[str, Any]) -> dict[str, str]:
    return {each["key"]: each["state"] for each in report["checklist"]}


def one(given: Material, host: str) -> dict[str, Any]:
    found: dict[str, Any] = given.registered[host]["__rollback_history"]["transactions"][0]
    return found


class Page(HTMLParser):
    """The elements and the text of a page, as a browser's parser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


# -- timeline ------------------------------------------------------------------------------------------------------


def test_phases_have_the_journals_times() -> None:
    found = timeline({"db1": DB, "web1": WEB})
    assert found is not None
    spans = {host["host"]: [(s["phase"], s["start"], s["end"]) for s in host["phases"]] for host in found["hosts"]}
    assert spans["web1"] == [
        ("prepare", 100.5, 104),
        ("stop", 120, 124),
        ("switch", 130, 131),
        ("start", 131, 137),
        ("verify", 137, 141),
        ("finish", 142, 145),
    ]
    # It only waited while the other host started, so its verifying begins when that one was ready.
    assert ("verify", 137, 141) in spans["db1"]
    assert (found["start"], found["end"], found["downtime"]) == (100, 146, [122.0, 136.5])


def test_what_was_down_before_is_no_downtime_of_ours() -> None:
    found = timeline({"web1": WEB})
    assert found is not None
    assert found["hosts"][0]["services"] == [
        {"name": "blog", "down": [[122.0, 136.0]]},
        {"name": "cron", "down": [[None, 136.5]]},
    ]


def test_an_undo_is_one_phase_whatever_is_stopped_and_started_in_it() -> None:
    events = [
        *WEB[:12],
        event(150, "stopped", services={"blog": 149.0}),
        event(151, "intent", phase="undo", component=CODE),
        event(152, "done", phase="undo", component=CODE),
        event(153, "undone"),
        event(160, "started", services={"blog": 159.0}),
        event(161, "finished", outcome="undone"),
    ]
    found = timeline({"web1": events})
    assert found is not None
    assert [span["phase"] for span in found["hosts"][0]["phases"]][-2:] == ["undo", "finish"]
    assert found["hosts"][0]["services"][0]["down"] == [[122.0, 136.0], [149.0, 159.0]]


def test_a_service_that_never_came_back_is_drawn_to_the_end() -> None:
    found = timeline({"web1": WEB[:9]})
    assert found is not None
    assert found["downtime"] is None
    (drawn,) = [each for each in drawing(found, (100, 130), with_services=True)["bars"] if "blog" in each["title"]]
    assert drawn["title"].endswith("never came back")
    assert drawn["x"] + drawn["width"] == 100


def test_bars_stand_where_their_times_are() -> None:
    found = timeline({"db1": DB, "web1": WEB})
    assert found is not None
    window = downtime_window(found)
    assert window is not None
    for left, right in (window, (found["start"], found["end"])):
        bars = drawing(found, (left, right), with_services=True)["bars"]
        assert bars
        for drawn in bars:
            start = left if drawn["start"] is None else max(drawn["start"], left)
            assert drawn["x"] == pytest.approx((start - left) / (right - left) * 100, abs=0.001)
            assert drawn["width"] == pytest.approx((min(drawn["end"], right) - start) / (right - left) * 100, abs=0.001)


@pytest.mark.parametrize(
    ("elapsed", "words"),
    [(0, "0 s"), (0.04, "40 ms"), (4.25, "4.2 s"), (59.4, "59 s"), (125, "2 min 5 s"), (11520, "3 h 12 min")],
)
def test_durations_are_short(elapsed: float, words: str) -> None:
    assert seconds(elapsed) == words


# -- checklist -----------------------------------------------------------------------------------------------------


def test_the_checklist_is_ticked_by_the_journal() -> None:
    report = build_report(material(log={"path": "/logs/rollback.log", "lines": 9}))
    assert states(report) == {**dict.fromkeys([each.key for each in ITEMS], "done"), "notify": "not_done"}
    assert "Already down: cron." in item(report, "stop")["evidence"]


@pytest.mark.parametrize(
    ("host", "missing", "key", "state"),
    [
        ("web1", "stopped", "stop", "failed"),
        ("web1", "done", "backup", "failed"),
        ("web1", "switched", "execute", "failed"),
        ("db1", "promised", "data", "not_done"),
        ("web1", "checked", "functions", "not_done"),
    ],
)
def test_what_is_not_in_the_journal_is_not_ticked(host: str, missing: str, key: str, state: str) -> None:
    given = material(log={"path": "/logs/rollback.log", "lines": 9})
    found = one(given, host)
    found["events"] = [each for each in found["events"] if each["event"] != missing]
    assert states(build_report(given))[key] == state


def test_services_are_told_in_the_order_in_which_they_stopped() -> None:
    given = material()
    for entry in one(given, "web1")["events"]:
        if entry["event"] == "stopped":
            entry["facts"]["services"] = {"blog": 122.0, "admin": 123.0, "zoo": 121.0}
    assert "3 stopped, in this order: zoo, blog, admin." in item(build_report(given), "stop")["evidence"]


def test_a_rehearsal_is_no_rollback_that_failed() -> None:
    given = material("rehearsed")
    given = replace(given, plan={**given.plan, "rehearse": True})
    for host in ("db1", "web1"):
        found = one(given, host)
        found["events"] = [each for each in found["events"] if each["event"] in ("begun", "intent", "done", "prepared")]
        found["events"] = [each for each in found["events"] if each["facts"].get("phase") != "switch"]
        found["events"].append(event(150, "undone"))
        found["services"], found["tombstoned"] = [], True
    found_states = states(build_report(given))
    assert {key: found_states[key] for key in ("stop", "backup", "execute", "data")} == {
        "stop": "not_needed",
        "backup": "done",
        "execute": "not_needed",
        "data": "not_needed",
    }
    one(given, "web1")["events"] = [each for each in one(given, "web1")["events"] if each["event"] != "done"]
    assert states(build_report(given))["backup"] == "failed"


@pytest.mark.parametrize(
    ("undo", "possible"),
    [
        ("ansible-playbook lastgood.rollback.undo_rollback -i hosts -e rollback_id=1-blog", True),
        ("not as a whole (schema:blog): what is kept of it is named above", False),
    ],
)
def test_the_report_offers_the_same_undo_as_the_table(undo: str, possible: bool) -> None:
    given = material(can_undo=True)
    given = replace(given, ended={**given.ended, "rows": [["Undo", undo]]})
    offered = build_report(given)["undo"]
    assert (offered["possible"], offered["command"]) == (possible, undo if possible else None)


def test_an_undo_takes_the_tick_away() -> None:
    given = material("undone")
    for host in ("db1", "web1"):
        one(given, host)["events"].append(event(150, "undone"))
        one(given, host)["tombstoned"] = True
    report = build_report(given)
    assert states(report)["execute"] == "failed"
    assert report["undo"] == {
        "possible": False,
        "words": "There is nothing to take back: what is live is what was live before.",
        "command": None,
        "until": None,
    }
    assert [row["after"] for row in report["databases"][0]["tables"]] == [12, 3]
    assert "<span>other content</span>" not in render("report.html.j2", report, TEMPLATES, 0.0)


def test_a_failed_check_is_shown_even_when_nobody_promised() -> None:
    given = material("undone")
    checks = [{"name": "health", "ok": False, "detail": "500", "ms": 3}]
    for entry in one(given, "web1")["events"]:
        if entry["event"] == "checked":
            entry["facts"]["checks"] = checks
    report = build_report(given)
    assert states(report)["functions"] == "failed"
    assert report["checks"] == [{"host": "web1", **checks[0]}]


def test_a_host_without_a_journal_is_named_and_nothing_is_claimed_for_it() -> None:
    given = material(log={"path": "/logs/rollback.log", "lines": 9})
    given.registered["web1"].pop("__rollback_history")
    report = build_report(given)
    assert report["silent_hosts"] == ["web1"]
    assert states(report)["document"] == "failed"
    assert states(report)["data"] == "not_done"


@pytest.mark.parametrize(
    ("deliveries", "state"),
    [
        ([{"what": "Notice", "to": "a@x", "sent": True, "failed": False, "detail": ""}], "done"),
        ([{"what": "Status", "to": "a@x", "sent": False, "failed": False, "detail": "due"}], "not_done"),
        ([{"what": "Notice", "to": "a@x", "sent": False, "failed": True, "detail": "down"}], "failed"),
    ],
)
def test_only_what_was_delivered_counts_as_told(deliveries: list[dict[str, Any]], state: str) -> None:
    assert states(build_report(material(deliveries=deliveries)))["notify"] == state


def test_the_manual_checklist_is_the_same() -> None:
    assert (ROOT / "docs" / "rollback_checklist.md").read_text(encoding="utf-8") == checklist_document(), "make docs"


# -- rows, undo ----------------------------------------------------------------------------------------------------


def test_rows_before_after_and_at_the_restore_point() -> None:
    report = build_report(material(can_undo=True))
    assert [(row["before"], row["after"], row["point"]) for row in report["databases"][0]["tables"]] == [
        (12, 10, 10),
        (3, 3, 3),
    ]
    assert "<span>other content</span>" in render("report.html.j2", report, TEMPLATES, 0.0)
    assert report["undo"]["command"].endswith(f"rollback_id={ID}")
    assert report["undo"]["until"] == 146 + 7 * 86400


def test_without_proof_nothing_is_said_of_the_rows_after() -> None:
    given = material()
    one(given, "db1")["evidence"] = {}
    assert [row["after"] for row in build_report(given)["databases"][0]["tables"]] == [None, None]


# -- text ----------------------------------------------------------------------------------------------------------


def poisoned(value: Any, text: str) -> Any:
    """Every text of a report, with something hostile at its end; identifiers that choose a style stay."""
    if isinstance(value, dict):
        fixed = ("tone", "state", "phase", "kind", "event", "key")
        return {key: each if key in fixed else poisoned(each, text) for key, each in value.items()}
    if isinstance(value, list):
        return [poisoned(each, text) for each in value]
    return f"{value}{text}" if isinstance(value, str) else value


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text(text: str) -> None:
    contacts = parse_contacts({kind: {"name": "A", "email": "a@x"} for kind in ("primary", "secondary", "tertiary")})
    given = material(
        contacts=contacts, deliveries=[{"what": "N", "to": "a", "sent": False, "failed": True, "detail": "d"}]
    )
    clean = build_report(given)
    dirty = poisoned(clean, text)
    plain, page = (Page(render("report.html.j2", each, TEMPLATES, 0.0)) for each in (clean, dirty))
    assert [tag for tag, _attributes in page.tags] == [tag for tag, _attributes in plain.tags]
    handlers = [name for _tag, attributes in page.tags for name in attributes if name.startswith("on")]
    assert handlers == []
    assert visible(text) in page.words
    assert "\u202e" not in page.words
    reader = MarkdownIt("commonmark").enable("table")
    plain, page = (Page(reader.render(render("report.md.j2", each, TEMPLATES, 0.0))) for each in (clean, dirty))
    assert [tag for tag, _attributes in page.tags] == [tag for tag, _attributes in plain.tags]
    assert visible(" ".join(text.split())) in page.words
    assert "\u202e" not in page.words


@pytest.mark.parametrize(
    "text", ["- a", "+ a", "1. a", "12) a", "=====", "# a", "> a", "| a | b", "&lt;", "a_b_ *c*", "~~a~~"]
)
def test_no_text_is_markup_at_the_beginning_of_a_line(text: str) -> None:
    page = Page(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(f"before\n\n{markdown(text)}\n"))
    assert [tag for tag, _attributes in page.tags] == ["p", "p"]
    assert page.words.split("\n")[1] == text


@pytest.mark.parametrize("outcome", TITLES)
def test_every_outcome_has_a_report(outcome: str) -> None:
    given = material(outcome)
    report = build_report(given)
    assert json.loads(json.dumps(report)) == report
    page = Page(render("report.html.j2", report, TEMPLATES, 0.0))
    assert report["headline"] in page.words
    assert not [tag for tag, _attributes in page.tags if tag in ("script", "img", "iframe", "object", "embed")]
    links = [attributes.get("href") or "" for tag, attributes in page.tags if tag in ("a", "link")]
    assert [link for link in links if not link.startswith(("mailto:", "data:"))] == []


def test_what_was_asked_for_and_did_not_happen_is_not_green() -> None:
    """All is at the restore point, and a recovery could not end it: the stack is locked, and nothing can be undone yet."""
    given = material()
    given.ended.update(success=False, title=UNENDED)
    report = build_report(given)
    assert (report["headline"], report["tone"], report["undo"]["possible"]) == ("Not ended", "bad", False)
    assert "first bring it to its end" in report["undo"]["words"]
    assert [build_report(material(one))["tone"] for one in ("rolled_back", "recovered", "undone")] == [
        "good",
        "good",
        "warning",
    ]


def test_a_downtime_that_is_not_over_is_not_told_as_none() -> None:
    given = material("undo_incomplete")
    given.ended.update(downtime_ms=None, rows=[["Downtime", "not over: no service was ready again"]])
    report = build_report(given)
    assert "not over: no service was ready again" in render("report.md.j2", report, TEMPLATES, 0.0)
    assert "Not over: no service was ready again" in render("report.html.j2", report, TEMPLATES, 0.0)
    given.ended.update(rows=[])
    assert "| Downtime | none |" in render("report.md.j2", build_report(given), TEMPLATES, 0.0)


def test_headings_follow_each_other() -> None:
    page = Page(render("report.html.j2", build_report(material()), TEMPLATES, 0.0))
    levels = [int(tag[1]) for tag, _attributes in page.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(level - before <= 1 for before, level in zip(levels, levels[1:]))


def test_a_report_of_nothing_but_a_plan_can_be_written() -> None:
    given = material("undo_incomplete")
    empty = Material(plan=given.plan, ended=given.ended, registered={"db1": {}, "web1": {}})
    report = build_report(empty)
    assert report["timeline"] is None
    assert "incomplete" in Page(render("report.html.j2", report, TEMPLATES, 0.0)).words.lower()


# -- log, contacts, secrets ----------------------------------------------------------------------------------------


def test_the_log_has_the_runbooks_format_in_order() -> None:
    lines = log_lines(build_report(material())["events"])
    assert lines == sorted(lines, key=lambda line: line[:19])
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(124))
    assert f"{stamp} - ROLLBACK - web1: stopped" in lines
    assert not [line for line in lines if "intent" in line]


def test_a_name_with_a_line_break_can_not_forge_a_line() -> None:
    forged = "done\n2026-11-23 14:30:05 - ROLLBACK - db1: all is well\x1b[2K"
    (line,) = log_lines([{"at": 0, "host": "web1", "event": "done", "what": forged}])
    assert "\n" not in line
    assert "\x1b" not in line


def test_the_log_is_only_appended_to_and_holds_each_line_once(tmp_path: Path) -> None:
    log = tmp_path / "rollback.log"
    log.write_text("somebody's own note\ntorn")
    append_log(log, ["a", "b", "b"])
    append_log(log, ["a", "b", "b", "c"])
    assert log.read_text() == "somebody's own note\ntorn\na\nb\nb\nc\n"


def test_the_story_is_whole_in_a_log_that_was_rotated_meanwhile(tmp_path: Path) -> None:
    log = tmp_path / "rollback.log"
    append_log(log, ["prepared", "stopped"])
    log.rename(tmp_path / "rollback.log.1")
    append_log(log, ["prepared", "stopped", "undone"])
    assert log.read_text() == "prepared\nstopped\nundone\n"
    assert (tmp_path / "rollback.log.1").read_text() == "prepared\nstopped\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"primary": None}, "primary is missing"),
        ({"primary": {"name": "A", "email": "a@x\r\nBcc: b@x"}}, "primary.email"),
        ({"primary": {"name": "A\nBcc: b@x", "email": "a@x"}}, "primary.name"),
        ({"primary": {"name": "A", "email": "a@x, b@x"}}, "primary.email"),
        ({"fourth": {"name": "A", "email": "a@x"}}, "no kind 'fourth'"),
        ({"primary": {"name": "A", "email": "a@x", "phone": "1"}}, "phone is not known"),
    ],
)
def test_contacts_are_validated(change: dict[str, Any], words: str) -> None:
    good = {kind: {"name": "A", "email": "a@x"} for kind in ("primary", "secondary", "tertiary")}
    assert parse_contacts(good)[0]["role"] == "System administrator"
    with pytest.raises(ContactsRefused, match=words):
        parse_contacts({**good, **change})


def test_what_is_secret_is_known_by_its_name_and_blotted_out_everywhere() -> None:
    databases = {"blog": {"login_password": "s3cret-db", "login_user": "postgres"}}
    projects = {"core": {"test_environment": {"API_TOKEN": "t0ken-x", "DATABASE_NAME": "blog-x"}}}
    projects["core"]["test_environment"]["URL"] = "postgres://u:in-an-url@db/blog"
    secrets = catalogue_secrets(databases, projects)
    assert sorted(secrets) == ["in-an-url", "s3cret-db", "t0ken-x"]
    report = redacted({"a s3cret-db": ["x t0ken-x y", {"b": "in-an-url"}], "n": 1}, secrets)
    assert not any(secret in json.dumps(report) for secret in secrets)
