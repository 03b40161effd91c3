# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What recovery and history make of what the hosts tell."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.plan import PlanRefused
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.recovery import (
    REHEARSED,
    history_rows,
    interrupted,
    settled,
)

PLAN = {"id": "1-blog", "stack": "blog", "decision_host": "db1", "hosts": ["app1", "db1"], "waves": 1, "parts": {}}


def told(transaction_id: str = "1-blog", **facts: Any) -> dict[str, Any]:
    """One transaction as transaction_info tells it."""
    return {
        "id": transaction_id,
        "stack": "blog",
        "state": "switched",
        "outcome": None,
        "plan": PLAN,
        "services": [],
        "events": [],
        "hosts": ["app1", "db1"],
        "operator": "night shift",
        "tombstoned": False,
        "reason": None,
        "decision": None,
        "created": 1_795_444_200.0,
        "state_ids": {},
        **facts,
    }


TOMBSTONE: dict[str, Any] = {
    "state": "undone", "stack": None, "plan": {}, "hosts": [], "operator": None, "created": None,
}  # fmt: skip


def opened(**hosts: list[dict[str, Any]]) -> dict[str, Any]:
    return {host: {"__rollback_open": {"transactions": transactions}} for host, transactions in hosts.items()}


def history(**hosts: list[dict[str, Any]]) -> dict[str, Any]:
    return {host: {"__rollback_history": {"transactions": transactions}} for host, transactions in hosts.items()}


def test_the_states_of_all_hosts_come_together() -> None:
    hosts = opened(app1=[told(state="promised", services=[{"name": "core"}])], db1=[told()])
    (found,) = interrupted(hosts)
    assert (found["id"], found["plan"], found["stopped"]) == ("1-blog", PLAN, ["app1"])
    assert found["states"] == {"app1": "promised", "db1": "switched"}


PROMISED = told(state="promised")


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        (opened(app1=[PROMISED], db1=[told()]), "would be undone, since not all hosts have promised"),
        (opened(app1=[PROMISED], db1=[PROMISED]), "would be kept, since all hosts have promised"),
        (opened(app1=[], db1=[PROMISED]), "would be undone, since not all hosts have promised"),
        (opened(app1=[PROMISED], db1=[told(state="damaged")]), "would be in doubt, since db1 has damaged records"),
        (opened(app1=[PROMISED], db1=[told(decision="keep")]), "would be kept, as decided"),
        (opened(app1=[PROMISED], db1=[told(state="promised", decision="undo")]), "would be undone, as decided"),
        (opened(app1=[PROMISED]), "would be in doubt, since db1 can't be read; missing: db1"),
        (opened(db1=[PROMISED]), "would be undone, since not all hosts have promised; missing: app1"),
    ],
)
def test_what_recovery_would_do_is_known_before(hosts: dict[str, Any], words: str) -> None:
    assert interrupted(hosts)[0]["foreseen"] == words


def test_the_oldest_comes_first() -> None:
    found = interrupted(opened(app1=[told("2-blog")], db1=[told("1-blog"), told("2-blog")]))
    assert [each["id"] for each in found] == ["1-blog", "2-blog"]


def test_a_host_that_did_not_answer_has_no_state() -> None:
    found = interrupted({"app1": {}, **opened(db1=[told()])})
    assert found[0]["states"] == {"db1": "switched"}


def test_a_tombstone_does_not_stand_in_for_the_plan() -> None:
    """The host that was never begun comes first, and knows nothing but that it must not switch."""
    (found,) = interrupted(opened(app1=[told(**TOMBSTONE)], db1=[told()]))
    assert found["plan"] == PLAN
    assert found["states"] == {"app1": "undone", "db1": "switched"}


def test_a_module_on_its_own_is_a_plan_of_one_host() -> None:
    (found,) = interrupted(opened(app1=[told("3-code", plan={}, stack="code:/srv/blog")]))
    assert found["plan"]["hosts"] == ["app1"]
    assert found["plan"]["decision_host"] == "app1"
    assert found["plan"]["stack"] == "code:/srv/blog"
    assert found["plan"]["parts"]["app1"]["projects"] == []


def test_nothing_is_open() -> None:
    assert interrupted(opened(app1=[], db1=[])) == []


def test_history_is_newest_first_with_the_downtime_over_all_hosts() -> None:
    app1 = told(
        outcome="rolled_back",
        events=[
            {"event": "stopped", "facts": {"services": {"core": 100.0, "planning": 101.0}}},
            {"event": "started", "facts": {"services": {"core": 107.5}}},
        ],
    )
    db1 = told(outcome="rolled_back", events=[{"event": "started", "facts": {"services": {"other": 104.0}}}])
    rows = history_rows(history(app1=[app1], db1=[db1, told("2-blog", outcome=None, state="promised")]))
    assert [row[1:] for row in rows[1:]] == [
        ["open (promised)", "none", "night shift", "2-blog\n  on app1, db1"],
        ["rolled_back", "7.5 s", "night shift", "1-blog\n  on app1, db1"],
        [],
    ]
    assert rows[3:] == [["To end 2-blog: ansible-playbook lastgood.rollback.recover -e rollback_id=2-blog"]]


def offered(*results: dict[str, Any]) -> dict[str, Any]:
    """A finished rollback, and what became of the plans to undo it."""
    hosts = history(db1=[told(outcome="rolled_back")])
    hosts["db1"]["__rollback_offered"] = {"results": [{"item": "1-blog", **result} for result in results]}
    return hosts


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        (offered(), "To undo 1-blog: ansible-playbook lastgood.rollback.undo_rollback -e rollback_id=1-blog"),
        (
            offered({"prepared": []}),
            "To undo 1-blog: ansible-playbook lastgood.rollback.undo_rollback -e rollback_id=1-blog",
        ),
        (offered({"msg": "its things have moved."}), "1-blog can't be undone as a whole: its things have moved."),
    ],
)
def test_history_offers_to_undo_what_was_just_planned(hosts: dict[str, Any], said: str) -> None:
    assert history_rows(hosts)[-1] == [said]


@pytest.mark.parametrize(
    ("facts", "outcome"),
    [
        ({"outcome": "undone", "reason": REHEARSED}, "rehearsed"),
        ({"outcome": "undone", "reason": "a test failed"}, "undone"),
        ({"outcome": None, "reason": REHEARSED}, "open (switched)"),
    ],
)
def test_history_tells_a_rehearsal_from_a_rollback_that_failed(facts: dict[str, Any], outcome: str) -> None:
    rows = history_rows(history(db1=[told(plan={**PLAN, "rehearse": True}, **facts)]))
    assert rows[1][1] == outcome


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], "not known"),
        ([{"event": "stopped", "facts": {"services": {"core": 1.0}}}], "not over"),
        ([{"event": "stopped", "facts": {"services": {}, "others": ["core"]}}], "none"),
    ],
)
def test_history_knows_when_a_service_was_to_be_stopped(events: list[dict[str, Any]], words: str) -> None:
    core = {"name": "core", "ran_before": True}
    assert history_rows(history(db1=[told(services=[core], events=events, outcome="undone")]))[1][2] == words


def test_history_shows_what_was_undone_by_what() -> None:
    undo = told("2-blog", outcome="undone_as_asked", plan={**PLAN, "undoes": "1-blog"})
    rows = history_rows(history(db1=[told(outcome="rolled_back"), undo]))
    assert [row[1] for row in rows[1:3]] == ["undone_as_asked", "rolled_back"]
    assert rows[2][4].splitlines()[-1].strip() == "undone by 2-blog"


def test_history_shows_that_hosts_differ() -> None:
    rows = history_rows(history(app1=[told(outcome="undone")], db1=[told(outcome=None)]))
    assert rows[1][1] == "open (switched), undone"


def test_history_takes_from_each_host_what_it_knows() -> None:
    rows = history_rows({**history(app1=[told(**TOMBSTONE)], db1=[told(outcome="undone")]), "gone": {}})
    assert rows[1][0] != ""
    assert rows[1][3:] == ["night shift", "1-blog\n  on app1, db1"]


def test_no_history_is_a_sentence() -> None:
    assert history_rows(history(app1=[])) == [["No transaction has begun on these hosts yet."]]


# -- a host that was replaced, or lost -----------------------------------------------------------------------------

IDS = {"db1": "d" * 32, "app1": "a" * 32, "app2": "b" * 32}
WIDE = {**PLAN, "hosts": ["app1", "app2", "db1"]}


def ends(**hosts: dict[str, Any] | None) -> dict[str, Any]:
    """Host → what it tells of the transaction by id; None where it knows nothing of it."""
    return {
        host: {"__rollback_ends": {"transactions": [told(**facts)] if facts is not None else [], "state_id": IDS[host]}}
        for host, facts in hosts.items()
    }


def entry() -> dict[str, Any]:
    (found,) = interrupted(opened(app1=[told(state="promised", plan=WIDE, state_ids=IDS)]))
    return found


KEPT = {"state": "finished", "outcome": "rolled_back"}
WAITS = {"state": "promised"}


@pytest.mark.parametrize(
    ("hosts", "decision"),
    [
        (ends(app1=WAITS, app2=KEPT), "keep"),
        (ends(app1=WAITS, app2={**KEPT, "outcome": "undone_as_asked"}), "keep"),
        (ends(app1=WAITS, app2=WAITS), "undo"),
        (ends(app1=WAITS, app2={"state": "undone", "outcome": "undone"}), "undo"),
        (ends(app1=WAITS, app2={"state": "switched"}, db1=None), "undo"),
    ],
)
def test_the_loss_of_the_decision_host_is_settled_by_what_finished_elsewhere(
    hosts: dict[str, Any], decision: str
) -> None:
    found = settled(hosts, entry(), "db1")
    assert (found["settled"], found["plan"]["hosts"], found["plan"]["decision_host"]) == (
        decision,
        ["app1", "app2"],
        "app1",
    )


def test_nothing_is_settled_where_no_host_is_lost() -> None:
    nobody_asked = {"app1": {"__rollback_ends": {"changed": False, "skipped": True}}}
    assert settled(nobody_asked, entry(), None) == {**entry(), "settled": "", "lost": []}


def test_without_a_lost_member_the_rest_end_as_decided() -> None:
    found = settled(ends(app1=WAITS, app2=None, db1=WAITS), entry(), None, ["app2"])
    assert (found["settled"], found["lost"]) == ("", ["app2"])
    assert (found["plan"]["hosts"], found["plan"]["decision_host"]) == (["app1", "db1"], "db1")


def test_the_decision_host_and_a_member_may_both_be_lost() -> None:
    found = settled(ends(app1=KEPT), entry(), "db1", ["app2"])
    assert (found["settled"], found["lost"], found["plan"]["hosts"]) == ("keep", ["db1", "app2"], ["app1"])


@pytest.mark.parametrize(
    ("member", "cause"),
    [
        ("db1", "db1 keeps the decision of 1-blog: name it in rollback_decision_host_lost"),
        ("app7", "app7 does not take part in 1-blog"),
        ("app2", "app2 is not lost: it knows of 1-blog"),
    ],
)
def test_a_member_that_is_not_lost_is_not_left_out(member: str, cause: str) -> None:
    with pytest.raises(PlanRefused, match=cause):
        settled(ends(app1=WAITS, app2=WAITS, db1=WAITS), entry(), None, [member])


def test_how_it_ended_elsewhere_has_its_types() -> None:
    hosts = {**ends(app1=WAITS), "app2": {"__rollback_ends": {"transactions": [told(outcome=["rolled_back"])]}}}
    with pytest.raises(
        Unreadable, match=r"What app2 tells of the transaction's end .*transactions\[0\].outcome is a list"
    ):
        settled(hosts, entry(), "db1")


@pytest.mark.parametrize(
    ("hosts", "lost", "cause"),
    [
        (ends(app1=WAITS, app2=WAITS), "app1", "app1 does not keep the decision of 1-blog, db1 does"),
        (ends(app1=WAITS, app2=WAITS, db1=WAITS), "db1", "db1 is not lost: it knows of 1-blog"),
        (ends(app1=WAITS), "db1", "on app2 can't be read"),
        (ends(app1=WAITS, app2=None), "db1", "on app2 can't be read"),
        (ends(app1=WAITS, app2={"state": "damaged"}), "db1", "on app2 can't be read"),
        (
            {**ends(app1=WAITS), "app2": {"__rollback_ends": {"transactions": [told()], "state_id": "x"}}},
            "db1",
            "on app2",
        ),
    ],
)
def test_a_loss_that_can_not_be_settled_says_why(hosts: dict[str, Any], lost: str, cause: str) -> None:
    with pytest.raises(PlanRefused, match=cause):
        settled(hosts, entry(), lost)


def test_an_empty_host_in_the_place_of_the_decision_host_is_in_doubt_before_anything_is_done() -> None:
    hosts = opened(app1=[told(state="promised", state_ids=IDS)], db1=[])
    hosts["db1"]["__rollback_open"]["state_id"] = "e" * 32
    (found,) = interrupted(hosts)
    assert found["foreseen"] == "would be in doubt, since db1 was replaced"


@pytest.mark.parametrize(
    ("facts", "wrong"),
    [
        ({"decision": ["keep"]}, "decision is a list"),
        ({"state": None}, "state is null"),
        ({"plan": []}, "plan is a list"),
    ],
)
def test_what_a_host_tells_has_its_types(facts: dict[str, Any], wrong: str) -> None:
    with pytest.raises(Unreadable, match=f"What app1 tells of a transaction can't be understood: {wrong}"):
        interrupted(opened(app1=[told(**facts)]))


@pytest.mark.parametrize("facts", [{"hosts": "web1"}, {"created": "noon"}, {"plan": ["undoes"]}, {"outcome": "well"}])
def test_history_believes_no_other_types(facts: dict[str, Any]) -> None:
    (name,) = facts
    with pytest.raises(
        Unreadable, match=rf"What app1 tells of its transactions can't be .*transactions\[0\].{name} is"
    ):
        history_rows(history(app1=[told(**facts)]))
