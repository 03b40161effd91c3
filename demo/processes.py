# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ending processes: only those that the demo started, each by its number, after a look at what it is."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from commands import MARK, DemoError, run


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


def started_by(directory: Path) -> set[int]:
    """Numbers of the processes, besides ourselves, that the demo in this directory started, or that its rollback did.

    The former have the demo's mark in their environment (where the system shows it), the latter is the undo of a
    transaction, which waits for its time in an environment of its own.
    """
    mark = f"\0{MARK}={directory}\0"
    found = set()
    for line in run(["ps", "-ww", "-A", "-o", "pid=,args="]).stdout.splitlines():
        pid, _blank, words = line.strip().partition(" ")
        undo = f"{directory}/state/" in words and any(word.endswith("/undo") for word in words.split())
        if undo or mark in f"\0{_environment(int(pid))}\0":
            found.add(int(pid))
    return found - {os.getpid()}


def descendants(tops: set[int]) -> set[int]:
    """These processes and all that came from them."""
    lines = (line.split() for line in run(["ps", "-A", "-o", "pid=,ppid="]).stdout.splitlines())
    parents = {int(pid): int(parent) for pid, parent in lines}
    found = set(tops)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _environment(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""


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
