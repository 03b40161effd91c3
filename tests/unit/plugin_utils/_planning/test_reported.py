# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts tell is read as what it has to be, or not at all: any JSON in any place gives no better word, and no traceback."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.open_transactions import (
    missing_refusal,
    open_refusal,
)
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.check import planned, summarize
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.checklist import DONE, NOT_NEEDED
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.render import render
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.report import build_report
from hypothesis import example, given, settings
from hypothesis import strategies as st
from unit.plugin_utils._planning import test_open
from unit.plugin_utils._report import test_check, test_report

ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -1, 1e300, "", "true", "keep", "error", "rolled_back"])
    | st.floats(allow_nan=True)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
Place = tuple[Any, ...]


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Every place in JSON, from the whole of it down to each value."""
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield from places(each, (*at, name))


def at(value: Any, place: Place) -> Any:
    for name in place:
        value = value[name]
    return value


def replaced(value: Any, place: Place, by: Any) -> Any:
    """The same JSON with another value in one place."""
    if not place:
        return by
    found = copy.deepcopy(value)
    at(found, place[:-1])[place[-1]] = by
    return found


def kind(value: Any) -> str:
    """What a value is to JSON: numbers are alike."""
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def others(value: Any) -> st.SearchStrategy[tuple[Place, Any]]:
    """A place, and something of another type for it."""
    every = list(places(value))
    return st.sampled_from(every).flatmap(
        lambda place: st.tuples(st.just(place), ANY.filter(lambda one: kind(one) != kind(at(value, place))))
    )


# -- the report

WORST = test_report.transaction(
    [
        *[event for event in test_report.WEB if event["event"] != "checked"],
        test_report.event(140, "checked", checks=[{"name": "health", "ok": False, "detail": "500", "ms": 12}]),
        test_report.event(144, "failed", "Start the services"),
    ],
    test_report.CODE,
    tombstoned=True,
)
WORST["components"][0]["discards"] = {
    "commits": [{"id": "a" * 40, "subject": "Add", "author": "me", "date": "2026-11-23T10:00:00Z"}],
    "files": [{"path": "/srv/.env", "becomes": "changed", "settings": ["MODE"]}],
    "rows": {"public.post": {"now": 12, "then": 10, "differs": True}},
    "written": {"public.post": {"now": 12, "then": 10}},
    "sequences": {"public.post_id": {"now": 12, "then": 10}},
    "large_objects": {"now": 1, "then": 2},
    "may_not_fit": {"public.post": {"rows": 2, "of": 12, "why": ["NOT NULL"]}},
    "migration": {"then": ["a"], "now": ["b"]},
    "kept_columns": ["public.post.text"],
}


def reported(web1: Any) -> dict[str, Any]:
    """The report where one of two hosts tells this; its pages are rendered as well."""
    material = test_report.material("undone")
    material.registered["web1"]["__rollback_history"] = web1  # type: ignore[index]
    report = build_report(material)
    for name in ("report.html.j2", "report.md.j2"):
        assert render(name, report, test_report.TEMPLATES, 200.0)
    return report


def settled(report: dict[str, Any]) -> set[str]:
    return {one["key"] for one in report["checklist"] if one["state"] in (DONE, NOT_NEEDED)}


HISTORY = {"transactions": [WORST]}
CHECKED = len(WORST["events"]) - 2
WELL_KNOWN = reported(HISTORY)


@given(others(HISTORY))
@example((("transactions", 0, "events", CHECKED, "facts", "checks", 0, "ok"), "false"))
@example((("transactions", 0, "events", 0, "at"), 1e300))
@example((("transactions", 0, "tombstoned"), None))
@settings(max_examples=150, deadline=None)
def test_a_report_has_the_whole_journal_of_a_host_or_says_why_it_has_none(found: tuple[Place, Any]) -> None:
    """A host may leave out what it likes; what it tells is not read as something else."""
    place, value = found
    report = reported(replaced(HISTORY, place, value))
    misread = [cause for cause in report["causes"] if "web1: What web1 tells of" in cause]
    tells_nothing = place in [("transactions", 0, "id")] or not place or value in ([], {}, None, "", 0, False)
    failed = [check for check in report["checks"] if not check["ok"]]
    assert misread or failed or tells_nothing
    if misread:
        assert report["silent_hosts"] == ["web1"]
        assert not settled(report) & {"stop", "backup", "execute", "data", "functions", "document"}
        assert not report["undo"]["possible"] and report["undo"]["command"] is None
    elif not tells_nothing:
        assert settled(report) <= settled(WELL_KNOWN)


@pytest.mark.parametrize(
    ("place", "value", "wrong"),
    [
        (
            ("transactions",),
            "none",
            "its transactions can't be understood: transactions is the text 'none', not a list",
        ),
        (("transactions", 0, "events"), {}, "events is an object, not a list"),
        (("transactions", 0, "events", 2, "at"), "noon", r"events[2].at is the text 'noon', not a number from 0 to"),
        (
            ("transactions", 0, "events", 1, "facts", "component"),
            5,
            r"events[1].facts can't be understood: component is a",
        ),
        (("transactions", 0, "checks"), None, "checks is null, not a list"),
        (("transactions", 0, "services", 0, "ran_before"), "no", r"services[0].ran_before is the text 'no'"),
        (("transactions", 0, "tombstoned"), "false", "tombstoned is the text 'false', not true or false"),
        (("transactions", 0, "evidence"), [], "evidence is a list, not an object"),
        (
            ("transactions", 0, "components", 0, "discards", "commits"),
            7,
            r"components[0].discards.commits is a whole number",
        ),
    ],
)
def test_a_report_names_the_host_and_the_place(place: Place, value: Any, wrong: str) -> None:
    (cause,) = reported(replaced(HISTORY, place, value))["causes"]
    assert cause.startswith("web1: What web1 tells of ")
    assert wrong in cause


# -- the verdict of a check

TROUBLED = {
    **test_check.reported(("core: http://core/",), ("orphans",))["web1"],
    **test_check.reported((), ("orphans",))["db1"],
    "__check_open": {"transactions": [test_open.reported()]},
}


def judged(web1: Any, host: str = "web1") -> dict[str, Any]:
    return summarize(test_check.STACK, {**test_check.reported(), host: web1}, test_check.HOSTS, "last_good")


@given(others(TROUBLED))
@example((("check_integrity", "results", 0, "findings", 0, "severity"), ["error"]))
@example((("check_health", "checks", 0, "ok"), "yes"))
@example((("check_health", "checks", 0, "name"), "x; reboot #: http://core/"))
@settings(max_examples=150, deadline=None)
def test_nothing_that_a_host_tells_makes_it_healthy(found: tuple[Place, Any]) -> None:
    place, value = found
    if not place:
        return  # what the controller registered is an object
    verdict = judged(replaced(TROUBLED, place, value))
    assert not verdict["healthy"]
    kinds = {finding["kind"] for finding in verdict["findings"] if finding["host"] == "web1"}
    said = [finding["detail"] for finding in verdict["findings"] if finding["kind"] == "failed"]
    tells_nothing = value in ([], {}, None, "", 0, False)
    assert (
        {"endpoint", "orphans", "interrupted"} <= kinds
        or any("What web1 tells of" in each for each in said)
        or tells_nothing
    )


@pytest.mark.parametrize(
    ("place", "value", "wrong"),
    [
        (("check_health", "checks"), "all", "its projects can't be understood: checks is the text 'all', not a list"),
        (("check_health", "checks", 0, "ok"), "true", r"checks[0].ok is the text 'true', not true or false"),
        (
            ("check_integrity", "results", 0, "findings"),
            0,
            "results[0] can't be understood: findings is a whole number",
        ),
        (
            ("check_integrity", "results", 0, "findings", 0, "severity"),
            "fine",
            "severity is the text 'fine', not error or",
        ),
        (("check_integrity", "results", 0, "ms"), None, "ms is null, not a number"),
        (("__check_open", "transactions", 0, "down"), "core", "transactions[0].down is the text 'core', not a list"),
    ],
)
def test_a_verdict_names_the_host_and_the_place(place: Place, value: Any, wrong: str) -> None:
    verdict = judged(replaced(TROUBLED, place, value))
    (failed,) = [finding for finding in verdict["findings"] if finding["kind"] == "failed"]
    assert failed["detail"].startswith("What web1 tells of ")
    assert wrong in failed["detail"]


def test_no_name_that_only_a_host_knows_gets_into_a_command() -> None:
    place = ("check_health", "checks", 0, "name")
    only = {"check_health": TROUBLED["check_health"]}
    verdict = judged(replaced(only, place, "x; reboot #: http://core/"))
    assert not verdict["healthy"]
    assert verdict["suggestions"] == []


@given(ANY)
@settings(deadline=None)
def test_a_proposal_is_made_only_where_a_plan_says_that_something_would_change(value: Any) -> None:
    verdict = judged({"check_health": TROUBLED["check_health"]})
    assert verdict["proposal"] is not None
    one = {"component": "code:/srv/core", "changed": True, "can_go_back": True}
    for reported in ([{**one, "changed": value}], value):
        try:
            proposed = planned(verdict, {"web1": {"__rollback_planned": reported}})["proposal"]
        except Unreadable as error:
            assert error.message.startswith("What web1 tells of its plan can't be understood")
        else:
            assert (proposed is not None) is (reported != value and value is True)


# -- what forbids to begin

OPEN = {"transactions": [test_open.reported(), test_open.reported(id="2-shop", **test_open.TOMBSTONE)]}
KNOWN = {
    "last_hosts": {"blog": ["app9"]},
    "restore_points": [{"name": "monday", "good": True, "stack": "blog", "good_hosts": {"app8": "digest"}}],
}


@pytest.mark.parametrize(
    ("whole", "refusal"),
    [
        (OPEN, lambda reported: open_refusal({"web1": {"open": reported}}, "blog")),
        (KNOWN, lambda reported: missing_refusal({"web1": {"known": reported}}, "blog", ["web1"], [])),
    ],
)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_what_forbids_to_begin_is_read_or_the_place_is_named(
    whole: dict[str, Any], refusal: Callable[[Any], str], data: st.DataObject
) -> None:
    place, value = data.draw(others(whole))
    assert refusal(whole)
    try:
        said = refusal(replaced(whole, place, value))
    except Unreadable as error:
        assert error.message.startswith("What web1 tells of what it has can't be understood: ")
    else:
        # Left out, or said of another stack: both are for a host to say.
        assert said or not value or place[-1] in ("stack", "outcome")


@pytest.mark.parametrize(
    ("place", "value", "wrong"),
    [
        (("transactions",), {}, "transactions is an object, not a list"),
        (("transactions", 0, "outcome"), False, "transactions[0].outcome is true or false, not null"),
        (("transactions", 0, "created"), 1e300, "transactions[0].created is a number, not null"),
        (("transactions", 1, "down"), None, "transactions[1].down is null, not a list"),
    ],
)
def test_what_forbids_to_begin_names_the_host_and_the_place(place: Place, value: Any, wrong: str) -> None:
    with pytest.raises(Unreadable) as caught:
        open_refusal({"web1": {"open": replaced(OPEN, place, value)}}, "blog")
    assert caught.value.message == f"What web1 tells of what it has can't be understood: {wrong}."
