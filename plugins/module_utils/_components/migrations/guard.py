# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A command that is meant for a copy is kept away from the live database.

What decides where a command connects to is its own configuration, and that may not follow its environment. So while it
runs, one session holds locks that let people read and write but no migration get to its end: tables can't be altered or
dropped, and the version can't be changed. Whoever waits for these locks, or calls itself by the command's name there, is
ended, and so is the command.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.layout import table_name
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.migration_heads import named_version_tables
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Server, Session, sql

from ..schema.freeze import RELATIONS

#: Between two checks. Readers that stand behind a lock that is asked for in vain wait for as long.
EVERY_S = 0.1
#: For how long the locks may wait for somebody else's change of the schema.
LOCK_WAIT_MS = 5_000
#: For how long the sessions of an ended command may take to be gone.
GONE_S = 30.0
PRESENT = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
# People's writes wait for a lock of their own kind where writes stand still; nobody but a migration writes its version.
INTRUDERS = """
SELECT a.pid, a.usename AS role, a.application_name = %s AS named FROM pg_stat_activity a
WHERE a.datname = %s AND a.usesysid IS NOT NULL
    AND (a.application_name = %s OR (a.pid <> ALL (%s) AND pg_blocking_pids(a.pid) @> ARRAY[%s] AND EXISTS (
        SELECT FROM pg_locks l WHERE l.pid = a.pid AND NOT l.granted
            AND (l.mode <> 'RowExclusiveLock' OR l.relation = ANY (%s::oid[])))))
"""


class ReachedLiveDatabase(LastGoodError):
    """The command went to the live database."""


@dataclass(frozen=True)
class Command:
    """What is kept away from the live database.

    :param name: how its sessions are called, where they let themselves be called.
    :param versions: tables in which it notes what it has done, besides those of known tools (see `version_tables`).
    """

    name: str
    versions: Mapping[str, str] | None


class Watch:
    """Checks whether a command is at work where it should not be.

    :param database: the live one.
    :param locking: a session there, whose locks stop it.
    """

    def __init__(self, session: Session, database: str, command: Command, locking: Session) -> None:
        self._session = session
        self._database = database
        self._name = command.name
        self._locker = int(locking.connection.info.backend_pid)
        self._versions = [row["oid"] for row in _version_tables(locking, locking.rows(RELATIONS), command)]
        # Whoever was there before the command began is somebody else.
        self._others = [row["pid"] for row in session.rows(PRESENT, [database])]

    def check(self) -> None:
        """End what is there.

        :raises ReachedLiveDatabase: when something was.
        """
        found = self._intruders()
        if found:
            self._end(found)
            who = " and ".join(sorted({str(row["role"]) for row in found}))
            how = "was there under the command's name" if found[0]["named"] else "waited to change its schema"
            raise ReachedLiveDatabase(
                f"The downgrade command went to the live database {self._database} (a session of role {who} {how}) and was "
                "ended. It does not listen to its environment: let it take the database's name from there (PGDATABASE, or what "
                "migration_environment sets), and try again."
            )

    def end_all(self) -> None:
        """Once the command has ended: nothing of it may be left on the server when the locks go.

        :raises LastGoodError: when something can't be ended.
        """
        deadline = time.monotonic() + GONE_S
        while True:
            found = self._intruders()
            if not found:
                return
            self._end(found)
            if time.monotonic() > deadline:
                raise LastGoodError(
                    f"Sessions {[row['pid'] for row in found]} of the downgrade command on the live database {self._database} "
                    "can't be ended: end them as a superuser."
                )
            time.sleep(EVERY_S)

    def _intruders(self) -> list[JsonObject]:
        values = [self._name, self._database, self._name, self._others, self._locker, self._versions]
        return self._session.rows(INTRUDERS, values, f"Watching database {self._database}")

    def _end(self, found: list[JsonObject]) -> None:
        for row in found:
            self._session.execute("SELECT pg_terminate_backend(%s)", [row["pid"]], "Ending a stray migration's session")


@contextmanager
def guarded(server: Server, session: Session, database: str, command: Command) -> Iterator[Watch]:
    """Keep the live database's tables and version as they are, while people go on; nothing is written.

    :raises LastGoodError: when somebody is changing the schema right now.
    """
    attempt = f"Holding the schema of database {database} while the downgrade command works on a copy of it"
    with server.connect(database) as locking:
        locking.execute("BEGIN")
        locking.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
        tables = locking.rows(RELATIONS)
        for mode, chosen in (
            ("ACCESS SHARE", tables),
            ("EXCLUSIVE", _version_tables(locking, tables, command)),
        ):
            places = [sql.SQL("ONLY {}").format(sql.Identifier(row["schema"], row["name"])) for row in chosen]
            if places:
                statement = sql.SQL("LOCK TABLE {} IN {} MODE").format(sql.SQL(", ").join(places), sql.SQL(mode))
                locking.execute(statement, attempt=attempt)
        yield Watch(session, database, command, locking)


def _version_tables(locking: Session, tables: list[JsonObject], command: Command) -> list[JsonObject]:
    """Those of these tables that say which schema there is."""
    versions = named_version_tables(locking, command.versions)
    return [table for table in tables if table_name(table) in versions]
