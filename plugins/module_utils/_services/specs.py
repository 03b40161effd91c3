# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What a service is, read from options, and the order that ``requires`` gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.masking import secrets_in
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .managers.orders import Manager, ProcessOrders, SupervisorOrders, SystemdOrders
from .managers.supervisor import Supervisor
from .managers.systemd import Systemctl
from .readiness import Ready, parse_ready
from .status import default_config, manager_of

#: Seconds. The stop deadline is systemd's own default.
TIMEOUT, STOP_TIMEOUT, SOAK = 60.0, 90.0, 1.0
#: What only processes without a manager have.
_PROCESS = ("pid_file", "command", "chdir", "log")
_OPTIONS = frozenset(
    ["name", "manager", "scope", "user", "config", "requires", "ready", "timeout", "stop_timeout", "soak", *_PROCESS]
)


@dataclass(frozen=True)
class Service:
    """One service, as the operator describes it. Times are in seconds.

    :param manager: ``systemd``, ``supervisor``, or ``process`` for one that has none.
    :param scope: ``system`` or ``user`` (systemd only).
    :param user: the account whose systemd runs a unit of scope ``user``, or that the process has; ours when empty.
    :param config: supervisor's configuration file.
    :param pid_file: where the process writes its number (this and the next three: ``process`` only).
    :param command: starts the process; it ends with 0 once that is in the background.
    :param chdir: working directory of the command; the root directory when empty.
    :param log: the process' log file; empty when it has none.
    :param requires: names of services that start before and stop after this one.
    :param timeout: from the order to start until it is ready.
    :param stop_timeout: from the order to stop until it is killed.
    :param soak: how long it must go on running, unchanged, after it was ready.
    """

    name: str
    manager: str = "systemd"
    scope: str = "system"
    user: str = ""
    config: str = ""
    pid_file: str = ""
    command: tuple[str, ...] = ()
    chdir: str = ""
    log: str = ""
    requires: tuple[str, ...] = ()
    ready: Ready = field(default_factory=Ready)
    timeout: float = TIMEOUT
    stop_timeout: float = STOP_TIMEOUT
    soak: float = SOAK

    @property
    def secrets(self) -> set[str]:
        """What of its commands nobody may see."""
        return secrets_in(self.command) | secrets_in([*self.ready.command, self.ready.url])

    @property
    def key(self) -> str:
        """Distinguishes it from services of the same name under another manager."""
        return f"{self.manager}:{self.name}"

    def options(self) -> JsonObject:
        """JSON that `parse` reads back."""
        ready = {key: value for key, value in asdict(self.ready).items() if key in ("tcp", "notify")}
        ready["command"] = list(self.ready.command)
        if self.ready.url:
            ready["http"] = {"url": self.ready.url, "status": self.ready.status, "contains": self.ready.contains}
        lists = {"requires": list(self.requires), "command": list(self.command)}
        return {**asdict(self), **lists, "ready": ready}

    def manager_of(self, run: CommandRunner) -> Manager:
        """A connection to its manager.

        :raises Refused: when there is no way to it.
        """
        reader = manager_of(vars(self), run)
        if isinstance(reader, Supervisor):
            return SupervisorOrders(reader)
        if isinstance(reader, Systemctl):
            return SystemdOrders(reader)
        directory, log = (Path(path) if path else None for path in (self.chdir, self.log))
        return ProcessOrders(reader, self.command, directory, log, self.timeout)


def parse(raw: Sequence[Mapping[str, Any]]) -> list[Service]:
    """Read the option ``services``; what is not set, or ``None``, gets its default.

    :raises Refused: for a mistake in the description: unknown key, value, duplicate, or a cycle.
    """
    services = [_service(entry) for entry in raw]
    keys = [service.key for service in services]
    duplicates = sorted({key for key in keys if keys.count(key) > 1})
    if duplicates:
        raise Refused(f"Services are listed more than once: {', '.join(duplicates)}.")
    start_waves(services)
    return services


def commands_of(raw: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The words of the commands and addresses of the option ``services``, which may be secret."""
    found = []
    for service in raw:
        ready = service.get("ready")
        ready_options = ready if isinstance(ready, Mapping) else {}
        http = ready_options.get("http")
        address = http.get("url") if isinstance(http, Mapping) else http
        for command in (service.get("command"), ready_options.get("command"), [address or ""]):
            found.append([str(word) for word in command] if isinstance(command, (list, tuple)) else [])
    return found


def require_complete(services: Sequence[Service]) -> None:
    """Refuse a list whose services require others that are not in it.

    A transaction gives one wave after the other; its catalogue was read as a whole, and an older journal is not refused.

    :raises Refused: for a name that no service of the list has.
    """
    names = {service.name for service in services}
    unresolved = [f"{one.name} requires {name}" for one in services for name in one.requires if name not in names]
    if unresolved:
        raise Refused(
            f"No service of this list has the name that another requires, so the order would be lost: {', '.join(unresolved)}."
        )


def start_waves(services: Sequence[Service]) -> list[list[Service]]:
    """Services in the order of starting, those that may start at the same time together.

    :raises Refused: for a cycle, naming it.
    """
    remaining = list(services)
    waves: list[list[Service]] = []
    while remaining:
        names = {service.name for service in remaining}
        wave = [service for service in remaining if not names & (set(service.requires) - {service.name})]
        if not wave or any(service.name in service.requires for service in remaining):
            cycle = ", ".join(
                f"{one.name} requires {' and '.join(sorted(names & set(one.requires)))}" for one in remaining
            )
            raise Refused(f"Services require each other in a circle, so there is no order to start them in: {cycle}.")
        waves.append(wave)
        remaining = [service for service in remaining if service not in wave]
    return waves


def _service(raw: Mapping[str, Any]) -> Service:
    given = {key: value for key, value in raw.items() if value is not None}
    name = str(given.get("name") or "")
    where = f"Service {name or '(without a name)'}"
    unknown = sorted(set(given) - _OPTIONS)
    if not name or unknown:
        raise Refused(f"{where}: {'unknown: ' + ', '.join(unknown) if unknown else 'it needs a name'}.")
    ready = parse_ready(given.get("ready"), where)
    service = Service(
        name=name,
        manager=_choice(given, "manager", ("systemd", "supervisor", "process"), where),
        scope=_choice(given, "scope", ("system", "user"), where),
        user=str(given.get("user") or ""),
        config=str(given.get("config") or ""),
        pid_file=str(given.get("pid_file") or ""),
        command=tuple(str(word) for word in given.get("command") or ()),
        chdir=str(given.get("chdir") or ""),
        log=str(given.get("log") or ""),
        requires=tuple(str(one) for one in given.get("requires") or ()),
        ready=ready,
        timeout=_seconds(given, "timeout", TIMEOUT, where),
        stop_timeout=_seconds(given, "stop_timeout", STOP_TIMEOUT, where),
        soak=_seconds(given, "soak", SOAK, where),
    )
    if service.manager != "systemd" and ready.notify:
        who = "supervisor" if service.manager == "supervisor" else "a process without a manager"
        raise Refused(f"{where}: {who} has no notification of readiness; set ready.http, ready.tcp or ready.command.")
    _require_process_options(service, where)
    if service.manager != "supervisor" or service.config:
        return service
    try:
        return replace(service, config=default_config())
    except Refused as error:
        raise Refused(f"{where}: {error.message}") from error


def _require_process_options(service: Service, where: str) -> None:
    given = [key for key in _PROCESS if getattr(service, key)]
    if service.manager != "process" and given:
        raise Refused(f"{where}: {', '.join(given)} is for manager: process only.")
    if service.manager != "process":
        return
    missing = [key for key in ("pid_file", "command") if key not in given]
    if missing:
        raise Refused(f"{where}: a process without a manager needs {' and '.join(missing)}.")
    relative = [
        key for key in ("pid_file", "chdir", "log") if key in given and not Path(getattr(service, key)).is_absolute()
    ]
    if relative:
        raise Refused(f"{where}: {', '.join(relative)} has to be an absolute path.")


def _choice(given: Mapping[str, Any], key: str, choices: Sequence[str], where: str) -> str:
    value = str(given.get(key) or choices[0])
    if value not in choices:
        raise Refused(f"{where}: {key} is one of {', '.join(choices)}, not {value!r}.")
    return value


def _seconds(given: Mapping[str, Any], key: str, default: float, where: str) -> float:
    try:
        value = float(given.get(key, default))
    except (TypeError, ValueError):
        value = -1.0
    if value < 0:
        raise Refused(f"{where}: {key} is a number of seconds, not {given[key]!r}.")
    return value
