# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of a transaction on one host, each as a refusal or as what is found on the disk afterwards."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import stat
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    CommandFailed,
    Damaged,
    InDoubt,
    LockHeld,
    Refused,
    StateConflict,
    UndoIncomplete,
    Unreadable,
    VerificationFailed,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import COMPONENTS, component_class
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.arming import arm
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import Header
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.retention import prune
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.transaction import Transaction, new_id
from ansible_collections.lastgood.rollback.plugins.module_utils._runners.transaction import _inspected
from engine_component import KINDS, Late, make_pair, plan_pair, words
from engine_host import ID, OK_CHECK, Host

OTHER_ID = "20261123T150000Z-blog-0001"


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, component in KINDS.items():
        monkeypatch.setitem(COMPONENTS, kind, component)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """The only host of its plan."""
    return Host(tmp_path)


@pytest.fixture
def member(tmp_path: Path) -> Host:
    """A host of a plan with two, that does not keep the decision."""
    return Host(tmp_path, "app1", ("db1", "app1"))


@pytest.fixture
def decider(tmp_path: Path) -> Host:
    """The host that keeps the decision of a plan with two."""
    return Host(tmp_path, "db1", ("db1", "app1"))


def snapshot(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a directory, with its content and when it was changed."""
    return {
        str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


# -- the whole way -------------------------------------------------------------------------------------------------


def test_a_rollback_goes_through_its_states_and_ends_rolled_back(host: Host) -> None:
    seen = []
    for phase in ("begin", "prepare", "switch", "promise"):
        host.until(phase)
        seen.append((host.state, host.words))
    assert seen == [("open", {"old"}), ("prepared", {"old"}), ("switched", {"new"}), ("promised", {"new"})]
    assert host.until("keep").finish(None, []) == "rolled_back"
    assert (host.state, host.words) == ("finished", {"new"})


def test_an_undo_brings_the_old_back_and_keeps_what_it_took_back(host: Host) -> None:
    undone = host.until("switch").undo(None, "a check failed")
    assert [entry["component"] for entry in undone] == [f"pair:{host.path}"]
    assert (host.state, host.words) == ("undone", {"old"})
    assert (host.path / "one.rejected").read_text() == "new"
    assert not (host.path / "one.new").exists()
    assert host.transaction().finish(None, []) == "undone"


def test_an_undo_that_did_nothing_is_found_out(host: Host) -> None:
    host.until("switch")
    (host.path / "forget-undo").touch()
    with pytest.raises(UndoIncomplete, match=f"pair:{host.path} is switched after its undo"):
        host.transaction().undo(None, "a check failed")
    assert (host.words, host.records().outcome) == ({"new"}, None)
    (host.path / "forget-undo").unlink()
    host.transaction().undo(None, "asked again")
    assert (host.state, host.words) == ("undone", {"old"})


def test_what_was_written_meanwhile_is_counted_when_nobody_waits_any_more(host: Host) -> None:
    host.until("switch").undo(None, "a check failed")
    assert not (host.path / "counted").exists()
    host.transaction().finish(None, [])
    assert (host.path / "counted").exists()


def test_an_undone_transaction_ends_although_what_was_written_can_not_be_counted(host: Host) -> None:
    host.until("switch").undo(None, "a check failed")
    (host.path / "fail-count").touch()
    assert host.transaction().finish(None, []) == "undone"
    assert "is not counted" in host.transaction().records.journal.path.read_text()


def test_that_its_things_can_not_be_looked_at_fails_nothing_and_is_told(host: Host) -> None:
    transaction = host.until("switch")
    (host.path / "one").unlink()
    (host.path / "one").mkdir()
    found, problem = _inspected(transaction)
    assert (found, problem) == ([], f"{host.path / 'one'}: Is a directory.")


def test_an_undone_transaction_stays_open_until_what_was_only_to_be_counted_is_gone(host: Host) -> None:
    host.until("switch").undo(None, "a check failed")
    (host.path / "fail-let-go").touch()
    with pytest.raises(CommandFailed, match=r"The let-go of .* told to fail"):
        host.transaction().finish(None, [])
    assert host.transaction().records.outcome is None
    (host.path / "fail-let-go").unlink()
    assert host.transaction().finish(None, []) == "undone"


@pytest.mark.parametrize("why", ["one.written", "fail-count"])
def test_what_was_written_to_or_can_not_be_counted_is_not_discarded(host: Host, why: str) -> None:
    host.until("switch").undo(None, "a check failed")
    (host.path / why).touch()
    (host.path / "fail-let-go").touch()
    assert host.transaction().finish(None, []) == "undone"


def test_components_are_switched_in_order_and_undone_in_reverse(host: Host, tmp_path: Path) -> None:
    late = make_pair(tmp_path / "late")
    host.begin()
    host.transaction().prepare(plan_pair(late, kind=Late), {})
    host.prepare()
    switched = [entry["component"] for entry in host.transaction().switch()]
    undone = [entry["component"] for entry in host.transaction().undo(None, "asked")]
    assert switched == [f"pair:{host.path}", f"late:{late}"]
    assert undone == switched[::-1]
    assert words(late) == host.words == {"old"}


# -- rule 1: the promise -------------------------------------------------------------------------------------------


def test_a_promise_is_refused_once_this_host_has_undone(host: Host) -> None:
    host.until("switch").undo(None, "the controller fell silent")
    with pytest.raises(Refused, match="was undone on this host"):
        host.transaction().promise([OK_CHECK])
    assert host.records().promise is None


@pytest.mark.parametrize(
    ("checks", "damage", "cause"),
    [
        ([{"name": "login", "ok": False}, OK_CHECK], None, "login"),
        ([{"name": "login"}], None, "login"),
        ([OK_CHECK], "newer", "foreign"),
    ],
    ids=["a check failed", "a check without a result", "a component is not what it was switched to"],
)
def test_a_promise_is_refused_without_proof(
    host: Host, checks: list[dict[str, Any]], damage: str | None, cause: str
) -> None:
    host.until("switch")
    if damage:
        (host.path / "one").write_text(damage)
    with pytest.raises(VerificationFailed, match=cause):
        host.transaction().promise(checks)
    assert host.state == "switched"


def test_an_unswitched_host_does_not_promise(host: Host) -> None:
    with pytest.raises(VerificationFailed, match="should be switched, but is prepared"):
        host.until("prepare").promise([OK_CHECK])


def test_a_second_promise_changes_nothing(host: Host) -> None:
    host.until("promise")
    before = snapshot(host.state_dir)
    host.transaction().promise([{"name": "late and wrong", "ok": False}])
    assert snapshot(host.state_dir) == before


@pytest.mark.parametrize("phase", ["promise", "decide"])
def test_what_a_killed_call_wrote_is_synced_before_it_is_answered(
    decider: Host, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record has its name already, but a power cut could still take it away."""
    decider.until("switch")
    decider.records().write_promise([])
    if phase == "decide":
        decider.records().decide("undo", "a call that was killed")
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))
    answers: dict[str, Callable[[], object]] = {
        "promise": lambda: decider.transaction().promise([OK_CHECK]),
        "decide": lambda: decider.transaction().decide("keep", ["db1", "app1"], "controller"),
    }
    answers[phase]()
    assert str(decider.records().directory) in synced


def test_undo_after_a_promise_needs_a_decision(member: Host) -> None:
    member.until("promise")
    with pytest.raises(InDoubt, match="decision can't be read"):
        member.transaction().undo(None, "impatience")
    assert (member.state, member.words) == ("promised", {"new"})
    member.transaction().undo("undo", "decided")
    assert (member.state, member.words) == ("undone", {"old"})


def test_an_undo_that_was_interrupted_after_a_promise_goes_on_without_the_decision(member: Host) -> None:
    member.until("promise")
    (member.path / "fail-undo").touch()
    with pytest.raises(CommandFailed, match=r"The undo of .* told to fail"):
        member.transaction().undo("undo", "decided")
    (member.path / "fail-undo").unlink()
    member.transaction().undo(None, "asked by hand")
    assert (member.state, member.words) == ("undone", {"old"})


# -- rule 2: the decision ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [("keep", "undo"), ("undo", "keep")])
def test_the_first_decision_stands(decider: Host, first: str, second: str) -> None:
    decider.until("promise")
    assert decider.transaction().decide(first, ["db1", "app1"], "controller") == first
    assert decider.transaction().decide(second, ["db1", "app1"], "recovery") == first
    assert json.loads((decider.records().directory / "decision").read_text())["by"] == "controller"


def test_a_decision_is_never_written_over_even_by_who_has_not_looked(decider: Host) -> None:
    decider.begin()
    assert decider.records().decide("keep", "controller") == "keep"
    before = snapshot(decider.records().directory)["decision"]
    assert decider.records().decide("undo", "one that has not looked") == "keep"
    assert snapshot(decider.records().directory)["decision"] == before


def test_everything_is_on_the_disk_before_the_promise_stands(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.until("switch")
    stood = []
    monkeypatch.setattr(os, "sync", lambda: stood.append((host.records().directory / "promise").exists()))
    host.transaction().promise([OK_CHECK])
    assert stood == [False]


def test_keep_is_refused_while_a_promise_is_missing(decider: Host) -> None:
    decider.until("promise")
    with pytest.raises(Refused, match="no promise of app1"):
        decider.transaction().decide("keep", ["db1"], "controller")
    assert decider.records().decision is None


def test_keep_is_refused_when_this_host_did_not_promise_whatever_the_caller_says(decider: Host) -> None:
    decider.until("switch")
    with pytest.raises(Refused, match="no promise of db1"):
        decider.transaction().decide("keep", ["db1", "app1"], "controller")


def test_keep_is_refused_where_this_host_has_undone(decider: Host) -> None:
    decider.until("switch").undo(None, "the controller fell silent")
    with pytest.raises(Refused, match="this host has undone"):
        decider.transaction().decide("keep", ["db1", "app1"], "controller")


def test_only_the_decision_host_decides(member: Host) -> None:
    member.until("promise")
    with pytest.raises(Refused, match="ask db1"):
        member.transaction().decide("undo", [], "controller")


def test_undo_is_refused_after_the_decision_to_keep(decider: Host) -> None:
    decider.until("keep")
    with pytest.raises(Refused, match="decided to be kept"):
        decider.transaction().undo("undo", "a message that lies")
    assert decider.words == {"new"}


def test_the_decision_host_believes_nobody_about_its_own_decision(decider: Host) -> None:
    decider.until("promise")
    with pytest.raises(InDoubt, match=r"decision can.t be read"):
        decider.transaction().undo("undo", "no such decision stands")
    with pytest.raises(InDoubt, match="decision"):
        decider.transaction().finish("keep", ["app1"])
    assert decider.state == "promised"


def test_a_host_that_has_ended_answers_for_a_decision_that_was_lost(decider: Host) -> None:
    decider.until("keep").finish(None, ["app1"])
    (decider.records().directory / "decision").unlink()
    assert decider.transaction().decide("undo", [], "straggler") == "keep"


def test_of_many_processes_that_decide_at_once_one_wins_and_all_are_told_so(decider: Host) -> None:
    decider.until("promise")
    choices = ["keep", "undo"] * 4
    with multiprocessing.get_context("fork").Pool(len(choices)) as pool:
        answers = pool.starmap(_decide, [(decider.state_dir, choice) for choice in choices], chunksize=1)
    assert set(answers) == {decider.records().decision}


def _decide(state_dir: Path, choice: str) -> str:
    return Transaction(state_dir, ID, component_class).decide(choice, ["db1", "app1"], f"process {os.getpid()}")


# -- rule 4: the tombstone -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["begin", "prepare", "arm", "switch"])
def test_nothing_goes_forward_once_this_host_has_undone(host: Host, phase: str) -> None:
    host.until("prepare").undo(None, "asked")
    steps: dict[str, Callable[[], object]] = {
        "begin": host.begin,
        "prepare": host.prepare,
        "arm": lambda: arm(host.transaction()),
        "switch": host.transaction().switch,
    }
    with pytest.raises(Refused, match=r"undone on this host|already ended"):
        steps[phase]()
    assert host.words == {"old"}
    assert not (host.records().directory / "deadline").exists()


@pytest.mark.parametrize("phase", ["begin", "switch", "promise"])
def test_an_undo_that_overtook_the_begin_is_remembered(host: Host, phase: str) -> None:
    host.transaction().undo(None, "the begin never arrived")
    assert host.state == "undone"
    steps: dict[str, Callable[[], object]] = {
        "begin": host.begin,
        "switch": host.transaction().switch,
        "promise": lambda: host.transaction().promise([OK_CHECK]),
    }
    with pytest.raises(Refused, match=r"already ended|never began"):
        steps[phase]()
    assert host.transaction().finish(None, []) == "undone"
    with pytest.raises(Refused, match=r"already ended|never began"):
        steps[phase]()


def test_a_tombstone_alone_holds_nothing(host: Host) -> None:
    host.transaction().undo(None, "the begin never arrived")
    assert host.begin(OTHER_ID)


def test_late_messages_do_nothing_twice(host: Host) -> None:
    """Delivered again after the promise, or after the end, they neither switch nor prepare anything."""
    host.until("promise")
    (host.path / "fail-prepare").touch()
    (host.path / "fail-switch").touch()
    before = host.words
    assert host.begin() is False
    host.prepare()
    assert host.transaction().switch() == []
    arm(host.transaction())
    assert not (host.records().directory / "deadline").exists()
    assert host.words == before


def test_another_component_is_not_prepared_while_switching(host: Host, tmp_path: Path) -> None:
    host.until("switch")
    other = make_pair(tmp_path / "other")
    with pytest.raises(Refused, match="already being switched"):
        host.transaction().prepare(plan_pair(other), {})
    assert sorted(path.name for path in other.iterdir()) == ["one", "two"]


# -- rules 5 to 7: finish, foreign things, undoing what is finished ------------------------------------------------


def test_finish_is_refused_without_a_decision(member: Host) -> None:
    member.until("promise")
    with pytest.raises(InDoubt, match="without the decision"):
        member.transaction().finish(None, [])
    with pytest.raises(InDoubt, match="without the decision to keep"):
        member.transaction().finish("undo", [])
    assert member.records().outcome is None


def test_finish_is_refused_without_a_promise(member: Host) -> None:
    member.until("switch")
    with pytest.raises(Refused, match="never promised"):
        member.transaction().finish("keep", [])
    assert member.records().outcome is None


def test_finish_is_refused_while_something_is_not_undone(member: Host) -> None:
    (member.path / "fail-undo").touch()
    with pytest.raises(CommandFailed, match=r"The undo of .* told to fail"):
        member.until("switch").undo(None, "asked")
    with pytest.raises(UndoIncomplete, match="Not yet undone: pair:"):
        member.transaction().finish("undo", [])
    assert member.records().outcome is None


@pytest.mark.parametrize("outcome", ["rolled_back", "undone"])
def test_the_decision_host_ends_last(decider: Host, outcome: str) -> None:
    decider.until("promise").decide("keep" if outcome == "rolled_back" else "undo", ["db1", "app1"], "controller")
    if outcome == "undone":
        decider.transaction().undo(None, "decided")
    assert decider.transaction().finish(None, []) is None
    assert decider.records().outcome is None
    with pytest.raises(LockHeld, match=f"held by transaction {ID}"):
        decider.begin(OTHER_ID)
    assert decider.transaction().finish(None, ["app1"]) == outcome
    assert decider.begin(OTHER_ID)


def test_a_second_finish_answers_the_same_and_changes_nothing(host: Host) -> None:
    host.until("keep").finish(None, [])
    before = snapshot(host.state_dir)
    assert host.transaction().finish("undo", []) == "rolled_back"
    assert snapshot(host.state_dir) == before


def test_a_second_undo_changes_nothing(host: Host) -> None:
    host.until("switch").undo(None, "asked")
    before = snapshot(host.path), snapshot(host.state_dir)
    assert host.transaction().undo(None, "asked again") == []
    assert (snapshot(host.path), snapshot(host.state_dir)) == before
    host.transaction().finish(None, [])
    assert host.transaction().undo(None, "and again, after the end") == []


def test_a_finished_rollback_is_not_undone(member: Host) -> None:
    member.until("promise").finish("keep", [])
    with pytest.raises(Refused, match="finished, not undone"):
        member.transaction().undo("undo", "regret")
    assert member.words == {"new"}


def test_nothing_is_undone_when_one_thing_was_changed_by_somebody_else(host: Host, tmp_path: Path) -> None:
    late = make_pair(tmp_path / "late")
    host.begin()
    host.prepare()
    host.transaction().prepare(plan_pair(late, kind=Late), {})
    host.transaction().switch()
    (host.path / "one").write_text("deployed since")
    with pytest.raises(StateConflict, match=f"pair:{host.path}"):
        host.transaction().undo("undo", "asked", kinds=["late"])
    assert words(late) == {"new"}
    assert (host.path / "one").read_text() == "deployed since"
    assert host.state == "switched"


def test_nothing_is_switched_when_one_thing_was_changed_by_somebody_else(host: Host, tmp_path: Path) -> None:
    late = make_pair(tmp_path / "late")
    host.begin()
    host.prepare()
    host.transaction().prepare(plan_pair(late, kind=Late), {})
    (late / "one").write_text("deployed since")
    (late / "two").write_text("deployed since")
    with pytest.raises(StateConflict, match=f"late:{late}"):
        host.transaction().switch()
    assert host.words == {"old"}


def test_what_was_not_switched_may_look_foreign_and_is_still_cleaned_up(host: Host, tmp_path: Path) -> None:
    late = make_pair(tmp_path / "late")
    host.begin()
    host.prepare()
    host.transaction().prepare(plan_pair(late, kind=Late), {})
    (host.path / "fail-switch").touch()
    with pytest.raises(CommandFailed, match=r"The switch of .* told to fail"):
        host.transaction().switch()
    assert host.words == {"old", "new"}
    host.transaction().undo(None, "the switch failed")
    assert host.words == words(late) == {"old"}
    assert not (late / "one.new").exists()


def test_only_the_kinds_asked_for_are_undone(host: Host, tmp_path: Path) -> None:
    late = make_pair(tmp_path / "late")
    host.begin()
    host.prepare()
    host.transaction().prepare(plan_pair(late, kind=Late), {})
    host.transaction().switch()
    host.transaction().undo(None, "asked", kinds=["pair"])
    assert (host.words, words(late)) == ({"old"}, {"new"})
    assert not host.records().undo_finished
    host.transaction().undo(None, "asked", kinds=[])
    host.transaction().undo(None, "asked")
    assert words(late) == {"old"}
    assert host.records().undo_finished


# -- staying as it is, when another host can't be undone -----------------------------------------------------------


def test_a_switched_host_that_stays_is_never_undone_alone(member: Host) -> None:
    transaction = member.until("switch")
    transaction.keep_as_is("undo", "the database on db1 refused")
    assert (member.state, member.words) == ("promised", {"new"})
    with pytest.raises(InDoubt, match=r"decision can.t be read"):
        transaction.undo(None, "the controller fell silent")


@pytest.mark.parametrize("decision", [None, "keep"])
@pytest.mark.parametrize("phase", [None, "switch", "promise"])
def test_nobody_stays_without_the_decision_to_undo(member: Host, phase: str | None, decision: str | None) -> None:
    if phase:
        member.until(phase)
    known = member.records().directory.is_dir()
    with pytest.raises(Refused, match="only where it was decided to undo"):
        member.transaction().keep_as_is(decision, "the database on db1 refused")
    assert member.records().directory.is_dir() == known
    assert known is False or member.state in ("switched", "promised")


@pytest.mark.parametrize("phase", [None, "begin", "prepare"])
def test_an_unswitched_host_that_stays_will_never_be_switched(member: Host, phase: str | None) -> None:
    if phase:
        member.until(phase)
    member.transaction().keep_as_is("undo", "the database on db1 refused")
    assert (member.state, member.words) == ("undone", {"old"})


def test_a_half_switched_host_is_undone_rather_than_left_half(member: Host) -> None:
    (member.path / "fail-switch").touch()
    with pytest.raises(CommandFailed, match=r"The switch of .* told to fail"):
        member.until("switch")
    assert member.words == {"old", "new"}
    member.transaction().keep_as_is("undo", "the database on db1 refused")
    assert (member.state, member.words) == ("undone", {"old"})


# -- the services around an undo -----------------------------------------------------------------------------------


def undo_with_services(host: Host) -> list[str]:
    """What an undo without the controller does to the services, in order."""
    calls: list[str] = []
    transaction = host.transaction()
    try:
        transaction.undo(None, "silence", stop=lambda: calls.append("stop"), start=lambda: calls.append("start"))
    except CommandFailed:
        calls.append("failed")
    return calls


def test_services_are_stopped_only_for_what_was_switched(host: Host) -> None:
    host.until("prepare")
    assert undo_with_services(host) == ["start"]


def test_services_are_stopped_and_started_around_an_undo(host: Host) -> None:
    host.until("switch")
    assert undo_with_services(host) == ["stop", "start"]
    assert undo_with_services(host) == ["start"]


def test_services_are_not_started_on_a_half_undone_host(host: Host) -> None:
    host.until("switch")
    (host.path / "fail-undo").touch()
    assert undo_with_services(host) == ["stop", "failed"]


def test_services_are_started_when_only_the_cleaning_up_failed(host: Host) -> None:
    host.until("prepare")
    (host.path / "fail-undo").touch()
    assert undo_with_services(host) == ["start", "failed"]


# -- begin, and the lock -------------------------------------------------------------------------------------------


def test_a_held_stack_is_refused_with_who_holds_it(host: Host) -> None:
    host.begin()
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(host.header().created))
    with pytest.raises(LockHeld) as refused:
        host.begin(OTHER_ID)
    for word in ("stack blog", ID, since, "night shift", "web1", f"lastgood.rollback.recover -e rollback_id={ID}"):
        assert word in refused.value.message
    assert not host.records(OTHER_ID).directory.exists()


def test_a_thing_of_another_stack_is_refused_with_its_name(host: Host) -> None:
    host.until("prepare")
    host.begin(OTHER_ID, stack="shop")
    with pytest.raises(LockHeld, match=f"pair:{host.path} is held by transaction {ID}"):
        host.prepare(OTHER_ID)
    assert host.records(OTHER_ID).plans() == {}


@pytest.mark.parametrize("outcome", ["rolled_back", "undone"])
def test_an_ended_transaction_holds_nothing(host: Host, outcome: str) -> None:
    if outcome == "undone":
        host.until("switch").undo(None, "asked")
        with pytest.raises(LockHeld, match=f"held by transaction {ID}"):
            host.begin(OTHER_ID)
    else:
        host.until("keep")
    assert host.transaction().finish(None, []) == outcome
    assert host.begin(OTHER_ID)
    host.transaction(OTHER_ID).prepare(plan_pair(host.path, to="newest"), {})


def test_begin_again_is_no_second_begin(host: Host) -> None:
    assert host.begin() is True
    before = snapshot(host.state_dir)
    assert host.begin() is False
    assert snapshot(host.state_dir) == before


@pytest.mark.parametrize(
    ("field", "value"), [("stack", "shop"), ("hosts", ("web1", "web2")), ("decision_host", "web2")]
)
def test_the_same_id_for_something_else_is_refused(host: Host, field: str, value: object) -> None:
    header = host.header()
    host.begin()
    with pytest.raises(Refused, match=f"was begun here with {field}"):
        host.transaction().begin(header.__class__(**{**header.__dict__, field: value}))


@pytest.mark.parametrize("wrong", ["", ".", "..", "../x", "a/b", "-x", ".hidden", "a b", "x" * 101, "a\n"])
def test_an_id_can_not_lead_elsewhere(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(Refused, match="is not a transaction's id"):
        Transaction(tmp_path, wrong, component_class)


def test_new_ids_are_ids(tmp_path: Path) -> None:
    assert Transaction(tmp_path, new_id("blog"), component_class).records.id.endswith(tuple("0123456789abcdef"))


@pytest.mark.parametrize("round_", range(20))
def test_of_two_that_begin_in_the_same_instant_one_wins_and_the_other_is_told_who(tmp_path: Path, round_: int) -> None:
    context = multiprocessing.get_context("fork")
    gate, answers = context.Barrier(2), context.SimpleQueue()
    ids = [f"20261123T143000Z-blog-{round_:02d}{number}" for number in "ab"]
    processes = [context.Process(target=_begin, args=(tmp_path, each, gate, answers)) for each in ids]
    for process in processes:
        process.start()
    told = dict(answers.get() for _process in processes)
    for process in processes:
        process.join()
    winners = [each for each in ids if told[each] == "begun"]
    assert len(winners) == 1
    (loser,) = set(ids) - set(winners)
    assert told[loser].startswith("LockHeld: ")
    assert winners[0] in told[loser]
    assert sorted(path.name for path in (tmp_path / "web1/state/transactions").iterdir()) == [".lock", winners[0]]


def _begin(base: Path, transaction_id: str, gate: Any, answers: Any) -> None:
    host = Host.__new__(Host)
    host.name, host.hosts, host.state_dir = "web1", ("web1",), base / "web1" / "state"
    gate.wait()
    try:
        host.begin(transaction_id)
        answers.put((transaction_id, "begun"))
    except Exception as error:  # noqa: BLE001 - somebody waits for an answer
        answers.put((transaction_id, f"{error.__class__.__name__}: {error}"))


def test_what_a_killed_begin_left_behind_is_no_transaction_and_is_cleared_away(host: Host) -> None:
    leftover = host.state_dir / "transactions" / ".begin-abc"
    leftover.mkdir(parents=True)
    (leftover / "header.json").write_text("{")
    (host.state_dir / "transactions" / "README").write_text("a file of the operator's")
    assert host.begin()
    assert not leftover.exists()


def test_the_state_directory_is_for_its_owner_only(host: Host) -> None:
    host.until("switch")
    ours = [path for path in host.state_dir.rglob("*") if path.name != "evidence"]  # that is the component's own
    for path in [host.state_dir, *ours]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


# -- secrets -------------------------------------------------------------------------------------------------------

SECRET = "s3cret-käse"


def files_with_secret(directory: Path) -> list[str]:
    """The files below a directory that hold the secret, as it is or as JSON escapes it."""
    forms = (SECRET.encode(), json.dumps(SECRET)[1:-1].encode())
    return sorted(
        path.name
        for path in directory.rglob("*")
        if path.is_file() and any(form in path.read_bytes() for form in forms)
    )


def test_passwords_are_kept_apart_until_the_promise(host: Host) -> None:
    host.begin()
    host.prepare(passwords={"login_password": SECRET})
    host.transaction().switch()
    assert files_with_secret(host.state_dir) == ["secrets.json"]
    assert stat.S_IMODE((host.records().directory / "secrets.json").stat().st_mode) == 0o600
    host.transaction().promise([OK_CHECK])
    assert files_with_secret(host.state_dir) == []


def test_passwords_are_kept_for_the_undo_and_removed_at_its_end(host: Host) -> None:
    host.begin()
    host.prepare(passwords={"login_password": SECRET})
    host.transaction().undo(None, "asked")
    assert files_with_secret(host.state_dir) == ["secrets.json"]
    host.transaction().finish(None, [])
    assert files_with_secret(host.state_dir) == []


WORKER = {"name": "worker", "manager": "process", "pid_file": "/run/worker", "command": ["work", "--token", SECRET]}


def test_how_services_are_started_is_kept_apart_until_the_end(host: Host) -> None:
    host.transaction().begin(host.header(), [WORKER])
    host.prepare()
    host.transaction().switch()
    host.transaction().promise([OK_CHECK])
    assert files_with_secret(host.state_dir) == ["services.json"]
    assert stat.S_IMODE((host.records().directory / "services.json").stat().st_mode) == 0o600
    assert host.records().service_options() == {"process:worker": WORKER}
    host.transaction().decide("keep", ["web1"], "night shift")
    host.transaction().finish(None, [])
    assert files_with_secret(host.state_dir) == []
    assert host.records().service_options() == {}


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("{}", "is gone, or tells nothing of process:worker"),
        ('{"process:worker": []}', "can't be understood: process:worker is a list, not an object"),
        ("{", "can't be understood: Expecting property name"),
    ],
)
def test_a_service_that_nobody_can_start_again_is_noticed(host: Host, content: str, wrong: str) -> None:
    """Where its options are gone, it is neither started as a unit of its name nor left out."""
    host.transaction().begin(host.header(), [WORKER])
    (host.records().directory / "services.json").write_text(content)
    with pytest.raises(Unreadable, match=f"services.json {wrong}"):
        host.records().service_options()


@pytest.mark.parametrize("parts", ["parts", "of"], ids=["now", "an older release"])
def test_a_plan_is_shown_without_the_words_of_its_services(host: Host, parts: str) -> None:
    other = {"name": "shop", "manager": None}
    plan = {parts: {"web1": {"waves": [[WORKER], [other]], "keys": []}, "db1": {}}, "undoes": None}
    header = Header.from_json({**asdict(host.header()), "plan": plan})
    assert header.planned_services == [WORKER, other]
    shown = [[{"name": "worker", "manager": "process"}], [{"name": "shop"}]]
    assert header.shown_plan() == {
        "parts": {"web1": {"waves": shown, "keys": []}, "db1": {"waves": []}},
        "undoes": None,
    }


def test_a_plan_of_another_shape_is_named(host: Host) -> None:
    header = replace(host.header(), plan={"parts": {"web1": {"waves": [[{}]]}}})
    with pytest.raises(Unreadable, match=f"{ID}/header.json, plan can't be understood: .*name is missing"):
        header.shown_plan()


@pytest.mark.parametrize(
    ("plan", "hosts"),
    [
        ({}, []),
        ({"rehearse": True, "stack_hosts": ["web1", "db1"]}, []),
        ({"stack_hosts": ["web1", "db1"]}, ["web1", "db1"]),
        ({"rehearse": False}, ["web1"]),
    ],
)
def test_a_plan_tells_which_hosts_its_stack_has(host: Host, plan: dict[str, Any], hosts: list[str]) -> None:
    assert replace(host.header(), plan=plan).stack_hosts == hosts


def test_an_end_that_was_cut_short_leaves_no_word(host: Host) -> None:
    host.transaction().begin(host.header(), [WORKER])
    kept = (host.records().directory / "services.json").read_bytes()
    host.transaction().undo(None, "asked")
    host.transaction().finish(None, [])
    for again in (lambda: host.transaction().finish(None, []), lambda: prune(host.state_dir, "blog", 7)):
        (host.records().directory / "services.json").write_bytes(kept)
        assert files_with_secret(host.state_dir) == ["services.json"]
        again()
        assert files_with_secret(host.state_dir) == []


# -- damage, and a full disk ---------------------------------------------------------------------------------------


def test_a_header_of_a_newer_version_is_read(host: Host) -> None:
    host.begin()
    path = host.records().directory / "header.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "blue"}))
    header = host.records().header()
    assert header is not None and header.stack == "blog"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"hosts": 1}'])
def test_a_damaged_header_is_named(host: Host, content: str) -> None:
    host.begin()
    path = host.records().directory / "header.json"
    path.write_text(content)
    with pytest.raises(Damaged, match=str(path)):
        host.begin(OTHER_ID)


class FullDisk:
    """Refuses every write of more than nothing until something is removed, as a full disk would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        real_write, real_unlink = os.write, Path.unlink

        def write(handle: int, data: bytes) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real_write(handle, data)

        def unlink(path: Path, missing_ok: bool = False) -> None:
            self.full = self.full and not (path.exists() and path.stat().st_size)
            real_unlink(path, missing_ok=missing_ok)

        monkeypatch.setattr(os, "write", write)
        monkeypatch.setattr(Path, "unlink", unlink)


def test_nothing_is_touched_when_the_intent_can_not_be_journalled(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.until("prepare")
    FullDisk(monkeypatch)
    with pytest.raises(Damaged, match=r"journal.jsonl can't be written: No space left on device"):
        host.transaction().switch()
    assert host.words == {"old"}


def test_an_undo_has_room_of_its_own_on_a_full_disk(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.until("switch")
    reserve = host.records().directory / "reserve"
    assert reserve.stat().st_size >= 64 * 1024
    FullDisk(monkeypatch)
    host.transaction().undo(None, "the disk is full")
    assert (host.state, host.words) == ("undone", {"old"})
    assert not reserve.exists()


def test_nothing_is_reserved_after_the_end(host: Host) -> None:
    host.until("keep").finish(None, [])
    assert not (host.records().directory / "reserve").exists()


# -- pruning -------------------------------------------------------------------------------------------------------


def one_of_many(base: Path, number: int) -> Host:
    """The same host again, with another pair of files to switch."""
    host = Host(base / str(number))
    host.state_dir = base / "state"
    return host


def ended(base: Path, number: int, days_ago: float, stack: str = "blog") -> Path:
    """A finished transaction; returns its directory."""
    host = one_of_many(base, number)
    transaction_id = f"20261101T00000{number}Z-{stack}-000{number}"
    host.begin(transaction_id, stack)
    host.prepare(transaction_id)
    for step in ("switch", "promise", "decide"):
        arguments = {"switch": (), "promise": ([OK_CHECK],), "decide": ("keep", host.hosts, "night shift")}[step]
        getattr(host.transaction(transaction_id), step)(*arguments)
    host.transaction(transaction_id).finish(None, [], 10_000)
    outcome = host.records(transaction_id).directory / "outcome.json"
    value = json.loads(outcome.read_text())
    outcome.write_text(json.dumps({**value, "at": value["at"] - days_ago * 86_400}))
    (outcome.parent / "payload.zip").write_bytes(b"code")
    return outcome.parent


def test_old_workspaces_are_removed_and_the_history_stays(tmp_path: Path) -> None:
    old, other_stack = ended(tmp_path, 1, days_ago=8), ended(tmp_path, 2, days_ago=8, stack="shop")
    young = ended(tmp_path, 3, days_ago=6)
    last = one_of_many(tmp_path, 4)
    last.until("keep").finish(None, [], keep_days=7)
    assert [(each / "workspace").exists() for each in (old, other_stack, young)] == [False, True, True]
    assert [(each / "payload.zip").exists() for each in (old, other_stack, young)] == [False, True, True]
    assert (last.records().directory / "workspace").exists()
    assert sorted(path.name for path in old.iterdir()) == [
        "decision", "head.json", "header.json", "journal.jsonl", "lock", "outcome.json", "promise",
    ]  # fmt: skip
    assert "Removed what transaction" in (old / "journal.jsonl").read_text()


def test_the_newest_ended_transaction_and_open_ones_stay_whole(tmp_path: Path) -> None:
    only = ended(tmp_path, 1, days_ago=400)
    prune(tmp_path / "state", "blog", 7)
    assert (only / "workspace").exists()
    is_open = one_of_many(tmp_path, 2)
    is_open.until("prepare")
    prune(tmp_path / "state", "blog", 0)
    assert (only / "workspace").exists()
    assert (is_open.records().directory / "workspace").exists()


def test_nothing_is_pruned_for_its_name_alone(tmp_path: Path) -> None:
    """Archives of a transaction go only where its own records say that they are its: not in a copy, nor in something else."""
    old, newest = ended(tmp_path, 1, days_ago=9), ended(tmp_path, 2, days_ago=8)
    (old / "workspace" / "before-1.tar").write_bytes(b"ours")
    copied = old.with_name(f"{old.name}.kept")
    shutil.copytree(old, copied)
    without_records = old.with_name("20261101T000003Z-blog-0003")
    (without_records / "workspace").mkdir(parents=True)
    (without_records / "workspace" / "before-1.tar").write_bytes(b"somebody's")
    (without_records / "payload.zip").write_bytes(b"somebody's")
    prune(tmp_path / "state", "blog", 7)
    assert not (old / "workspace").exists()
    assert (newest / "workspace").exists()
    assert (copied / "workspace" / "before-1.tar").read_bytes() == b"ours"
    assert (copied / "payload.zip").exists()
    assert {path.read_bytes() for path in without_records.rglob("*") if path.is_file()} == {b"somebody's"}


def test_a_prune_that_fails_does_not_fail_the_rollback(tmp_path: Path) -> None:
    broken, newer = ended(tmp_path, 1, days_ago=9), ended(tmp_path, 2, days_ago=8)
    (broken / "payload.zip").unlink()
    (broken / "payload.zip").mkdir()
    host = one_of_many(tmp_path, 3)
    assert host.until("keep").finish(None, []) == "rolled_back"
    assert (newer / "workspace").exists()
    assert "could not be pruned" in host.records().journal.path.read_text()
