# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stopping and starting processes that nothing manages, known by their pid files alone."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._services import control
from integration.test_services import SERVER, alive, free_port

#: Puts the server into the background as daemons do it, with a log, and writes its pid file.
DAEMON = """\
import os, subprocess, sys
with open("log", "ab") as log:
    server = subprocess.Popen([sys.executable, "server.py", *sys.argv[1:]], stdin=subprocess.DEVNULL, stdout=log,
                              stderr=log, start_new_session=True)
with open("pid", "w") as file:
    print(server.pid, file=file)
os._exit(0)
"""
RUN = CommandRunner()

Spec = Callable[..., list[control.Service]]


class Daemon:
    """A server in a directory of its own, that writes its number to ``pid``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        (directory / "server.py").write_text(SERVER)
        (directory / "daemon.py").write_text(DAEMON)

    @property
    def file(self) -> Path:
        return self.directory / "pid"

    @property
    def pid(self) -> int:
        return int(self.file.read_text())

    def spec(self, habit: str = "good", **words: Any) -> list[control.Service]:
        options = {
            "name": "core",
            "manager": "process",
            "pid_file": str(self.file),
            "command": [sys.executable, "daemon.py", str(self.port), habit],
            "chdir": str(self.directory),
            "log": str(self.directory / "log"),
            "ready": {"http": f"http://127.0.0.1:{self.port}/api/health"},
            "soak": 0.2,
            "timeout": 20,
        }
        return control.parse([{**options, **words}])

    def answer(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5) as answer:
            return str(answer.read().decode())


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    try:
        yield daemon
    finally:
        if daemon.file.exists() and _is_ours(daemon):
            os.kill(daemon.pid, signal.SIGKILL)


def _is_ours(daemon: Daemon) -> bool:
    try:
        return Path(f"/proc/{daemon.pid}/cwd").readlink() == daemon.directory
    except (OSError, ValueError):
        return False


@contextmanager
def somebody(**words: Any) -> Iterator[int]:
    """A process that the pid file has no business with."""
    process = subprocess.Popen(["sleep", "600"], **words)
    try:
        yield process.pid
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


@contextmanager
def roots_process() -> Iterator[int]:
    """One of root that is ours to lose, where we are root; else process 1, which we could not end."""
    if os.geteuid() != 0:
        yield 1
        return
    with somebody() as pid:
        yield pid


def running(services: list[control.Service]) -> bool:
    [seen] = control.inspect(services, RUN)
    return seen.running


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 30
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_process_is_stopped_and_started_by_its_pid_file(daemon: Daemon) -> None:
    core = daemon.spec()
    assert not running(core)
    [first] = control.start(core, RUN)
    assert first.pid == daemon.pid
    assert daemon.answer() == f"status ok pid {first.pid}"
    assert running(core)

    [stopped] = control.stop(core, RUN)
    assert stopped.ran_before
    assert not alive(first.pid)
    assert daemon.pid == first.pid  # the file is left behind, and tells nothing any more
    assert not running(core)
    [stopped] = control.stop(core, RUN)
    assert (stopped.ran_before, stopped.stopped_at) == (False, None)

    [second] = control.start(core, RUN)
    assert daemon.answer() == f"status ok pid {second.pid}"
    assert second.pid != first.pid


def test_a_pid_file_older_than_the_process_of_its_number_is_not_believed(daemon: Daemon) -> None:
    """After a boot, say: the number belongs to somebody else now. Neither is anything stopped nor started."""
    core = daemon.spec()
    with somebody() as pid:
        daemon.file.write_text(f"{pid}\n")
        os.utime(daemon.file, (time.time() - 3600,) * 2)
        for act in (control.stop, control.start):
            with pytest.raises(
                Refused, match=rf"names process {pid}, which started 3\d\d\d s after the file was written"
            ):
                act(core, RUN)


def test_a_pid_file_that_names_another_users_process_is_not_believed(daemon: Daemon) -> None:
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    with roots_process() as pid:
        daemon.file.write_text(f"{pid}\n")
        said = rf"names process {pid}, which runs as root and not as {user}: set 'user' to its account"
        with pytest.raises(Refused, match=said):
            control.stop(daemon.spec(user=user), RUN)


def test_a_stale_file_with_another_users_later_process_is_as_good_as_none(daemon: Daemon) -> None:
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    with roots_process() as pid:
        daemon.file.write_text(f"{pid}\n")
        os.utime(daemon.file, (1, 1))
        assert not running(daemon.spec(user=user))
        [stopped] = control.stop(daemon.spec(user=user), RUN)
        assert not stopped.ran_before


def test_a_process_that_nobody_has_asked_how_it_ended_does_not_run(daemon: Daemon) -> None:
    with subprocess.Popen(["true"]) as child:
        wait_until_gone(child.pid)
        daemon.file.write_text(f"{child.pid}\n")
        assert not running(daemon.spec())


def test_a_pid_file_without_a_number_is_as_good_as_none(daemon: Daemon) -> None:
    daemon.file.write_text("\n")
    assert not running(daemon.spec())


def test_the_command_runs_as_the_account_of_the_process(daemon: Daemon, other_account: int) -> None:
    directory = daemon.directory / "run"
    directory.mkdir()
    os.chown(directory, other_account, -1)
    command = ["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $! > pid"]
    words = {"pid_file": str(directory / "pid"), "chdir": str(directory), "ready": {}, "command": command}
    [core] = daemon.spec(user=pwd.getpwuid(other_account).pw_name, **words)
    [started] = control.start([core], RUN)
    status = Path(f"/proc/{started.pid}/status").read_text()
    assert f"Uid:\t{other_account}\t{other_account}" in status
    assert (directory / "pid").stat().st_uid == other_account
    control.stop([core], RUN)
    assert not alive(started.pid)


def test_a_process_that_ignores_sigterm_is_ended(daemon: Daemon) -> None:
    core = daemon.spec("deaf", stop_timeout=0.5)
    [started] = control.start(core, RUN)
    control.stop(core, RUN)
    assert not alive(started.pid)


def test_a_process_that_ends_at_once_is_told_with_its_last_lines(daemon: Daemon) -> None:
    with pytest.raises(LastGoodError, match=r"core \(process\) ended by itself.*the configuration is wrong"):
        control.start(daemon.spec("crash"), RUN)


def test_a_process_that_ends_during_the_soak_is_a_failure(daemon: Daemon) -> None:
    with pytest.raises(LastGoodError, match=r"core.*(ended|restarted)"):
        control.start(daemon.spec("shortlived", soak=10), RUN)


def test_a_command_that_stays_in_the_foreground_is_ended_and_told(daemon: Daemon) -> None:
    command = ["sh", "-c", "echo $$ > pid; exec sleep 600"]
    with pytest.raises(LastGoodError, match=r"no end after 1 s; it was stopped. It has to go into the background"):
        control.start(daemon.spec(command=command, timeout=1), RUN)
    wait_until_gone(daemon.pid)


def test_what_a_command_says_when_it_fails_is_told(daemon: Daemon) -> None:
    with pytest.raises(LastGoodError, match="the port is taken"):
        control.start(daemon.spec(command=["sh", "-c", "echo the port is taken >&2; exit 3"]), RUN)


def test_a_command_whose_process_keeps_its_output_open_is_not_waited_for(daemon: Daemon) -> None:
    command = ["sh", "-c", "sleep 600 & echo $! > pid"]
    [started] = control.start(daemon.spec(command=command, ready={}), RUN)
    assert started.pid == daemon.pid
    assert alive(started.pid)
