# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's private PostgreSQL: one cluster, reached through a socket that only the demo's user can open."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from commands import DemoError, environment, run
from place import Place
from processes import end_process, pid_in

SQL = Path(__file__).resolve().parent / "sql"
DATABASE = "blog"
#: The role of the applications, owner of the database. The administrator's is ``postgres``.
APPLICATION = "blog"

_SETTINGS = """
# Added by the demo. Nobody but the owner of the socket directory gets in: that is why no password is asked for.
listen_addresses = ''
unix_socket_directories = '{sockets}'
max_connections = 80
shared_buffers = 128MB
maintenance_work_mem = 128MB
max_wal_size = 2GB
timezone = 'UTC'
log_timezone = 'UTC'
"""


def start(place: Place) -> None:
    """Make the cluster and start it."""
    place.data.mkdir(mode=0o700)
    place.give(place.data)
    # Trust is no risk here: the server listens on nothing but the socket, and its directory has mode 0700.
    _run(place, "initdb", "-D", place.data, "-U", "postgres", "-E", "UTF8", "--locale=C", "-A", "trust", "--no-sync")
    with (place.data / "postgresql.conf").open("a", encoding="utf-8") as settings:
        settings.write(_SETTINGS.format(sockets=place.socket_dir))
    _run(place, "pg_ctl", "-D", place.data, "-l", place.logs / "postgres.log", "-w", "-t", "60", "start")


def fill(place: Place) -> None:
    """Make the role and the database, with all its rows, keys and indexes."""
    psql(place, f"CREATE ROLE {APPLICATION} LOGIN", user="postgres", database="postgres")
    psql(place, f"CREATE DATABASE {DATABASE} OWNER {APPLICATION}", user="postgres", database="postgres")
    for name in ("schema", "fill", "finish"):
        psql_file(place, name, posts=str(place.posts))


def processes(place: Place) -> set[int]:
    """The server's process; nothing when it does not run."""
    pid = pid_in(place.data / "postmaster.pid", str(place.data))
    return {pid} if pid else set()


def stop(place: Place) -> None:
    """End the server, gently if it listens, else as hard as needed. Nothing happens when it does not run."""
    for pid in processes(place):
        stopped = _run(place, "pg_ctl", "-D", place.data, "-m", "fast", "-w", "-t", "30", "stop", check=False)
        if stopped.returncode != 0:
            end_process(pid, "PostgreSQL")


def psql(place: Place, sql: str, *, user: str = APPLICATION, database: str = DATABASE) -> str:
    """What psql prints for these statements: rows without heading, columns separated by a bar.

    :raises DemoError: when a statement fails.
    """
    return _run(place, *_client(place, user, database), "-At", "-c", sql).stdout.strip()


def psql_file(place: Place, name: str, **variables: str) -> None:
    """Run one of the files in sql/ as the application's role.

    :param variables: psql variables of the file.
    :raises DemoError: when a statement fails; nothing after it was tried.
    """
    text = (SQL / f"{name}.sql").read_text(encoding="utf-8")
    settings = [word for key, value in variables.items() for word in ("-v", f"{key}={value}")]
    # From our own reading, not with -f: the clone may be out of reach for the demo's user.
    _run(place, *_client(place, APPLICATION, DATABASE), *settings, "-f", "-", stdin=text)


def content(place: Place, table: str) -> tuple[int, str]:
    """Number of rows of a table and SHA-256 of all of them, in the order of its first column, which is its key.

    :raises DemoError: when psql can't read it.
    """
    digest = hashlib.sha256()
    rows = 0
    program, *words = _client(place, APPLICATION, DATABASE)
    sql = f"COPY (SELECT * FROM {table} ORDER BY 1) TO STDOUT"
    with subprocess.Popen(
        [str(_program(place, program)), *words, "-c", sql],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=_environment(place),
        cwd="/",
        **place.user.identity,
    ) as process:
        for line in process.stdout or ():
            digest.update(line)
            rows += 1
    if process.returncode != 0:
        raise DemoError(f"Reading table {table} by psql ended with {process.returncode}.")
    return rows, digest.hexdigest()


def _client(place: Place, user: str, database: str) -> list[str]:
    quiet = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1"]
    return [*quiet, "-h", str(place.socket_dir), "-U", user, "-d", database]


def _run(
    place: Place, program: str, *words: str | Path, check: bool = True, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    command = [_program(place, program), *words]
    return run(command, user=place.user, env=_environment(place), check=check, stdin=stdin)


def _program(place: Place, name: str) -> Path:
    return Path(place.postgres_bin) / name


def _environment(place: Place) -> dict[str, str]:
    return environment(place.run_dir, PGTZ="UTC", PGCLIENTENCODING="UTF8")
