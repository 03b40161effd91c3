# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Plain SQL as pg_dump writes it, cut into statements and the rows of COPY, a piece at a time.

psql is not asked: its own commands (``\\!``, ``\\copy … program``, ``\\connect``) begin with a backslash, there is nobody here
who could carry one out, and the server does not know them. See docs/decisions.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused

#: One statement, or one line of it, that is kept in memory. pg_dump's are short; rows come through COPY, or one by one.
STATEMENT_BYTES = 32 * 1024**2
PIECE = 65_536

WORD = rb"A-Za-z0-9_$\x80-\xff"
#: Where something begins in which a semicolon has another meaning, or a statement may end.
MARK = re.compile(
    rb"--|/\*|[;()\\\"]|(?<![%b])[eE]'|'|(?<![%b])\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$"
    rb"|(?<![%b])(?:[bB][eE][gG][iI][nN]|[cC][aA][sS][eE]|[eE][nN][dD])(?![%b])" % ((WORD,) * 4)
)
#: How what was opened ends; a doubled quote does not end it, nor does an escaped one.
ENDS = {
    b"'": re.compile(rb"''|'"),
    b"E'": re.compile(rb"\\.|''|'", re.DOTALL),
    b'"': re.compile(rb'""|"'),
    b"/*": re.compile(rb"/\*|\*/"),
}
#: The body of such a function is SQL without quotes, semicolons included.
MAKES_FUNCTION = re.compile(rb"\s*CREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE)\s", re.IGNORECASE)
NAME = rb'(?:"(?:[^"]|"")*"|[^"()\s])+'
COPY_IN = re.compile(
    rb'\s*COPY\s+%b\s*(?:\((?:"(?:[^"]|"")*"|[^"()])*\)\s*)?FROM\s+STDIN\b' % NAME, re.IGNORECASE
)  # fmt: skip
STRINGS = re.compile(rb"\s*SET\s+standard_conforming_strings\s*(?:=|TO)\s*'?(on|off)\b", re.IGNORECASE)
#: Written by pg_dump to keep psql from obeying a crafted dump. They mean nothing here.
RESTRICT = re.compile(rb"\\(?:un)?restrict [A-Za-z0-9]+\s*$")
COMPLETE = b"-- PostgreSQL database dump complete"


class Rows:
    """The rows that follow a ``COPY … FROM stdin``: a file to read them from, up to the line that ends them."""

    def __init__(self, script: SqlScript) -> None:
        self._script = script
        self._ended = False
        self._at_start = True

    def read(self, size: int = PIECE) -> bytes:
        """The next rows, at least ``size`` bytes if there are that many; empty at the end.

        :raises Refused: when the script ends before its rows do.
        """
        pieces: list[bytes] = []
        count = 0
        while not self._ended and count < size:
            piece = self._script.next_line(PIECE)
            if not piece:
                raise Refused(f"{self._script.label} ends within the rows of a table: it was cut off.")
            if self._at_start and piece in (b"\\.\n", b"\\.\r\n"):
                self._ended = True
                break
            self._at_start = piece.endswith(b"\n")
            pieces.append(piece)
            count += len(piece)
        return b"".join(pieces)

    def skip(self) -> None:
        """Go to their end."""
        while self.read():
            pass


class Statement(NamedTuple):
    """One statement, the line where it begins, and the rows that follow it (read before the next statement is asked for)."""

    text: bytes
    line: int
    rows: Rows | None


class SqlScript:
    """A script that is read once, from its beginning to its end.

    :param label: what it is called in messages.
    """

    def __init__(self, stream: IO[bytes], label: str) -> None:
        self.label = label
        self.complete = False
        self._stream = stream
        self._line = 0
        self._parts: list[bytes] = []
        self._opened = b""
        self._depth = 0
        self._parentheses = 0
        self._blocks = 0
        self._old_strings = False

    def statements(self) -> Iterator[Statement]:
        """One after the other.

        :raises Refused: for a command of psql, and for a script that is damaged, cut off, or not to be read in pieces.
        """
        begun = 0
        while line := self.next_line(STATEMENT_BYTES):
            if not self._parts and not self._opened:
                begun = self._line
                if self._means_nothing(line):
                    continue
            rest = line
            while (end := self._end_of_statement(rest)) >= 0:
                text = b"".join([*self._parts, rest[:end]])
                self._parts.clear()
                rest = rest[end:]
                rows = Rows(self) if COPY_IN.match(text) else None
                if rows is not None and rest.strip():
                    raise self.refused("has text between COPY and its rows", begun)
                yield Statement(text, begun, rows)
                if rows is not None:
                    rows.skip()
                set_to = STRINGS.match(text)
                if set_to is not None:
                    self._old_strings = set_to[1].lower() == b"off"
            if self._parts or not self._means_nothing(rest):
                self._parts.append(rest)
                if sum(map(len, self._parts)) > STATEMENT_BYTES:
                    raise self.refused("holds a statement that is too large to be kept in memory", begun)
        if self._parts or self._opened:
            raise self.refused("ends within the statement that begins there: it was cut off", begun)

    def next_line(self, limit: int) -> bytes:
        """The next line, or its first ``limit`` bytes; empty at the end.

        :raises Refused: when it can't be unpacked.
        """
        try:
            line = self._stream.readline(limit)
        except (EOFError, OSError, zlib.error) as error:
            raise Refused(f"{self.label} is damaged, or was cut off: {error}.") from error
        self._line += 1
        if len(line) == STATEMENT_BYTES and not line.endswith(b"\n"):
            raise self.refused("holds a line that is too large to be kept in memory", self._line)
        return line

    def refused(self, why: str, line: int) -> Refused:
        """The refusal for something at a line."""
        return Refused(f"{self.label} {why} (line {line}).")

    def _means_nothing(self, line: bytes) -> bool:
        """Whether a line between two statements is empty, a comment, or only meant for psql's safety."""
        if line.startswith(COMPLETE):
            self.complete = True
        return not line.strip() or line.lstrip().startswith(b"--") or bool(RESTRICT.match(line))

    def _end_of_statement(self, text: bytes) -> int:
        """Walk through a part of a line; the place after the semicolon that ends a statement, or -1."""
        at = 0
        while True:
            if self._opened:
                at = self._close(text, at)
                if at < 0:
                    return -1
            mark = MARK.search(text, at)
            if mark is None or mark[0] == b"--":
                return -1
            at = mark.end()
            if mark[0] == b";" and not self._parentheses and not self._blocks:
                return at
            self._open(mark, text)

    def _open(self, mark: re.Match[bytes], text: bytes) -> None:
        word = mark[0]
        if word == b"\\":
            where = text[mark.start() :].split(b"\n")[0][:40].decode(errors="replace")
            raise self.refused(
                f"holds {where!r}, which is a command of psql and not SQL. Dump without --create, which writes such "
                "commands, or in the custom format",
                self._line,
            )
        if word in (b"(", b")"):
            self._parentheses += 1 if word == b"(" else -1
        elif word in (b'"', b"/*", b"'") or word.startswith(b"$"):
            self._opened = b"E'" if word == b"'" and self._old_strings else word
            self._depth = 1
        elif word.endswith(b"'"):
            self._opened = b"E'"
        elif word.isalpha():
            self._block(word.lower(), b"".join([*self._parts, text[: mark.start()]]))

    def _block(self, word: bytes, before: bytes) -> None:
        """Count ``BEGIN ATOMIC … CASE … END`` in a function's body."""
        if word == b"end":
            self._blocks = max(0, self._blocks - 1)
        elif self._blocks or (word == b"begin" and MAKES_FUNCTION.match(before)):
            self._blocks += 1

    def _close(self, text: bytes, at: int) -> int:
        """The place after the end of what was opened, or -1 when this text does not end it."""
        if self._opened.startswith(b"$"):
            found = text.find(self._opened, at)
            at = -1 if found < 0 else found + len(self._opened)
        else:
            at = self._close_quoted(text, at)
        if at >= 0:
            self._opened = b""
        return at

    def _close_quoted(self, text: bytes, at: int) -> int:
        for end in ENDS[self._opened].finditer(text, at):
            if end[0] in (b"'", b'"'):
                return end.end()
            if self._opened == b"/*":
                self._depth += 1 if end[0] == b"/*" else -1
                if not self._depth:
                    return end.end()
        return -1
