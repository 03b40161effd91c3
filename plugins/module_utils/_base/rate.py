# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) How fast something grows, and how much it is, in words."""

from __future__ import annotations

import time

from .progress import duration


class Rate:
    """How fast something grows, and how long the rest takes.

    :param total: what it grows to, as far as anybody knows; 0 where nobody does.
    """

    def __init__(self, total: int = 0) -> None:
        self._total = total
        self._began = time.monotonic()
        self._first: int | None = None

    def describe(self, done: int) -> str:
        """``1.2 of about 4.5 GB, 85 MB/s, about 40 s left``."""
        if self._first is None:
            self._first = done
        seconds = time.monotonic() - self._began
        rate = (done - self._first) / seconds if seconds > 0 else 0.0
        found = [f"{size(done)} of about {size(self._total)}" if self._total else size(done)]
        if rate >= 1:
            found.append(f"{size(round(rate))}/s")
        if rate >= 1 and self._total > done:
            found.append(f"about {duration((self._total - done) / rate)} left")
        return ", ".join(found)


def size(amount: int) -> str:
    """``340 kB``, ``85 MB``, ``4.5 GB``."""
    for unit, name in ((10**9, "GB"), (10**6, "MB")):
        if amount >= unit:
            return f"{amount / unit:.1f} {name}" if amount < 10 * unit else f"{amount / unit:,.0f} {name}"
    return f"{amount / 1000:.0f} kB"
