# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds a process at a chosen line of a journal, so that a test can let something happen at exactly that step.

This is put on the lab's hosts, where every process of the system's Python imports it at its start when somebody asked for
something. A line that announces a change is held once it is durable, before the change; any other
line is held before it is written, when what it tells of has happened.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Whoever starts while this is there looks into ``at`` whenever it writes into a journal: by name, the steps to be held at, and
#: which of that name, from 1 (0 for any). ``taken`` by the first process that comes to one; ``held``, with its name and when the
#: process began (`time.monotonic`, in seconds), once it waits there; ``go`` lets it go on, or die, and is gone once it does.
PLACE = "run/lab-hold"
#: By how many seconds the wall clock has jumped.
CLOCK = "run/lab-clock"
_ID = re.compile(r"\d{8}T\d{6}Z-\w+?-[0-9a-f]{4}")
_HEX = re.compile(r"(?<![0-9a-zA-Z])(?=[0-9a-f]*[0-9])[0-9a-f]{4,}(?![0-9a-zA-Z])")
_NUMBER = re.compile(r"(?<![\w.-])\d+(\.\d+)?")
#: Which of the kept databases is the oldest depends on what was rolled back before.
_OLDEST = re.compile(r"_(previous|rejected|tables)(?=, older than)")
_NAP_S = 0.005


def name_of(entry: Mapping[str, Any]) -> str:
    """A line's name: the same in every run, without ids, digests and counts."""
    what = _OLDEST.sub("_<kind>", _NUMBER.sub("0", _HEX.sub("<digest>", _ID.sub("<id>", str(entry["what"])))))
    return f"{entry['event']}: {what}"


class _Hold:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.write, self.sync = os.write, os.fsync
        self.began = time.monotonic()
        self.announced, self.name = -1, ""

    def on_write(self, handle: int, data: bytes) -> int:
        name = self._wanted(handle, data)
        if name.startswith("intent:"):
            self.announced, self.name = handle, name
        elif name:
            self.hold(name)
        return self.write(handle, data)

    def on_sync(self, handle: Any) -> None:
        self.sync(handle)
        if handle == self.announced:
            self.announced = -1
            self.hold(self.name)

    def _wanted(self, handle: int, data: bytes) -> str:
        """The name of the step that this line tells of, when it is to be held; else nothing."""
        try:
            path = os.readlink(f"/proc/self/fd/{handle}")
            if not path.endswith("/journal.jsonl"):
                return ""
            wanted: dict[str, int] = json.loads((self.place / "at").read_text(encoding="utf-8"))
            if (name := name_of(json.loads(data))) not in wanted:
                return ""
            before = [json.loads(line) for line in Path(path).read_bytes().splitlines() if line.endswith(b"}")]
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        known = sum(name_of(entry) == name for entry in before)
        return name if wanted[name] in (0, known + 1) else ""

    def hold(self, name: str) -> None:
        """Wait here, as the only one."""
        try:
            (self.place / "at").rename(self.place / "taken")
            with (self.place / "taken").open("r+", encoding="utf-8") as file:
                file.truncate()
                file.write(json.dumps([name, self.began]))
            (self.place / "taken").rename(self.place / "held")
        except FileNotFoundError:
            return
        # Without "held" everybody was let go, perhaps before anybody here has seen the word for it.
        while (self.place / "held").exists():
            try:
                word = (self.place / "go").read_text(encoding="utf-8")
            except FileNotFoundError:
                time.sleep(_NAP_S)
                continue
            (self.place / "held").unlink(missing_ok=True)
            (self.place / "go").unlink(missing_ok=True)
            if word == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            return


def watch() -> None:
    """From now on, look at what this process writes down; nothing when no step was asked for."""
    root = Path("/")
    if (root / CLOCK).exists():
        _jump(int((root / CLOCK).read_text(encoding="ascii")))
    place = root / PLACE
    if place.exists():
        hold = _Hold(place)
        os.write, os.fsync = hold.on_write, hold.on_sync


def _jump(seconds: int) -> None:
    """Another wall clock for this process. All hosts share the machine's, which is not ours to set; others go on as they did."""
    now, now_ns, local, utc, text = time.time, time.time_ns, time.localtime, time.gmtime, time.strftime
    time.time = lambda: now() + seconds
    time.time_ns = lambda: now_ns() + seconds * 1_000_000_000
    time.localtime = lambda at=None: local(now() + seconds if at is None else at)
    time.gmtime = lambda at=None: utc(now() + seconds if at is None else at)
    time.strftime = lambda form, at=None: text(form, time.localtime() if at is None else at)
