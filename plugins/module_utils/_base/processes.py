# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The processes of this host, as the kernel lists them. They end while one reads: that is never an error."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from .errors import LastGoodError

#: In the environment of programs of ours that may outlive the module that started them.
MARKER = "LASTGOOD_WORKING_ON"


def all_pids() -> list[int]:
    """The numbers of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def open_files(pid: int) -> set[str]:
    """What the open files of a process lead to; empty for one that has ended, or is not ours to see."""
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)
    except OSError:
        return set()
    return {target for name in names if (target := _target(f"{directory}/{name}"))}


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:  # closed meanwhile
        return ""


def terminate_leftover_processes(marker: str, patience_s: float) -> None:
    """Wait for programs of ours that outlived a killed module; end those that do not end by themselves.

    A git that goes on writing while an undo puts files back would spoil both.
    :param marker: the value of `MARKER` in their environment.
    """
    deadline = time.monotonic() + patience_s
    while True:
        leftover = _pids_with_variable(f"{MARKER}={marker}".encode())
        if not leftover:
            return
        if time.monotonic() > deadline:
            for pid in leftover:
                _kill(pid)
            if time.monotonic() > deadline + 10:
                raise LastGoodError(
                    f"Processes {leftover} of an earlier attempt can't be ended: end them, then try again."
                )
        time.sleep(0.05)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _pids_with_variable(variable: bytes) -> list[int]:
    """Process ids with this line in their environment, as far as we may read those."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            environment = (directory / "environ").read_bytes()
            zombie = (directory / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if variable in environment.split(b"\0") and not zombie:
            found.append(int(directory.name))
    return found


def pids_with_open_file(path: Path) -> list[int]:
    """Process ids that have this file open, as far as we may see that."""
    return sorted(pid for pid in all_pids() if str(path) in open_files(pid))
