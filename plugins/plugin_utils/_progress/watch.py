# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Reading now and then what a long step is doing, in a thread of its own, and showing what is new."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import duration
from ansible_collections.lastgood.rollback.plugins.module_utils._base.text import one_line

#: Seconds until it is first read: what is shorter says nothing, and costs nothing.
_FIRST_READ_S = 3.0
#: Seconds between two lines: at first, and at most, for a step that takes hours.
_MIN_PAUSE_S, _MAX_PAUSE_S = 2.0, 20.0
#: Seconds after which a line is shown again although it is the same: somebody may think that it hangs.
_REPEAT_S = 60.0
_MAX_LINE = 300


class Watch:
    """Decides when to read, and what of it is worth a line. Knows no clock and no thread.

    :param read: what is being done right now; empty when nothing is known.
    :param show: takes a line.
    """

    def __init__(self, read: Callable[[], str], show: Callable[[str], None]) -> None:
        self._read = read
        self._show = show
        self._last, self._shown_at = "", 0.0

    def pause(self, elapsed: float) -> float:
        """Seconds from now until it is read again, for a step that has taken so long already."""
        return _FIRST_READ_S if elapsed < _FIRST_READ_S else min(max(elapsed / 10, _MIN_PAUSE_S), _MAX_PAUSE_S)

    def poll(self, elapsed: float) -> None:
        """Read, and show what is new."""
        text = one_line(self._read())
        line = text if len(text) <= _MAX_LINE else f"{text[:_MAX_LINE]}…"
        if line and (line != self._last or elapsed - self._shown_at >= _REPEAT_S):
            self._last, self._shown_at = line, elapsed
            self._show(f"{line} ({duration(elapsed)})")


@contextmanager
def watched(read: Callable[[], str], show: Callable[[str], None]) -> Iterator[None]:
    """Watch while the block runs. Whatever happens to the watching, nothing of it reaches the block.

    The end of the block waits for a line that is being shown, and for nothing else: who shows it may hold a lock that
    other processes need.
    """
    finished, showing = threading.Event(), threading.Lock()

    def show_if_it_runs(line: str) -> None:
        with showing:
            if not finished.is_set():
                show(line)

    def run() -> None:
        watch, began = Watch(read, show_if_it_runs), time.monotonic()
        while not finished.wait(watch.pause(time.monotonic() - began)):
            try:
                watch.poll(time.monotonic() - began)
            except Exception:  # noqa: BLE001 - what is shown is a courtesy; the step itself goes on
                return

    threading.Thread(target=run, daemon=True).start()
    try:
        yield
    finally:
        with showing:
            finished.set()
