# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Sessions with PostgreSQL through psycopg2: plain errors, rows as dictionaries, and one that can wait.

psycopg2 may be missing: hosts that hold only applications import this file as well. It is asked for when a connection
is opened.
"""

from __future__ import annotations

import re
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, Protocol, TypeVar

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

try:
    import psycopg2
    from psycopg2 import extensions, sql
except ImportError:
    psycopg2 = extensions = sql = None  # type: ignore[assignment]

#: ``sql`` is taken from here, so that the guard for a missing psycopg2 stands in one place.
__all__ = [
    "CONNECT_TIMEOUT_S",
    "LEFT_TO_DUMPS",
    "SESSION_SETTINGS",
    "DatabaseError",
    "Session",
    "WaitingSession",
    "open_connection",
    "option_words",
    "sql",
]

_Session = TypeVar("_Session", bound="Session")
CONNECT_TIMEOUT_S = 10
POLL_S = 0.01
COPY_BYTES = 256 * 1024

#: What could end a session before it has said a word, or what psycopg2 looks at only once: a part of the connection itself.
#: All else is set afterwards, so that ``reset_val`` of pg_settings still shows what people's sessions have.
STARTUP_SETTINGS = {
    "statement_timeout": "0",
    "idle_session_timeout": "0",
    "local_preload_libraries": "",
    "client_min_messages": "warning",
    "standard_conforming_strings": "on",
}

#: What every session gets, whatever the server's, database's or role's settings are. One that a server does not know is left
#: out; one that needs a superuser is set by superusers.
SESSION_SETTINGS = {
    # Nothing may stop a long step, or make it longer. Compiling a query on the catalogues takes a second, running it none.
    **STARTUP_SETTINGS,
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
    "temp_file_limit": "-1",
    "exit_on_error": "off",
    "vacuum_cost_delay": "0",
    "commit_delay": "0",
    "jit": "off",
    # A hash table may be asked for in one piece as large as these allow, whatever the machine has.
    "work_mem": "64MB",
    "hash_mem_multiplier": "2",
    # What is seen, written and kept: a snapshot must not be older than the lock that was waited for.
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "synchronous_commit": "on",
    "session_replication_role": "origin",
    "zero_damaged_pages": "off",
    "ignore_checksum_failure": "off",
    "row_security": "off",
    "lo_compat_privileges": "off",
    "gin_fuzzy_search_limit": "0",
    "transform_null_equals": "off",
    "check_function_bodies": "off",
    "default_tablespace": "",
    "default_table_access_method": "heap",
    # The text of a name, a definition or a value must not depend on anybody's taste.
    "search_path": "pg_catalog",
    "quote_all_identifiers": "off",
    "backslash_quote": "safe_encoding",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "array_nulls": "on",
    "lc_monetary": "C",
    "xmloption": "content",
}
#: What somebody's dump relies on, or sets by itself: for a session that loads one these stay as people have them.
LEFT_TO_DUMPS = ("search_path", "DateStyle", "TimeZone", "lc_monetary", "row_security")
#: What the server lets only superusers change.
FOR_SUPERUSERS = (
    "commit_delay",
    "ignore_checksum_failure",
    "lo_compat_privileges",
    "session_replication_role",
    "temp_file_limit",
    "zero_damaged_pages",
)
#: Rows would be missing or damaged, and nobody would notice.
BLINDING = ("ignore_checksum_failure", "zero_damaged_pages")

# As a statement of its own: operators and functions in people's schemas must not be found by what follows.
BEFORE_ALL = "SET search_path = pg_catalog; SET ROLE NONE"
# Not by pg_settings: that is written to a file where work_mem is small, and somebody may have set a limit for files.
SUITED = """
SELECT w.name, w.value, w.setting, r.rolsuper OR w.name <> ALL(%s) AS settable
FROM (SELECT name, value, current_setting(name, true) AS setting FROM unnest(%s::text[], %s::text[]) AS u (name, value)) w
JOIN pg_roles r ON r.rolname = session_user WHERE w.setting IS NOT NULL
"""
SET_ALL = f"SELECT set_config(q.name, q.value, false) FROM ({SUITED} OFFSET 0) q WHERE q.settable"  # noqa: S608 - our own words
#: The setting by which a session reads no views and foreign tables but the system's own.
HIDDEN_KINDS = "restrict_nonsystem_relation_kind"


class DatabaseError(LastGoodError):
    """The server, or the way to it, said no.

    :param cause: all that the server said; its first line is kept by itself.
    :param code: the SQLSTATE, empty when there was no answer at all.
    """

    def __init__(self, attempt: str, cause: str, code: str = "") -> None:
        self.code = code
        self.cause = cause.strip().split("\n", maxsplit=1)[0].replace("ERROR:", "").strip()
        answer = " | ".join(line.strip() for line in cause.splitlines() if line.strip())
        super().__init__(f"{attempt} failed: {answer}")


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
    startup = dict(STARTUP_SETTINGS)
    while True:
        try:
            return _connect(params, startup, waiting=waiting)
        except psycopg2.Error as error:
            unknown = [name for name in startup if f'"{name}"' in str(error)]
            if not unknown and not (startup and "startup parameter" in str(error)):  # a pooler's words
                raise DatabaseError(attempt, str(error), error.pgcode or "") from error
            startup = {name: value for name, value in startup.items() if unknown and name not in unknown}


def _connect(params: Mapping[str, str], startup: Mapping[str, str], *, waiting: bool) -> Any:
    options = " ".join(filter(None, [params.get("options"), option_words(startup)]))
    wanted: dict[str, Any] = {**params, "client_encoding": "UTF8", **({"options": options} if options else {})}
    connection = psycopg2.connect(**wanted, async_=int(waiting))
    if waiting:
        _wait(connection, time.monotonic() + CONNECT_TIMEOUT_S, lambda: None)
    else:
        connection.set_session(autocommit=True)
    return connection


def option_words(settings: Mapping[str, str]) -> str:
    """Settings as libpq's ``options`` have them: ``-c name=value``."""
    escaped = {name: re.sub(r"([\\\s])", r"\\\1", value) for name, value in settings.items()}
    return " ".join(f"-c {name}={value}" for name, value in escaped.items())


def _words(settings: Mapping[str, str]) -> list[list[str]]:
    """What `SUITED` is asked with."""
    return [list(FOR_SUPERUSERS), list(settings), list(settings.values())]


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
        self.execute(BEFORE_ALL)
        blind = [row for row in self._suited(SESSION_SETTINGS) if not row["settable"] and row["name"] in BLINDING]
        for row in blind:
            if row["setting"] != row["value"]:
                raise Refused(
                    f"Sessions of this role with {where} run with {row['name']} = {row['setting']}, which hides damaged rows, "
                    f"and only a superuser may change that: ALTER ROLE … RESET {row['name']} (or ALTER DATABASE …)."
                )
        self.rows(SET_ALL, _words(SESSION_SETTINGS))
        self.show_views(shown=False)
        if role:
            self.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))

    def __enter__(self: _Session) -> _Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show_views(self, *, shown: bool) -> None:
        """Whether people's views and foreign tables may be read here: what they run, they may run with our rights.

        Servers before the minor releases of August 2024 don't know this setting.
        """
        kinds = "" if shown else "view, foreign-table"
        self.rows(
            "SELECT set_config(name, %s, false) FROM (SELECT %s) AS u (name) WHERE current_setting(name, true) IS NOT NULL",
            [kinds, HIDDEN_KINDS],
        )

    def close(self) -> None:
        """End the session; an open transaction is rolled back by the server."""
        self.connection.close()

    def suited(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Those that this server knows, and that whoever has logged in may set."""
        return {row["name"]: row["value"] for row in self._suited(settings) if row["settable"]}

    def _suited(self, settings: Mapping[str, str]) -> list[JsonObject]:
        return self.rows(SUITED, _words(settings))

    def leave_to_dump(self) -> None:
        """From here on the session is one that loads somebody's dump; see `LEFT_TO_DUMPS`."""
        for name in LEFT_TO_DUMPS:
            self.execute(sql.SQL("RESET {}").format(sql.Identifier(name)))
        self.execute('SET search_path = "$user", public')

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
        """A cursor; a refusal is reported with what was tried, and so is a connection that an earlier one has ended."""
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
