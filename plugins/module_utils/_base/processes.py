# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The processes of this host, as the kernel lists them. They end while one looks: that is never an error."""

from __future__ import annotations

import os


def all_pids() -> list[int]:
    """The numbers of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def open_files(pid: int) -> set[str]:
    """What the open files of a process lead to; empty for one that has ended, or that we may not look at."""
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
