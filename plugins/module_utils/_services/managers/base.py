# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What every service manager says, in the same words."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

RUNNING = "running"
STARTING = "starting"
STOPPING = "stopping"
FAILED = "failed"
DOWN = "down"


@dataclass(frozen=True)
class ServiceStatus:
    """What a manager knows of a service at one moment.

    :param state: ``running``, ``starting`` (also: waiting to be restarted after a crash), ``stopping``, ``failed`` (given
        up by its manager, though it was meant to run) or ``down`` (stopped on purpose, or never started).
    :param pid: main process, 0 for none.
    :param process: distinguishes the main process from any other that has or had its number; empty for none.
    :param restarts: how often the manager restarted it by itself, where it counts that.
    :param ended: stamp of the main process' last end, where the manager notes it; only ever compared.
    :param queued: the manager has taken the order, and has not begun with it.
    :param detail: the manager's own words for the state.
    :param problem: why it can't be managed (missing, masked), empty when it can.
    """

    state: str
    pid: int = 0
    process: str = ""
    restarts: int = 0
    ended: str = ""
    queued: bool = False
    detail: str = ""
    problem: str = ""


def process_start(pid: int) -> str:
    """When a process started, in ticks since boot; empty when it is gone."""
    return _stat_field(pid, 21)


def age_of(pid: int) -> float:
    """Seconds since a process started, by the boot-time clock; 0 when it is gone."""
    started = process_start(pid)
    if not started:
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(started) / os.sysconf("SC_CLK_TCK")


def is_zombie(pid: int) -> bool:
    """Whether a process has ended, and nobody has asked how."""
    return _stat_field(pid, 2) in ("Z", "X")


def parent_of(pid: int) -> int:
    """The parent's number, 0 when the process is gone."""
    return int(_stat_field(pid, 3) or 0)


def _stat_field(pid: int, index: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            line = stream.read()
    except OSError:
        return ""
    # The second field is the program's name in parentheses, and may itself hold spaces and parentheses.
    return line.rpartition(")")[2].split()[index - 2]
