# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Asking an endpoint by HTTP: no proxy, one deadline for the whole answer, and nobody but who was to be asked.

Whoever answers is not trusted: an answer may drip, never end, or point to another host whose answer would say nothing of
this one. No proxy is used either, since its answer would be somebody else's.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

_MOST_BYTES = 1024 * 1024
_MOST_STEPS = 5
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Answer:
    """What came back.

    :param body: its first mebibyte.
    :param leads_to: the other host that the answer points to; it was not asked.
    """

    status: int
    body: bytes
    leads_to: str = ""


def ask(url: str, timeout_s: float, *, follow: bool) -> Answer:
    """Ask once.

    :param follow: go on to where the endpoint points, as long as that is the same host.
    :raises OSError: when there is no whole answer in time.
    :raises http.client.HTTPException: when it is none.
    :raises ValueError: when the address is none.
    """
    until = time.monotonic() + timeout_s
    for _step in range(_MOST_STEPS):
        status, body, location = _once(url, until, timeout_s)
        if not (follow and location and 300 <= status < 400):
            return Answer(status, body)
        leads_to = urljoin(url, location)
        if not _is_same_host(url, leads_to):
            return Answer(status, body, leads_to)
        url = leads_to
    raise OSError(f"it points on and on, the last time to {url}")


def _is_same_host(url: str, other: str) -> bool:
    """The same service; or what it says is its encrypted side, at the usual port."""
    here, there = urlsplit(url), urlsplit(other)
    if there.scheme not in _PORTS or there.hostname != here.hostname:
        return False
    ports = _port(here), _port(there)
    return ports == (80, 443) or (ports[0] == ports[1] and here.scheme == there.scheme)


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS[parts.scheme]


def _once(url: str, until: float, timeout_s: float) -> tuple[int, bytes, str]:
    parts = urlsplit(url)
    left = until - time.monotonic()
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("not an http address")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    with _Deadline(max(left, 0.001), kind(parts.hostname, _port(parts), timeout=max(left, 0.001))) as connection:
        try:
            connection.request("GET", path, headers={"User-Agent": "lastgood.rollback", "Connection": "close"})
            answer = connection.getresponse()
            found = answer.status, answer.read(_MOST_BYTES), answer.getheader("Location") or ""
        except (OSError, http.client.HTTPException):
            if time.monotonic() < until:
                raise
        if time.monotonic() < until:
            return found
    raise TimeoutError(f"no end of the answer after {timeout_s:g} s")


class _Deadline:
    """Closes a connection after that time, whatever goes on in it: each single read may be quick, and there be no end."""

    def __init__(self, seconds: float, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> http.client.HTTPConnection:
        self._timer.start()
        try:
            self._connection.connect()
        except BaseException:
            self.__exit__()
            raise
        self._sockets.append(self._connection.sock)  # the connection forgets it when the answer begins
        return self._connection

    def __exit__(self, *_exception: object) -> None:
        self._timer.cancel()
        self._timer.join()
        self._connection.close()

    def _cut(self) -> None:
        for sock in self._sockets or filter(None, [self._connection.sock]):
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # below TLS, which another thread is using
