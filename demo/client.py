# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody who reads the blog all the time: asks every service how it is, and core again and again."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from place import Place, Project

#: Between two questions of the reader who keeps asking.
PAUSE_MS = 50
#: What stands for the status where nobody answered.
NO_ANSWER = 0


@dataclass(frozen=True)
class Answer:
    """An HTTP status, or NO_ANSWER, and the body if it was JSON."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def why(self) -> list[str]:
        """What a health report says is wrong, a line for each failing check."""
        return [_shorten(f"{name}: {self.body['checks'][name]}") for name in self.body.get("failing", [])]


def _shorten(text: str, width: int = 90) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def get(project: Project, path: str, timeout: float = 5) -> Answer:
    """Ask a project; an error on the way is an answer too."""
    connection = http.client.HTTPConnection("127.0.0.1", project.port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        raw = response.read()
    except (OSError, http.client.HTTPException):
        return Answer(NO_ANSWER)
    finally:
        connection.close()
    try:
        body = json.loads(raw)
    except ValueError:
        body = {}
    return Answer(response.status, body if isinstance(body, dict) else {})


def health(place: Place) -> dict[str, Answer]:
    """The health report of every project, by key."""
    return {project.key: get(project, "/api/health") for project in place.projects}


def wait_until_healthy(place: Place, seconds: float = 60) -> dict[str, Answer]:
    """Ask until all are healthy or the time is over; the last answers."""
    deadline = time.monotonic() + seconds
    while True:
        answers = health(place)
        if all(answer.status == 200 for answer in answers.values()) or time.monotonic() > deadline:
            return answers
        time.sleep(0.2)


class Reader:
    """A client that asks one project for its health every PAUSE_MS, in a thread, between ``with`` and its end."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._seen: list[tuple[float, int]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="reader", daemon=True)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(timeout=10)

    def _ask(self) -> None:
        while not self._end.is_set():
            asked = time.monotonic()
            self._seen.append((asked, get(self._project, "/api/health").status))
            self._end.wait(PAUSE_MS / 1000)

    @property
    def asked(self) -> int:
        """How many questions there were."""
        return len(self._seen)

    def statuses(self) -> dict[str, int]:
        """How many answers there were of each status."""
        found: dict[str, int] = {}
        for _at, status in self._seen:
            name = str(status or "no answer")
            found[name] = found.get(name, 0) + 1
        return found

    def away_s(self, good: Collection[int]) -> float | None:
        """Seconds in which nobody answered, each time until the next answer of one of these statuses.

        A service that answers, even with an error, is not away: what is measured is the rollback, not the disaster
        before it. Nothing when the service did not come back.
        """
        away = 0.0
        since: float | None = None
        for asked, status in self._seen:
            if status == NO_ANSWER and since is None:
                since = asked
            elif status in good and since is not None:
                away += asked - since
                since = None
        return away if since is None else None
