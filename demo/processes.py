# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ending processes: only those that the demo started, each by its number, after a look at what it is."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from commands import DemoError, run


def pid_in(file: Path, mark: str) -> int | None:
    """The number in a file of process ids, if such a process lives and is the demo's.

    :param mark: a path of the demo that stands in the command line of the process. Numbers are used again: without
        this look we might end somebody else's.
    """
    try:
        pid = int(file.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if mark in command_line(pid) else None


def command_line(pid: int) -> str:
    """How a process was started; empty when there is none (a zombie has none either)."""
    return run(["ps", "-ww", "-o", "args=", "-p", str(pid)], check=False).stdout.strip()


def running_with(mark: str) -> list[tuple[int, str]]:
    """Processes, besides ourselves and ps, with this text in their command line: number and command line."""
    lines = run(["ps", "-ww", "-A", "-o", "pid=,args="]).stdout.splitlines()
    found = []
    for line in lines:
        pid, _, words = line.strip().partition(" ")
        if mark in words and int(pid) not in (os.getpid(), os.getppid()):
            found.append((int(pid), words.strip()))
    return found


def end_process(pid: int, what: str, seconds: float = 20) -> None:
    """End a process: ask first, then kill, and wait until it is gone.

    :raises DemoError: when it lives on.
    """
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not command_line(pid):
                return
            time.sleep(0.1)
    raise DemoError(f"{what} (process {pid}) can't be ended.")
