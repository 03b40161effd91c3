# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services under a real systemd: units that start late, crash, never get ready, or don't want to stop.

What came of it is read from ``systemctl show``, and by process id.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from lab_stack import INVENTORY, ROOT, Stack, lab_is_up

UNITS = "/run/systemd/system"
OWNER = "blog"
#: Ready two seconds after it was started, by its own word.
LATE = """\
[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/sh -c 'sleep 2; systemd-notify --ready; exec sleep infinity'
"""
STEADY = "[Service]\nExecStart=/bin/sleep infinity\n"
CRASHING = """\
[Service]
Restart=always
RestartSec=100ms
ExecStart=/bin/sh -c 'echo the key is missing in .env; exit 3'
"""
SILENT = "[Service]\nType=notify\nExecStart=/bin/sleep infinity\n"
#: It takes no notice of SIGTERM, and its unit would wait for an hour.
STUBBORN = """\
[Service]
TimeoutStopSec=1h
ExecStart=/bin/sh -c "trap '' TERM; while :; do sleep 0.2; done"
"""
BRIEF = "[Service]\nRestart=always\nRestartSec=100ms\nExecStart=/bin/sleep 2\n"
CONDITIONAL = "[Unit]\nConditionPathExists=/nowhere/at/all\n[Service]\nExecStart=/bin/sleep infinity\n"


class Units:
    """Units of one lab host, for the time of a test."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.host = stack.lab.applications[0].name
        self.names: list[str] = []

    def add(self, name: str, text: str, *, running: bool = False) -> None:
        """A unit with this text; perhaps already at work."""
        self.names.append(name)
        # Enabled, as those of applications are: systemd forgets one that nobody wants as soon as it has stopped.
        order = f"systemctl add-wants --runtime --quiet multi-user.target {name}.service && systemctl daemon-reload"
        order += f" && systemctl start {name}" if running else ""
        self.on(f"cat > {UNITS}/{name}.service <<'END'\n{text}END\n{order}")

    def on(self, command: str) -> str:
        return self.stack.on(self.host, command)

    def show(self, name: str, *properties: str) -> list[str]:
        """Values of a unit's properties, in the order of the names."""
        return [self.on(f"systemctl show --value --property={word} {name}") for word in properties]

    def order(self, *services: dict[str, Any], state: str = "restarted") -> tuple[bool, dict[str, Any]]:
        """Run the module on the host; whether it succeeded, and what it returned."""
        words = json.dumps({"services": services, "state": state})
        command = ["ansible", self.host, "-i", str(INVENTORY), "-m", "lastgood.rollback.service_restart", "-a", words]
        env = {**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert "=> {" in done.stdout, done.stdout + done.stderr
        return done.returncode == 0, json.loads(done.stdout[done.stdout.index("=> {") + 3 :])

    def failure(self, *services: dict[str, Any]) -> str:
        """The message of a restart that fails."""
        succeeded, told = self.order(*services)
        assert not succeeded, told
        return str(told["msg"])

    def remove(self) -> None:
        """End and remove them."""
        for name in self.names:
            ended = f"systemctl kill --signal=SIGKILL {name}; systemctl stop {name}; systemctl unmask --runtime {name}"
            files = f"{UNITS}/{name}.service {UNITS}/multi-user.target.wants/{name}.service"
            self.on(f"{ended}; rm -f {files}; systemctl reset-failed {name}; systemctl daemon-reload; true")


@pytest.fixture(scope="module")
def lab() -> Iterator[Stack]:
    with lab_is_up(hosts=1, posts=100) as stack:
        yield stack


@pytest.fixture
def units(lab: Stack) -> Iterator[Units]:
    made = Units(lab)
    yield made
    made.remove()


def test_a_unit_is_ready_when_it_says_so_and_those_of_a_wave_start_side_by_side(units: Units) -> None:
    names = [f"test-late-{number}" for number in range(4)]
    for name in names:
        units.add(name, LATE)
    last = {"name": names[3], "requires": names[:3]}
    succeeded, told = units.order(*({"name": name, "ready": {"notify": True}} for name in names[:3]), last)
    assert succeeded, told
    assert [units.show(name, "ActiveState", "SubState") for name in names] == [["active", "running"]] * 4
    begun = [int(units.show(name, "ExecMainStartTimestampMonotonic")[0]) for name in names]
    ready = [int(units.show(name, "ActiveEnterTimestampMonotonic")[0]) for name in names]
    # All three of the first wave are on their way before one is ready; the one that requires them waits for the last.
    assert max(begun[:3]) < min(ready[:3])
    assert begun[3] > max(ready[:3])


def test_a_crash_loop_is_recognised_with_its_last_lines(units: Units) -> None:
    units.add("test-crashing", CRASHING)
    said = units.failure({"name": "test-crashing", "timeout": 600, "ready": {"tcp": "127.0.0.1:9"}})
    assert "does not stay up" in said
    assert "the key is missing in .env" in said


def test_activating_is_not_running(units: Units) -> None:
    units.add("test-silent", SILENT)
    said = units.failure({"name": "test-silent", "timeout": 3})
    assert "test-silent (systemd) is not ready after 3 s: its manager says activating" in said


def test_a_restart_during_the_soak_is_a_failure(units: Units) -> None:
    units.add("test-brief", BRIEF)
    assert "was restarted within 20 s" in units.failure({"name": "test-brief", "soak": 20})


def test_a_unit_that_ignores_sigterm_is_killed(units: Units) -> None:
    units.add("test-stubborn", STUBBORN, running=True)
    (pid,) = units.show("test-stubborn", "MainPID")
    succeeded, told = units.order({"name": "test-stubborn", "stop_timeout": 2}, state="stopped")
    assert succeeded, told
    assert units.on(f"kill -0 {pid} 2> /dev/null && echo alive; true") == ""
    assert units.show("test-stubborn", "MainPID") == ["0"]


@pytest.mark.parametrize(("name", "why"), [("test-masked", "masked"), ("test-nowhere", "no such unit")])
def test_a_masked_or_missing_unit_is_refused_before_anything_is_stopped(units: Units, name: str, why: str) -> None:
    units.add("test-steady", STEADY, running=True)
    if why == "masked":
        units.names.append(name)
        units.on(f"systemctl mask --runtime {name}")
    before = units.show("test-steady", "MainPID", "InvocationID")
    said = units.failure({"name": "test-steady"}, {"name": name})
    assert name in said
    assert why in said
    assert units.show("test-steady", "MainPID", "InvocationID") == before


def test_a_unit_whose_condition_does_not_hold_did_not_start(units: Units) -> None:
    """systemd calls that a success."""
    units.add("test-conditional", CONDITIONAL)
    assert "a condition of the unit does not hold" in units.failure({"name": "test-conditional", "timeout": 5})


def test_a_changed_unit_file_is_read_before_the_start(units: Units) -> None:
    units.add("test-changed", STEADY, running=True)
    units.on(f"sed -i 's/infinity/4242/' {UNITS}/test-changed.service")
    assert units.show("test-changed", "NeedDaemonReload") == ["yes"]
    succeeded, told = units.order({"name": "test-changed"})
    assert succeeded, told
    (pid,) = units.show("test-changed", "MainPID")
    assert units.on(f"tr '\\0' ' ' < /proc/{pid}/cmdline").split() == ["/bin/sleep", "4242"]


def test_a_user_s_unit_is_restarted_in_the_user_s_own_manager(units: Units) -> None:
    service = {"name": "test-own", "scope": "user", "user": OWNER}
    assert f"User {OWNER} has no running systemd manager" in units.failure(service)
    uid = units.on(f"id -u {OWNER}")
    runtime = f"/run/user/{uid}"
    user = f"sudo -u {OWNER} XDG_RUNTIME_DIR={runtime} systemctl --user"
    try:
        units.on(f"loginctl enable-linger {OWNER} && systemctl start user@{uid}.service")
        unit = f"{runtime}/systemd/user/test-own.service"
        units.on(f"sudo -u {OWNER} sh -c \"mkdir -p $(dirname {unit}) && printf '{STEADY}' > {unit}\"")
        units.on(f"{user} daemon-reload && {user} start test-own")
        before = units.on(f"{user} show --value --property=MainPID test-own")
        succeeded, told = units.order(service)
        assert succeeded, told
        after = units.on(f"{user} show --value --property=MainPID test-own")
        assert after not in (before, "0")
        assert units.on(f"ps -o user= -p {after}") == OWNER
        assert units.on(f"kill -0 {before} 2> /dev/null && echo alive; true") == ""
    finally:
        units.on(f"{user} stop test-own; loginctl disable-linger {OWNER}; systemctl stop user@{uid}.service; true")
        units.on(f"systemctl reset-failed user@{uid}.service; true")
