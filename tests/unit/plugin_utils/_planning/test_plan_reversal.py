# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which finished rollback may be undone: last in, first out, as a table."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.plan import PlanRefused
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.reversal import plan_reversal, undoable

PART = {"databases": ["blog"], "projects": [], "checked": [], "waves": [[]], "keys": ["database:blog"]}
PLAN: dict[str, Any] = {
    "stack": "blog",
    "point": {"name": "monday"},
    "source": None,
    "decision_host": "db1",
    "hosts": ["db1"],
    "waves": 1,
    "schema_only": {"blog": "db1"},
    "parts": {"db1": PART},
}


def transaction(name: str, *, undoes: str | None = None, **facts: Any) -> dict[str, Any]:
    """One that was kept and has ended, as a host tells it."""
    plan = {**PLAN, "id": name, **({"undoes": undoes} if undoes else {})}
    number = float(ord(name[0]))
    reported = {"id": name, "services": [], "stack": "blog", "plan": plan, "operator": "night shift", "created": number}
    return {**reported, "outcome": "rolled_back", "tombstoned": False, **facts}


def found(*transactions: dict[str, Any]) -> dict[str, Any]:
    return {"db1": {"__rollback_remembered": {"transactions": list(transactions)}}}


A, B = transaction("a"), transaction("b")
B_UNDONE = transaction("y", undoes="b")


@pytest.mark.parametrize(
    ("transactions", "may"),
    [
        ([], []),
        ([A], ["a"]),
        ([A, B], ["b"]),
        ([A, B, B_UNDONE], ["a", "y"]),
        ([A, B, B_UNDONE, transaction("z", undoes="y")], ["z"]),
        ([A, transaction("b", outcome="undone", tombstoned=True)], ["a"]),
        ([A, transaction("b", outcome=None)], []),
        ([A, transaction("b", stack="shop", plan={**PLAN, "stack": "shop"})], ["a"]),
        ([A, B, B_UNDONE, transaction("z")], ["z"]),
        ([B, A], ["b"]),
    ],
)
def test_the_last_one_that_stands_may_be_undone(transactions: list[dict[str, Any]], may: list[str]) -> None:
    assert undoable(found(*transactions)).get("blog", []) == may
    for each in transactions:
        if each["id"] in may:
            assert (
                plan_reversal(found(*transactions), {}, {}, id="n", undoes=each["id"], stack="blog")["undoes"]
                == each["id"]
            )
        else:
            with pytest.raises(PlanRefused):
                plan_reversal(found(*transactions), {}, {}, id="n", undoes=each["id"], stack="blog")


def test_the_plan_is_the_rollbacks_own_without_what_it_went_back_to() -> None:
    plan = plan_reversal(found(A), {}, {}, id="n", undoes="a", stack="blog")
    assert (plan["id"], plan["undoes"], plan["point"], plan["schema_only"]) == ("n", "a", None, {})
    assert plan["parts"] == {"db1": {**PART, "keys": []}}


READY, BROKEN = ({"ran_before": True, "ready_before": ready} for ready in (True, False))


@pytest.mark.parametrize(("services", "healthy"), [([], False), ([READY], True), ([READY, BROKEN], False)])
def test_what_was_broken_before_may_be_broken_again(services: list[dict[str, Any]], healthy: bool) -> None:
    plan = plan_reversal(found(transaction("a", services=services)), {}, {}, id="n", undoes="a", stack="blog")
    assert plan["was_healthy"] is healthy


@pytest.mark.parametrize(
    ("transactions", "undoes", "said"),
    [
        (
            [A, B],
            "",
            "Which rollback? Nothing was touched. Usage: ansible-playbook lastgood.rollback.undo_rollback -e rollback_id=<id>.",
        ),
        ([A, B], "", "by night shift: ansible-playbook lastgood.rollback.undo_rollback -e rollback_id=b"),
        ([], "", "There is no finished rollback to undo."),
        ([A, B], "c", "No transaction c of blog is known on db1. The last finished rollback"),
        ([A, B], "a", "Later rollbacks stand above a: b. Undo those first, the last one first."),
        ([A, B, B_UNDONE], "b", "b was undone already, by y."),
        (
            [transaction("a", outcome=None)],
            "a",
            "a has not ended on db1. First: ansible-playbook lastgood.rollback.recover -e rollback_id=a",
        ),
        ([transaction("a", outcome="undone", tombstoned=True)], "a", "a was not kept"),
        ([transaction("a", plan={})], "a", "a was made by a module that was called on its own"),
        ([transaction("a", stack="shop")], "a", "No transaction a of blog is known"),
    ],
)
def test_a_refusal_says_why_and_what_else(transactions: list[dict[str, Any]], undoes: str, said: str) -> None:
    with pytest.raises(PlanRefused) as refused:
        plan_reversal(found(*transactions), {}, {}, id="n", undoes=undoes, stack="blog")
    assert said in str(refused.value)


# -- what is checked, and how services are started, is in the catalogue alone

CHECKED = {"checked": ["shop"], "projects": [{"name": "shop", "path": "/srv/shop", "imports": []}]}
#: As versions before this one remembered it.
WITH_WORDS = {
    "checked": [{"name": "shop", "http": [], "commands": [["ask", "--token", "s3cret"]]}],
    "projects": [{"name": "shop", "path": "/srv/shop", "imports": [], "commands": [["ask", "--token", "s3cret"]]}],
}


@pytest.mark.parametrize("part", [CHECKED, WITH_WORDS])
def test_the_plan_names_what_is_checked(part: dict[str, Any]) -> None:
    reported = transaction("a", plan={**PLAN, "id": "a", "parts": {"db1": {**PART, **part}}})
    plan = plan_reversal(found(reported), {"shop": ["db1"]}, {}, id="n", undoes="a", stack="blog")
    assert plan["parts"]["db1"] == {**PART, **CHECKED, "keys": []}


@pytest.mark.parametrize("known", [{}, {"shop": ["web1"]}, {"blog": ["db1"]}])
def test_what_is_checked_by_what_the_catalogue_has_no_more_is_refused(known: dict[str, list[str]]) -> None:
    reported = transaction("a", plan={**PLAN, "id": "a", "parts": {"db1": {**PART, **CHECKED}}})
    with pytest.raises(
        PlanRefused, match="checked by shop on db1, and the catalogue has no such project there any more"
    ):
        plan_reversal(found(reported), known, {}, id="n", undoes="a", stack="blog")


WORKER = {"name": "worker", "manager": "process"}
#: As versions before this one remembered it.
WHOLE = {**WORKER, "pid_file": "/run/worker", "command": ["work", "--token", "s3cret"], "ready": {"command": ["ask"]}}


@pytest.mark.parametrize("service", [WORKER, WHOLE])
@pytest.mark.parametrize(
    ("known", "is_there"),
    [({"db1": ["process:worker"]}, True), ({"db1": ["systemd:worker"]}, False), ({"web1": ["process:worker"]}, False)],
)
def test_the_plan_names_services_that_the_catalogue_has(
    service: dict[str, Any], known: dict[str, list[str]], is_there: bool
) -> None:
    hosts = found(transaction("a", plan={**PLAN, "id": "a", "parts": {"db1": {**PART, "waves": [[], [service]]}}}))
    if is_there:
        plan = plan_reversal(hosts, {}, known, id="n", undoes="a", stack="blog")
        assert plan["parts"]["db1"]["waves"] == [[], [WORKER]]
    else:
        with pytest.raises(PlanRefused, match="a stopped worker on db1, and the catalogue has no such service there"):
            plan_reversal(hosts, {}, known, id="n", undoes="a", stack="blog")


@pytest.mark.parametrize(
    ("facts", "wrong"),
    [
        ({"outcome": ["rolled_back"]}, "outcome is a list"),
        ({"tombstoned": "false"}, "tombstoned is the text 'false'"),
        ({"plan": {**PLAN, "parts": {"db1": None}}}, "plan.parts.db1 is null"),
        ({"created": "yesterday"}, "created is the text 'yesterday'"),
        ({"services": [{"ran_before": "no", "ready_before": True}]}, r"services\[0\].ran_before is the text 'no'"),
    ],
)
def test_what_hosts_remember_has_its_types(facts: dict[str, Any], wrong: str) -> None:
    said = rf"What db1 tells of its transactions can't be understood: transactions\[0\].{wrong}"
    for ask in (undoable, lambda hosts: plan_reversal(hosts, {}, {}, id="n", undoes="a", stack="blog")):
        with pytest.raises(Unreadable, match=said):
            ask(found(transaction("a", **facts)))
