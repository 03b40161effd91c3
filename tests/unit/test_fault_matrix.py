# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix: which cases it has, which of them happen to one run, and the page of their results."""

from __future__ import annotations

import pytest
from faults.case import Result
from faults.cases import Case, Left, all_cases
from faults.kinds import FAULTS, Fault
from faults.matrix import page
from faults.steps import SCENARIOS, Scenario, Step

THERE, UNDONE = SCENARIOS[:2]
SWITCH = Step("lab-db", "intent: Switch database:blog", 1, "database", True)
PROMISE = Step("lab-app1", "promised: Promised", 1, "", False)
UNDO = Step("lab-app1", "intent: Undo code:/srv/blog-core", 1, "code", True)
RECORDINGS = {THERE: [SWITCH, PROMISE], UNDONE: [SWITCH, UNDO]}
CASES = list(all_cases(RECORDINGS))
WITH = {fault.name: fault for fault in FAULTS}
KILL, DIES, DISK = (WITH[name] for name in ("kill -9 of the controller", "kill -9 of the module", "disk full"))


def case(fault: Fault, step: Step, scenario: Scenario = THERE) -> Case:
    return Case(scenario, step, fault)


def result(fault: Fault, step: Step, ended: str, *problems: str) -> Result:
    return Result(fault.name, step.label, step.host, 1, "", "", ended, 1.0, problems, "abc")


@pytest.fixture
def left() -> Left:
    return Left(CASES, RECORDINGS, alone=set())


def test_a_step_has_a_case_for_each_fault_that_can_hurt_it_and_is_the_first_scenarios() -> None:
    found: dict[str, set[str]] = {}
    for each in CASES:
        found.setdefault(each.step.label, set()).add(each.fault.name)
    everywhere = set(WITH) - {"PostgreSQL killed", "disk full", "service does not start", "health check fails"}
    assert found == {
        SWITCH.label: set(WITH),
        PROMISE.label: everywhere,
        UNDO.label: set(WITH) - {"PostgreSQL killed"},
    }
    assert {each.scenario for each in CASES if each.step.label == SWITCH.label} == {THERE}


def test_what_is_taken_is_nobody_elses(left: Left) -> None:
    taken = [left.next("everything") for _each in CASES]
    assert sorted(each.key for each in taken if each) == sorted(each.key for each in CASES)
    assert left.next("everything") is None
    assert left.wanted([]) == {}
    assert left.take(UNDO.host, UNDO.name, []) is None


def test_what_was_not_reached_comes_once_more_at_the_end(left: Left) -> None:
    first = left.next("everything")
    assert first and left.put_off(first)
    others = [left.next("everything") for _each in CASES[1:]]
    assert first not in others
    assert left.next("everything") == first
    assert not left.put_off(first)
    assert left.next("everything") is None


def test_a_controller_ends_once(left: Left) -> None:
    ends = []
    while taken := left.take(UNDO.host, UNDO.name, [case(KILL, SWITCH)]):
        ends.append(taken.fault.silences)
    assert ends
    assert not any(ends)


def test_a_module_whose_controller_has_gone_meets_all_but_the_end_of_another(left: Left) -> None:
    names = []
    while taken := left.take(UNDO.host, UNDO.name, [], alone=True):
        assert not taken.fault.silences
        names.append(taken.fault.name)
    assert DIES.name in names
    assert left.take(UNDO.host, UNDO.name, []), "what ends a controller is left for a run that has one"


def test_a_held_step_is_left_by_one_fault_after_the_other_the_controllers_end_last(left: Left) -> None:
    assert left.wanted([])[UNDO.host] == {UNDO.name: 0, PROMISE.name: 0}
    names = []
    while taken := left.take(UNDO.host, UNDO.name, []):
        assert taken.step == UNDO
        names.append(taken.fault.name)
    assert sorted(names) == sorted(set(WITH) - {"PostgreSQL killed"})
    assert names[-1] == KILL.name
    assert left.wanted([])[UNDO.host] == {PROMISE.name: 0}


def test_what_prevents_a_rollback_is_left_for_one_of_its_own(left: Left) -> None:
    names = set()
    while taken := left.take(SWITCH.host, SWITCH.name, []):
        names.add(taken.fault.name)
    assert names == set(WITH) - {"service does not start", "health check fails"}


def test_only_one_fault_that_has_to_be_mended_happens_to_a_playbook(left: Left) -> None:
    names = set()
    while taken := left.take(UNDO.host, UNDO.name, [case(DISK, SWITCH)]):
        names.add(taken.fault.name)
        assert taken.fault.mend is None
    assert DIES.name in names and KILL.name in names


def test_what_has_failed_is_tried_alone() -> None:
    left = Left([case(DIES, UNDO, UNDONE)], RECORDINGS, alone={case(DIES, UNDO).key})
    assert left.wanted([]) == {}
    assert left.take(UNDO.host, UNDO.name, []) is None
    assert left.next("everything") == case(DIES, UNDO, UNDONE)


def test_the_page_has_the_steps_in_order_and_tells_what_was_not_tried_from_what_cannot_hurt() -> None:
    gone = Step("lab-db", "note: of another version", 1, "", False)
    results = [
        result(KILL, SWITCH, "old"),
        result(DIES, SWITCH, "new"),
        result(DISK, UNDO, "", "lab-db blog: new"),
        result(KILL, gone, "old"),
    ]
    text = page({(each.fault, each.label): each for each in results}, CASES)
    assert f"4 of {len(CASES) + 1} cases were run" in text
    assert "3 held, 1 did not" in text
    sections = [line for line in text.splitlines() if line.startswith(("## ", "| `"))]
    rows = {line.split("`")[1]: line.split("|")[2:-1] for line in sections if line.startswith("| `")}
    assert [line for line in sections if line.startswith("##")] == [
        "## Rollback",
        "## Undo of rollback",
        "## In some runs only",
    ]
    assert list(rows) == [SWITCH.label, PROMISE.label, UNDO.label, gone.label]
    marks = {label: dict(zip(WITH, map(str.strip, cells), strict=True)) for label, cells in rows.items()}
    assert [marks[SWITCH.label][fault.name] for fault in (KILL, DIES, DISK)] == ["o", "n", "."]
    assert [marks[PROMISE.label][fault.name] for fault in (KILL, DISK)] == [".", ""]
    assert marks[UNDO.label][DISK.name] == "!"
    assert [marks[gone.label][fault.name] for fault in (KILL, DIES)] == ["o", ""]
    assert text.endswith(f"**{DISK.name}**, `{UNDO.label}` (lab-app1):\n\n- lab-db blog: new\n")
