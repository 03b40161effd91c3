# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of a project against a real HTTP server and real commands; none may raise, whatever it meets."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._checks.health import check_projects


class Answers(BaseHTTPRequestHandler):
    """One path for each way in which an endpoint may behave."""

    def do_GET(self) -> None:
        status = {"/ok": 200, "/down": 503, "/teapot": 418, "/moved": 302}.get(self.path, 200)
        body = b'{"status": "healthy"}' if status == 200 else b"out of order\n\x1b[2J" + b"x" * 1000
        self.send_response(status)
        if self.path == "/moved":
            self.send_header("Location", "/ok")
        self.send_header("Content-Length", str(len(body) + (10_000 if self.path in ("/cut", "/drip") else 0)))
        self.end_headers()
        self.wfile.write(body)
        if self.path == "/drip":
            self.drip()

    def drip(self) -> None:
        try:
            for _byte in range(600):
                self.wfile.write(b".")
                self.wfile.flush()
                time.sleep(0.1)
        except OSError:
            return

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    found = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    found.daemon_threads = True
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{found.server_address[1]}"
    found.shutdown()
    thread.join()
    found.server_close()


def project(path: Path, **changed: Any) -> dict[str, Any]:
    return {"name": "core", "path": str(path), "python": None, "http": [], "imports": [], "commands": [], **changed}


def one(project: dict[str, Any], timeout_s: float = 20.0) -> dict[str, Any]:
    (found,) = check_projects([project], CommandRunner(), timeout_s)
    return found


def ask(tmp_path: Path, url: str, timeout_s: float = 20.0, **request: Any) -> dict[str, Any]:
    return one(project(tmp_path, http=[{"url": url, "status": 200, "contains": None, **request}]), timeout_s)


@pytest.mark.parametrize(
    ("path", "request_", "ok", "detail"),
    [
        ("/ok", {}, True, "200"),
        ("/ok", {"contains": "healthy"}, True, "200"),
        ("/ok", {"contains": "ready"}, False, "200, but without 'ready'"),
        ("/down", {}, False, "503 instead of 200: out of order"),
        ("/down", {"status": 503}, True, "503"),
        ("/teapot", {"status": 418, "contains": "order"}, True, "418"),
        ("/ok", {"status": 503}, False, "200 instead of 503"),
        ("/moved", {}, True, "200"),
    ],
)
def test_an_endpoint_answers_as_it_should_or_says_how_it_did(
    tmp_path: Path, server: str, path: str, request_: dict[str, Any], ok: bool, detail: str
) -> None:
    found = ask(tmp_path, server + path, **request_)
    assert (found["ok"], found["name"]) == (ok, f"core: {server}{path}")
    assert found["detail"].startswith(detail)
    assert len(found["detail"]) < 300


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/", "/etc/passwd", "http://[", "http://127.0.0.1:x/"]
)
def test_what_is_no_web_address_fails_and_raises_nothing(tmp_path: Path, url: str) -> None:
    found = ask(tmp_path, url)
    assert found["ok"] is False
    assert "root:" not in found["detail"]


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = ask(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert found["ok"] is False
    assert found["detail"].startswith("no answer:")


def test_somebody_accepts_and_never_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = ask(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout_s=0.2)
    assert found["ok"] is False


def test_an_answer_that_drips_is_given_up(tmp_path: Path, server: str) -> None:
    found = ask(tmp_path, f"{server}/drip", timeout_s=0.5)
    assert found["ok"] is False
    assert "no end of the answer" in found["detail"]


def test_a_proxy_is_not_asked(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    assert ask(tmp_path, f"{server}/ok")["ok"] is True


@pytest.mark.parametrize(
    ("command", "ok", "detail"),
    [
        (["true"], True, "ended with 0"),
        (["false"], False, "false ended with 1"),
        (["sh", "-c", "echo broken >&2; exit 3"], False, "ended with 3: broken"),
        (["no-such-program"], False, "ended with 127"),
        (["sleep", "600"], False, "it was stopped"),
    ],
)
def test_a_command_ends_well_or_says_how_it_ended(tmp_path: Path, command: list[str], ok: bool, detail: str) -> None:
    found = one(project(tmp_path, commands=[command]), timeout_s=1.0 if command[0] == "sleep" else 60.0)
    assert found["ok"] is ok
    assert detail in found["detail"]
    assert found["name"] == f"core: {' '.join(command)}"


def test_a_checkout_that_is_gone_is_a_failed_check(tmp_path: Path) -> None:
    found = one(project(tmp_path / "gone", commands=[["true"]]))
    assert found["ok"] is False
    assert "No such file" in found["detail"]


def test_python_is_the_one_of_the_project_and_runs_in_its_checkout(tmp_path: Path) -> None:
    (tmp_path / "local.py").write_text("import sys; print(sys.executable)")
    checked = project(tmp_path, python=sys.executable, imports=["local", "gone"], commands=[["python", "-m", "local"]])
    local, gone, command = check_projects([checked], CommandRunner(), 60.0)
    assert (local["ok"], gone["ok"], command["ok"]) == (True, False, True)
    assert "No module named 'gone'" in gone["detail"]
    assert not (tmp_path / "__pycache__").exists(), "a check leaves nothing behind in the checkout"


def test_results_come_in_the_order_of_the_projects(tmp_path: Path) -> None:
    slow = project(tmp_path, name="slow", commands=[["sleep", "0.3"], ["true"]])
    quick = project(tmp_path, name="quick", commands=[["true"]])
    names = [found["name"] for found in check_projects([slow, quick, quick], CommandRunner(), 60.0)]
    assert names == ["slow: sleep 0.3", "slow: true", "quick: true", "quick: true"]


def test_no_checks_are_no_results() -> None:
    assert check_projects([], CommandRunner(), 1.0) == []
