# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Races that an attacker can't lose: its program is woken by inotify, or holds us at a pipe, and swaps before we go on."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator

from accounts import Account

#: What the attacker's programs have: it needs nothing but the system's own Python.
PRELUDE = '''
import ctypes, errno, os, select, sys, time
libc = ctypes.CDLL(None, use_errno=True)
OPEN, CREATE, MOVED_TO, ATTRIB, CLOSE = 0x20, 0x100, 0x80, 0x4, 0x18

class Watch:
    """Wakes up when something happens to a path; it looks on from the moment that it is made."""
    def __init__(self, path, mask):
        self.handle = libc.inotify_init()
        assert libc.inotify_add_watch(self.handle, os.fsencode(path), mask) >= 0, path
    def wait(self, seconds=60):
        """Whether it happened in this time."""
        return bool(select.select([self.handle], [], [], seconds)[0])
    def close(self):
        os.close(self.handle)

def programs(word):
    """The processes of ours that have this word in their arguments, as root starts them for us."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{name}/cmdline", "rb").read().split(b"\\0")
            ours = os.stat(f"/proc/{name}").st_uid == os.getuid()
        except OSError:
            continue
        if ours and os.fsencode(word) in words:
            found.append(name)
    return found

def held(fifo, among=None):
    """Wait until somebody reads a FIFO: it waits until what is returned is closed, and may read again and again.

    Of some processes: nothing, when these have ended instead.
    """
    while among is None or any(os.path.exists(f"/proc/{pid}") for pid in among):
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            time.sleep(0.0005)

def ready():
    print("ready", flush=True)
'''


@contextlib.contextmanager
def racing(attacker: Account, program: str) -> Iterator[None]:
    """A Python program of the attacker beside what the block does, from the moment that it says ``ready()``."""
    with attacker.running("/usr/bin/python3", "-c", PRELUDE + textwrap.dedent(program)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
