# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What a long step is doing right now, in one line, for whoever watches it from outside.

The controller names a file in the environment of a module and reads it while the module works; without one, nothing is
written. Nobody depends on it: what can't be written is not shown, and no line ever holds a secret.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .text import one_line

#: The environment variable that names the file.
VARIABLE = "LASTGOOD_PROGRESS"
#: How the file's name begins, in a directory that others may use as well.
PREFIX = ".lastgood-"
#: Nobody watches a file any more that nothing was written to for so long.
_FORGOTTEN_S = 86_400
#: Written in one piece of this size, so that nobody reads half a line.
_BYTES = 512
_MODE = 0o600


class _Line:
    """The file of this process; a process serves one call."""

    handle: int | None = None


@contextmanager
def shown() -> Iterator[None]:
    """Take lines while the block runs, if anybody wants them; the file is gone afterwards."""
    path = os.environ.get(VARIABLE)
    if not path:
        yield
        return
    _sweep(path)
    with suppress(OSError):
        _Line.handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    try:
        yield
    finally:
        handle, _Line.handle = _Line.handle, None
        if handle is not None:
            os.close(handle)
            with suppress(OSError):
                os.unlink(path)


def _sweep(path: str) -> None:
    """Remove what modules that were killed have left next to ours."""
    directory, name = os.path.split(path)
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.name != name and _is_leftover(entry.stat(follow_symlinks=False)):
                os.unlink(entry.path)


def _is_leftover(status: os.stat_result) -> bool:
    """Whether it is such a file, and not only named like one."""
    is_ours = stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == _MODE and status.st_uid == os.geteuid()
    return is_ours and status.st_size in (0, _BYTES) and time.time() - status.st_mtime > _FORGOTTEN_S


def show_progress(text: str) -> None:
    """Replace the line. Costs next to nothing, also where nobody watches."""
    if _Line.handle is not None:
        line = one_line(text).encode()[: _BYTES - 1]
        with suppress(OSError):
            os.pwrite(_Line.handle, line.ljust(_BYTES - 1) + b"\n", 0)


class Pending:
    """Things that are awaited at the same time, from several threads, in one line.

    :param what: comes before their number.
    :param noun: what they are.
    """

    def __init__(self, what: str, noun: str, total: int) -> None:
        self._what = what
        self._noun = noun
        self._total = total
        self._awaited: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, name: str, why: str = "") -> None:
        """This one is awaited, and why."""
        with self._lock:
            self._awaited[name] = why
            self._show()

    def done(self, name: str) -> None:
        """This one is there."""
        with self._lock:
            self._awaited.pop(name, None)
            if self._awaited:
                self._show()

    def _show(self) -> None:
        names = ", ".join(f"{name} ({why})" if why else name for name, why in self._awaited.items())
        show_progress(f"{self._what} {len(self._awaited)} of {self._total} {self._noun}: {names}")


def duration(seconds: float) -> str:
    """``40 s``, ``3 min``, ``2 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
