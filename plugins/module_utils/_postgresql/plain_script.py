# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Plain SQL of pg_dump as a source: read in pieces, packed or not, and sent to the server without psql."""

from __future__ import annotations

import gzip
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    CommandFailed,
    LastGoodError,
    Refused,
)

from .server import Server, Session, sql
from .sql_script import Rows, SqlScript, Statement

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
#: Where pg_dump's heading must stand.
HEAD_LINES, HEAD_BYTES = 20, 1024
HEADING = b"-- PostgreSQL database dump"
CLUSTER = b"-- PostgreSQL database cluster dump"
DUMPED = re.compile(rb"-- Dumped (from database|by pg_dump) version (\S+)")
#: pg_dump writes these around large objects; they are the only ones that it writes.
BEGIN, COMMIT = re.compile(rb"\s*BEGIN\s*;$"), re.compile(rb"\s*COMMIT\s*;$")
#: Statements in one transaction: enough to be fast, few enough for the server's table of locks.
TOGETHER = 100
EVERY_S = 1.0


@contextmanager
def open_script(path: Path, run: CommandRunner) -> Iterator[IO[bytes]]:
    """Open plain SQL, or plain SQL packed by gzip or zstd (known by its first bytes), for reading.

    :param run: starts ``zstd``, as an account without rights of ours.
    :raises CommandFailed: when there is no ``zstd``, or it finds the file damaged.
    """
    with path.open("rb") as raw:
        magic = raw.read(4)
        raw.seek(0)
        if magic.startswith(GZIP):
            with gzip.GzipFile(fileobj=raw) as stream:
                yield stream  # type: ignore[misc]  # it is one but for its type
        elif magic == ZSTD:
            os.lseek(raw.fileno(), 0, os.SEEK_SET)  # for the program, which does not know our buffer
            with run.stream(["zstd", "--decompress", "--stdout", "--quiet"], f"Unpacking {path}", raw) as unpacked:
                yield unpacked
        else:
            yield raw


def read_heading(path: Path, run: CommandRunner) -> tuple[str, str]:
    """The versions of the server and of the pg_dump that a script says it comes from.

    :raises Refused: when it is not plain SQL of pg_dump.
    """
    versions = {b"from database": "", b"by pg_dump": ""}
    found = False
    try:
        with open_script(path, run) as stream:
            script = SqlScript(stream, f"Script {path}")
            for _number in range(HEAD_LINES):
                line = script.next_line(HEAD_BYTES)
                if line.startswith(CLUSTER):
                    raise Refused(
                        f"{path} was made by pg_dumpall and holds a whole cluster: dump one database by pg_dump."
                    )
                found = found or line.rstrip() == HEADING
                for what, version in DUMPED.findall(line):
                    versions[what] = version.decode(errors="replace")
    except CommandFailed as error:
        raise Refused(f"{path} can't be unpacked: {error.message}") from error
    if not found:
        raise Refused(
            f"{path} is not a custom, directory or tar archive of pg_dump, nor plain SQL of it, packed by gzip or zstd or not."
        )
    return versions[b"from database"], versions[b"by pg_dump"]


def definitions(path: Path, run: CommandRunner) -> list[str]:
    """The lines of all statements, without rows; the whole script is read, and refused if any of it is not as it should be.

    :raises Refused: see `SqlScript.statements`; also for a script that has no end.
    """
    lines: list[str] = []
    try:
        with open_script(path, run) as stream:
            script = SqlScript(stream, f"Script {path}")
            for statement in dump_statements(script):
                lines += statement.text.decode(errors="replace").splitlines()
            if not script.complete:
                raise Refused(f"Script {path} does not end as pg_dump ends one: it was cut off.")
    except CommandFailed as error:
        raise Refused(f"{path} can't be unpacked: {error.message}") from error
    return lines


def restore_script(
    server: Server,
    database: str,
    path: Path,
    run: CommandRunner,
    label: str,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Fill an empty database from a script; the first error ends it.

    Each statement runs within a transaction block, where the server refuses whatever reaches beyond this database and
    can't be taken back, such as DROP DATABASE.

    :param label: what the script is, for the message of a failure: it may be a copy that nobody knows.
    :param meanwhile: called about every second.
    """
    with open_script(path, run) as stream:
        send_script(server, database, stream, label, meanwhile)


def send_script(
    server: Server,
    database: str,
    stream: IO[bytes],
    label: str,
    meanwhile: Callable[[], None] = lambda: None,
    settings: Mapping[str, str] | None = None,
) -> None:
    """The same with an open script.

    :param settings: that it was written with.
    """
    with server.connect(database) as session:
        session.leave_to_dump()
        session.show_views(shown=True)
        for name, value in (settings or {}).items():
            session.execute(sql.SQL("SET {} = %s").format(sql.Identifier(name)), [value])
        _Restore(session, f"Restoring {label} into database {database}", meanwhile).run(SqlScript(stream, label))


def dump_statements(script: SqlScript) -> Iterator[Statement]:
    """The statements of a script.

    :raises Refused: for one that pg_dump does not write for a single database, such as CREATE ROLE or COPY … FROM PROGRAM.
    """
    for statement in script.statements():
        text = statement.text
        if statement.rows is None and not (BEGIN.match(text) or COMMIT.match(text) or is_of_a_dump(text)):
            begun = text.strip().split(b"\n")[0][:60].decode(errors="replace")
            raise script.refused(
                f"holds a statement that pg_dump does not write for one database, {begun!r}: it could reach beyond the "
                "database that is restored. Dump without --create, or in the custom format",
                statement.line,
            )
        yield statement


class _Restore:
    """One run of a script."""

    def __init__(self, session: Session, attempt: str, meanwhile: Callable[[], None]) -> None:
        self.session = session
        self.attempt = attempt
        self.meanwhile = meanwhile
        self.in_block = False
        self.count = 0
        self.rows: Rows | None = None
        self.reported = time.monotonic()

    def read(self, size: int) -> bytes:
        """The next rows of the statement that is being sent."""
        self._report()
        return self.rows.read(size) if self.rows is not None else b""

    def run(self, script: SqlScript) -> None:
        self.session.execute("BEGIN")
        for statement in dump_statements(script):
            if BEGIN.match(statement.text) or COMMIT.match(statement.text):
                self.in_block = bool(BEGIN.match(statement.text))
                self._next_block()
                continue
            self._send(statement)
            self.count += 1
            if not self.in_block and self.count % TOGETHER == 0:
                self._next_block()
        if not script.complete:
            raise LastGoodError(f"{self.attempt} failed: {script.label} does not end as pg_dump ends one.")
        self.session.execute("COMMIT", attempt=self.attempt)

    def _send(self, statement: Statement) -> None:
        attempt = f"{self.attempt}, line {statement.line},"
        self._report()
        self.rows = statement.rows
        if statement.rows is None:
            self.session.execute(statement.text, attempt=attempt)
        else:
            self.session.copy(statement.text, self, attempt)

    def _report(self) -> None:
        if time.monotonic() - self.reported >= EVERY_S:
            self.reported = time.monotonic()
            self.meanwhile()

    def _next_block(self) -> None:
        self.session.execute("COMMIT", attempt=self.attempt)
        self.session.execute("BEGIN")


#: Strings, or what has neither a string nor a parenthesis in it: no call within a call.
_ARGUMENTS = rb"\((?:'[^']*'|[^()'])*\)\s*;\s*$"
#: Of the whole server, or of another one.
_BEYOND = rb"(?:ROLE|GROUP|DATABASE|TABLESPACE|SYSTEM|OWNED|SUBSCRIPTION|PARAMETER|USER(?!\s+MAPPING\s))\b"
_ALLOWED = re.compile(
    rb"""\s*(?:
      SET\s+(?:default_table_access_method|default_tablespace|default_with_oids|row_security|escape_string_warning|check_function_bodies
        |client_min_messages|xmloption|search_path|(?:statement|lock|idle_in_transaction_session|transaction)_timeout
        |default_toast_compression)\s*(?:=|TO)\s*(?:'[^']*'|"[^"]*"|[\w",\s])*;\s*$
    | SET\s+standard_conforming_strings\s*(?:=|TO)\s*(?:on|off|'on'|'off')\s*;\s*$
    | SET\s+client_encoding\s*(?:=|TO)\s*'(?!SJIS|SHIFT|BIG5|GBK|UHC|GB18030|JOHAB|MSKANJI|WIN9[345]|Windows9)\w+'\s*;\s*$
    | SELECT\s+pg_catalog\.set_config\s*\(\s*'search_path'\s*,\s*'[^']*'\s*,\s*false\s*\)\s*;\s*$
    | SELECT\s+pg_catalog\.(?:setval|lo_create|lo_open|lo_close|lowrite)\s*%(arguments)b
    | SELECT\s+\*\s+FROM\s+pg_catalog\.pg_restore_(?:relation|attribute|extended)_stats\s*%(arguments)b
    | INSERT\s+INTO\s
    | (?:CREATE|ALTER|DROP)\s+(?:OR\s+REPLACE\s+)?(?!%(beyond)b)[A-Z]
    | (?:COMMENT|SECURITY\s+LABEL\s+FOR\s+\S+)\s+ON\s+(?!%(beyond)b)[A-Z]
    | (?:GRANT|REVOKE)\s+(?:GRANT\s+OPTION\s+FOR\s+)?[A-Z]+(?:\s*\([^)]*\))?(?:[,\s]+[A-Z]+(?:\s*\([^)]*\))?)*?
        \s+ON\s+(?!%(beyond)b)
    | REFRESH\s+MATERIALIZED\s+VIEW\s
    | RESET\s+SESSION\s+AUTHORIZATION\s*;\s*$
    )"""
    % {b"arguments": _ARGUMENTS, b"beyond": _BEYOND},
    re.VERBOSE | re.IGNORECASE,
)


def is_of_a_dump(statement: bytes) -> bool:
    """Whether pg_dump writes such a statement; ``COPY … FROM STDIN``, BEGIN and COMMIT excepted, which the cutter knows.

    What is refused here reaches beyond the database that is restored into (roles, other databases, files and programs of the
    server), calls a function by hand, or would let the server read the script in another way than it was cut into statements.
    It is the second line: the first is that a script runs with no more rights than its database's owner has.
    """
    return _ALLOWED.match(statement) is not None
