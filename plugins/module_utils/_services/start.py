# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) One service on its way up: the order, readiness, crashes, and the soak afterwards."""

from __future__ import annotations

import time

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.masking import mask_secrets
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import Pending

from . import listeners
from .managers.base import DOWN, FAILED, RUNNING, STARTING, ServiceStatus
from .managers.orders import Manager
from .specs import Service

#: Seconds between two questions for the status: short at first, since every one of them is downtime.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.03, 0.25
#: A first crash may be bad luck (something it needs was not up yet); the second is a loop.
_MAX_CRASHES = 2
#: Seconds that a service may be seen down after the order, before that is taken for its end.
_DOWN_FOR_S = 1.5
#: Seconds that a service gets of which nothing is asked but that it starts.
_LENIENT_TIMEOUT_S = 10.0


class ServiceStart:
    """Brings one service up and remembers what it saw.

    :param lenient: ask nothing but that its manager says it runs.
    """

    def __init__(self, service: Service, manager: Manager, run: CommandRunner, lenient: bool) -> None:
        self.service = service
        self.manager = manager
        self.run = run
        self.lenient = lenient
        self.pid = 0
        self.ready_at: float | None = None
        self.waited_ms = 0
        self.error = ""
        self._began = self._ready_since = time.monotonic()
        self._before: ServiceStatus = manager.status(service.name)
        self._restarts = self._before.restarts
        self._processes: set[str] = set()
        self._end_times: set[str] = set()
        self._down_since: float | None = None
        self._listening_before: set[int] = set()
        self._ready: ServiceStatus | None = None

    def run_to_ready(self, pending: Pending) -> None:
        """Give the order where it does not run, and wait until it is ready.

        :param pending: shows what is missing yet.
        :raises LastGoodError: when it crashes, ends, or is not ready in time; with its last lines.
        """
        if self._before.state not in (RUNNING, STARTING):
            endpoint = self.service.ready.endpoint()
            if endpoint and listeners.is_local(endpoint[0]):
                self._listening_before = listeners.listening(endpoint[1])
            self.manager.start(self.service.name)
        limit = min(self.service.timeout, _LENIENT_TIMEOUT_S) if self.lenient else self.service.timeout
        pause, missing = _FIRST_PAUSE_S, "it is not running"
        while True:
            status = self._status()
            missing = self._missing(status)
            if not missing:
                self._ready, self.pid, self.ready_at = status, status.pid, time.time()
                self._ready_since = time.monotonic()
                self.waited_ms = round((self._ready_since - self._began) * 1000)
                pending.done(self.service.name)
                return
            pending.add(self.service.name, missing)
            if time.monotonic() - self._began >= limit:
                raise self._failed(f"is not ready after {limit:.0f} s: {missing}")
            time.sleep(pause)
            pause = min(pause * 1.3, _LONGEST_PAUSE_S)

    def soak(self) -> None:
        """Watch it until its soak time is over, and its manager calls it running (with supervisor: past ``startsecs``).

        :raises LastGoodError: when it was restarted, crashed or ended meanwhile; with its last lines.
        """
        ready = self._ready
        if self.lenient or ready is None:
            return
        while True:
            status = self._status()
            if status.process != ready.process or status.restarts != ready.restarts:
                raise self._failed(f"was ready, and was restarted within {self.service.soak:g} s: {status.detail}")
            soaked = time.monotonic() - self._ready_since >= self.service.soak
            if soaked and status.state == RUNNING:
                return
            if time.monotonic() - self._began >= self.service.timeout + self.service.soak:
                raise self._failed(f"answers, but its manager does not call it running: {status.detail}")
            time.sleep(_LONGEST_PAUSE_S if self.service.soak > 1 else _FIRST_PAUSE_S)

    def _missing(self, status: ServiceStatus) -> str:
        """What is missing until it counts as ready, in words."""
        has_probes = self.service.ready.probes and not self.lenient
        # A service that answers is up, whatever its manager still waits for; the soak sees to the manager's word.
        if status.state != RUNNING and not (has_probes and status.state == STARTING and status.pid):
            return f"its manager says {status.detail}"
        if not has_probes:
            return ""
        missing = self.service.ready.missing(self.run)
        if missing:
            return missing
        if self._status().process != status.process:
            return "it was restarted while it was asked"
        return self._leftover_process(status)

    def _leftover_process(self, status: ServiceStatus) -> str:
        """Whether the answer came from a process of the same program that no manager knows: one that was left behind."""
        endpoint = self.service.ready.endpoint()
        if not (self._listening_before and endpoint and status.pid):
            return ""
        present = listeners.listening(endpoint[1])
        if listeners.pids_with_sockets(present, listeners.family(status.pid)):
            return ""
        suspects = {
            pid
            for pid in listeners.pids_with_sockets(present & self._listening_before)
            if listeners.same_program(pid, status.pid) and not self.manager.accounts_for(self.service.name, pid)
        }
        if not suspects:
            return ""
        return f"port {endpoint[1]} is held by {listeners.described(suspects)}, which is not of this service"

    def _status(self) -> ServiceStatus:
        """Ask for the status again, and count crashes.

        :raises LastGoodError: when it was given up, ended, or crashed again and again.
        """
        status = self.manager.status(self.service.name)
        if status.process and status.process != self._before.process:
            self._processes.add(status.process)
        if status.ended and status.ended != self._before.ended:
            self._end_times.add(status.ended)
        self._restarts = min(self._restarts, status.restarts)  # the order to start begins a new count
        crashes = max(len(self._processes) - 1, len(self._end_times), status.restarts - self._restarts)
        if crashes >= _MAX_CRASHES:
            seconds = time.monotonic() - self._began
            raise self._failed(f"does not stay up: it ended {crashes} times within {seconds:.1f} s")
        if status.state == FAILED and not status.queued:
            raise self._failed(f"was given up by its manager: {status.detail}")
        if status.state != DOWN or status.queued:
            self._down_since = None
        elif self._down_since is None:
            self._down_since = time.monotonic()
        elif time.monotonic() - self._down_since >= _DOWN_FOR_S:
            raise self._failed(f"ended by itself: {status.detail}")
        return status

    def _failed(self, why: str) -> LastGoodError:
        log_lines = " | ".join(
            line.strip() for line in self.manager.log(self.service.name).splitlines() if line.strip()
        )
        log_text = f" Its last lines: {log_lines}" if log_lines else " It left nothing in its log."
        message = f"{self.service.name} ({self.service.manager}) {why}.{log_text}"
        return LastGoodError(mask_secrets(message, self.service.secrets))
