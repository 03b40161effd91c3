# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Reporting how far a restore has come, by the size of the database that grows; nobody waits for that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import show_progress
from ansible_collections.lastgood.rollback.plugins.module_utils._base.rate import Rate
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.content import LOCKED
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import DatabaseError, Server, Session

_SIZE = """
SELECT pg_database_size(current_database()) AS bytes,
       (SELECT count(*) FROM pg_stat_progress_create_index WHERE datname = current_database()) AS indexes
"""
# A table that is being filled is locked, and whoever asks for its size waits: those are left out first.
_FILLED = """
WITH free AS MATERIALIZED (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
    AND NOT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                    WHERE d.datname = current_database() AND l.relation = c.oid AND l.mode <> 'AccessShareLock')
) SELECT count(*) AS tables FROM free WHERE pg_relation_size(oid) > 0
"""
_PATIENCE_MS = 100
_COPYING = """
SELECT relid::regclass::text AS table, tuples_processed AS rows FROM pg_stat_progress_copy
WHERE datname = current_database() ORDER BY 2 DESC LIMIT 1
"""
#: The first version that reports each COPY.
_REPORTS_COPIES = 140_000


class _RestoreProgress:
    """One session on the growing database, opened when the restore has taken a second already."""

    def __init__(self, server: Server, name: str, expected: JsonObject | None) -> None:
        self._server = server
        self._name = name
        self._session: Session | None = None
        self._over = False
        self._done = 0
        self._tables: JsonObject = expected["tables"] if expected else {}
        self._filled = sum(1 for table in self._tables.values() if table["rows"])
        self._rate = Rate(expected["inside"].get("bytes") or 0 if expected else 0)

    def show_progress(self) -> None:
        """Look, and report; the first look that fails is the last one."""
        if self._over:
            return
        try:
            if self._session is None:
                self._session = self._server.connect(self._name)
                self._session.execute("SET lock_timeout = %s", [_PATIENCE_MS])
            self._count(self._session)
            (seen,) = self._session.rows(_SIZE)
            copying = self._session.rows(_COPYING) if self._session.version >= _REPORTS_COPIES else []
        except LastGoodError:
            self._over = True
            return
        tables = f"{self._done} of {self._filled} tables" if self._filled else f"{self._done} tables"
        now = "".join(self._copy(each["table"], each["rows"]) for each in copying)
        indexes = ", building indexes" if seen["indexes"] else ""
        show_progress(f"Restoring database {self._name}: {tables}, {self._rate.describe(seen['bytes'])}{now}{indexes}")

    def _count(self, session: Session) -> None:
        """How many tables are filled; as many as before, where one was locked just now."""
        try:
            self._done = int(session.value(_FILLED))
        except DatabaseError as error:
            if error.code != LOCKED:
                raise

    def _copy(self, table: str, rows: int) -> str:
        known = self._tables.get(table, {}).get("rows")
        return f", now {table}: {rows:,} of {known:,} rows" if known else f", now {table}: {rows:,} rows"

    def close(self) -> None:
        """Nobody may be connected when the database is given its name."""
        if self._session is not None:
            self._session.close()


@contextmanager
def restore_progress(server: Server, name: str, expected: JsonObject | None) -> Iterator[Callable[[], None]]:
    """What to call every second while a database is filled.

    :param expected: what was captured: its tables with their rows, and its size.
    """
    progress = _RestoreProgress(server, name, expected)
    try:
        yield progress.show_progress
    finally:
        progress.close()
