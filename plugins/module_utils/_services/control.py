# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Stopping and starting services in the order of what they require, and believing only what is seen.

A start is over when the service answers, from the process that was started, and has gone on doing so for its soak time.
Services that may go at the same time go at the same time, in threads: nothing here changes the identity of the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TypeVar

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import Pending, show_progress
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from . import listeners
from .managers.base import DOWN, FAILED, RUNNING, STARTING, ServiceStatus, age_of
from .managers.orders import Manager
from .specs import Service, commands_of, parse, require_complete, start_waves
from .start import ServiceStart

__all__ = [
    "Inspected",
    "Service",
    "ServiceFailed",
    "Started",
    "Stopped",
    "commands_of",
    "crashing",
    "inspect",
    "parse",
    "require_complete",
    "start",
    "stop",
]

T = TypeVar("T")

#: Seconds that a killed service, and its port, get to vanish.
_GRACE = 10.0
#: Seconds after which a process that nobody can ask is believed to stay.
_YOUNG = 10.0
_AT_ONCE = 32


class ServiceFailed(LastGoodError):
    """Services did not stop, did not start, or did not stay up; all of them are named."""


@dataclass(frozen=True)
class Inspected:
    """What a service does now.

    :param running: it is meant to run: it runs, is starting, or was given up by its manager after crashes. False only for
        a service that is down on purpose.
    :param ready: it runs, and answers as its description asks.
    """

    key: str
    name: str
    manager: str
    state: str
    detail: str
    running: bool
    ready: bool
    pid: int

    def to_json(self) -> JsonObject:
        """A plain JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Stopped:
    """A service after `stop`. ``stopped_at``: seconds since the epoch when the order was given; nothing when it was down."""

    key: str
    name: str
    manager: str
    ran_before: bool
    stopped_at: float | None

    def to_json(self) -> JsonObject:
        """A plain JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Started:
    """A service after `start`.

    :param pid: main process, 0 when the manager knows of none.
    :param ready_at: seconds since the epoch; None where it is no more ready than before.
    :param waited_ms: from the order to start until it was ready.
    :param error: why it does not run; only ever set where the caller tolerates that.
    """

    key: str
    name: str
    manager: str
    pid: int
    ready_at: float | None
    waited_ms: int
    error: str = ""

    def to_json(self) -> JsonObject:
        """A plain JSON object."""
        return asdict(self)


def inspect(services: Sequence[Service], run: CommandRunner) -> list[Inspected]:
    """The state of services; those that run are asked whether they are ready.

    :raises Refused: when one of them is missing or masked, or there is no way to its manager; all are named.
    """
    statuses = _manageable(services, run)

    def one(service: Service) -> Inspected:
        status = statuses[service.key]
        ready = status.state == RUNNING and not service.ready.missing(run)
        is_running = status.state in (RUNNING, STARTING, FAILED)
        return Inspected(
            service.key, service.name, service.manager, status.state, status.detail, is_running, ready, pid=status.pid
        )

    return _together(one, services)


def crashing(services: Sequence[Service], run: CommandRunner) -> set[str]:
    """Keys of services that crash again and again, though their manager calls them running at the moment.

    Between two crashes it does, and where no probe asks the service itself its word is all there is. So a young process
    is watched until it has shown that it stays, for at most 10 s.
    """

    def one(service: Service) -> bool:
        manager = service.manager_of(run)
        first = status = manager.status(service.name)
        for _again in _until(_YOUNG):
            if status.state != RUNNING or status.process != first.process:
                return True
            if not status.pid or age_of(status.pid) >= _YOUNG:
                return False
            status = manager.status(service.name)
        return False

    alone = [service for service in services if not service.ready.probes]
    return {service.key for service, crashes in zip(alone, _together(one, alone)) if crashes}


def stop(
    services: Sequence[Service], run: CommandRunner, on_stopped: Callable[[Sequence[Stopped]], object] = len
) -> list[Stopped]:
    """Stop services, dependents first; a service that does not heed the order in time is killed.

    :param on_stopped: called once with those that were stopped, also when another one was not: nothing else knows of them then.
    :raises Refused: before the first is stopped, when one of them can't be managed.
    :raises ServiceFailed: when one goes on running, or something it left behind still holds its port.
    """
    statuses = _manageable(services, run)
    found: dict[str, Stopped] = {}
    pending = Pending("Waiting for the end of", "services", len(services))

    def one(service: Service) -> None:
        found[service.key] = _stop(service, statuses[service.key], run, pending)

    try:
        for wave in reversed(start_waves(services)):
            _together(one, wave)
    finally:
        on_stopped(list(found.values()))
    return [found[service.key] for service in services]


def stop_times(stopped: Sequence[Stopped]) -> dict[str, float | None]:
    """When each was ordered to stop, by its name, for the journal."""
    return {entry.name: entry.stopped_at for entry in stopped}


def start(services: Sequence[Service], run: CommandRunner, lenient: Collection[str] = ()) -> list[Started]:
    """Start services in their order, wait until each is ready, and let all of them soak at the end.

    :param lenient: keys of services that were not ready before either: they are started, and nothing more is asked.
    :raises Refused: before the first is started, when one of them can't be managed.
    :raises ServiceFailed: when one is not ready in time, crashes, or is not the one that answers.
    """
    _manageable(services, run)
    begun: dict[str, ServiceStart] = {}
    pending = Pending("Waiting for", "services", len(services))
    for wave in start_waves(services):
        for starting in _together(lambda service: _start(service, run, service.key in lenient, pending), wave):
            begun[starting.service.key] = starting
    # Afterwards and for all at once: soaking between the waves would be downtime.
    show_progress(f"Watching whether {', '.join(service.name for service in services)} stay up")
    _together(lambda service: begun[service.key].soak(), [one for one in services if not begun[one.key].error])
    return [
        Started(one.service.key, one.service.name, one.service.manager, one.pid, one.ready_at, one.waited_ms, one.error)
        for one in (begun[service.key] for service in services)
    ]


def _start(service: Service, run: CommandRunner, lenient: bool, pending: Pending) -> ServiceStart:
    starting = ServiceStart(service, service.manager_of(run), run, lenient)
    try:
        starting.run_to_ready(pending)
    except LastGoodError as error:
        if not lenient:
            raise
        starting.error = error.message
    return starting


def _stop(service: Service, before: ServiceStatus, run: CommandRunner, pending: Pending) -> Stopped:
    """Stop one service, and see to it that its port is free."""
    manager = service.manager_of(run)
    if before.state in (DOWN, FAILED):
        return Stopped(service.key, service.name, service.manager, before.state == FAILED, None)
    sockets = _own_sockets(service, before)
    stopped_at = time.time()
    pending.add(service.name)
    manager.stop(service.name)
    if not _ends(service, manager, service.stop_timeout):
        manager.kill(service.name)
        if not _ends(service, manager, _GRACE):
            raise LastGoodError(
                f"{service.name} ({service.manager}) runs on, {service.stop_timeout:.0f} s after it was told to stop and"
                f" {_GRACE:.0f} s after it was killed: {manager.status(service.name).detail}."
            )
    _require_free(service, manager, sockets)
    pending.done(service.name)
    return Stopped(service.key, service.name, service.manager, True, stopped_at)


def _ends(service: Service, manager: Manager, seconds: float) -> bool:
    for _again in _until(seconds):
        status = manager.status(service.name)
        if status.state in (DOWN, FAILED) and not status.queued:
            return True
    return False


def _own_sockets(service: Service, status: ServiceStatus) -> set[int]:
    """The sockets on which the service itself listens for what its readiness is asked with."""
    endpoint = service.ready.endpoint()
    if not (endpoint and status.pid and listeners.is_local(endpoint[0])):
        return set()
    own = listeners.family(status.pid)
    return {inode for inode in listeners.listening(endpoint[1]) if listeners.pids_with_sockets([inode], own)}


def _require_free(service: Service, manager: Manager, sockets: set[int]) -> None:
    """Wait until nobody goes on listening on the service's own sockets; a manager may (socket activation)."""
    endpoint = service.ready.endpoint()
    if not (sockets and endpoint):
        return
    leftover: set[int] = set()
    for _again in _until(_GRACE):
        alive = listeners.pids_with_sockets(sockets & listeners.listening(endpoint[1]))
        leftover = {pid for pid in alive if pid != 1 and not manager.accounts_for(service.name, pid)}
        if not leftover:
            return
    raise LastGoodError(
        f"{service.name} ({service.manager}) is stopped, but port {endpoint[1]} is still held by {listeners.described(leftover)},"
        " which it left behind: end that process, and see why it does not stop with its service."
    )


def _manageable(services: Sequence[Service], run: CommandRunner) -> dict[str, ServiceStatus]:
    """The status of each service.

    :raises Refused: naming all that can't be managed.
    """
    statuses = dict(_together(lambda service: (service.key, service.manager_of(run).status(service.name)), services))
    wrong = [f"{key}: {status.problem}" for key, status in statuses.items() if status.problem]
    if wrong:
        raise Refused(f"Nothing was stopped or started, since not all services can be managed. {'; '.join(wrong)}.")
    return statuses


def _until(seconds: float) -> Iterator[None]:
    """Go round until the time is over, at least once; a short nap in between."""
    deadline = time.monotonic() + seconds
    while True:
        yield
        if time.monotonic() >= deadline:
            return
        time.sleep(0.05)


def _together(work: Callable[[Service], T], services: Sequence[Service]) -> list[T]:
    """Do the same with several services at once; all of them are waited for, whatever happens to one.

    :raises LastGoodError: one service's own error, or `ServiceFailed` with all messages.
    """
    if not services:
        return []
    with ThreadPoolExecutor(max_workers=min(_AT_ONCE, len(services))) as pool:
        futures = [pool.submit(work, service) for service in services]
    errors = [error for error in (future.exception() for future in futures) if error is not None]
    for error in errors:
        if not isinstance(error, LastGoodError) or isinstance(error, Refused):
            raise error
    if errors:
        raise ServiceFailed(" ".join(error.message for error in errors if isinstance(error, LastGoodError)))
    return [future.result() for future in futures]
