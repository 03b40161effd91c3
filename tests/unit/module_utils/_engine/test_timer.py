# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dead man's timer, as the process that it is: it waits, reads the deadline, and undoes when nobody calls.

Nothing here expects a time: what has to happen is waited for, and what must not happen is shown by the process's end.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import COMPONENTS
from ansible_collections.lastgood.rollback.plugins.module_utils._engine import arming, lock, timer
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.lock import flock
from engine_component import KINDS
from engine_host import ID, OK_CHECK, Host

PREFIX = "ansible_collections/lastgood/rollback/plugins/module_utils"
REGISTRY = f"{PREFIX}/_components/registry.py"
#: The registry as it is, with the component of the tests in it: what the payload of a module would hold.
TEST_REGISTRY = """
from ansible_collections.lastgood.rollback.plugins.module_utils._components import engine_component
COMPONENTS = dict(engine_component.KINDS)
def component_class(kind, reversal=False):
    return COMPONENTS[kind]()
"""
PATIENCE_S = 60.0
NEVER = 10_000
SOON = 1

Arm = Callable[..., int]


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, component in KINDS.items():
        monkeypatch.setitem(COMPONENTS, kind, component)


@pytest.fixture(scope="session")
def payload() -> bytes:
    """What arming packs, with the registry of the tests."""
    found = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(arming._packed())) as packed, zipfile.ZipFile(found, "w") as changed:
        for name in packed.namelist():
            if name != REGISTRY:
                changed.writestr(name, packed.read(name))
        changed.writestr(REGISTRY, TEST_REGISTRY)
        component = Path(__file__).parents[3] / "engine_component.py"
        changed.writestr(f"{PREFIX}/_components/engine_component.py", component.read_bytes())
    return found.getvalue()


@pytest.fixture
def arm(payload: bytes) -> Iterator[Arm]:
    """Arms a host's timer and returns its process; whatever is left of it at the end is ended."""
    processes = []

    def arm_host(host: Host) -> int:
        directory = host.records().directory
        if not (directory / "payload.zip").exists():
            (directory / "payload.zip").write_bytes(payload)
        arming.arm(host.transaction())
        while not (directory / "timer.pid").exists():  # it is written by the process that waits, once it does
            assert timer.is_waiting(directory)
            time.sleep(0.01)
        pid = int((directory / "timer.pid").read_text())
        processes.append(pid)
        return pid

    yield arm_host
    for pid in set(processes):
        if runs(pid):
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: not runs(pid))  # type: ignore[misc]


def runs(pid: int) -> bool:
    """Whether a child of this process still runs; reaps it when it has ended."""
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def armed_and_switched(host: Host, arm: Arm, timeout: int) -> int:
    host.begin(confirm_timeout=timeout)
    host.prepare()
    pid = arm(host)
    host.transaction().switch()
    return pid


def silence(host: Host) -> None:
    """Let the deadline pass now."""
    path = host.records().directory / "deadline"
    path.write_text(json.dumps({**json.loads(path.read_text()), "boottime": 0.0}))


def test_silence_undoes_and_says_why(host: Host, arm: Arm) -> None:
    pid = armed_and_switched(host, arm, SOON)
    wait_until(lambda: not runs(pid))
    assert (host.state, host.words) == ("undone", {"old"})
    tombstone = json.loads((host.records().directory / "tombstone").read_text())
    assert tombstone["reason"] == "the controller fell silent"
    assert host.records().outcome is None, "the others are not known here, so it is not over"
    assert (host.records().directory / "timer.log").read_text() == ""


def test_a_promise_disarms(host: Host, arm: Arm) -> None:
    pid = armed_and_switched(host, arm, NEVER)
    host.transaction().promise([OK_CHECK])
    wait_until(lambda: not runs(pid))
    assert (host.state, host.words) == ("promised", {"new"})
    assert timer.seconds_left(host.records().directory) is None


def test_a_promise_holds_even_if_the_deadline_was_not_removed(host: Host, arm: Arm) -> None:
    """The call was killed right after the promise stood."""
    pid = armed_and_switched(host, arm, NEVER)
    host.records().write_promise([])
    silence(host)
    wait_until(lambda: not runs(pid))
    assert (host.state, host.words) == ("promised", {"new"})
    assert (host.records().directory / "timer.log").read_text() == ""


def test_the_process_ends_with_the_transaction(host: Host, arm: Arm) -> None:
    pid = armed_and_switched(host, arm, NEVER)
    host.transaction().undo(None, "asked")
    assert runs(pid), "until it has ended, somebody has to start the services"
    host.transaction().finish(None, [])
    wait_until(lambda: not runs(pid))


def test_every_call_moves_the_deadline_on(host: Host) -> None:
    host.begin(confirm_timeout=NEVER)
    directory = host.records().directory
    calls: list[Callable[[], object]] = [
        host.prepare,
        lambda: host.transaction().switch(),
        lambda: host.transaction().undo(None, "asked"),
    ]
    for call in calls:
        timer.set_deadline(directory, NEVER)
        silence_value = {**json.loads((directory / "deadline").read_text()), "boottime": 0.0}
        (directory / "deadline").write_text(json.dumps(silence_value))
        assert timer.seconds_left(directory) == 0.0
        call()
        left = timer.seconds_left(directory)
        assert left is not None and left > NEVER / 2


def test_the_time_runs_from_the_end_of_a_call_even_of_one_that_failed(host: Host) -> None:
    host.until("prepare")
    directory = host.records().directory
    timer.set_deadline(directory, NEVER)
    silence(host)
    with pytest.raises(ValueError, match="after a long time"), host.transaction().locked():
        assert (timer.seconds_left(directory) or 0.0) > NEVER / 2, "and from its beginning, should it be killed"
        silence(host)
        raise ValueError("after a long time")
    assert (timer.seconds_left(directory) or 0.0) > NEVER / 2


def test_a_call_in_progress_is_no_silence(host: Host, arm: Arm) -> None:
    pid = armed_and_switched(host, arm, NEVER)
    directory = host.records().directory
    with flock(directory / "lock"):
        silence(host)
        time.sleep(3 * 2.0)  # longer than the longest nap of the process, so it has looked
        assert runs(pid)
        assert host.words == {"new"}
        timer.touch(directory)
    host.transaction().promise([OK_CHECK])
    wait_until(lambda: not runs(pid))
    assert (host.state, host.words) == ("promised", {"new"})


def test_a_call_that_comes_at_the_last_moment_is_heard(host: Host) -> None:
    """The deadline had passed when the process looked, and has moved on when it gets the lock."""
    host.until("switch")
    timer.set_deadline(host.records().directory, NEVER)
    assert host.transaction().undo(None, "the controller fell silent", if_silent=True) == []
    assert (host.state, host.words) == ("switched", {"new"})
    silence(host)
    assert host.transaction().undo(None, "the controller fell silent", if_silent=True) != []
    assert (host.state, host.words) == ("undone", {"old"})


def test_a_boot_without_a_promise_is_the_end_of_waiting(host: Host) -> None:
    host.until("switch")
    directory = host.records().directory
    timer.set_deadline(directory, NEVER)
    path = directory / "deadline"
    path.write_text(json.dumps({**json.loads(path.read_text()), "boot": "the boot before"}))
    assert timer.seconds_left(directory) == 0.0


def test_arming_twice_leaves_one_process(host: Host, arm: Arm) -> None:
    host.begin(confirm_timeout=NEVER)
    first = arm(host)
    directory = host.records().directory
    wait_until(lambda: is_waiting(directory))
    assert arm(host) == first
    assert runs(first)


def is_waiting(directory: Path) -> bool:
    with timer.only_one(directory) as alone:
        return not alone


def test_a_second_process_ends_at_once(host: Host, arm: Arm) -> None:
    host.begin(confirm_timeout=NEVER)
    first = arm(host)
    directory = host.records().directory
    wait_until(lambda: is_waiting(directory))
    done = subprocess.run([sys.executable, directory / "undo", "--wait"], check=False, timeout=PATIENCE_S)
    assert done.returncode == 0
    assert runs(first)


def test_nothing_waits_for_a_timer_that_is_not_armed(host: Host, arm: Arm) -> None:
    pid = armed_and_switched(host, arm, NEVER)
    directory = host.records().directory
    timer.disarm(directory)
    wait_until(lambda: not runs(pid))
    done = subprocess.run([sys.executable, directory / "undo", "--wait"], check=False, timeout=PATIENCE_S)
    assert done.returncode == 0
    assert (host.state, host.words) == ("switched", {"new"})


def test_arming_again_replaces_a_process_that_was_killed(host: Host, arm: Arm) -> None:
    host.begin(confirm_timeout=NEVER)
    first = arm(host)
    directory = host.records().directory
    wait_until(lambda: is_waiting(directory))
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not runs(first))
    second = arm(host)
    assert second != first
    wait_until(lambda: is_waiting(directory))


def test_what_fails_for_a_passing_reason_is_tried_again(host: Host, arm: Arm) -> None:
    host.begin(confirm_timeout=SOON)
    host.prepare()
    (host.path / "fail-undo").touch()
    pid = arm(host)
    journal = host.records().journal.path
    wait_until(lambda: "Undo without the controller: The undo of" in journal.read_text())
    assert runs(pid)
    (host.path / "fail-undo").unlink()
    wait_until(lambda: not runs(pid))
    assert (host.state, host.words) == ("undone", {"old"})
    assert host.records().undo_finished


def test_what_only_a_person_can_solve_is_not_tried_again(host: Host, arm: Arm) -> None:
    pid = armed_and_switched(host, arm, NEVER)
    for name in ("one", "two"):
        (host.path / name).write_text("deployed since")
    silence(host)
    wait_until(lambda: not runs(pid))
    assert host.words == {"deployed since"}
    assert "Changed by somebody else" in (host.records().directory / "timer.log").read_text()
    assert host.records().journal.entries()[-1]["event"] == "failed"


# -- what goes wrong with the timer itself ---------------------------------------------------------------------------


def garble(path: Path) -> None:
    path.write_bytes(b"\xff{")


def test_a_timer_that_was_killed_is_noticed_by_the_next_call_and_started_again(host: Host, arm: Arm) -> None:
    first = armed_and_switched(host, arm, NEVER)
    directory = host.records().directory
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not runs(first))
    transaction = host.transaction()
    transaction.switch()
    (warning,) = transaction.warnings
    assert f"timer of {ID} did not run any more" in warning
    assert "did not run any more" in (host.state_dir / "rollback.log").read_text()
    second = arm(host)
    assert second != first
    silence(host)
    wait_until(lambda: not runs(second))
    assert (host.state, host.words) == ("undone", {"old"})
    assert not (directory / "outcome.json").exists()


def test_no_timer_is_missed_before_it_was_armed_and_after_it_has_undone(host: Host, arm: Arm) -> None:
    host.until("prepare")
    timer.set_deadline(host.records().directory, NEVER)
    transaction = host.transaction()
    transaction.switch()
    assert transaction.warnings == []
    pid = arm(host)
    silence(host)
    wait_until(lambda: not runs(pid))
    transaction = host.transaction()
    transaction.undo(None, "asked")
    assert transaction.warnings == []


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"boottime": "soon", "timeout": 1, "boot": "x"}', '{"boottime": NaN}']
)
def test_a_deadline_that_can_not_be_read_is_noticed_by_the_next_call_and_set_anew(host: Host, content: str) -> None:
    host.until("prepare")
    (host.records().directory / "deadline").write_text(content)
    transaction = host.transaction()
    transaction.switch()
    assert "deadline can't be understood" in transaction.warnings[0]
    assert (timer.seconds_left(host.records().directory) or 0.0) > 500
    assert "deadline can't be understood" in (host.state_dir / "rollback.log").read_text()


def test_a_deadline_that_can_not_be_read_is_noticed_by_the_timer_and_set_anew(host: Host, arm: Arm) -> None:
    pid = armed_and_switched(host, arm, NEVER)
    directory = host.records().directory
    garble(directory / "deadline")
    wait_until(lambda: b"\xff" not in (directory / "deadline").read_bytes())
    assert runs(pid)
    assert host.records().journal.entries()[-1]["event"] == "failed"
    silence(host)
    wait_until(lambda: not runs(pid))
    assert (host.state, host.words) == ("undone", {"old"})


def test_no_service_is_stopped_without_a_timer_that_waits(
    host: Host, arm: Arm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timer, "_START_S", 0.3)
    host.until("prepare")
    garble(host.records().directory / "payload.zip")
    with pytest.raises(LastGoodError, match=r"timer does not run .* after it was started"):
        arm(host)


def test_a_timer_with_a_damaged_journal_undoes_nothing_and_says_what_it_finds(host: Host, arm: Arm) -> None:
    pid = armed_and_switched(host, arm, NEVER)
    host.records().journal.path.unlink()
    silence(host)
    wait_until(lambda: not runs(pid))
    assert host.words == {"new"}
    assert not (host.records().directory / "tombstone").exists()
    said = (host.state_dir / "rollback.log").read_text()
    assert f"FAILED: Undo without the controller: {host.records().journal.path} ends after record 0" in said
    assert f"pair:{host.path} is switched" in said


def test_a_call_whose_lock_a_stopped_process_holds_says_which(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_STOPPED_S", 0.2)
    host.until("switch")
    child = os.fork()
    if child == 0:
        with flock(host.records().directory / "lock"):
            os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    with pytest.raises(LastGoodError, match=rf"is held by process {child}, which was stopped .*kill -CONT {child}"):
        host.transaction().undo(None, "asked")
    os.kill(child, signal.SIGCONT)
    host.transaction().undo(None, "asked")
    os.waitpid(child, 0)
    assert host.words == {"old"}


# -- by hand -------------------------------------------------------------------------------------------------------


def by_hand(host: Host, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the transaction's undo as an operator would who has nothing else: no PYTHONPATH, another directory."""
    command = [sys.executable, *options, host.records().directory / "undo"]
    return subprocess.run(
        command,
        check=False,
        env={"PATH": os.defpath},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize("options", [(), ("-I",), ("-I", "-S")], ids=["plain", "isolated", "without site"])
def test_an_operator_can_undo_with_nothing_but_the_directory(host: Host, arm: Arm, options: tuple[str, ...]) -> None:
    armed_and_switched(host, arm, NEVER)
    done = by_hand(host, *options)
    assert done.returncode == 0, done.stderr
    assert "is undone on this host" in done.stdout
    assert (host.state, host.words) == ("undone", {"old"})
    again = by_hand(host, *options)
    assert again.returncode == 0, again.stderr


def test_an_operator_with_a_damaged_journal_is_told_what_is_found(host: Host, arm: Arm) -> None:
    armed_and_switched(host, arm, NEVER)
    host.records().journal.path.unlink()
    done = by_hand(host)
    assert done.returncode == 1
    assert f"in doubt, and nothing more is done. Found by looking: pair:{host.path} is switched." in done.stderr
    assert host.words == {"new"}


def test_the_undo_can_be_called_by_its_name(host: Host, arm: Arm) -> None:
    armed_and_switched(host, arm, NEVER)
    done = subprocess.run(
        [host.records().directory / "undo"], check=False, env={}, cwd="/", capture_output=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    assert host.words == {"old"}


def test_an_operator_is_refused_after_the_promise(host: Host, arm: Arm) -> None:
    armed_and_switched(host, arm, NEVER)
    host.transaction().promise([OK_CHECK])
    done = by_hand(host)
    assert done.returncode == 1
    assert "has promised" in done.stderr
    assert host.words == {"new"}


def test_the_payload_holds_every_module_and_stands_alone(tmp_path: Path) -> None:
    """Imported from the zip alone, and with the real components."""
    packed = tmp_path / "payload.zip"
    packed.write_bytes(arming._packed())
    code = f"""
import sys; sys.path[:0] = [{str(packed)!r}, *{[entry for entry in sys.path if entry.endswith("-packages")]!r}]
from {PREFIX.replace("/", ".")}._components.registry import REVERSALS, COMPONENTS, component_class
from {PREFIX.replace("/", ".")}._engine import undo_cli
print(undo_cli.__file__.startswith({str(packed)!r}), *(component_class(kind).kind for kind in COMPONENTS))
print(*(component_class(kind, reversal=True).__name__ for kind in REVERSALS))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], check=False, env={}, cwd="/", capture_output=True, text=True
    )
    assert done.stdout.split()[0] == "True", done.stderr
    assert {"code", "database", "files", "migrations", "packages", "schema", "tables"} <= set(done.stdout.split())
    assert {"CodeReversal", "DatabaseReversal", "PackagesReversal"} <= set(done.stdout.split())


def test_a_relative_state_directory_is_found_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arm: Arm
) -> None:
    monkeypatch.chdir(tmp_path)
    host = Host(tmp_path)
    host.state_dir = Path("web1/state")
    armed_and_switched(host, arm, NEVER)
    done = by_hand(host)
    assert done.returncode == 0, done.stderr
    assert host.words == {"old"}


@pytest.mark.parametrize(
    ("services", "mode"),
    [
        ([{"name": "core"}, {"name": "planning", "manager": "supervisor"}], "control-group"),
        ([{"name": "core"}, {"name": "writing", "manager": "process"}], "process"),
    ],
)
def test_only_services_that_nothing_manages_outlive_the_unit_that_started_them(
    tmp_path: Path, services: list[dict[str, str]], mode: str
) -> None:
    assert f"\nKillMode={mode}\n" in arming._text(tmp_path, services)
