# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Orders to service managers, and what else is asked around a stop and a start."""

from __future__ import annotations

import os
import signal
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    CommandFailed,
    LastGoodError,
    Refused,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.loaded import opened_as
from ansible_collections.lastgood.rollback.plugins.module_utils._base.masking import mask_secrets, secrets_in

from .base import ServiceStatus, parent_of, process_start
from .pid_file import PidFile
from .supervisor import Supervisor
from .systemd import TIMEOUT, Systemctl, parse_properties, unit

_LOG_BYTES = 2000
#: Supervisor's numbers of faults.
_NOT_RUNNING, _ALREADY_STARTED = 70, 60


class Manager(Protocol):
    """A service manager. ``start`` and ``stop`` give the order and do not wait; all raise LastGoodError when refused."""

    def status(self, name: str) -> ServiceStatus:
        """What it knows of a service."""

    def start(self, name: str) -> None:
        """Order a start, forgetting failures of the past."""

    def stop(self, name: str) -> None:
        """Order a stop, the polite way."""

    def kill(self, name: str) -> None:
        """End a service that did not heed the order."""

    def log(self, name: str) -> str:
        """The last lines of what the service said; empty when they can't be had."""

    def accounts_for(self, name: str, pid: int) -> bool:
        """Whether a process belongs to some *other* service of this manager, or to the manager itself."""


class SystemdOrders:
    """Orders to systemd. See Manager for the methods."""

    def __init__(self, systemd: Systemctl) -> None:
        self._systemd = systemd
        self.status = systemd.status

    def start(self, name: str) -> None:
        """See Manager. Unit files that were put back are read first."""
        shown = self._systemd.call(f"Looking at {name}", "show", "--property=NeedDaemonReload", "--", unit(name))
        if parse_properties(shown).get("NeedDaemonReload") == "yes":
            self._systemd.call("Reading the unit files again", "daemon-reload")
        # A unit that crashed too often is refused a start until its failures are forgotten.
        self._systemd.call(f"Forgetting failures of {name}", "reset-failed", "--", unit(name), check=False)
        self._systemd.call(f"Starting {name}", "start", "--no-block", "--", unit(name))

    def stop(self, name: str) -> None:
        """See Manager."""
        self._systemd.call(f"Stopping {name}", "stop", "--no-block", "--", unit(name))

    def kill(self, name: str) -> None:
        """See Manager. All processes of the unit."""
        self._systemd.call(f"Killing {name}", "kill", "--signal=SIGKILL", "--", unit(name), check=False)
        # A container's control groups of version 1 don't report that they are empty: systemd may miss the end of a process
        # that it never met, and then waits for it as long as the unit allows. At a reload it looks at all of them again.
        self._systemd.call("Reading the unit files again", "daemon-reload", check=False)

    def log(self, name: str) -> str:
        """See Manager. From the journal."""
        option = "--user-unit" if self._systemd.scope == ["--user"] else "--unit"
        argv = ["journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=10", f"{option}={unit(name)}"]
        try:
            return self._systemd.run.run(argv, f"Reading the journal of {name}", timeout=TIMEOUT).stdout.strip()
        except CommandFailed:
            return ""

    def accounts_for(self, name: str, pid: int) -> bool:
        """See Manager. By control group: each unit has one of its own."""
        try:
            groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").split("\n")
        except OSError:
            return False
        units = {os.path.basename(group.rpartition(":")[2]) for group in groups if group}
        return any(found.endswith((".service", ".socket")) and found != unit(name) for found in units)


class SupervisorOrders:
    """Orders to supervisor. See Manager for the methods."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.status = supervisor.status

    def start(self, name: str) -> None:
        """See Manager."""
        self._order("startProcess", name, "starting", fine=_ALREADY_STARTED)

    def stop(self, name: str) -> None:
        """See Manager."""
        self._order("stopProcess", name, "stopping", fine=_NOT_RUNNING)

    def kill(self, name: str) -> None:
        """See Manager. Its main process; supervisor ends a group by itself where it is configured to."""
        try:
            self._supervisor.call("signalProcess", name, "KILL")
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != _NOT_RUNNING:
                raise self._supervisor.error(f"killing {name}", fault.faultString) from fault

    def log(self, name: str) -> str:
        """See Manager. From the program's log files, where it has any."""
        said = []
        for channel in ("readProcessStdoutLog", "readProcessStderrLog"):
            try:
                said.append(str(self._supervisor.call(channel, name, -_LOG_BYTES, 0)))
            except (xmlrpc.client.Fault, LastGoodError):
                continue
        return "\n".join("".join(said).strip().splitlines()[-10:])

    def accounts_for(self, name: str, pid: int) -> bool:
        """See Manager. What descends from supervisor is one of its programs; what it lost has another parent."""
        supervisor = int(self._supervisor.call("getPID"))
        own = self.status(name).pid
        while pid not in (0, 1, own):
            if pid == supervisor:
                return True
            pid = parent_of(pid)
        return False

    def _order(self, method: str, name: str, doing: str, fine: int) -> None:
        try:
            self._supervisor.call(method, name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != fine:
                said = self.log(name)
                raise self._supervisor.error(f"{doing} {name}", f"{fault.faultString}. {said}".strip()) from fault


@dataclass(frozen=True)
class ProcessOrders:
    """Orders to a process that writes a pid file. See Manager for the methods; the name of the service is for messages only.

    It gets its signal through a handle that no later process can take over.

    :param command: starts it; it ends with 0 once the process is in the background.
    :param directory: working directory of the command; none for ``/``.
    :param log_file: of the process; none when it has none.
    :param timeout: seconds that the command may take.
    """

    pid_file: PidFile
    command: tuple[str, ...]
    directory: Path | None
    log_file: Path | None
    timeout: float

    def status(self, name: str) -> ServiceStatus:
        """See Manager."""
        return self.pid_file.status(name)

    def start(self, name: str) -> None:
        """See Manager."""
        try:
            self.pid_file.run.detach(
                self.command, f"Starting {name}", cwd=self.directory or Path("/"), timeout=self.timeout
            )
        except CommandFailed as error:
            raise LastGoodError(mask_secrets(error.message, secrets_in(self.command))) from error

    def stop(self, name: str) -> None:
        """See Manager."""
        self._signal(name, signal.SIGTERM)

    def kill(self, name: str) -> None:
        """See Manager."""
        self._signal(name, signal.SIGKILL)

    def log(self, name: str) -> str:
        """See Manager."""
        if self.log_file is None:
            return ""
        try:
            with opened_as(self.log_file, self.pid_file.user) as handle:
                said = os.pread(handle, _LOG_BYTES, max(os.fstat(handle).st_size - _LOG_BYTES, 0))
        except FileNotFoundError:
            return ""
        except (OSError, Refused) as error:
            return f"(no log: {error})"
        return "\n".join(said.decode("utf-8", errors="replace").strip().splitlines()[-10:])

    def accounts_for(self, name: str, pid: int) -> bool:
        """See Manager. There is nobody who would know."""
        return False

    def _signal(self, name: str, number: signal.Signals) -> None:
        status = self.status(name)
        if status.problem:
            raise LastGoodError(f"Can't end {name}: {status.problem}.")
        if not status.pid:
            return
        try:
            with _handle(status.pid) as send:
                if status.process == f"{status.pid}:{process_start(status.pid)}":
                    send(number)
        except ProcessLookupError:
            return  # it has ended meanwhile
        except OSError as error:
            raise LastGoodError(f"Can't end {name}, process {status.pid} of {self.pid_file.file}: {error}.") from error


class _Sender:
    """Sends signals to one process: to the very one that was opened, where the kernel has handles for processes."""

    def __init__(self, pid: int, handle: int | None) -> None:
        self._pid, self._handle = pid, handle

    def __call__(self, number: signal.Signals) -> None:
        if self._handle is None:
            os.kill(self._pid, number)
        else:
            signal.pidfd_send_signal(self._handle, number)


@contextmanager
def _handle(pid: int) -> Iterator[_Sender]:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except (AttributeError, OSError):  # an older kernel, or none of Linux
        handle = None
    try:
        yield _Sender(pid, handle)
    finally:
        if handle is not None:
            os.close(handle)
