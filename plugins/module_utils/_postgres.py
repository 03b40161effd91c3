# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Connections to PostgreSQL: libpq's parameters from the modules' options, and sessions with plain errors.

psycopg2 may be missing: hosts that hold only applications import this file as well. It is asked for when a session is
opened.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.lastgood.rollback.plugins.module_utils._errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._identity import User, acting_as, owner_of, user_by_name
from ansible_collections.lastgood.rollback.plugins.module_utils._types import JsonObject

try:
    import psycopg2
    from psycopg2 import extensions, sql
except ImportError:
    psycopg2 = extensions = sql = None  # type: ignore[assignment]

#: ``sql`` is taken from here, so that the guard for a missing psycopg2 stands in one place.
__all__ = ["DatabaseError", "Server", "Session", "WaitingSession", "sql"]

_Session = TypeVar("_Session", bound="Session")

#: Where libpq and Debian's, Red Hat's and PostgreSQL's own builds put the socket.
SOCKET_DIRECTORIES = ("/run/postgresql", "/var/run/postgresql", "/tmp")  # noqa: S108
SECRET_PARAMETERS = ("password", "sslpassword", "passfile")
CONNECT_TIMEOUT_S = 10
POLL_S = 0.01

#: What every session gets, whatever the server's, database's or role's settings are: nothing may stop a long step, and
#: the text of a value must not depend on anybody's taste.
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
}

#: libpq's parameters that programs take from their environment, so that nothing of them is seen in a list of processes.
ENVIRONMENT = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "options": "PGOPTIONS",
    "application_name": "PGAPPNAME",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "gssencmode": "PGGSSENCMODE",
    "krbsrvname": "PGKRBSRVNAME",
    "channel_binding": "PGCHANNELBINDING",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}


class DatabaseError(LastGoodError):
    """The server, or the way to it, said no.

    :param code: the SQLSTATE, empty when there was no answer at all.
    """

    def __init__(self, attempt: str, cause: str, code: str = "") -> None:
        self.code = code
        super().__init__(f"{attempt} failed: {' | '.join(cause.split(chr(10))).strip(' |')}")


@dataclass(frozen=True)
class Server:
    """How to reach one cluster. Immutable; the password is the only part that never becomes JSON.

    :param host: a name, an address, or the directory of a socket.
    :param maintenance: the database to connect to when the one in question must be left alone.
    """

    host: str
    port: int
    user: str
    maintenance: str
    ssl_mode: str
    ca_cert: str
    connect_params: Mapping[str, str]
    session_role: str
    application_name: str
    password: str = field(default="", repr=False)

    @classmethod
    def from_options(cls, options: Mapping[str, Any], password: str = "", application_name: str = "lastgood") -> Server:
        """Read the modules' options; `to_json` is the inverse, less the password.

        :raises Refused: when ``connect_params`` holds a secret, which would end in the journal.
        """
        params = {str(key): str(value) for key, value in (options.get("connect_params") or {}).items()}
        for name in SECRET_PARAMETERS:
            if name in params:
                raise Refused(f"connect_params.{name} would be written to the journal: use login_password instead.")
        port = int(options.get("login_port") or 5432)
        host = options.get("login_host") or ""
        if host in ("", "localhost") and options.get("login_unix_socket"):
            host = str(options["login_unix_socket"])
        return cls(
            host=host or _default_socket_directory(port),
            port=port,
            user=options.get("login_user") or "postgres",
            maintenance=options.get("login_db") or "postgres",
            ssl_mode=options.get("ssl_mode") or "prefer",
            ca_cert=str(options.get("ca_cert") or ""),
            connect_params=params,
            session_role=options.get("session_role") or "",
            application_name=application_name,
            password=password or "",
        )

    def to_json(self) -> JsonObject:
        """The options that lead here again; never the password."""
        return {
            "login_host": self.host,
            "login_port": self.port,
            "login_user": self.user,
            "login_db": self.maintenance,
            "ssl_mode": self.ssl_mode,
            "ca_cert": self.ca_cert,
            "connect_params": dict(self.connect_params),
            "session_role": self.session_role,
        }

    @property
    def where(self) -> str:
        """For messages: ``blog-db:5432``, or the socket."""
        return f"{self.host}/.s.PGSQL.{self.port}" if self.is_socket else f"{self.host}:{self.port}"

    @property
    def is_socket(self) -> bool:
        """Whether the way there is a Unix socket."""
        return self.host.startswith(("/", "@"))

    @property
    def is_local(self) -> bool:
        """Whether the server surely runs on this host."""
        return self.is_socket or self.host in ("localhost", "127.0.0.1", "::1")

    def parameters(self, database: str) -> dict[str, str]:
        """Parameters for libpq, the password among them."""
        wanted = {
            "host": self.host,
            "port": str(self.port),
            "user": self.user,
            "dbname": database,
            "sslmode": self.ssl_mode,
            "sslrootcert": self.ca_cert,
            "connect_timeout": str(CONNECT_TIMEOUT_S),
            "password": self.password,
            **self.connect_params,
            "application_name": self.application_name,
        }
        return {name: value for name, value in wanted.items() if value}

    def os_user(self) -> User | None:
        """The account to be for this server, when we are root: peer authentication looks at it.

        On a socket the account named like the role, else the socket's owner; elsewhere nobody else.
        """
        if os.geteuid() != 0 or not self.is_socket:
            return None
        try:
            return user_by_name(self.user)
        except Refused:
            try:
                return owner_of(Path(self.host) / f".s.PGSQL.{self.port}")
            except OSError:
                return None

    def environment(self) -> dict[str, str]:
        """The environment that leads a program of PostgreSQL here; ``conninfo`` holds the rest."""
        params = self.parameters("")
        if self.session_role:
            role = self.session_role.replace("\\", "\\\\").replace(" ", "\\ ")
            params["options"] = f"{params.get('options', '')} -c role={role}".strip()
        return {ENVIRONMENT[name]: value for name, value in params.items() if name in ENVIRONMENT}

    def conninfo(self, database: str) -> str:
        """A connection string for a program's argument: the database, and what has no environment variable."""
        rest = {name: value for name, value in self.parameters(database).items() if name not in ENVIRONMENT}
        return " ".join(f"{name}={_conninfo_value(value)}" for name, value in sorted(rest.items()))

    def connect(self, database: str | None = None) -> Session:
        """Open a session in autocommit mode.

        :param database: default is the maintenance database.
        :raises DatabaseError: when there is no way in.
        :raises Refused: when psycopg2 is missing.
        """
        return Session(self._open(database or self.maintenance), f"database {database or self.maintenance}", self)

    def connect_waiting(self) -> WaitingSession:
        """Open a session on the maintenance database that can do something else while a statement runs."""
        connection = self._open(self.maintenance, asynchronous=True)
        return WaitingSession(connection, f"database {self.maintenance}", self)

    def _open(self, database: str, asynchronous: bool = False) -> Any:
        if psycopg2 is None:
            raise Refused("The Python library psycopg2 is missing on this host: install python3-psycopg2 for the "
                          "interpreter that Ansible uses here.")  # fmt: skip
        attempt = f"Connecting to database {database} on {self.where} as {self.user}"
        with acting_as(self.os_user()):
            try:
                params: dict[str, Any] = {**self.parameters(database), "client_encoding": "UTF8"}
                connection = psycopg2.connect(**params, async_=int(asynchronous))
                if asynchronous:
                    _wait(connection, time.monotonic() + CONNECT_TIMEOUT_S, lambda: None)
                else:
                    connection.set_session(autocommit=True)
            except psycopg2.Error as error:
                raise DatabaseError(attempt, str(error), error.pgcode or "") from error
        return connection


class Session:
    """One connection; statements, rows as dictionaries, and errors that say what was tried."""

    def __init__(self, connection: Any, where: str, server: Server) -> None:
        self.connection = connection
        self.where = where
        for name, value in SESSION_SETTINGS.items():
            self.execute(sql.SQL("SET {} = %s").format(sql.Identifier(name)), [value])
        if server.session_role:
            self.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(server.session_role)))

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
        with self.connection.cursor() as cursor:
            self._run(cursor, statement, values, attempt)

    def rows(self, statement: Any, values: Sequence[Any] | None = None, attempt: str = "") -> list[JsonObject]:
        """The rows of a query; see `execute`."""
        with self.connection.cursor() as cursor:
            self._run(cursor, statement, values, attempt)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row)) for row in cursor.fetchall()]

    def value(self, statement: Any, values: Sequence[Any] | None = None, attempt: str = "") -> Any:
        """The first column of the first row, or None."""
        for row in self.rows(statement, values, attempt):
            return next(iter(row.values()))
        return None

    def _run(self, cursor: Any, statement: Any, values: Sequence[Any] | None, attempt: str) -> None:
        try:
            cursor.execute(statement, values)
        except psycopg2.Error as error:
            what = attempt or f"Asking {self.where}"
            raise DatabaseError(what, str(error), error.pgcode or "") from error


class WaitingSession(Session):
    """A session whose statements leave time for something else: ``meanwhile`` is called again and again."""

    deadline: float = float("inf")

    def __init__(self, connection: Any, where: str, server: Server) -> None:
        self.meanwhile: Callable[[], None] = lambda: None
        super().__init__(connection, where, server)

    def _run(self, cursor: Any, statement: Any, values: Sequence[Any] | None, attempt: str) -> None:
        try:
            cursor.execute(statement, values)
            _wait(self.connection, self.deadline, self.meanwhile)
        except psycopg2.Error as error:
            raise DatabaseError(attempt or f"Asking {self.where}", str(error), error.pgcode or "") from error


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


def _default_socket_directory(port: int) -> str:
    for directory in SOCKET_DIRECTORIES:
        if Path(directory, f".s.PGSQL.{port}").exists():
            return directory
    return SOCKET_DIRECTORIES[0]


def _conninfo_value(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
