# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The journal of one transaction on one host, and the log that people read; one call writes both.

Each line of ``journal.jsonl`` is one JSON object, appended and fsynced before and after each change. A line that was
cut off by a crash is passed over when reading, and ended before the next is written.

The journal is a chain: each record carries its number and the hash of the one before it, the first one that of the header.
``head.json`` names the last record. It is written after that record, so it may lag behind and never runs ahead: a journal
that does not reach it was cut. What a crash leaves counts in neither; whatever else is changed or missing breaks the chain,
and then nothing is concluded from the journal. A header without ``chained`` is of a release that had no chain.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Damaged, Unreadable
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import (
    dump_json,
    fsync_directory,
    replace_whole,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import show_progress
from ansible_collections.lastgood.rollback.plugins.module_utils._base.shape import require, require_json
from ansible_collections.lastgood.rollback.plugins.module_utils._base.text import one_line
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

_EVENT = {"at": float, "event": str, "what": str, "facts?": {str: object}}
_HEAD = {"number": int, "hash": str, "end": int}


class Journal:
    """Appends to and reads a transaction's journal.

    :param path: the journal's file; its directory exists.
    :param log: the log for people, one for all transactions of a host.
    """

    def __init__(self, path: Path, log: Path) -> None:
        self.path = path
        self.log = log
        self._header_file = path.with_name("header.json")
        self._head_file = path.with_name("head.json")
        #: What was read last, and what the files were like then: each call asks for it many times over.
        self._entries: list[JsonObject] = []
        self._stamps: list[tuple[int, ...] | None] | None = None

    def write(self, event: str, what: str, **facts: Any) -> None:
        """Append one event durably, and its line to the log for people.

        :param event: ``intent``, ``done``, ``failed``, ``note`` or an engine's state such as ``promised``.
        :param what: one sentence of what is (about to be) done, naming the object.
        :param facts: JSON; never a secret.
        :raises Damaged: when the disk does not take it; then what it announces must not be done.
        :raises Unreadable: when the journal is not whole: nothing is added to it any more.
        """
        now = time.time()
        entry = {"at": now, "event": event, "what": what, **({"facts": facts} if facts else {})}
        with _appending(self.path) as handle:
            chain = self._end_of_chain(handle)
            line = _dumped({**entry, **chain.link()} if chain else entry)
            end = _put(handle, line)
            if chain:
                chain.take(line.encode())
                replace_whole(self._head_file, chain.head(end))
        if event == "intent":
            show_progress(what)
        else:
            self.write_log(event, what, now)

    def write_log(self, event: str, what: str, at: float | None = None) -> None:
        """A line in the log for people alone.

        :param at: when it happened, as the journal has it; now by default.
        """
        with _appending(self.log) as handle:
            _put(handle, log_line(time.time() if at is None else at, event, what))

    def start(self) -> None:
        """Begin the chain with the header that has just been written, before anybody sees the directory."""
        root = self._root()
        if root is not None:
            replace_whole(self._head_file, _Chain(self.path, 0, root).head(0))

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
        """All whole records, oldest first; empty when nothing was written yet.

        :raises Unreadable: when the chain is cut, or a record is none.
        """
        stamps = [_stamp(file) for file in (self._head_file, self._header_file, self.path)]
        if stamps != self._stamps:
            self._entries = self._read_all()
            self._stamps = stamps
        return self._entries

    def _read_all(self) -> list[JsonObject]:
        head, root = self._head(), self._root()  # before the journal, which may grow meanwhile
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            lines = []
        entries = _parsed(lines) if head is None and root is None else self._whole_chain(head, root, lines).entries
        for number, entry in enumerate(entries, start=1):
            require(entry, _EVENT, f"{self.path}, record {number}")
        return entries

    def _whole_chain(self, head: JsonObject | None, root: str | None, lines: list[bytes]) -> _Chain:
        if head is None or root is None:
            raise self._without(self._header_file if root is None else self._head_file)
        chain = _Chain(self.path, 0, root)
        for line in lines:
            chain.take(line)
        if chain.number < head["number"]:
            raise Unreadable(
                f"{self.path} ends after record {chain.number} and had {head['number']} at least: it was cut off."
            )
        if head["number"] < 0 or chain.hashes[head["number"]] != head["hash"]:
            raise Unreadable(f"{self.path}: record {head['number']} is not the one that was written.")
        return chain

    def _end_of_chain(self, handle: int) -> _Chain | None:
        """What the next record has to follow; None for the journal of a release that had no chain."""
        head = self._head()
        if head is None:
            if self._root() is not None:
                raise self._without(self._head_file)
            return None
        size = os.fstat(handle).st_size
        if not 0 <= head["end"] <= size:
            raise Unreadable(f"{self.path} has {size} bytes and had {head['end']} at least: it was cut off.")
        chain = _Chain(self.path, head["number"], head["hash"])
        for line in os.pread(handle, size - head["end"], head["end"]).split(b"\n"):
            chain.take(line)
        return chain

    def _without(self, file: Path) -> Unreadable:
        return Unreadable(f"{file} is gone or was changed, so that the journal beside it can't be believed.")

    def _root(self) -> str | None:
        """What the chain begins with: the header's hash; None where there is none that asks for a chain."""
        try:
            content = self._header_file.read_bytes()
        except FileNotFoundError:
            return None
        is_chained = any(isinstance(raw, dict) and raw.get("chained") is True for raw in _loaded(content))
        return _hash(content) if is_chained else None

    def _head(self) -> JsonObject | None:
        try:
            content = self._head_file.read_bytes()
        except FileNotFoundError:
            return None
        head: JsonObject = require_json(content, _HEAD, str(self._head_file))
        return head


class _Chain:
    """A piece of a journal as far as it was read.

    :param number: of the record before the first that is read.
    :param last: the hash of that one.
    """

    def __init__(self, path: Path, number: int, last: str) -> None:
        self.path = path
        self.number = number
        self.hashes = [last]
        self.entries: list[JsonObject] = []

    def link(self) -> JsonObject:
        """What makes a record the next one."""
        return {"number": self.number + 1, "before": self.hashes[-1]}

    def head(self, end: int) -> bytes:
        """Names the last record, which ends at this byte."""
        return dump_json({"number": self.number, "hash": self.hashes[-1], "end": end})

    def take(self, line: bytes) -> None:
        """The next line: a record that follows, or what a crash has left of one, which was never counted.

        :raises Unreadable: for a record that does not follow: one before it is gone or was changed.
        """
        for entry in _parsed([line]):
            if {name: entry.get(name) for name in ("number", "before")} != self.link():
                raise Unreadable(
                    f"{self.path}: what comes after record {self.number} does not follow it: records were changed or are gone."
                )
            self.entries.append(entry)
            self.hashes.append(_hash(line))
            self.number += 1


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _dumped(entry: JsonObject) -> str:
    return json.dumps(entry, sort_keys=True, ensure_ascii=False)


def _loaded(content: bytes) -> Iterator[Any]:
    """What it says, if it is JSON at all."""
    with suppress(ValueError, RecursionError):
        yield json.loads(content)


def _parsed(lines: list[bytes]) -> list[JsonObject]:
    """The records among some lines."""
    found = [raw for line in lines for raw in _loaded(line)]
    return [raw for raw in found if isinstance(raw, dict) and "event" in raw]


def log_line(at: float, event: str, what: str) -> str:
    """One line of the log for people: ``YYYY-MM-DD HH:MM:SS - ROLLBACK - <what happened>`` in the host's local time."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    return f"{stamp} - ROLLBACK - {'FAILED: ' if event == 'failed' else ''}{one_line(what)}"


@contextmanager
def _appending(path: Path) -> Iterator[int]:
    """Open a file to append to, alone; what is in it at the end is durable.

    :raises Damaged: when the disk does not take it.
    """
    try:
        created = not path.exists()
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle
        finally:
            os.close(handle)
        if created:
            fsync_directory(path.parent)
    except OSError as error:
        raise Damaged(
            f"{path} can't be written: {error.strerror}. Nothing is changed without it; make room."
        ) from error


def _put(handle: int, line: str) -> int:
    """Append one line and wait until the disk has it; a cut-off line before it is ended first. Returns where it ends."""
    size = os.fstat(handle).st_size
    torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
    data = (b"\n" if torn else b"") + line.encode() + b"\n"
    while data:
        data = data[os.write(handle, data) :]
    os.fsync(handle)
    return os.fstat(handle).st_size
