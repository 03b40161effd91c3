# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules transaction and transaction_info: check mode, results, and a whole rollback through Ansible itself."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.check_mode import Snapshot, predict

ID = "20261123T143000Z-blog-7f3a"
SECRET = "s3cret-value"
BEGIN = {"stack": "blog", "host": "web1", "hosts": ["web1"], "decision_host": "web1", "operator": "night shift"}
DECIDED = {"decision": "keep", "promised": ["web1"]}
FORWARD: list[tuple[str, dict[str, Any]]] = [
    ("begin", BEGIN),
    ("prepare", {}),
    ("switch", {}),
    ("promise", {"checks": [{"name": "health", "ok": True}]}),
    ("decide", DECIDED),
    ("finish", {"decision": "keep"}),
]


class Site:
    """A configuration file with a backup, and the modules on it without Ansible around them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.state_dir = base / "state"
        self.live, self.backup = base / "app.env", base / "backup.env"
        self.live.write_text("MODE=broken\n")
        self.backup.write_text("MODE=good\n")

    @property
    def files(self) -> list[dict[str, str]]:
        checksum = hashlib.sha256(self.backup.read_bytes()).hexdigest()
        return [{"dest": str(self.live), "src": str(self.backup), "checksum": f"sha256:{checksum}"}]

    def module(self, name: str, *, check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {"state_dir": str(self.state_dir), "_ansible_check_mode": check, "_ansible_diff": True, **options}
        done = subprocess.run(
            [sys.executable, "-m", f"ansible_collections.lastgood.rollback.plugins.modules.{name}"],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout, done.stderr
        value: dict[str, Any] = json.loads(done.stdout)
        return {"failed": False, **value}

    def step(self, state: str, *, check: bool = False, **options: Any) -> dict[str, Any]:
        if state == "prepare":
            return self.module("file_restore", check=check, files=self.files, transaction=ID)
        return self.module("transaction", check=check, id=ID, state=state, **options)

    def until(self, last: str) -> None:
        for state, options in FORWARD:
            result = self.step(state, **options)
            assert not result["failed"], result
            if state == last:
                return

    def snapshot(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(self.base.rglob("*")) if path.is_file()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_each_step_foretells_in_check_mode_what_it_does(site: Site) -> None:
    """The same keys, the same state, the same diff; and nothing is changed by asking."""
    for state, options in FORWARD:
        before = site.snapshot()
        foretold = site.step(state, check=True, **options)
        assert site.snapshot() == before, state
        done = site.step(state, **options)
        assert foretold.keys() == done.keys(), state
        assert foretold["changed"] is done["changed"] is True, state
        if state != "prepare":
            for key in ("state", "decision", "outcome", "diff"):
                assert foretold[key] == done[key], (state, key)
    assert site.live.read_text() == "MODE=good\n"
    assert (done["state"], done["outcome"]) == ("finished", "rolled_back")


def records(site: Site) -> dict[str, bytes]:
    """All files but the journal, its head, the logs, and the names of those who held a lock."""
    passing = ("journal.jsonl", "head.json", ".log", "lock")
    return {name: text for name, text in site.snapshot().items() if not name.endswith(passing)}


def test_each_step_again_is_no_change(site: Site) -> None:
    for number, (state, options) in enumerate(FORWARD):
        site.step(state, **options)
        if state in ("begin", "promise", "decide", "finish"):
            before = records(site)
            again = site.step(state, **options)
            assert (again["failed"], again["changed"]) == (False, False), (number, again)
            after = records(site)
            assert before == after, state


@pytest.mark.parametrize("last", ["begin", "prepare", "switch"])
def test_undo_and_finish_foretell_as_well(site: Site, last: str) -> None:
    site.until(last)
    for state in ("undo", "finish"):
        foretold, done = site.step(state, check=True), site.step(state)
        assert foretold["changed"] is done["changed"] is True, state
        assert foretold["diff"] == done["diff"]
    assert (done["state"], done["outcome"]) == ("undone", "undone")
    assert site.live.read_text() == "MODE=broken\n"


@pytest.mark.parametrize(("last", "outcome"), [("switch", "undone"), ("promise", "rolled_back")])
def test_recover_ends_what_was_interrupted(site: Site, last: str, outcome: str) -> None:
    site.until(last)
    foretold, done = site.step("recover", check=True), site.step("recover")
    assert foretold["outcome"] == done["outcome"] == outcome
    assert foretold["diff"] == done["diff"]
    again = site.step("recover")
    assert (again["changed"], again["outcome"]) == (False, outcome)


@pytest.mark.parametrize(
    ("last", "state", "options", "outcome", "said"),
    [
        (None, "switch", {}, "refused", "is not known on this host"),
        ("begin", "begin", {**BEGIN, "stack": "shop"}, "refused", "was begun here with stack 'blog'"),
        ("prepare", "promise", {}, "undo_incomplete", "should be switched, but is prepared"),
        ("promise", "undo", {}, "in_doubt", "decision can't be read"),
        ("promise", "decide", {"decision": "keep", "promised": []}, None, ""),
        ("finish", "undo", {}, "refused", "finished, not undone"),
    ],
)
def test_a_refusal_has_its_outcome_and_its_reason(
    site: Site, last: str | None, state: str, options: dict[str, Any], outcome: str | None, said: str
) -> None:
    if last:
        site.until(last)
    result = site.step(state, **options)
    assert result["failed"] is (outcome is not None)
    if outcome:
        assert result["outcome"] == outcome
        assert said in result["msg"]


def test_a_lock_is_told_in_check_mode_as_well(site: Site) -> None:
    site.until("begin")
    for check in (True, False):
        refused = site.module("transaction", check=check, id="20261124T000000Z-blog-0001", state="begin", **BEGIN)
        assert refused["failed"] is True
        assert f"held by transaction {ID}" in refused["msg"]


def test_history_tells_what_is_open_and_what_ended(site: Site) -> None:
    site.until("switch")
    (found,) = site.module("transaction_info", open_only=True)["transactions"]
    assert (found["id"], found["state"], found["outcome"]) == (ID, "switched", None)
    assert found["components"] == [], "whoever only asks what is open waits for no look at it"
    (found,) = site.module("transaction_info", id=ID)["transactions"]
    (component,) = found["components"]
    assert component["state"] == "switched"
    site.step("undo")
    site.step("finish")
    assert site.module("transaction_info", open_only=True)["transactions"] == []
    (ended,) = site.module("transaction_info", id=ID)["transactions"]
    assert (ended["state"], ended["outcome"], ended["tombstoned"]) == ("undone", "undone", True)
    assert [event["event"] for event in ended["events"]][-1] == "finished"
    assert "plan" not in json.dumps([event["facts"] for event in ended["events"]])


def test_asking_changes_nothing(site: Site) -> None:
    site.until("promise")
    before = site.snapshot()
    for options in ({}, {"id": ID}, {"id": "unknown"}, {"open_only": True}):
        assert site.module("transaction_info", **options)["changed"] is False
    assert site.snapshot() == before


# -- the words of check mode, where no module run is needed for each -----------------------------------------------


@pytest.mark.parametrize(
    ("current", "call", "decision", "after"),
    [
        (Snapshot("switched"), "hold", "undo", Snapshot("promised")),
        (Snapshot("prepared"), "hold", "undo", Snapshot("undone")),
        (Snapshot("promised", armed=False), "undo", None, Snapshot("promised")),
        (Snapshot("promised"), "undo", "undo", Snapshot("undone")),
        (Snapshot("promised", "keep"), "undo", "undo", Snapshot("promised", "keep")),
        (Snapshot("promised"), "finish", None, Snapshot("promised")),
        (Snapshot("switched"), "finish", "keep", Snapshot("switched")),
        (Snapshot("prepared"), "arm", None, Snapshot("prepared", armed=True)),
        (Snapshot("promised"), "arm", None, Snapshot("promised")),
        (Snapshot("switched", armed=True), "promise", None, Snapshot("promised")),
        (Snapshot("open"), "decide", "undo", Snapshot("open", "undo")),
        (Snapshot("open", "undo"), "decide", "keep", Snapshot("open", "undo")),
        (Snapshot("finished", "keep", "rolled_back"), "undo", "undo", Snapshot("finished", "keep", "rolled_back")),
        (Snapshot("absent"), "undo", None, Snapshot("undone")),
        (Snapshot("absent"), "switch", None, Snapshot("absent")),
    ],
)
def test_what_a_call_would_leave(current: Snapshot, call: str, decision: str | None, after: Snapshot) -> None:
    assert predict(current, call, decision) == after


# -- through Ansible -----------------------------------------------------------------------------------------------


def play(site: Site, tasks: list[dict[str, Any]], *flags: str) -> subprocess.CompletedProcess[str]:
    path = site.base / "play.yml"
    path.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    interpreter = f"ansible_python_interpreter={sys.executable}"
    return subprocess.run(
        ["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", interpreter, *flags, str(path)],
        capture_output=True,
        text=True,
        check=False,
    )


def task(site: Site, state: str, **options: Any) -> dict[str, Any]:
    if state == "prepare":
        given = {"files": site.files, "transaction": ID, "state_dir": str(site.state_dir), **options}
        return {"lastgood.rollback.file_restore": given}
    given = {"id": ID, "state": state, "state_dir": str(site.state_dir), **options}
    return {"lastgood.rollback.transaction": given}


def test_a_rollback_through_ansible_is_kept_and_no_password_is_left(site: Site) -> None:
    passwords = {"passwords": {"database:blog": {"login_password": SECRET}}}
    validate = ["sh", "-c", 'test "$2" != "********" && grep -q MODE "$3"', "validate", "--token", SECRET, "%s"]
    more = {"switch": passwords, "prepare": {"validate": validate}}
    done = play(
        site,
        [task(site, state, **options, **more.get(state, {})) for state, options in FORWARD],
        "-vvv",
        "--diff",
    )
    assert done.returncode == 0, done.stdout
    assert site.live.read_text() == "MODE=good\n"
    assert SECRET not in done.stdout + done.stderr
    assert not [path for path in site.state_dir.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert "+state: switched" in done.stdout
    log = (site.state_dir / "rollback.log").read_text()
    assert f"ROLLBACK - Transaction {ID} ended: rolled_back" in log


def test_what_ansible_left_armed_undoes_with_its_own_payload(site: Site) -> None:
    """The controller is gone after the switch; the code that undoes is the one that Ansible had sent."""
    steps: list[tuple[str, dict[str, Any]]] = [
        ("begin", {**BEGIN, "confirm_timeout": 10_000}),
        ("prepare", {}),
        ("arm", {}),
        ("switch", {}),
    ]
    done = play(site, [task(site, state, **options) for state, options in steps])
    assert done.returncode == 0, done.stdout
    directory = site.state_dir / "transactions" / ID
    pid = int((directory / "timer.pid").read_text())
    try:
        assert (directory / "payload.zip").read_bytes()[:2] == b"PK"
        assert site.live.read_text() == "MODE=good\n"
        by_hand = subprocess.run(
            [sys.executable, "-I", directory / "undo"], env={}, cwd="/", capture_output=True, text=True, check=False
        )
        assert by_hand.returncode == 0, by_hand.stderr
        assert site.live.read_text() == "MODE=broken\n"
        assert not site.step("finish")["failed"]
        until = time.monotonic() + 60
        while runs(pid):
            assert time.monotonic() < until, "the timer outlives its transaction"
            time.sleep(0.1)
    finally:
        if runs(pid):
            os.kill(pid, 9)


def runs(pid: int) -> bool:
    """Whether it is there and no zombie that nobody reaps."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
