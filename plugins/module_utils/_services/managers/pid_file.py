# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A process without a manager, known by its pid file alone.

A pid file may be older than the process that bears its number now, and whoever may write it could point it at any
process. So a process counts only if it started before the file was written, under the account that it is meant to have;
and it gets its signal through a handle that no later process can take over.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, me, user_by_uid
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    CommandFailed,
    LastGoodError,
    Refused,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.loaded import opened_as
from ansible_collections.lastgood.rollback.plugins.module_utils._base.masking import secrets_in, without

from .base import DOWN, RUNNING, ServiceStatus, is_zombie, process_start

#: Seconds that a process may seem to have started after its file was written: its start is known to a hundredth of a
#: second, and the time of boot to a second.
_SLACK_S = 2.0
_LOG_BYTES = 2000
#: More than any number of a process has.
_PID_BYTES = 64


@dataclass(frozen=True)
class PidFile:
    """A process that writes a pid file. See Manager for the methods; the name of the service is for messages only.

    :param file: where the process writes its number.
    :param command: starts it; it ends with 0 once the process is in the background.
    :param directory: working directory of the command; none for ``/``.
    :param log: the process' log file; none when it has none.
    :param timeout: seconds that the command may take.
    :param run: runs the command, as the account that the process has, too.
    """

    file: Path
    command: tuple[str, ...]
    directory: Path | None
    log_file: Path | None
    timeout: float
    run: CommandRunner

    def status(self, name: str) -> ServiceStatus:
        """See Manager."""
        try:
            with opened_as(self.file, self._user) as handle:
                text, written = os.read(handle, _PID_BYTES).decode("ascii").strip(), os.fstat(handle).st_mtime
        except Refused as error:
            return ServiceStatus(DOWN, problem=error.message.rstrip("."))
        except FileNotFoundError:
            return ServiceStatus(DOWN, detail=f"there is no {self.file}")
        except (OSError, UnicodeDecodeError) as error:
            return ServiceStatus(DOWN, problem=f"{self.file} can't be read: {error}")
        if not text.isdecimal():
            return ServiceStatus(DOWN, detail=f"{self.file} holds no number")
        pid = int(text)
        started, uid = process_start(pid), _uid(pid)
        if not started or uid is None or is_zombie(pid):
            return ServiceStatus(DOWN, detail=f"process {pid} of {self.file} is gone")
        return self._status_of(pid, started, uid, _since_1970(started) - written)

    def start(self, name: str) -> None:
        """See Manager."""
        try:
            self.run.detach(self.command, f"Starting {name}", cwd=self.directory or Path("/"), timeout=self.timeout)
        except CommandFailed as error:
            raise LastGoodError(without(error.message, secrets_in(self.command))) from error

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
            with opened_as(self.log_file, self._user) as handle:
                said = os.pread(handle, _LOG_BYTES, max(os.fstat(handle).st_size - _LOG_BYTES, 0))
        except FileNotFoundError:
            return ""
        except (OSError, Refused) as error:
            return f"(no log: {error})"
        return "\n".join(said.decode("utf-8", errors="replace").strip().splitlines()[-10:])

    def accounts_for(self, name: str, pid: int) -> bool:
        """See Manager. There is nobody who would know."""
        return False

    @property
    def _user(self) -> User:
        """Whom the process runs as. Nobody else may say which process it is, and nothing is read that it could not read."""
        return self.run.user if self.run.user and os.geteuid() == 0 else me()

    def _status_of(self, pid: int, started: str, uid: int, late_s: float) -> ServiceStatus:
        """What a living process with the file's number is.

        :param late_s: how long after the writing of the file it started.
        """
        wanted = self._user.uid
        is_late = late_s > _SLACK_S
        if uid == wanted and not is_late:
            return ServiceStatus(
                RUNNING, pid=pid, process=f"{pid}:{started}", detail=f"process {pid} of {self.file} runs"
            )
        if uid != wanted and is_late:
            return ServiceStatus(
                DOWN, detail=f"{self.file} is stale: process {pid} is another user's, and started later"
            )
        if uid != wanted:
            return ServiceStatus(
                DOWN,
                problem=f"{self.file} names process {pid}, which runs as {user_by_uid(uid).name} and not as"
                f" {user_by_uid(wanted).name}: set 'user' to its account, or remove the file if that is not its process",
            )
        return ServiceStatus(
            DOWN,
            problem=f"{self.file} names process {pid}, which started {late_s:.0f} s after the file was written: remove the"
            " file if that is not its process, or touch it if it is (and the clock was set)",
        )

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
            raise LastGoodError(f"Can't end {name}, process {status.pid} of {self.file}: {error}.") from error


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


def _uid(pid: int) -> int | None:
    """The effective user; the owner of the process' directory would be root where it has changed its account."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[2]) for line in lines if line.startswith("Uid:")), None)


def _since_1970(ticks: str) -> float:
    """Ticks since boot as seconds since the epoch, by the clock as it is now."""
    lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    boot = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
    return boot + int(ticks) / os.sysconf("SC_CLK_TCK")
