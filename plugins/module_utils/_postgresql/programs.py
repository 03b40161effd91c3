# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) pg_dump, pg_restore and psql: found by the server's version, led by their environment to where to connect."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import (
    BULK_TIMEOUT_S,
    DEFAULT_PATH,
    CommandRunner,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, Refused

from .server import Server
from .session import LEFT_TO_DUMPS, SESSION_SETTINGS

INSTALLED = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
VERSION = re.compile(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?")
#: How long pg_dump may stand behind somebody's schema change before it gives up.
LOCK_WAIT_MS = 30_000
#: Each index and key is a commit of its own. None has to wait for the disk: the database is no use before it is marked as
#: built or switched to, and that commit waits for all before it, as all databases of a server share one log.
NOT_WAITING = {"synchronous_commit": "off"}
#: Tables that an extension makes have their keys before their rows, and several jobs fill them in any order.
LOADING_SETTINGS = {
    **{name: value for name, value in SESSION_SETTINGS.items() if name not in LEFT_TO_DUMPS},
    "session_replication_role": "replica",
}
#: Archives of ours are read as they were written: the text of money depends on this, and no dump names it.
MONEY = {"lc_monetary": SESSION_SETTINGS["lc_monetary"]}
#: Schemas that hold what a schema rollback had no place for; they are nobody's definition of anything.
KEPT_SCHEMAS = "lastgood_kept_*"


@dataclass(frozen=True)
class PgPrograms:
    """One installation of the client programs, for one server.

    :param directory: where they are.
    :param version: their major and minor version.
    """

    run: CommandRunner
    server: Server
    directory: Path
    version: tuple[int, int]

    @classmethod
    def find(cls, run: CommandRunner, server: Server, major: int, bin_dir: str | None = None) -> PgPrograms:
        """The programs of this major version, else the next newer ones.

        Not simply the newest: what a newer pg_restore sends may hold settings that an older server does not know.

        :param major: the server's major version, or that of the pg_dump that wrote the archive, if newer.
        :param bin_dir: the only place to search.
        :raises Refused: when there are none, or only older ones.
        """
        suited = run.as_user(server.os_user())
        directories = [Path(bin_dir)] if bin_dir else _directories()
        found: list[tuple[tuple[int, int], Path]] = []
        for directory in directories:
            version = _version(suited, directory)
            if version is not None:
                found.append((version, directory))
        good = [entry for entry in found if entry[0][0] >= major]
        if not good:
            seen = ", ".join(f"{place} ({version[0]}.{version[1]})" for version, place in found) or "none at all"
            raise Refused(
                f"pg_dump and pg_restore of PostgreSQL {major} or newer are needed for {server.where}; found: {seen}. "
                "Install the client package, or name its directory with bin_dir."
            )
        nearest = min(version[0] for version, _directory in good)
        version, directory = max(((v, p) for v, p in good if v[0] == nearest), key=lambda entry: entry[0])
        return cls(suited, server, directory, version)

    @property
    def version_text(self) -> str:
        """E.g. ``15.20``."""
        return f"{self.version[0]}.{self.version[1]}"

    def dump(
        self,
        database: str,
        into: Path,
        snapshot: str,
        jobs: int,
        meanwhile: Callable[[], None] | None = None,
        *,
        compression: int | None = None,
    ) -> None:
        """Write a directory archive into an empty directory that the programs' account owns.

        :param meanwhile: called every second.
        :param compression: from 0 to 9; None for what pg_dump does by itself.
        """
        with lent(into, self.run.user) as (place, fds):
            self._reading(database).run(
                [
                    self._program("pg_dump"),
                    "--format=directory",
                    f"--jobs={jobs}",
                    f"--snapshot={snapshot}",
                    f"--lock-wait-timeout={LOCK_WAIT_MS}",
                    "--no-password",
                    *([f"--compress={compression}"] if compression is not None else []),
                    f"--file={place}",
                    f"--dbname={self.server.conninfo(database)}",
                ],
                f"Dumping database {database}",
                pass_fds=fds,
                cwd="/",
                timeout=BULK_TIMEOUT_S,
                meanwhile=meanwhile,
            )

    def schema(
        self,
        database: str,
        output: IO[bytes],
        snapshot: str | None = None,
        timeout: float = BULK_TIMEOUT_S,
        lock_wait_ms: int = LOCK_WAIT_MS,
    ) -> None:
        """Write the definition of everything in a database, without rows, to an open file.

        Subscriptions are left out: a rollback never makes them (a copy would compete for the original's slot). So are the
        schemas that hold what an earlier rollback had no place for.

        :param timeout: seconds that it may take.
        :param lock_wait_ms: how long to stand behind somebody's schema change.
        """
        self._reading(database).run(
            [
                self._program("pg_dump"),
                "--schema-only",
                "--no-subscriptions",
                f"--exclude-schema={KEPT_SCHEMAS}",
                f"--lock-wait-timeout={lock_wait_ms}",
                "--no-password",
                *([f"--snapshot={snapshot}"] if snapshot else []),
                f"--dbname={self.server.conninfo(database)}",
            ],
            f"Reading the schema of database {database}",
            stdout=output,
            cwd="/",
            timeout=timeout,
        )

    def restore(
        self,
        database: str,
        archive: Path,
        jobs: int,
        label: str,
        meanwhile: Callable[[], None] | None = None,
        *,
        only: Sequence[str] = (),
        listed: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Fill an empty database from an archive; the first error ends it.

        :param label: what the archive is, for the message of a failure: it may be a copy that nobody knows.
        :param meanwhile: called every second.
        :param only: more options, that leave something out.
        :param listed: a file with the entries to restore, lines of `archive_entries`; None for all. It belongs to the
            programs' account, as the archive does.
        :param settings: that the archive was written with; see `MONEY`.
        """
        with lent(archive, self.run.user) as (place, fds), lent(listed or archive, self.run.user) as (names, more):
            self._loading(database, settings or {}).run(
                [
                    self._program("pg_restore"),
                    "--exit-on-error",
                    "--no-subscriptions",
                    f"--jobs={jobs}",
                    "--no-password",
                    *only,
                    *([f"--use-list={names}"] if listed else []),
                    f"--dbname={self.server.conninfo(database)}",
                    place,
                ],
                f"Restoring {label} into database {database}",
                pass_fds=(*fds, *more),
                cwd="/",
                timeout=BULK_TIMEOUT_S,
                meanwhile=meanwhile,
            )

    def archive_entries(self, archive: Path) -> list[str]:
        """The entries of an archive, one a line. No server is asked."""
        with lent(archive, self.run.user) as (place, fds):
            done = self.run.run(
                [self._program("pg_restore"), "--list", place], f"Listing {archive}", pass_fds=fds, cwd="/"
            )
        return [line for line in done.stdout.splitlines() if line and not line.startswith(";")]

    def archive_script(self, archive: Path, listed: Path, output: IO[bytes]) -> None:
        """Write some entries of an archive as SQL to an open file. No server is asked.

        :param listed: see `restore`.
        """
        with lent(archive, self.run.user) as (place, fds), lent(listed, self.run.user) as (names, more):
            self.run.run(
                [self._program("pg_restore"), f"--use-list={names}", "--file=-", place],
                f"Reading parts of {archive}",
                stdout=output,
                pass_fds=(*fds, *more),
                cwd="/",
            )

    def archive_schema(self, archive: Path, output: IO[bytes]) -> None:
        """Write an archive's definitions, without rows, as SQL to an open file. No server is asked."""
        with lent(archive, self.run.user) as (place, fds):
            self.run.run(
                [self._program("pg_restore"), "--schema-only", "--no-subscriptions", "--file=-", place],
                f"Reading the contents of {archive}",
                stdout=output,
                pass_fds=fds,
                cwd="/",
                timeout=BULK_TIMEOUT_S,
            )

    def _reading(self, database: str) -> CommandRunner:
        """For pg_dump, which writes in its session's encoding: the database's own, whatever somebody has set."""
        with self.server.connect(database) as session:
            encoding = str(session.value("SELECT getdatabaseencoding()"))
            return self._with(session.suited({**SESSION_SETTINGS, "client_encoding": encoding}))

    def _loading(self, database: str, settings: Mapping[str, str]) -> CommandRunner:
        """For pg_restore."""
        with self.server.connect(database) as session:
            return self._with(session.suited({**LOADING_SETTINGS, **NOT_WAITING, **settings}))

    def _with(self, settings: Mapping[str, str]) -> CommandRunner:
        return self.run.with_env(self.server.environment(settings))

    def _program(self, name: str) -> str:
        return str(self.directory / name)


@contextmanager
def lent(path: Path, user: User | None) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Make one file or directory of ours reachable for a program of another account, and nothing around it.

    The parents may stay closed (0700, root): the program inherits an open descriptor and finds it as
    ``/proc/self/fd/N``, so that nobody else gains a way in, and nothing is copied. The thing itself must belong to the
    account, or be readable for it.

    :return: the path to name in the program's arguments, and the descriptors to pass.
    """
    if user is None or os.geteuid() != 0:
        yield str(path), ()
        return
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        yield f"/proc/self/fd/{handle}", (handle,)
    finally:
        os.close(handle)


def _directories() -> list[Path]:
    """Where programs may be: the packages' own directories, then PATH. Debian's wrapper only chooses one of the former."""
    installed = [place for pattern in INSTALLED for place in sorted(Path("/").glob(pattern[1:]))]
    path = [Path(word) for word in os.environ.get("PATH", DEFAULT_PATH).split(os.pathsep) if word]
    found = [place for place in [*installed, *path] if (place / "pg_dump").exists() and (place / "pg_restore").exists()]
    programs = [place for place in found if (place / "pg_restore").resolve().name != "pg_wrapper"]
    return list({place.resolve(): place for place in reversed(programs or found)}.values())[::-1]


def _version(run: CommandRunner, directory: Path) -> tuple[int, int] | None:
    """Major and minor version of the programs in a directory; None when they do not run."""
    try:
        answer = run.run([str(directory / "pg_restore"), "--version"], f"Asking {directory}/pg_restore for its version")
    except CommandFailed:
        return None
    match = VERSION.search(answer.stdout)
    return (int(match.group(1)), int(match.group(2) or 0)) if match else None
