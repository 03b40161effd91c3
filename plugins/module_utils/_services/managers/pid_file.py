# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A process without a manager, known by its pid file alone.

A pid file may be older than the process that bears its number now, and whoever may write it could point it at any
process. So a process counts only if it started before the file was written, under the account that it is meant to have.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, me, user_by_uid
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.loaded import opened_as

from .base import DOWN, RUNNING, ServiceStatus, is_zombie, process_start

#: Seconds that a process may seem to have started after its file was written: its start is known to a hundredth of a
#: second, and the time of boot to a second.
_SLACK_S = 2.0
#: More than any number of a process has.
_PID_BYTES = 64


@dataclass(frozen=True)
class PidFile:
    """A process that writes a pid file. The name of the service is for messages only.

    :param file: where the process writes its number.
    :param run: as the account that the process has.
    """

    file: Path
    run: CommandRunner

    def status(self, name: str) -> ServiceStatus:
        """What it is now."""
        try:
            with opened_as(self.file, self.user) as handle:
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

    @property
    def user(self) -> User:
        """Whom the process runs as. Nobody else may say which process it is, and nothing is read that it could not read."""
        return self.run.user if self.run.user and os.geteuid() == 0 else me()

    def _status_of(self, pid: int, started: str, uid: int, late_s: float) -> ServiceStatus:
        """What a living process with the file's number is.

        :param late_s: how long after the writing of the file it started.
        """
        wanted = self.user.uid
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
