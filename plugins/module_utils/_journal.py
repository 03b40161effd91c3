# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The journal of one transaction on one host, and the log that people read; one call writes both.

Each line of ``journal.jsonl`` is one JSON object, appended and fsynced before and after each change. A line that was
cut off by a crash can only be the last one; it is passed over when reading, and ended before the next is written.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._errors import Damaged
from ansible_collections.lastgood.rollback.plugins.module_utils._files import fsync_directory
from ansible_collections.lastgood.rollback.plugins.module_utils._progress import say
from ansible_collections.lastgood.rollback.plugins.module_utils._types import JsonObject


class Journal:
    """Appends to and reads a transaction's journal.

    :param path: the journal's file; its directory exists.
    :param log: the log for people, one for all transactions of a host.
    """

    def __init__(self, path: Path, log: Path) -> None:
        self.path = path
        self.log = log

    def write(self, event: str, what: str, **facts: Any) -> None:
        """Append one event durably, and its line to the log for people.

        :param event: ``intent``, ``done``, ``failed``, ``note`` or an engine's state such as ``promised``.
        :param what: one sentence of what is (about to be) done, naming the object.
        :param facts: JSON; never a secret.
        :raises Damaged: when the disk does not take it; then what it announces must not be done.
        """
        now = time.time()
        entry = {"at": now, "event": event, "what": what, **({"facts": facts} if facts else {})}
        _append(self.path, json.dumps(entry, sort_keys=True, ensure_ascii=False))
        if event == "intent":
            say(what)
        else:
            _append(self.log, log_line(now, event, what))

    def note(self, what: str) -> None:
        """A line for people, kept in the journal as well."""
        self.write("note", what)

    @contextmanager
    def change(self, what: str, **facts: Any) -> Iterator[None]:
        """Journal a step: the intent before the block, ``done`` after it, ``failed`` with the error when it raises."""
        self.write("intent", what, **facts)
        try:
            yield
        except BaseException as error:
            self.write("failed", what, error=str(error) or error.__class__.__name__)
            raise
        self.write("done", what)

    def entries(self) -> list[JsonObject]:
        """All whole lines, oldest first; empty when nothing was written yet."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        entries: list[JsonObject] = []
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and "event" in entry:
                entries.append(entry)
        return entries


def log_line(at: float, event: str, what: str) -> str:
    """One line of the log for people: ``YYYY-MM-DD HH:MM:SS - ROLLBACK - <what happened>`` in the host's local time."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    words = " ".join(what.split())
    return f"{stamp} - ROLLBACK - {'FAILED: ' if event == 'failed' else ''}{words}"


def _append(path: Path, line: str) -> None:
    try:
        _append_durably(path, line)
    except OSError as error:
        raise Damaged(
            f"{path} can't be written: {error.strerror}. Nothing is changed without it; make room."
        ) from error


def _append_durably(path: Path, line: str) -> None:
    """Append one line and wait until the disk has it; a cut-off line before it is ended first."""
    created = not path.exists()
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.fstat(handle).st_size
        torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        data = (b"\n" if torn else b"") + line.encode() + b"\n"
        while data:
            data = data[os.write(handle, data) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    if created:
        fsync_directory(path.parent)
