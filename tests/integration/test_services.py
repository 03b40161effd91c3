# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stopping and starting under a real supervisor; the programs are tiny HTTP servers with one bad habit each."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.masking import secrets_in
from ansible_collections.lastgood.rollback.plugins.module_utils._services import control, listeners

SERVER = """\
import http.server, os, signal, subprocess, sys, threading, time

port, habit = int(sys.argv[1]), sys.argv[2]
if habit == "crash":
    sys.exit("the configuration is wrong")
if habit == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if habit.startswith("slow"):
    time.sleep(float(habit.partition(":")[2] or 1.5))
if habit == "hung":
    time.sleep(600)
if habit == "brief":
    time.sleep(1.5)
    sys.exit("something is missing")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        code = 500 if habit == "ill" else 200
        self.send_response(code)
        self.end_headers()
        self.wfile.write(b"status ok pid %d" % os.getpid())
        if habit == "shortlived":
            threading.Timer(1, os._exit, [3]).start()

    def log_message(self, *words):
        pass


class Server(http.server.HTTPServer):
    allow_reuse_address = True


with Server(("127.0.0.1", port), Handler) as server:
    if habit == "orphan" and os.fork() > 0:
        signal.signal(signal.SIGTERM, lambda *words: os._exit(0))
        while True:
            time.sleep(60)
    if habit == "orphan":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.setsid()
    server.serve_forever()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Supervised:
    """A supervisor of our own with the programs that a test asks for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "s.conf"
        self.ports: dict[str, int] = {}
        self.daemon: subprocess.Popen[bytes] | None = None
        (directory / "server.py").write_text(SERVER)

    def run(self, **programs: str) -> None:
        """Start supervisor with programs: name → habit and, after commas, options of its section."""
        lines = [
            "[supervisord]",
            "logfile=%(here)s/log",
            "pidfile=%(here)s/pid",
            "[unix_http_server]",
            "file=%(here)s/sock ; comment",
            "username=us",
            "password=secret",
            "[supervisorctl]",
            "serverurl=unix://%(here)s/sock",
            "username=us",
            "password=secret",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        ]
        for name, words in programs.items():
            habit, *options = words.split(",")
            port = self.ports[name] = free_port()
            lines += [
                f"[program:{name}]",
                f"command={sys.executable} {self.directory}/server.py {port} {habit}",
                f"stdout_logfile={self.directory}/{name}.log",
                "redirect_stderr=true",
                *options,
            ]
        self.config.write_text("\n".join(lines) + "\n")
        command = [str(Path(sys.executable).parent / "supervisord"), "-n", "-c", str(self.config)]
        self.daemon = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.directory
        )
        deadline = time.monotonic() + 30
        while not (self.directory / "sock").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def end(self) -> None:
        """Supervisor ends its programs; one that ignores that is killed, by the number of its process."""
        if self.daemon is None:
            return
        programs = [pid for pid in listeners.family(self.daemon.pid) if pid != self.daemon.pid]
        self.daemon.terminate()
        try:
            self.daemon.wait(5)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
        self.daemon = None
        for pid in filter(alive, programs):
            os.kill(pid, signal.SIGKILL)

    def spec(self, name: str, **words: Any) -> dict[str, Any]:
        options = {"name": name, "manager": "supervisor", "config": str(self.config), "soak": 0.2, "timeout": 20}
        return {**options, "ready": {"http": self.url(name)}, **words}

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}/api/health"

    def info(self, name: str) -> tuple[int, str]:
        """Process and state as ``supervisorctl`` tells them: another path than the code under test."""
        program = str(Path(sys.executable).parent / "supervisorctl")
        done = subprocess.run(
            [program, "-c", str(self.config), "status", name], capture_output=True, text=True, check=False
        )
        words = done.stdout.replace(",", "").split()
        return (int(words[words.index("pid") + 1]) if "pid" in words else 0), words[1]

    def wait_for(self, name: str, *states: str) -> None:
        deadline = time.monotonic() + 30
        while self.info(name)[1] not in states:
            assert time.monotonic() < deadline, self.info(name)
            time.sleep(0.05)

    def answer(self, name: str) -> str:
        with urllib.request.urlopen(self.url(name), timeout=5) as answer:
            return str(answer.read().decode())


@pytest.fixture
def supervised() -> Iterator[Supervised]:
    # A socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="lg", dir="/tmp") as directory:
        supervised = Supervised(Path(directory))
        try:
            yield supervised
        finally:
            supervised.end()


RUN = CommandRunner()


def one(supervised: Supervised, name: str, **words: Any) -> list[control.Service]:
    return control.parse([supervised.spec(name, **words)])


def test_restarts_in_the_order_of_what_is_required(supervised: Supervised) -> None:
    supervised.run(core="slow", planning="good", writing="good")
    services = control.parse(
        [
            supervised.spec("planning", requires=["core"]),
            supervised.spec("core"),
            supervised.spec("writing", requires=["core"]),
        ]
    )
    control.start(services, RUN)
    before = {name: supervised.info(name)[0] for name in supervised.ports}
    stopped = {entry.name: entry for entry in control.stop(services, RUN)}
    assert {supervised.info(name) for name in supervised.ports} == {(0, "STOPPED")}
    assert not any(alive(pid) for pid in before.values())
    for name in ("planning", "writing"):
        assert stopped[name].stopped_at < stopped["core"].stopped_at
    started = {entry.name: entry for entry in control.start(services, RUN)}
    assert started.keys() == before.keys()
    for name, entry in started.items():
        assert supervised.info(name) == (entry.pid, "RUNNING")
        assert entry.pid != before[name]
        assert supervised.answer(name) == f"status ok pid {entry.pid}"
    for name in ("planning", "writing"):
        assert started[name].ready_at > started["core"].ready_at
    # Both wait for nothing but core: neither waits for the other.
    assert abs(started["planning"].ready_at - started["writing"].ready_at) < started["core"].waited_ms / 1000


def test_a_service_is_ready_when_it_answers_not_when_it_was_started(supervised: Supervised) -> None:
    supervised.run(core="slow,autostart=false,startsecs=0")
    [started] = control.start(one(supervised, "core"), RUN)
    assert started.waited_ms > 1000
    assert supervised.answer("core") == f"status ok pid {started.pid}"


def test_a_service_that_is_ready_only_after_20_s_is_waited_for_and_not_a_moment_longer_than_allowed(
    supervised: Supervised,
) -> None:
    supervised.run(core="slow:20,autostart=false,startsecs=0", late="slow:20,autostart=false,startsecs=0")
    with pytest.raises(LastGoodError, match=r"late .*is not ready after 1 s: http://.* does not answer"):
        control.start(one(supervised, "late", timeout=1), RUN)
    [started] = control.start(one(supervised, "core", timeout=120), RUN)
    assert started.waited_ms > 20_000
    assert supervised.answer("core") == f"status ok pid {started.pid}"


@pytest.mark.parametrize("state", ["stop", "start"])
def test_user_units_without_a_running_manager_are_refused_before_anything_is_stopped(
    supervised: Supervised, state: str
) -> None:
    """An account without a session has no bus; the message says how it gets one."""
    supervised.run(core="good")
    supervised.wait_for("core", "RUNNING")
    pid = supervised.info("core")[0]
    unit = {"name": "blog", "scope": "user", "user": "nobody"}
    services = control.parse([supervised.spec("core"), unit])
    with pytest.raises(Refused, match=r"nobody has no running systemd manager .*loginctl enable-linger nobody"):
        getattr(control, state)(services, RUN)
    assert supervised.info("core") == (pid, "RUNNING")


def test_starting_is_not_running(supervised: Supervised) -> None:
    """Supervisor's STARTING state: the call comes back when the program is past it, and not before."""
    supervised.run(core="good,autostart=false,startsecs=2")
    for ready in ({}, {"http": supervised.url("core")}):
        control.start(one(supervised, "core", ready=ready), RUN)
        assert supervised.info("core")[1] == "RUNNING"
        control.stop(one(supervised, "core"), RUN)


def test_a_crash_loop_is_recognised_with_its_last_lines(supervised: Supervised) -> None:
    supervised.run(core="crash,autostart=false,startretries=1000")
    began = time.monotonic()
    with pytest.raises(LastGoodError, match=r"core.*ended 2 times.*the configuration is wrong"):
        control.start(one(supervised, "core", timeout=600), RUN)
    assert time.monotonic() - began < 60


def test_a_program_that_was_given_up_is_a_failure_at_once(supervised: Supervised) -> None:
    supervised.run(core="crash,autostart=false,startretries=0")
    with pytest.raises(LastGoodError, match=r"given up.*FATAL.*the configuration is wrong"):
        control.start(one(supervised, "core", timeout=600), RUN)


def test_a_crash_during_the_soak_is_a_failure(supervised: Supervised) -> None:
    supervised.run(core="shortlived,autostart=false,startsecs=0,autorestart=true")
    with pytest.raises(LastGoodError, match=r"core.*(restarted|ended|given up)"):
        control.start(one(supervised, "core", soak=5), RUN)


def test_a_clock_that_is_set_back_does_not_prolong_the_soak(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = time.time, itertools.count()
    monkeypatch.setattr(time, "time", lambda: real() - 3600 * next(calls))
    supervised.run(core="good,autostart=false,startsecs=0")
    control.start(one(supervised, "core", timeout=10), RUN)
    assert supervised.info("core")[1] == "RUNNING"


def test_a_program_that_ignores_sigterm_is_killed(supervised: Supervised) -> None:
    supervised.run(core="deaf,stopwaitsecs=600")
    control.start(one(supervised, "core"), RUN)
    pid = supervised.info("core")[0]
    [stopped] = control.stop(one(supervised, "core", stop_timeout=0.5), RUN)
    assert stopped.ran_before
    assert not alive(pid)
    assert supervised.info("core") == (0, "STOPPED")


def test_what_was_down_is_told_from_what_ran_and_from_what_crashed(supervised: Supervised) -> None:
    supervised.run(up="good", down="good,autostart=false", dead="crash,startretries=0", ill="ill")
    supervised.wait_for("dead", "FATAL")
    supervised.wait_for("up", "RUNNING")
    supervised.wait_for("ill", "RUNNING")
    services = control.parse([supervised.spec(name) for name in ("up", "down", "dead", "ill")])
    seen = {entry.name: (entry.running, entry.ready) for entry in control.inspect(services, RUN)}
    assert seen == {"up": (True, True), "down": (False, False), "dead": (True, False), "ill": (True, False)}
    stopped = {entry.name: entry for entry in control.stop(services, RUN)}
    assert {name for name, entry in stopped.items() if entry.ran_before} == {"up", "dead", "ill"}
    assert {name for name, entry in stopped.items() if entry.stopped_at} == {"up", "ill"}

    # Going back to what was: nobody asks more of a service than it could do before.
    back = [service for service in services if stopped[service.name].ran_before]
    lenient = {f"supervisor:{name}" for name in ("dead", "ill")}
    started = {entry.name: entry for entry in control.start(back, RUN, lenient=lenient)}
    assert started["up"].error == started["ill"].error == ""
    assert "given up" in started["dead"].error
    assert {name: bool(entry.ready_at) for name, entry in started.items()} == {"up": True, "dead": False, "ill": True}
    assert started["dead"].ready_at is None
    assert supervised.info("down") == (0, "STOPPED")
    assert supervised.info("ill")[1] == "RUNNING"


def test_what_crashes_again_and_again_is_told_from_what_runs(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow the machine is: watched until it crashes.
    monkeypatch.setattr(control, "_YOUNG", 300)
    # Without startsecs its manager calls it running from the first moment on.
    supervised.run(brief="brief,startsecs=0,autorestart=true", asked="good")
    supervised.wait_for("brief", "RUNNING")
    brief = control.parse([supervised.spec("brief", ready={})])
    assert control.crashing([*brief, *one(supervised, "asked")], RUN) == {"supervisor:brief"}


def test_what_was_only_just_started_is_watched_until_it_has_stayed(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_YOUNG", 1)
    supervised.run(fresh="good")
    supervised.wait_for("fresh", "RUNNING")
    assert control.crashing(control.parse([supervised.spec("fresh", ready={})]), RUN) == set()


def test_a_port_that_is_still_held_after_the_stop_is_a_failure(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_GRACE", 1.0)
    supervised.run(core="orphan")
    control.start(one(supervised, "core"), RUN)
    orphan = int(supervised.answer("core").split()[-1])
    assert orphan != supervised.info("core")[0]
    try:
        with pytest.raises(LastGoodError, match=rf"port {supervised.ports['core']} is still held by process {orphan} "):
            control.stop(one(supervised, "core"), RUN)
        assert supervised.answer("core") == f"status ok pid {orphan}"
    finally:
        os.kill(orphan, signal.SIGKILL)


def test_an_answer_from_an_old_process_does_not_count(supervised: Supervised) -> None:
    supervised.run(core="hung,autostart=false,startsecs=0")
    command = [sys.executable, str(supervised.directory / "server.py"), str(supervised.ports["core"]), "good"]
    with subprocess.Popen(command) as old:
        try:
            while True:
                try:
                    assert supervised.answer("core") == f"status ok pid {old.pid}"
                    break
                except OSError:
                    time.sleep(0.05)
            with pytest.raises(LastGoodError, match=rf"held by process {old.pid} .*not of this service"):
                control.start(one(supervised, "core", timeout=2), RUN)
        finally:
            old.kill()


def test_an_unknown_program_is_refused_before_anything_is_stopped(supervised: Supervised) -> None:
    supervised.run(core="good")
    supervised.wait_for("core", "RUNNING")
    pid = supervised.info("core")[0]
    services = control.parse([supervised.spec("core"), {**supervised.spec("core"), "name": "cord"}])
    for call in (control.inspect, control.stop, control.start):
        with pytest.raises(Refused, match=r"cord.*no such program.*core"):
            call(services, RUN)
    assert supervised.info("core") == (pid, "RUNNING")


def test_a_supervisor_that_does_not_run_is_named(supervised: Supervised) -> None:
    supervised.run(core="good")
    supervised.wait_for("core", "RUNNING")
    supervised.end()
    with pytest.raises(LastGoodError, match="Is it running"):
        control.inspect(one(supervised, "core"), RUN)


def test_starting_what_runs_changes_nothing(supervised: Supervised) -> None:
    supervised.run(core="good")
    [first] = control.start(one(supervised, "core"), RUN)
    [second] = control.start(one(supervised, "core"), RUN)
    assert first.pid == second.pid == supervised.info("core")[0]
    control.stop(one(supervised, "core"), RUN)
    [again] = control.stop(one(supervised, "core"), RUN)
    assert again.stopped_at is None


@pytest.mark.parametrize(
    ("ready", "missing"),
    [
        ({"http": {"url": "{url}", "status": 204}}, "answers 200 instead of 204"),
        ({"http": {"url": "{url}", "contains": "well"}}, "answers without 'well'"),
        ({"tcp": "127.0.0.1:9"}, "does not accept connections"),
        ({"command": ["false"]}, "false ended with 1"),
    ],
)
def test_what_is_missing_is_told(supervised: Supervised, ready: dict[str, Any], missing: str) -> None:
    supervised.run(core="good")
    if "http" in ready:
        ready = {"http": {**ready["http"], "url": supervised.url("core")}}
    with pytest.raises(LastGoodError, match=missing):
        control.start(one(supervised, "core", ready=ready, timeout=1.5), RUN)


@pytest.mark.parametrize("ready", [{"http": {"contains": "status ok"}}, {"tcp": ""}, {"command": ["true"]}])
def test_every_way_to_be_ready(supervised: Supervised, ready: dict[str, Any]) -> None:
    supervised.run(core="good,autostart=false")
    address = f"127.0.0.1:{supervised.ports['core']}"
    filled = {
        "http": lambda: {"http": {"url": supervised.url("core"), **ready["http"]}},
        "tcp": lambda: {"tcp": address},
        "command": lambda: ready,
    }
    [started] = control.start(one(supervised, "core", ready=filled[next(iter(ready))]()), RUN)
    assert started.pid == supervised.info("core")[0]


def test_passwords_stay_out_of_messages(supervised: Supervised) -> None:
    supervised.run(core="good")
    supervised.config.write_text(supervised.config.read_text().replace("password=secret", "password=wrong-secret"))
    with pytest.raises(LastGoodError) as caught:
        control.inspect(one(supervised, "core"), RUN)
    assert "401" in caught.value.message
    assert "secret" not in caught.value.message
    supervised.config.write_text(supervised.config.read_text().replace("wrong-secret", "secret"))


@pytest.mark.parametrize("http", [lambda url: url, lambda url: {"url": url}], ids=["an address", "a dictionary"])
def test_the_password_of_an_address_is_not_shown(supervised: Supervised, http: Callable[[str], Any]) -> None:
    supervised.run(core="good,autostart=false")
    url = supervised.url("core").replace("://", "://me:tulips@")
    spec = supervised.spec("core", ready={"http": http(url)})
    missing = control.parse([spec])[0].ready.missing(RUN)
    assert "does not answer" in missing
    assert "tulips" not in missing
    assert {secret for words in control.commands_of([spec]) for secret in secrets_in(words)} == {"tulips"}


def test_options_survive_the_journal(supervised: Supervised) -> None:
    supervised.run(core="good")
    services = one(
        supervised, "core", ready={"http": {"url": supervised.url("core"), "contains": "ok"}}, requires=["db"]
    )
    assert control.parse([services[0].options()]) == services
    assert xmlrpc.client.dumps((services[0].options(),), allow_none=False)
