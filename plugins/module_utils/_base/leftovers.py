# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Programs of ours that outlived the module that started them: found by a mark in their environment."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from .errors import LastGoodError
from .processes import all_pids, open_files

MARKER = "LASTGOOD_WORKING_ON"


def end_leftovers(marker: str, patience_s: float) -> None:
    """Wait for programs of ours that outlived a killed module; end those that do not end by themselves.

    A git that goes on writing while an undo puts files back would spoil both.
    :param marker: the value of `MARKER` in their environment.
    """
    deadline = time.monotonic() + patience_s
    while True:
        left = _marked(f"{MARKER}={marker}".encode())
        if not left:
            return
        if time.monotonic() > deadline:
            for pid in left:
                _kill(pid)
            if time.monotonic() > deadline + 10:
                raise LastGoodError(f"Processes {left} of an earlier attempt can't be ended: end them, then try again.")
        time.sleep(0.05)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _marked(needle: bytes) -> list[int]:
    """Process ids with this line in their environment, as far as we may read those."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            environment = (directory / "environ").read_bytes()
            zombie = (directory / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if needle in environment.split(b"\0") and not zombie:
            found.append(int(directory.name))
    return found


def holders(path: Path) -> list[int]:
    """Process ids that have this file open, as far as we may see that."""
    return sorted(pid for pid in all_pids() if str(path) in open_files(pid))
