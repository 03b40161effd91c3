# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever answers a health check: wants another service to be asked, or a rollback that waits for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from accounts import Account
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._checks.health import check_projects
from ansible_collections.lastgood.rollback.plugins.module_utils._services.readiness import parse_ready

#: Answers each connection with its argument, says what it was asked, and drips the last byte for as long as it is read.
ANSWERS = r"""
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    client, _address = server.accept()
    print(client.recv(4096).decode().splitlines()[0], flush=True)
    try:
        client.sendall(sys.argv[1].encode().decode("unicode_escape").encode("latin-1"))
        while sys.argv[2:]:
            client.sendall(sys.argv[2].encode())
            __import__("time").sleep(0.05)
    except OSError:
        pass
    client.close()
"""
OK = r"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Neighbours:
    """Servers of the attacker."""

    def __init__(self, attacker: Account, stack: ExitStack) -> None:
        self._attacker, self._stack = attacker, stack

    def answering(self, text: str, drip: str = "") -> tuple[int, Any]:
        words = ["/usr/bin/python3", "-c", ANSWERS, text, *filter(None, [drip])]
        process = self._stack.enter_context(self._attacker.running(*words))
        return int(process.stdout.readline()), process


@pytest.fixture
def neighbours(attacker: Account) -> Iterator[Neighbours]:
    with ExitStack() as stack:
        yield Neighbours(attacker, stack)


def checked(url: str, timeout_s: float = 20.0) -> dict[str, Any]:
    http = [{"url": url, "status": 200, "contains": None}]
    project = {"name": "core", "path": "/", "python": None, "http": http, "imports": [], "commands": []}
    return check_projects([project], CommandRunner(), timeout_s)[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_another_service_is_not_asked_instead_of_the_one_that_is_checked(neighbours: Neighbours, host: str) -> None:
    healthy, asked = neighbours.answering(OK)
    port, _process = neighbours.answering(
        rf"HTTP/1.1 302 Found\r\nLocation: http://{host}:{healthy}/secret\r\nContent-Length: 0\r\n\r\n"
    )
    found = checked(f"http://127.0.0.1:{port}/health")
    assert found["ok"] is False
    assert found["detail"].startswith(f"302 instead of 200: it points to another host, http://{host}:{healthy}/secret")
    asked.terminate()
    assert asked.stdout.read() == ""


@pytest.mark.parametrize(
    ("text", "drip"),
    [
        ("", "HTTP/1.1 200 OK "),
        (r"HTTP/1.1 200 OK\r\nX: ", "x"),
        (r"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", "x"),
    ],
    ids=["status", "header", "body"],
)
def test_an_answer_without_an_end_is_cut_off(neighbours: Neighbours, text: str, drip: str) -> None:
    port, _process = neighbours.answering(text, drip)
    began = time.monotonic()
    found = checked(f"http://127.0.0.1:{port}/", timeout_s=0.5)
    assert (found["ok"], found["detail"]) == (False, "no answer: no end of the answer after 0.5 s")
    assert time.monotonic() - began < 20


def test_a_service_that_drips_is_not_ready(neighbours: Neighbours) -> None:
    port, _process = neighbours.answering(r"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", "x")
    ready = parse_ready({"http": f"http://127.0.0.1:{port}/"}, "it")
    assert "does not answer (no end of the answer" in ready.missing(CommandRunner())


def test_one_that_points_to_itself_is_not_followed_for_ever(neighbours: Neighbours) -> None:
    port, _process = neighbours.answering(r"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")
    found = checked(f"http://127.0.0.1:{port}/")
    assert (found["ok"], "points on and on" in found["detail"]) == (False, True)
