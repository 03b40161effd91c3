# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Sessions with PostgreSQL through psycopg2: plain errors, rows as dictionaries, and one that can wait.

psycopg2 may be missing: hosts that hold only applications import this file as well. It is asked for when a connection
is opened.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, Protocol, TypeVar

from ansible_collections.lastgood.rollback.plugins.module_utils._errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._types import JsonObject

try:
    import psycopg2
    from psycopg2 import extensions, sql
except ImportError:
    psycopg2 = extensions = sql = None  # type: ignore[assignment]

#: ``sql`` is taken from here, so that the guard for a missing psycopg2 stands in one place.
__all__ = ["CONNECT_TIMEOUT_S", "DatabaseError", "Session", "WaitingSession", "open_connection", "sql"]

_Session = TypeVar("_Session", bound="Session")
CONNECT_TIMEOUT_S = 10
POLL_S = 0.01
COPY_BYTES = 256 * 1024

#: What every session gets, whatever the server's, database's or role's settings are: nothing may stop a long step, and
#: the text of a value must not depend on anybody's taste. Compiling a query on the catalogues takes a second, running it none.
SESSION_SETTINGS = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "search_path": "pg_catalog",
    "row_security": "off",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "jit": "off",
}


class DatabaseError(LastGoodError):
    """The server, or the way to it, said no.

    :param cause: all that the server said; its first line is kept by itself.
    :param code: the SQLSTATE, empty when there was no answer at all.
    """

    def __init__(self, attempt: str, cause: str, code: str = "") -> None:
        self.code = code
        self.cause = cause.strip().split("\n", maxsplit=1)[0].replace("ERROR:", "").strip()
        said = " | ".join(line.strip() for line in cause.splitlines() if line.strip())
        super().__init__(f"{attempt} failed: {said}")


def open_connection(params: Mapping[str, str], attempt: str, *, waiting: bool = False) -> Any:
    """Connect in autocommit mode, everything in UTF-8.

    :param params: libpq's parameters.
    :param waiting: make an asynchronous connection, for a `WaitingSession`.
    :raises DatabaseError: when there is no way in.
    :raises Refused: when psycopg2 is missing.
    """
    if psycopg2 is None:
        raise Refused(
            "The Python library psycopg2 is missing on this host: install python3-psycopg2 for the interpreter that "
            "Ansible uses here."
        )
    wanted: dict[str, Any] = {**params, "client_encoding": "UTF8"}
    try:
        connection = psycopg2.connect(**wanted, async_=int(waiting))
        if waiting:
            _wait(connection, time.monotonic() + CONNECT_TIMEOUT_S, lambda: None)
        else:
            connection.set_session(autocommit=True)
    except psycopg2.Error as error:
        raise DatabaseError(attempt, str(error), error.pgcode or "") from error
    return connection


class SupportsRead(Protocol):
    """A file, as far as COPY reads it."""

    def read(self, size: int) -> bytes:
        """The next bytes; none at the end."""


class Session:
    """One connection; statements, rows as dictionaries, and errors that say what was tried.

    :param where: what it is connected to, for messages.
    :param role: the role to switch to, or empty.
    """

    def __init__(self, connection: Any, where: str, role: str) -> None:
        self.connection = connection
        self.where = where
        for name, value in SESSION_SETTINGS.items():
            self.execute(sql.SQL("SET {} = %s").format(sql.Identifier(name)), [value])
        if role:
            self.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))

    def __enter__(self: _Session) -> _Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session; an open transaction is rolled back by the server."""
        self.connection.close()

    @property
    def version(self) -> int:
        """The server's version as a number, e.g. 150020."""
        return int(self.connection.server_version)

    def execute(self, statement: Any, values: Sequence[Any] | None = None, attempt: str = "") -> None:
        """Run a statement (text or `psycopg2.sql.Composable`) and forget its rows.

        :param attempt: what this is meant to do, for the message.
        :raises DatabaseError: when the server refuses.
        """
        with self._cursor(attempt) as cursor:
            self._run(cursor, statement, values)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction block is open, and has not failed."""
        return bool(self.connection.info.transaction_status == extensions.TRANSACTION_STATUS_INTRANS)

    def rows(self, statement: Any, values: Sequence[Any] | None = None, attempt: str = "") -> list[JsonObject]:
        """The rows of a query; see `execute`."""
        with self._cursor(attempt) as cursor:
            self._run(cursor, statement, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row)) for row in cursor.fetchall()]

    def value(self, statement: Any, values: Sequence[Any] | None = None, attempt: str = "") -> Any:
        """The first column of the first row, or None."""
        for row in self.rows(statement, values, attempt):
            return next(iter(row.values()))
        return None

    def copy(self, statement: Any, stream: IO[bytes] | SupportsRead, attempt: str) -> int:
        """Run ``COPY … TO STDOUT`` into a stream, or ``COPY … FROM STDIN`` out of one; the number of rows.

        :raises DatabaseError: when the server refuses.
        """
        with self._cursor(attempt) as cursor:
            cursor.copy_expert(statement, stream, COPY_BYTES)
            return int(cursor.rowcount)

    @contextmanager
    def _cursor(self, attempt: str) -> Iterator[Any]:
        """A cursor; a refusal is told with what was tried, and so is a connection that an earlier one has ended."""
        try:
            with self.connection.cursor() as cursor:
                yield cursor
        except psycopg2.Error as error:
            raise DatabaseError(attempt or f"Asking {self.where}", str(error), error.pgcode or "") from error

    def _run(self, cursor: Any, statement: Any, values: Sequence[Any] | None) -> None:
        cursor.execute(statement, values)


class WaitingSession(Session):
    """A session whose statements leave time for something else: ``meanwhile`` is called again and again."""

    deadline: float = float("inf")

    def __init__(self, connection: Any, where: str, role: str) -> None:
        self.meanwhile: Callable[[], None] = lambda: None
        super().__init__(connection, where, role)

    def _run(self, cursor: Any, statement: Any, values: Sequence[Any] | None) -> None:
        super()._run(cursor, statement, values)
        _wait(self.connection, self.deadline, self.meanwhile)


def _wait(connection: Any, deadline: float, meanwhile: Callable[[], None]) -> None:
    """Drive an asynchronous connection until its statement has ended.

    :raises psycopg2.OperationalError: when the deadline (of `time.monotonic`) has passed.
    """
    while True:
        state = connection.poll()
        if state == extensions.POLL_OK:
            return
        if time.monotonic() > deadline:
            raise psycopg2.OperationalError("no answer before the deadline")
        reading = [connection] if state == extensions.POLL_READ else []
        writing = [connection] if state == extensions.POLL_WRITE else []
        ready = select.select(reading, writing, [], POLL_S)
        if not any(ready):
            meanwhile()
