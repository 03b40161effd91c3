# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records that are gone, cut off or of another type: in doubt, with what is found by looking; and what stands twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import InDoubt, LockHeld, Unreadable
from ansible_collections.lastgood.rollback.plugins.module_utils._base.shape import require
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import COMPONENTS
from ansible_collections.lastgood.rollback.plugins.module_utils._engine import arming, timer
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import identity_of
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.standalone import run_standalone
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.undo_cli import undo_on_this_host
from ansible_collections.lastgood.rollback.plugins.module_utils._runners.transaction import (
    _info_result,
    _transaction_result,
    _true_outcome,
)
from engine_component import KINDS, Pair, plan_pair
from engine_host import ID, Host

OTHER_ID = "20261123T150000Z-shop-0001"


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, component in KINDS.items():
        monkeypatch.setitem(COMPONENTS, kind, component)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def called(host: Host, state: str, **params: Any) -> dict[str, Any]:
    """What the module ``transaction`` does."""
    defaults = {
        "state_dir": str(host.state_dir), "id": ID, "passwords": {}, "state": state, "operator": None, "keep_days": 7,
        "decision": None, "reason": None, "kinds": [], "acknowledged": [], "state_id": None, "state_ids": {},
    }  # fmt: skip
    return _transaction_result({**defaults, **params}, check=False)


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))


def garbage(path: Path) -> None:
    path.write_bytes(b"\xff" * path.stat().st_size)


# -- the journal ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["undo", "recover", "finish", "by hand"])
@pytest.mark.parametrize("damage", [remove, cut, garbage])
@pytest.mark.parametrize("phase", ["switch", "promise"])
def test_a_damaged_journal_is_in_doubt_and_told_by_looking(
    host: Host, phase: str, damage: Callable[[Path], None], call: str
) -> None:
    host.until(phase)
    damage(host.records().journal.path)
    with pytest.raises(Unreadable) as doubt:
        undo_on_this_host(host.records(), "asked") if call == "by hand" else called(host, call, decision="undo")
    assert doubt.value.outcome == "in_doubt"
    assert f"pair:{host.path} is switched" in doubt.value.message
    assert f"move {host.records().directory} elsewhere" in doubt.value.message
    assert host.words == {"new"}
    assert host.records().outcome is None


@pytest.mark.parametrize(
    ("bring", "words"),
    [
        (lambda host: host.until("prepare"), "is as it was before, and what was prepared stands beside it"),
        (lambda host: (host.until("switch"), (host.path / "one").write_text("old")), "is switched in part"),
        (lambda host: (host.until("switch"), (host.path / "one").write_text("x")), "was changed by somebody else"),
        (lambda host: (host.until("switch"), (host.path / "one").unlink()), "can't be looked at"),
    ],
)
def test_what_is_found_is_told_in_words(host: Host, bring: Callable[[Host], object], words: str) -> None:
    bring(host)
    remove(host.records().journal.path)
    with pytest.raises(Unreadable, match=words):
        called(host, "undo")


def test_plans_that_can_not_be_read_either_are_told(host: Host) -> None:
    host.until("switch")
    remove(host.records().journal.path)
    garbage(host.records().directory / "plans" / "0.json")
    with pytest.raises(Unreadable, match="no plan of a component can be read either"):
        called(host, "undo")


def test_asked_for_all_transactions_a_damaged_one_hides_no_other(host: Host) -> None:
    host.until("switch")
    remove(host.records().journal.path)
    host.begin(OTHER_ID, stack="shop")
    found = _info_result({"state_dir": str(host.state_dir), "id": None, "passwords": {}, "open_only": True})
    damaged, other = found["transactions"]
    assert (damaged["id"], damaged["state"], damaged["stack"]) == (ID, "damaged", "blog")
    assert (damaged["promised"], damaged["outcome"], damaged["components"]) == (False, None, [])
    assert f"pair:{host.path} is switched" in damaged["problem"]
    assert (other["id"], other["state"], other["problem"]) == (OTHER_ID, "open", None)


def test_a_damaged_transaction_holds_its_stack_and_things_that_nobody_knows(host: Host) -> None:
    host.until("switch")
    remove(host.records().journal.path)
    with pytest.raises(LockHeld, match=f"stack blog is held by transaction {ID}"):
        host.begin(OTHER_ID)
    host.begin(OTHER_ID, stack="shop")
    with pytest.raises(Unreadable, match=f"{ID}.*cut off"):
        host.prepare(OTHER_ID)
    assert host.records(OTHER_ID).plans() == {}


def as_an_old_release_wrote_it(host: Host) -> None:
    """Without chain, head and copies of plans."""
    directory = host.records().directory
    header = json.loads((directory / "header.json").read_text())
    (directory / "header.json").write_text(json.dumps({name: header[name] for name in header if name != "chained"}))
    entries = [json.loads(line) for line in (directory / "journal.jsonl").read_text().splitlines()]
    old = [{name: entry[name] for name in entry if name not in ("number", "before")} for entry in entries]
    (directory / "journal.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in old))
    (directory / "head.json").unlink()
    (directory / "plans" / "0.json").unlink()
    (directory / "plans").rmdir()


@pytest.mark.parametrize(
    ("phase", "outcome", "words"),
    [("prepare", "undone", "old"), ("switch", "undone", "old"), ("promise", "rolled_back", "new")],
)
def test_a_transaction_of_an_old_release_is_recovered(host: Host, phase: str, outcome: str, words: str) -> None:
    host.until(phase)
    as_an_old_release_wrote_it(host)
    with host.records().journal.path.open("ab") as stream:
        stream.write(b'{"event": "int')
    assert called(host, "recover")["outcome"] == outcome
    assert host.words == {words}
    assert not (host.records().directory / "head.json").exists()


# -- what stands twice ---------------------------------------------------------------------------------------------


def test_a_tombstone_that_is_gone_is_remembered_by_the_journal(host: Host) -> None:
    host.until("switch").undo(None, "asked")
    remove(host.records().directory / "tombstone")
    assert host.state == "undone"
    assert called(host, "recover")["outcome"] == "undone"
    assert host.state == "undone", "and then by the outcome"
    assert host.transaction().undo(None, "asked") == []


@pytest.mark.parametrize("gone", [("promise",), ("decision",), ("promise", "decision")])
def test_a_promise_and_a_decision_that_are_gone_are_remembered_by_the_journal(
    host: Host, gone: tuple[str, ...]
) -> None:
    host.until("keep")
    for name in gone:
        remove(host.records().directory / name)
    assert called(host, "recover")["outcome"] == "rolled_back"
    assert host.words == {"new"}


def test_a_decision_that_is_another_than_the_journals_is_in_doubt(host: Host) -> None:
    host.until("keep")
    (host.records().directory / "decision").write_text('{"decision": "undo", "by": "nobody"}')
    for call in ("undo", "recover", "finish"):
        with pytest.raises(Unreadable, match="another decision than the journal"):
            called(host, call, decision="undo")
    assert host.words == {"new"}


def test_an_end_that_says_kept_beside_a_tombstone_is_in_doubt(host: Host) -> None:
    host.until("keep").finish(None, [])
    (host.records().directory / "tombstone").write_text("{}")
    with pytest.raises(Unreadable, match="says rolled_back beside a tombstone"):
        called(host, "undo")


# -- types ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "wrong"),
    [
        ("decision", "[]", "it is a list, not an object"),
        ("decision", '{"decision": ["keep"]}', "decision is a list, not keep or undo"),
        ("decision", '{"decision": "perhaps"}', "decision is the text 'perhaps', not keep or undo"),
        ("decision", "{}", "decision is missing"),
        ("promise", '{"checks": {}}', "checks is an object, not a list"),
        ("promise", '{"checks": ["health"]}', r"checks\[0\] is the text 'health', not an object"),
        ("outcome.json", '{"outcome": null}', "outcome is null, not rolled_back or undone or undone_as_asked"),
        ("outcome.json", '{"outcome": "undone", "at": "now"}', "at is the text 'now', not a number"),
        ("header.json", '{"hosts": 1}', "id is missing"),
        ("secrets.json", '{"pair": 1}', "pair is a whole number, not an object"),
        ("decision", "{", "Expecting property name"),
        ("decision", "[" * 100_000, "recursion"),
    ],
)
def test_a_record_of_another_type_is_named_with_its_place(host: Host, name: str, content: str, wrong: str) -> None:
    host.until("promise")
    (host.records().directory / name).write_text(content)
    with pytest.raises(Unreadable, match=f"{name} can't be understood: .*{wrong}"):
        called(host, "recover")
    assert host.words == {"new"}


@pytest.mark.parametrize(
    ("facts", "wrong"),
    [
        ({"phase": "prepare", "plan": ["x"]}, "facts.plan can't be understood: it is a list, not an object"),
        ({"phase": "prepare", "plan": {"kind": 1}}, "facts.plan can't be understood: kind is a whole number, not text"),
        ({"phase": "switch", "component": []}, "component is a list, not text"),
        ({"phase": "switch"}, "component is missing"),
    ],
)
def test_facts_of_another_type_are_named_with_their_place(host: Host, facts: dict[str, Any], wrong: str) -> None:
    host.begin()
    host.records().journal.write("intent", "forged", **facts)
    with pytest.raises(Unreadable, match=wrong):
        called(host, "undo")


def test_a_kind_that_nobody_knows_is_named(host: Host) -> None:
    host.begin()
    plan = {**plan_pair(host.path).to_json(), "kind": "cloud", "things": [], "warnings": []}
    host.records().journal.write("intent", "forged", phase="prepare", plan=plan)
    with pytest.raises(Unreadable, match="'cloud' is no kind"):
        called(host, "undo")


@pytest.mark.parametrize(
    ("value", "shape", "wrong"),
    [
        (True, int, "it is true or false, not a whole number"),
        (1, bool, "it is a whole number, not true or false"),
        (float("nan"), float, "not a number"),
        (None, (str, int), "it is null, not text"),
        ({"a": {"b": [1, "x"]}}, {"a": {"b": [int]}}, r"a\.b\[1\] is the text 'x', not a whole number"),
        ({"a": 1}, {str: str}, "a is a whole number, not text"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(value: object, shape: object, wrong: str) -> None:
    with pytest.raises(Unreadable, match=rf"here can't be understood: {wrong}" if "it" in wrong else wrong):
        require(value, shape, "here")


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (1, float),
        (None, (None, str)),
        ("a", frozenset("ab")),
        ({}, {"a?": int}),
        ([], [int]),
        ({"x": 1}, {str: object}),
    ],
)
def test_what_fits_comes_back(value: object, shape: object) -> None:
    assert require(value, shape, "here") is value


# -- after the decision to keep ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [TypeError("no text"), KeyError("mark"), OSError(5, "Input/output error")])
def test_a_failure_of_any_kind_after_keep_leaves_it_kept(
    host: Host, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def finish(_self: Pair, _plan: object) -> None:
        raise error

    monkeypatch.setattr(Pair, "finish", finish)
    done = run_standalone(host.transaction(), plan_pair(host.path), {})
    (warning,) = done.warnings
    assert "could not be ended and still holds its lock" in warning
    assert error.__class__.__name__ in warning
    assert (host.records().decision, host.words) == ("keep", {"new"})


def test_an_undo_that_fails_in_any_way_is_not_told_as_undone(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def undo(_self: Pair, _plan: object) -> None:
        raise TypeError("no text")

    monkeypatch.setattr(Pair, "undo", undo)
    (host.path / "fail-switch").touch()
    with pytest.raises(Exception, match="The undo failed as well: TypeError: no text") as failed:
        run_standalone(host.transaction(), plan_pair(host.path), {})
    assert getattr(failed.value, "outcome", None) == "undo_incomplete"


@pytest.mark.parametrize(
    ("phase", "state", "outcome"),
    [("switch", "promise", "undo_incomplete"), ("keep", "finish", "rolled_back"), ("keep", "undo", "rolled_back")],
)
def test_a_failed_call_tells_what_is_true_by_the_records(host: Host, phase: str, state: str, outcome: str) -> None:
    host.until(phase)
    params = {"state_dir": str(host.state_dir), "id": ID, "state": state, "decision": None}
    assert _true_outcome(params, "undone") == outcome
    assert _true_outcome(params, "refused") == "refused"


def test_a_failed_call_on_records_that_can_not_be_read_is_in_doubt(host: Host) -> None:
    host.until("keep")
    garbage(host.records().directory / "decision")
    params = {"state_dir": str(host.state_dir), "id": ID, "state": "finish", "decision": None}
    assert _true_outcome(params, "undone") == "in_doubt"


# -- a host that was replaced by an empty one ----------------------------------------------------------------------


@pytest.mark.parametrize("call", ["undo", "finish", "decide"])
def test_an_empty_host_in_the_place_of_another_is_in_doubt_and_not_undone(
    tmp_path: Path, host: Host, call: str
) -> None:
    host.until("switch")
    expected = identity_of(host.state_dir)
    assert expected is not None
    other = Host(tmp_path / "new")
    for known in (False, True):
        with pytest.raises(
            InDoubt, match=f"is not the state directory in which {ID} was begun.*that one had {expected}"
        ):
            called(other, call, decision="undo", state_id=expected)
        assert not other.records().directory.exists()
        if not known:
            other.begin(OTHER_ID)
    assert called(host, "undo", decision="undo", state_id=expected)["state"] == "undone"


def test_the_ids_of_all_hosts_stand_in_the_journal(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timer, "start", lambda _directory: None)
    host.until("prepare")
    mine = identity_of(host.state_dir)
    assert host.records().journal.entries()[0]["facts"]["state_id"] == mine
    arming.arm(host.transaction(), {"web1": str(mine), "db1": "d" * 32})
    assert host.records().state_ids == {"web1": mine, "db1": "d" * 32}
    assert called(host, "undo")["state_id"] == mine


def test_an_id_that_is_none_is_named(host: Host) -> None:
    host.begin()
    (host.state_dir / "id").write_text("[]")
    with pytest.raises(Unreadable, match="id holds no id"):
        called(host, "undo")
