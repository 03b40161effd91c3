# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) How to reach PostgreSQL: libpq's parameters from the modules' options, for sessions and for programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base import accounts
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .session import CONNECT_TIMEOUT_S, DatabaseError, Session, WaitingSession, open_connection, option_words, sql

#: What everything above takes from here.
__all__ = ["DatabaseError", "Server", "Session", "WaitingSession", "sql"]

#: Where libpq and Debian's, Red Hat's and PostgreSQL's own builds put the socket.
SOCKET_DIRECTORIES = ("/run/postgresql", "/var/run/postgresql", "/tmp")  # noqa: S108
SECRET_PARAMETERS = ("password", "sslpassword", "passfile")

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

    def logged_in_as(self, role: str) -> Server:
        """The same cluster for another role. Our password is not its: it gets in as the server lets it, or not at all."""
        return replace(self, user=role, session_role="", password="")

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

    def os_user(self) -> accounts.User | None:
        """The account to be for this server, when we are root: peer authentication looks at it.

        On a socket the account named like the role, else the socket's owner; elsewhere nobody else.
        """
        if os.geteuid() != 0 or not self.is_socket:
            return None
        try:
            return accounts.user_by_name(self.user)
        except Refused:
            try:
                return accounts.owner_of(Path(self.host) / f".s.PGSQL.{self.port}")
            except OSError:
                return None

    def environment(self, settings: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment that leads a program of PostgreSQL here; ``conninfo`` holds the rest.

        :param settings: for its sessions, beside those of `connect_params`.
        """
        params = self.parameters("")
        ours = option_words({**(settings or {}), "role": self.session_role or "none"})
        params["options"] = " ".join(filter(None, [params.get("options"), ours]))
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
        name = database or self.maintenance
        return Session(self._open(name, waiting=False), f"database {name}", self.session_role)

    def connect_waiting(self, database: str | None = None) -> WaitingSession:
        """Open a session that can do something else while a statement runs.

        :param database: default is the maintenance database.
        """
        name = database or self.maintenance
        return WaitingSession(self._open(name, waiting=True), f"database {name}", self.session_role)

    def _open(self, database: str, *, waiting: bool) -> Any:
        attempt = f"Connecting to database {database} on {self.where} as {self.user}"
        with accounts.acting_as(self.os_user()):
            return open_connection(self.parameters(database), attempt, waiting=waiting)


def _default_socket_directory(port: int) -> str:
    for directory in SOCKET_DIRECTORIES:
        if Path(directory, f".s.PGSQL.{port}").exists():
            return directory
    return SOCKET_DIRECTORIES[0]


def _conninfo_value(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
