# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A private, real PostgreSQL for tests: its own directory, its own socket, a free loopback port, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

#: Peer authentication for the administrator (so that tests need the right system user, as real hosts do), trust for
#: the other roles of the tests, and passwords over TCP.
HBA = "local all,replication postgres peer map=lastgood\nlocal all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "80",
    "max_prepared_transactions": "5",
    "max_wal_senders": "5",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "wal_level": "logical",
}


def newest_programs() -> Path:
    """The directory with the newest PostgreSQL server programs of this machine."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    initdb = shutil.which("initdb")
    if not found and initdb is None:
        raise RuntimeError("No PostgreSQL server programs here: install the package postgresql.")
    return found[-1].parent if found else Path(str(initdb)).resolve().parent


@dataclass(frozen=True)
class PostgresServer:
    """A running cluster. ``psql`` is the tests' own way to look, apart from the code under test."""

    programs: Path
    base: Path
    port: int
    account: str

    @property
    def sockets(self) -> Path:
        """Where its socket lies."""
        return self.base / "s"

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.base / "data"

    @property
    def options(self) -> dict[str, Any]:
        """The connection options of the modules for this server's administrator."""
        return {"login_unix_socket": str(self.sockets), "login_port": self.port, "login_user": "postgres"}

    def run(self, program: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of its programs as its owner."""
        return subprocess.run(
            [str(self.programs / program), *words],
            check=check,
            text=True,
            capture_output=True,
            cwd=self.base,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(self.base)},
            **as_account(self.account),
        )

    def psql(self, database: str, *commands: str, user: str = "postgres", check: bool = True) -> str:
        """Commands, each a transaction of its own; the unaligned output without its last line break."""
        words = [word for command in commands for word in ("-c", command)]
        done = self.run(
            "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", str(self.sockets), "-p", str(self.port), "-U", user,
            "-d", conninfo(database), *words, check=False,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"psql {database}: {commands}: {done.stderr}")
        return done.stdout.rstrip("\n") if done.returncode == 0 else done.stderr

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.run("pg_ctl", "-D", str(self.data), "-l", str(self.base / "log"), "-w", "-t", "60", "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it (``immediate`` is a crash) and wait for its end."""
        self.run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop", check=False)


def conninfo(database: str) -> str:
    """A connection string that names a database whatever characters its name holds."""
    quoted = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{quoted}'"


def as_account(account: str) -> dict[str, Any]:
    """Keywords of subprocess for running as this account, where we are root and it is another."""
    if os.geteuid() != 0 or account == "root":
        return {}
    entry = pwd.getpwnam(account)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def create_server(base: Path, settings: dict[str, str] | None = None, programs: Path | None = None) -> PostgresServer:
    """Make a cluster below ``base`` (a short path: socket names have a limit), not started yet."""
    account = server_account()
    server = PostgresServer(programs or newest_programs(), base, free_port(), account)
    server.sockets.mkdir()
    if os.geteuid() == 0:
        for path in (base, server.sockets):
            shutil.chown(path, account)
    base.chmod(0o755)
    server.run("initdb", "-D", str(server.data), "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-N")
    with (server.data / "postgresql.conf").open("a") as stream:
        where = {
            "port": str(server.port),
            "unix_socket_directories": str(server.sockets),
            "listen_addresses": "127.0.0.1",
        }
        for name, value in {**SETTINGS, **where, **(settings or {})}.items():
            stream.write(f"{name} = '{value}'\n")
    (server.data / "pg_hba.conf").write_text(HBA)
    (server.data / "pg_ident.conf").write_text(f"lastgood {account} postgres\n")
    return server


def server_account() -> str:
    """PostgreSQL refuses root: its own account then, or any other without rights."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


def free_port() -> int:
    """A loopback port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_server(settings: dict[str, str] | None = None, programs: Path | None = None) -> Iterator[PostgresServer]:
    """A cluster for the time of a ``with`` block."""
    base = Path(tempfile.mkdtemp(prefix="lgpg"))
    try:
        server = create_server(base, settings, programs)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One cluster for the whole test session; each test makes its own databases."""
    with running_server() as server:
        yield server


def wait_until(condition: Any, seconds: float = 20.0) -> None:
    """Poll until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain")
        time.sleep(0.02)
