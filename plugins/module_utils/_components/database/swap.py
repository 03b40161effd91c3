# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The switch itself: two renames in one PostgreSQL transaction, while clients keep knocking.

The database that is to come is locked first, by a rename to a name that nobody sees: an autovacuum of it would otherwise
be waited for while clients wait. Then one session asks for the live one's rename and so takes its lock: new connections
wait from then on. A second one ends the sessions that are left, again and again. Then the last rename, the comments, the
commit. Whatever happens before the commit, a kill -9 or a crash included, leaves every name where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, StateConflict
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.catalogue import comment_statement
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import (
    DatabaseError,
    Server,
    Session,
    WaitingSession,
    sql,
)

#: Waiting for the database's lock: somebody else renames or drops it.
LOCK_TIMEOUT_MS = 5_000
#: The server gives up a rename by itself after 5 s with other sessions; this is for a server that hangs.
DEADLINE_S = 30.0
LOCKED = (
    "SELECT count(*) FROM pg_locks WHERE classid = 'pg_database'::regclass AND objid = %s AND pid = %s"
    " AND mode = 'AccessExclusiveLock' AND granted"
)


@dataclass(frozen=True)
class Rename:
    """One database changes its name, and gets a new comment.

    :param oid: it must be this one, or nothing happens at all.
    """

    oid: int
    old: str
    new: str
    comment: str | None


@dataclass
class LastSession:
    """A session of ours on the outgoing database, which is the last to leave it.

    :param pid: its server process.
    :param leave: called once nobody else is there and nobody can come: does what is to be done then, and closes the session.
    :param left: whether it was called. Where it was not, the session has ended too early.
    """

    pid: int
    leave: Callable[[], None]
    left: bool = False


def swap(
    server: Server,
    outgoing: Rename | None,
    replacement: Rename | None,
    spare: str,
    last: LastSession | None = None,
    check: Callable[[], None] | None = None,
) -> None:
    """Rename one database and put another in its place, at once, ending the sessions in the way. All or nothing.

    :param outgoing: the live database, where there is one.
    :param replacement: the one that takes its name; None when there is none to take it.
    :param spare: a free name, used within the transaction only.
    :param last: a session that stays until all others have left; then the database that is to come is locked after that,
        because it may still be written to.
    :param check: looks for what a crash of the server may have done. It is called within the sessions of the switch: a later
        crash ends them, and nothing is switched.
    :raises StateConflict: when a name does not belong to the expected database any more.
    :raises LastGoodError: when sessions can't be ended, or the server refuses.
    """
    with server.connect() as second, server.connect_waiting() as first:
        if check is not None:
            check()
        first.deadline = time.monotonic() + DEADLINE_S
        first.execute("BEGIN")
        first.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
        try:
            if replacement is not None and last is None:
                _rename(first, second, replacement.oid, replacement.old, spare)
            if outgoing is not None:
                _rename(first, second, outgoing.oid, outgoing.old, outgoing.new, last)
            if replacement is not None:
                _rename(first, second, replacement.oid, spare if last is None else replacement.old, replacement.new)
            for rename in filter(None, (outgoing, replacement)):
                first.execute(comment_statement(rename.new, rename.comment))
            first.execute("COMMIT", attempt="Committing the switch")
        except LastGoodError:
            _give_up(first, second)
            raise


def _rename(
    first: WaitingSession, second: Session, oid: int, old: str, new: str, last: LastSession | None = None
) -> None:
    """Rename one database, inside the open transaction, and look that it was the right one."""
    attempt = f"Renaming database {old} to {new}"
    stubborn: dict[int, str] = {}
    pid = first.connection.info.backend_pid
    first.meanwhile = lambda: _end_sessions(second, oid, stubborn, last, pid)
    statement = sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new))
    try:
        first.execute(statement, attempt=attempt)
    except DatabaseError as error:
        if not stubborn:
            raise
        who = ", ".join(f"{pid} ({why})" for pid, why in sorted(stubborn.items()))
        raise LastGoodError(
            f"{error.message}. Sessions that could not be ended: {who}. End them, or use a role that may: a superuser, "
            "or for the sessions of other roles a member of pg_signal_backend."
        ) from error
    finally:
        first.meanwhile = lambda: None
    if last is not None and not last.left:
        raise LastGoodError(
            f"{attempt} was taken back: the session that kept writes to {old} standing still has ended, by an administrator "
            "or a crash of the server. Rows may have been written meanwhile; try again."
        )
    found = first.value("SELECT oid::bigint FROM pg_database WHERE datname = %s", [new])
    if found != oid:
        raise StateConflict(
            f"{attempt} was taken back: {old} is the database with OID {found}, not {oid}. Somebody else "
            "changed it since the plan was made."
        )


def _end_sessions(second: Session, oid: int, stubborn: dict[int, str], last: LastSession | None, renaming: int) -> None:
    """One round over the sessions of a database; those that refuse are remembered with the reason.

    :param renaming: the server process of the rename. Until it has the database's lock, others can still come.
    """
    query = (
        "SELECT pid, usesysid IS NOT NULL AS client FROM pg_stat_activity WHERE datid = %s AND pid <> pg_backend_pid()"
    )
    found: list[JsonObject] = second.rows(query, [oid])
    if last is not None and [row["pid"] for row in found if row["client"]] == [last.pid]:
        if second.value(LOCKED, [oid, renaming]):
            last.leave()
            last.left = True
        return
    for pid in (row["pid"] for row in found if last is None or row["pid"] != last.pid):
        try:
            second.execute("SELECT pg_terminate_backend(%s)", [pid])
        except DatabaseError as error:
            stubborn[pid] = error.message.rsplit("ERROR:", 1)[-1].split("|")[0].strip()


def _give_up(first: WaitingSession, second: Session) -> None:
    """Make sure that the transaction has ended before anybody looks at the names again."""
    pid = first.connection.info.backend_pid
    first.close()
    try:
        second.execute("SELECT pg_terminate_backend(%s)", [pid])
    except DatabaseError:
        # It can only be gone already: it was a session of our own role.
        return
