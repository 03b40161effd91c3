# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a rollback ended, from what each host registered: one outcome each, and the rows a tired operator reads."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.outcome import (
    MISREAD,
    NO_WAY_BACK,
    TITLES,
    UNREADABLE,
    causes,
    plan_rows,
    summarize,
)

PLAN: dict[str, Any] = {
    "id": "1-blog",
    "stack": "blog",
    "decision_host": "db1",
    "point": {"name": "monday", "created": "2026-11-01T03:00:00Z", "digest": "d"},
}
CHANGED: dict[str, Any] = {
    "component": "code:/srv/core",
    "changed": True,
    "discards": {},
    "notes": ["the next pull brings it back"],
    "predicted_downtime": {"ms": 1500, "grows_with": "nothing"},
    "can_go_back": True,
    "disk_bytes": 2_000_000,
    "fingerprint": "5a13",
}
SAME = {**CHANGED, "changed": False}


def host(decision: str | None = None, finished: str | None = None, **more: Any) -> dict[str, Any]:
    """What one host of a transaction that has begun registered."""
    told: dict[str, Any] = {"__rollback_begun": True, "__rollback_planned": [CHANGED]}
    if decision:
        told["__rollback_decided"] = {"decision": decision}
    if finished:
        told["__rollback_finish"] = {"outcome": finished}
    return {**told, **{f"__rollback_{name}": value for name, value in more.items()}}


FAILED = {"__rollback_failure": {"task": "Switch", "msg": "no space left"}}
DECIDER_UNDONE = {"finish_last": {"outcome": "undone"}, "failure": {"msg": "a check failed"}}


LAST = {"finish_last": {"outcome": "rolled_back"}}
WAITS = {"undo_failure": "waits", "undo_outcome": "in_doubt"}
RECOVERING = {"recovering": True}
NOT_STARTED = {"undo_failure": "blog-stage did not start", "services_left": True}


@pytest.mark.parametrize(
    ("outcome", "success", "db1", "web1", "check"),
    [
        ("rolled_back", True, host("keep", **LAST), host(None, "rolled_back"), False),
        ("rolled_back", True, host("keep", finish_last={"outcome": None}), host(finish_failure="gone"), False),
        ("undone", False, host("undo", **DECIDER_UNDONE), host(None, "undone"), False),
        ("undo_incomplete", False, host("undo", finish_last={"outcome": None}), host(undo_failure="refused"), False),
        ("undo_incomplete", False, host("undo"), host(None, "undone"), False),
        ("undo_incomplete", False, host("undo", finish_last={"outcome": None}), host(**NOT_STARTED), False),
        (
            "undo_incomplete",
            False,
            host("undo", "undone", **RECOVERING),
            host(None, "undone", **RECOVERING, **NOT_STARTED),
            False,
        ),
        ("in_doubt", False, host(), host(**WAITS), False),
        ("in_doubt", False, host("undo"), host(**WAITS), False),
        ("in_doubt", False, host(), host(None, "undone"), False),
        ("refused", False, FAILED, {"__rollback_planned": [CHANGED]}, False),
        ("refused", False, FAILED, {}, True),
        ("nothing_to_do", True, {"__rollback_planned": [SAME]}, {}, False),
        ("nothing_to_do", True, {"__rollback_planned": [SAME]}, {}, True),
        ("planned", True, {"__rollback_planned": [SAME]}, {"__rollback_planned": [CHANGED]}, True),
        ("recovered", True, host("keep", **LAST, **RECOVERING), host(None, "rolled_back", **RECOVERING), False),
        ("recovered", True, host("undo", "undone", **RECOVERING), host(None, "undone", **RECOVERING), False),
        ("in_doubt", False, host(**RECOVERING), host(**RECOVERING), False),
        ("undo_incomplete", False, host("undo", **RECOVERING), host(None, "undone", **RECOVERING), False),
    ],
)
def test_every_outcome(outcome: str, success: bool, db1: dict[str, Any], web1: dict[str, Any], check: bool) -> None:
    told = summarize(PLAN, {"db1": db1, "web1": web1}, check=check)
    assert (told["outcome"], told["success"], told["tone"]) == (outcome, success, "good" if success else "bad")
    is_read = outcome == "in_doubt" and db1.get("__rollback_decided")
    assert told["title"] == (UNREADABLE if is_read else TITLES[outcome])


def test_what_can_not_be_undone_as_a_whole_is_said_before_it_is_done() -> None:
    tables = {**CHANGED, "component": "tables:blog", "can_go_back": False, "kept_instead": "the rows as they were"}
    rows = plan_rows({"db1": {"__rollback_planned": [CHANGED, tables]}})
    said = ["", f"  note: {NO_WAY_BACK}the rows as they were"]
    assert rows.count(said) == 1
    assert rows.index(said) > rows.index(["db1", "tables:blog"])


def test_a_rollback_without_all_rows_is_never_called_whole() -> None:
    found = {"rows": 31_206, "of": 36_674, "tables": {"public.cable": 206, "public.device": 31_000}}
    component = {
        "component": "schema:blog",
        "kind": "schema",
        "can_go_back": True,
        "kept": {"a": "b"},
        "set_aside": found,
    }
    history = {"transactions": [{"components": [component], "events": [], "checks": []}]}
    told = summarize(PLAN, {"db1": host("keep", **LAST, history=history)}, check=False)
    assert (told["outcome"], told["success"]) == ("rolled_back", True)
    assert told["title"].startswith("Rolled back without 31,206 of 36,674 rows: these are set aside")
    assert "everything" not in told["title"]
    at = told["rows"].index(
        ["SET ASIDE", "31,206 of 36,674 rows of schema:blog on db1 are not in their tables any more"]
    )
    assert told["rows"][at + 1 : at + 3] == [["", "  31,000 of public.device"], ["", "  206 of public.cable"]]
    component["set_aside"] = {"rows": 0, "of": 36_674, "tables": {}}
    assert (
        summarize(PLAN, {"db1": host("keep", **LAST, history=history)}, check=False)["title"] == TITLES["rolled_back"]
    )


def test_what_follows_from_an_undo_that_failed_is_no_cause_of_its_own() -> None:
    refused = {
        "undo_failure": "no answer",
        "undo_outcome": "undo_incomplete",
        "finish_failure": "nothing may be finished",
    }
    assert causes({"db1": host("undo", **refused), "web1": host(finish_failure="full")}) == [
        "db1: no answer",
        "web1: full",
    ]


def test_a_recovery_that_could_not_end_it_says_so() -> None:
    """Everything is where it should be; but the stack stays locked, so that whoever recovers it is not done."""
    db1 = host("keep", finish_failure="db1: no answer", **RECOVERING)
    told = summarize(PLAN, {"db1": db1, "web1": host(None, "rolled_back", **RECOVERING)}, check=False)
    assert (told["outcome"], told["success"], told["tone"]) == ("rolled_back", False, "bad")
    assert told["title"].startswith("NOT ENDED: everything is where it was asked to go")
    said = "put right what is named above, then: ansible-playbook lastgood.rollback.recover -e rollback_id=1-blog"
    assert told["rows"][-1] == ["Next", said]
    waits = host("keep", finish_last={"outcome": None}, **RECOVERING)
    absent = summarize(PLAN, {"db1": waits, "web1": {}}, check=False)
    assert (absent["outcome"], absent["success"]) == ("recovered", True)


@pytest.mark.parametrize(
    ("failure", "outcome"), [({}, "rehearsed"), ({"failure": {"msg": "the target's tests failed"}}, "undone")]
)
def test_a_rehearsal_succeeds_only_without_a_failure(failure: dict[str, Any], outcome: str) -> None:
    hosts = {
        "db1": host("undo", finish_last={"outcome": "undone"}, seen=[CHANGED]),
        "web1": host(None, "undone", seen=[CHANGED], **failure),
    }
    assert summarize(PLAN, hosts, check=False, rehearse=True)["outcome"] == outcome


@pytest.mark.parametrize("seen", [[], [{**CHANGED, "fingerprint": "7f3a"}], [CHANGED]])
def test_a_rehearsal_shows_what_it_would_take_and_that_nothing_moved(seen: list[dict[str, Any]]) -> None:
    commit = {"id": "c26c380bb0", "subject": "Report the cache", "author": "Blog Team", "date": "2026-06-29T10:00:00Z"}
    planned = [{**CHANGED, "discards": {"commits": [commit]}}]
    events = [
        {"at": 100.0, "event": "begun", "facts": {}},
        {"at": 112.3, "event": "prepared", "facts": {"phase": "prepare"}},
        {"at": 112.4, "event": "intent", "facts": {"phase": "undo"}},
        {"at": 112.9, "event": "undone", "facts": {}},
    ]
    history = {"transactions": [{"events": events, "components": []}]}
    db1 = host("undo", finish_last={"outcome": "undone"}, seen=seen, history=history)
    told = summarize(PLAN, {"db1": {**db1, "__rollback_planned": planned}}, check=False, rehearse=True)
    moved = seen != [CHANGED]
    assert (told["outcome"], told["success"]) == ("rehearsed", not moved)
    assert ("the live system was not touched" in told["title"]) is not moved
    rows = told["rows"]
    assert ["Would take standstill", "about 1.5 s of switching, besides stopping and starting services"] in rows
    assert ["Would take disk", "about 2 MB more while prepared"] in rows
    assert ["Would discard", "commit c26c380bb Report the cache (Blog Team, 2026-06-29)"] in rows
    assert ["Live system", f"{0 if moved else 1} of 1 components looked at again: as they were"] in rows
    assert (["Moved", "db1: code:/srv/core"] in rows) is moved
    assert ["Time", "prepare 12.3 s, undo 0.5 s"] in rows


def rows(hosts: dict[str, Any], plan: dict[str, Any] | None = None) -> list[list[str]]:
    found: list[list[str]] = summarize(PLAN if plan is None else plan, hosts, check=False)["rows"]
    return found


def test_without_a_plan_there_is_no_transaction() -> None:
    assert rows({"db1": FAILED}, {}) == [["Transaction", "none was begun"], ["Cause", "no space left"]]


def test_each_cause_stands_once_with_the_hosts_it_befell() -> None:
    hosts = {
        "db1": host("undo", failure={"msg": "no space left"}),
        "web1": host(None, failure={"msg": "no space left"}, undo_failure="changed by somebody else"),
        "web2": host(None, failure={"msg": ""}),
    }
    assert [row for row in rows(hosts) if row[0] in ("Cause", "") and row[1] != "code:/srv/core"] == [
        ["Cause", "db1, web1: no space left"],
        ["", "web1: changed by somebody else"],
    ]


def test_downtime_is_from_the_first_stop_to_the_last_ready_on_any_host() -> None:
    def history(event: str, **services: float) -> dict[str, Any]:
        events = [{"at": max(services.values()), "event": event, "facts": {"services": services}}]
        return {"transactions": [{"events": events, "components": []}]}

    hosts = {
        "db1": host("keep", history=history("stopped", core=100.0, planning=101.5)),
        "web1": host(None, history=history("started", core=103.0, planning=107.25)),
    }
    told = summarize(PLAN, hosts, check=False)
    assert told["downtime_ms"] == 7250
    assert ["Downtime", "7.2 s"] in told["rows"]
    assert summarize(PLAN, {"db1": host("keep")}, check=False)["downtime_ms"] is None
    never_ready = summarize(PLAN, {"db1": hosts["db1"]}, check=False)
    assert never_ready["downtime_ms"] is None
    assert ["Downtime", "not over: no service was ready again"] in never_ready["rows"]
    # They were ready after the switch; the undo stopped them, and one has not started since.
    left = summarize(PLAN, {**hosts, "web1": {**hosts["web1"], "__rollback_services_left": True}}, check=False)
    assert left["downtime_ms"] is None
    assert ["Downtime", "not known to be over: services are not as they were"] in left["rows"]


def test_what_an_older_schema_has_no_place_for_is_counted_in_words() -> None:
    unfit = {"public.device": {"rows": 2, "orphans": 1}, "public.rack": {"columns": 7}, "public.new": {"table": 3}}
    components = [{**COMPONENT, "kept": {"no place for": unfit}}]
    kept = rows({"db1": host("keep", history={"transactions": [{"events": [], "components": components}]})})
    assert [row[1] for row in kept if row[0].startswith("Kept")] == [
        "no place for: public.device (rows: 2, rows that refer to one that is gone: 1), "
        "public.rack (columns of rows: 7), public.new (the whole table: 3)"
    ]


def test_where_the_old_is_kept_is_said() -> None:
    counts = {"rows written since": {"public.post": 3, "public.tag": 1}, "rows written elsewhere": {}}
    kept_there = {"database": "blog_previous_7f3a", "archives": ["/a.bundle", "/b.bundle"], **counts}
    components = [{**COMPONENT, "kept": kept_there}]
    kept = rows({"db1": host("keep", history={"transactions": [{"events": [], "components": components}]})})
    assert [row for row in kept if row[0].startswith("Kept")] == [
        ["Kept on db1", "database: blog_previous_7f3a"],
        ["Kept on db1", "archives: /a.bundle"],
        ["Kept on db1", "archives: /b.bundle"],
        ["Kept on db1", "rows written since: public.post: 3, public.tag: 1"],
        ["Kept on db1", "rows written elsewhere: nothing"],
    ]


COMPONENT = {
    "component": "database:blog",
    "kind": "database",
    "can_go_back": True,
    "kept": {"database blog as it was": "blog_lastgood_7f3a_previous"},
}
COMMAND = "ansible-playbook lastgood.rollback.undo_rollback -e rollback_id=1-blog"


@pytest.mark.parametrize(
    ("component", "said"),
    [
        (COMPONENT, COMMAND),
        ({**COMPONENT, "kept": {}}, "not as a whole (database:blog): what is kept of it is named above"),
        ({**COMPONENT, "can_go_back": False}, "not as a whole (database:blog): what is kept of it is named above"),
        ({**COMPONENT, "kind": "files", "kept": {}}, COMMAND),
    ],
)
@pytest.mark.parametrize("plan", [PLAN, {**PLAN, "undoes": "0-blog", "was_healthy": True}])
def test_what_was_kept_says_how_to_undo_it_and_until_when(
    plan: dict[str, Any], component: dict[str, Any], said: str
) -> None:
    history = {"transactions": [{"events": [], "components": [component]}]}
    hosts = {"db1": host("keep", history=history)}
    shown = rows(hosts, plan)
    assert ["Undo", said] in shown
    assert (["", "can be asked for until another rollback of blog has ended"] in shown) == (said == COMMAND)
    undone = host("undo", "undone", history=history)
    assert "Undo" not in [row[0] for row in rows({"db1": undone}, plan)]


def test_checks_that_did_not_decide_are_told() -> None:
    history = {"transactions": [{"events": [], "components": [], "checks": [{"ok": True}, {"ok": False}]}]}
    plan = {**PLAN, "undoes": "0-blog", "was_healthy": False}
    told = summarize(plan, {"db1": host("keep", history=history)}, check=False)
    assert told["title"] == "Undone as asked: everything is as it was before the rollback"
    said = "1 of 2 hold, as it was not known to be healthy before that rollback either"
    assert ["Checks", said] in told["rows"]


@pytest.mark.parametrize(
    ("decider", "outcome", "words"),
    [
        (host("keep"), "undone_as_asked", "Undone as asked: everything is as it was before the rollback"),
        (host("undo", "undone"), "undone", "UNDONE: the undo failed and everything is as it was before"),
        (host("keep", "undone_as_asked", **RECOVERING), "recovered", "Recovered"),
    ],
)
def test_an_undo_of_a_finished_rollback_has_words_of_its_own(decider: Any, outcome: str, words: str) -> None:
    told = summarize({**PLAN, "undoes": "0-blog", "was_healthy": True}, {"db1": decider}, check=False)
    assert (told["outcome"], told["success"]) == (outcome, outcome != "undone")
    assert told["title"].startswith(words)
    assert ["Undoes", "0-blog"] in told["rows"]
    if outcome == "recovered":
        assert ["State", "as it was before the rollback that was undone"] in told["rows"]


@pytest.mark.parametrize(
    ("decider", "said"),
    [
        (host("undo"), "put right what is named above by hand, then: "),
        (host(), "bring db1 back, then: "),
        (host("keep", finish_failure="full"), "some tidying was left: "),
    ],
)
def test_the_next_step_is_a_command(decider: dict[str, Any], said: str) -> None:
    assert rows({"db1": decider})[-1] == [
        "Next",
        f"{said}ansible-playbook lastgood.rollback.recover -e rollback_id=1-blog",
    ]


def test_a_plan_counts_what_it_would_take() -> None:
    hosts = {"web1": {"__rollback_planned": [CHANGED, SAME]}, "web2": {"__rollback_planned": [CHANGED]}}
    shown = plan_rows(hosts)
    assert ["Unchanged", "1 of 3 components are as they should be"] in shown
    assert ["Standstill", "about 3.0 s of switching, besides stopping and starting services"] in shown
    assert ["Disk", "about 4 MB more while prepared"] in shown
    assert shown[:2] == [["web1", "code:/srv/core"], ["", "  note: the next pull brings it back"]]
    assert not any("rows a second" in row[1] for row in shown)


def test_a_plan_tells_how_many_rows_a_second_go_where_rows_are_what_takes_time() -> None:
    downtime = {"ms": 61_000, "grows_with": "rows", "rows_per_second": 123_456}
    moving = {**CHANGED, "component": "tables:blog", "predicted_downtime": downtime}
    shown = plan_rows({"db1": {"__rollback_planned": [moving, CHANGED]}})
    at = shown.index(["Standstill", "about 62.5 s of switching, besides stopping and starting services"])
    assert shown[at + 1] == ["", "  tables:blog about 123,456 rows a second"]


def stopping(*events: dict[str, Any]) -> dict[str, Any]:
    """A host on which a service was to be stopped."""
    core = {"name": "core", "ran_before": True}
    return host(
        "undo", "undone", history={"transactions": [{"events": list(events), "components": [], "services": [core]}]}
    )


@pytest.mark.parametrize(
    ("db1", "words"),
    [
        (stopping(), "not known: core may have been stopped for a while"),
        (stopping({"at": 1.0, "event": "stopped", "facts": {"services": {}, "others": ["core"]}}), "none"),
        (host("undo", "undone"), "not known: the journal of db1 could not be read"),
        (host("undo", "undone", history={"transactions": []}), "none"),
    ],
)
def test_that_no_service_stood_still_is_said_only_where_it_is_known(db1: dict[str, Any], words: str) -> None:
    assert ["Downtime", words] in rows({"db1": {"__rollback_begun": True, **db1}})


UNCHANGED_COMPONENT = {"component": "database:blog", "kind": "database", "kept": {}, "can_go_back": True}


@pytest.mark.parametrize(
    ("journal", "wrong"),
    [
        (["gone"], "it is a list"),
        ({"transactions": {}}, "transactions is an object"),
        ({"transactions": [{"events": "none"}]}, "transactions[0].events is the text 'none'"),
        (
            {"transactions": [{"events": [{"event": "stopped", "facts": {"services": {"core": "noon"}}}]}]},
            "events[0].facts can't be understood: services.core is the text 'noon'",
        ),
        (
            {"transactions": [{"components": [{**UNCHANGED_COMPONENT, "set_aside": {"rows": "2"}}]}]},
            "components[0].set_aside.rows is the text '2'",
        ),
        ({"transactions": [{"outcome": "well"}]}, "transactions[0].outcome is the text 'well'"),
        ({"transactions": [{"tombstoned": "no"}]}, "transactions[0].tombstoned is the text 'no'"),
    ],
)
def test_what_was_kept_is_neither_undone_nor_called_whole_where_a_journal_is_misread(journal: Any, wrong: str) -> None:
    told = summarize(
        PLAN, {"db1": host("keep", **LAST), "web1": host(None, "rolled_back", history=journal)}, check=False
    )
    assert (told["outcome"], told["success"], told["title"]) == ("rolled_back", False, MISREAD)
    (cause,) = [row[1] for row in told["rows"] if row[0] == "Cause"]
    assert cause.startswith("web1: What web1 tells of its transactions")
    assert wrong in cause


@pytest.mark.parametrize("decided", [["keep"], "Keep", 1])
def test_a_decision_of_another_type_is_no_decision_to_undo(decided: Any) -> None:
    with pytest.raises(Unreadable, match="What db1 tells of the decision can't be understood: decision is"):
        summarize(PLAN, {"db1": host(decided, "undone"), "web1": host(None, "undone")}, check=False)
