# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Writes stand still: one session holds a SHARE lock on every table, and is the last one to leave the database.

Readers go on. What no lock stops is looked at again at the very end: sequences, and tables that somebody made meanwhile.
"""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, StateConflict
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.content import USER_SCHEMA
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import (
    DatabaseError,
    Server,
    Session,
    sql,
)

#: Transactions that have begun may end by themselves for this long; then their sessions are ended, as the switch would.
PATIENCE_S = 3.0
DEADLINE_S = 60.0
TRIES = 3
DEADLOCK = "40P01"
RELATIONS = f"""
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {USER_SCHEMA} ORDER BY c.oid
"""  # noqa: S608 - our own words only


class Freeze:
    """Locks the tables of a database on entry; nothing that the session does is ever committed."""

    def __init__(self, server: Server, database: str) -> None:
        self.server = server
        self.database = database
        self.session = server.connect_waiting(database)
        # It looks once more while the database is being renamed: a helper that comes in then waits for the rename, and the
        # rename for this session.
        self.session.execute("SET max_parallel_workers_per_gather = 0")
        self.snapshot = ""
        self._locked: list[int] = []

    def __enter__(self) -> Freeze:
        try:
            with self.server.connect() as other:
                self._lock(other)
            self.snapshot = str(self.session.value("SELECT pg_export_snapshot()"))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The session's server process."""
        return int(self.session.connection.info.backend_pid)

    @property
    def is_open(self) -> bool:
        """Whether it still holds the tables."""
        return not self.session.connection.closed

    def close(self) -> None:
        """Leave the database, and the tables."""
        self.session.close()

    def require_same_tables(self) -> None:
        """Compare the tables with those that were locked: a table that came since was not copied.

        :raises StateConflict: names them.
        """
        found = self.session.rows(RELATIONS)
        added = [f"{row['schema']}.{row['name']}" for row in found if row["oid"] not in self._locked]
        if added or len(found) != len(self._locked):
            raise StateConflict(
                f"Tables of database {self.database} came or went while its rows were copied ({', '.join(added) or 'gone'}): "
                "something still changes its schema. Stop it and try again."
            )

    def _lock(self, other: Session) -> None:
        """Lock all at once, in the order of their OIDs, so that two who do so can't wait for each other."""
        for left in reversed(range(TRIES)):
            self.session.execute("BEGIN")
            tables = self.session.rows(RELATIONS)
            try:
                self._lock_all(other, tables)
            except DatabaseError as error:
                self.session.execute("ROLLBACK")
                if error.code != DEADLOCK or not left:
                    raise
                continue
            self._locked = [row["oid"] for row in tables]
            if self._locked == [row["oid"] for row in self.session.rows(RELATIONS)]:
                return
            self.session.execute("ROLLBACK")
        raise LastGoodError(f"Tables of database {self.database} come and go: what changes its schema must be stopped.")

    def _lock_all(self, other: Session, tables: list[dict[str, Any]]) -> None:
        if not tables:
            return
        begun = time.monotonic()
        self.session.deadline = begun + DEADLINE_S
        self.session.meanwhile = lambda: self._end_blockers(other, begun)
        places = [sql.SQL("ONLY {}").format(sql.Identifier(row["schema"], row["name"])) for row in tables]
        statement = sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.SQL(", ").join(places))
        try:
            self.session.execute(statement, attempt=f"Letting writes to database {self.database} stand still")
        finally:
            self.session.meanwhile = lambda: None
            self.session.deadline = float("inf")

    def _end_blockers(self, other: Session, begun: float) -> None:
        if time.monotonic() - begun > PATIENCE_S:
            other.execute("SELECT pg_terminate_backend(pid) FROM unnest(pg_blocking_pids(%s)) AS pid", [self.pid])
