# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people see: progress lines with the time, and small tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

_STARTED = time.monotonic()


def say(text: str = "") -> None:
    """Print one line at once, also into a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def step(text: str) -> None:
    """Print one line of progress, with the seconds since the start."""
    say(f"[{time.monotonic() - _STARTED:6.1f} s] {text}")


def title(text: str) -> None:
    """Print a heading."""
    say(f"\n== {text} ==")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns as wide as they need to be; the last column may be long."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for number, line in enumerate(lines):
        say("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
        if number == 0:
            say("  " + "  ".join("-" * min(width, 60) for width in widths))
