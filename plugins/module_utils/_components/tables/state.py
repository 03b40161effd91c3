# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The state of a rollback of tables, by inspecting the server alone.

What decides is the fate of the very transaction that changed the live tables: its number is written into the side
database before it may commit, and the server knows for each number whether it was committed. Nothing of ours has to
stand in the live database for that. Both lie in one cluster and so in one log, so that a crash can't keep the one
without the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import dump_json, write_atomic
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.catalogue import (
    DatabaseRow,
    all_databases,
    terminate_leftover_sessions,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Server, Session, sql
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import (
    NAME_BYTES,
    TABLES,
    SideNames,
)

from ..context import Context
from ..database.connection import open_server
from ..database.records import is_side_of, read_json
from ..database.state import planned_session
from ..plan import Plan, State
from .catalogue import read_trees

#: Schemas of the side database: what the tables held before, what they held when that was put back, and rows that
#: referred to nothing.
PREVIOUS_ROWS, REJECTED_ROWS, ORPHANS = "lastgood_previous", "lastgood_rejected", "lastgood_orphans"
#: Which transactions of the server changed the live tables.
STEPS = "lastgood_steps"
SWITCH, UNDO = "switch", "undo"
CREATE_STEPS = f"""
CREATE SCHEMA {STEPS};
CREATE TABLE {STEPS}.step (name text PRIMARY KEY, transaction text NOT NULL, settled boolean NOT NULL);
CREATE SCHEMA {PREVIOUS_ROWS}; CREATE SCHEMA {REJECTED_ROWS}; CREATE SCHEMA {ORPHANS}
"""
#: In the workspace: the numbers of these transactions, for when the side database is gone. Written before they may commit.
TRANSACTIONS_FILE = "transactions.json"
#: In the workspace: the materialized views that each of them could not refresh. Written before they may commit.
VIEWS_FILE = "views.json"
READ_STEPS = f"SELECT name, transaction, settled FROM {STEPS}.step"  # noqa: S608 - our own word
COMMITTED, ABORTED, IN_PROGRESS, FORGOTTEN = "committed", "aborted", "in progress", "forgotten"


def kept_name(key: str) -> str:
    """What a live table (by its key) is called where its rows are kept; a long name is cut."""
    name = key.encode()
    if len(name) <= NAME_BYTES:
        return key
    digest = hashlib.sha256(name).hexdigest()[:8]
    return f"{name[: NAME_BYTES - 9].decode(errors='ignore')}~{digest}"


def kept_table(schema: str, key: str) -> Any:
    """The same in SQL, in a schema of the side database."""
    return sql.Identifier(schema, kept_name(key))


class TablesState:
    """What inspection finds in a cluster, compared with a plan."""

    def __init__(self, context: Context, plan: Plan) -> None:
        self.context = context
        self.plan = plan
        self.server: Server = open_server(context, plan.facts["connection"])
        self.name = SideNames.of(context.transaction, plan.name).tables
        self.side: DatabaseRow | None = None
        self.live: DatabaseRow | None = None
        self.steps: JsonObject = {}
        #: Whether the rows as they were are gone, while the live tables have others: the side database has been dropped.
        self.is_lost = False

    @contextmanager
    def session(self, *, changing: bool = False) -> Iterator[Session]:
        """See `planned_session`; it has been inspected once.

        :param changing: what a killed call has left running on the server is ended before.
        """
        with planned_session(self.server, self.plan) as session:
            if changing:
                terminate_leftover_sessions(session, self.server.application_name)
            self.refresh(session)
            yield session

    def refresh(self, session: Session) -> None:
        """Inspect again. What a killed run left running is ended before, where it could still commit."""
        databases = all_databases(session)
        self.live, self.side = databases.get(self.plan.name), databases.get(self.name)
        self.steps = self._steps(session)
        self.is_lost = (self.side is None or self.is_half_dropped) and self._is_switched(session)
        if any(step["fate"] == IN_PROGRESS for step in self.steps.values()):
            terminate_leftover_sessions(session, self.server.application_name)
            self.steps = self._steps(session)

    def remember(self, step: str, transaction: str) -> None:
        """Keep the number of the transaction of the server that is about to change the live tables."""
        known = read_json(self._transactions) or {}
        write_atomic(self._transactions, dump_json({**known, step: transaction}))

    def remember_views(self, step: str, left: JsonObject) -> None:
        """Keep which materialized views that step could not refresh, and why."""
        place = self.context.workspace / VIEWS_FILE
        write_atomic(place, dump_json({**(read_json(place) or {}), step: left}))

    def views_left(self, step: str) -> JsonObject | None:
        """The same; None where that step has not come to them."""
        found: JsonObject | None = (read_json(self.context.workspace / VIEWS_FILE) or {}).get(step)
        return found

    @property
    def _transactions(self) -> Path:
        return self.context.workspace / TRANSACTIONS_FILE

    def _is_switched(self, session: Session) -> bool:
        """By these numbers; the server forgets old ones, and may have committed those."""
        known = read_json(self._transactions) or {}
        fates = {step: session.value("SELECT pg_xact_status(%s::xid8)", [number]) for step, number in known.items()}
        switched, undone = (step in fates and fates[step] != ABORTED for step in (SWITCH, UNDO))
        return switched and not undone

    def _steps(self, session: Session) -> JsonObject:
        if self.side is None or not self.is_ours or self.is_half_dropped:
            return {}
        with self.server.connect(self.name) as side:
            if side.value("SELECT to_regclass(%s)", [f"{STEPS}.step"]) is None:
                return {}
            steps = {row["name"]: row for row in side.rows(READ_STEPS)}
        for step in steps.values():
            fate = session.value("SELECT pg_xact_status(%s::xid8)", [step["transaction"]])
            # The server forgets old transactions; one that was settled had been committed.
            step["fate"] = fate or (COMMITTED if step["settled"] else FORGOTTEN)
        return steps

    @property
    def is_ours(self) -> bool:
        """Whether the side database is this transaction's."""
        return self.side is not None and is_side_of(self.context, self.plan, self.side, TABLES)

    @property
    def is_half_dropped(self) -> bool:
        """Whether the side database is what its interrupted drop has left: nothing but to drop it again can be done."""
        return self.side is not None and self.is_ours and not self.side.is_whole

    @property
    def is_ready(self) -> bool:
        """Whether what prepare builds stands there to its end."""
        mark = self.side.mark if self.side else None
        return self.is_ours and not self.is_half_dropped and mark is not None and mark.ready

    def committed(self, step: str) -> bool:
        """Whether that step changed the live tables."""
        return bool(step in self.steps and self.steps[step]["fate"] == COMMITTED)

    def settled(self, step: str) -> bool:
        """Whether what has to follow its commit was done."""
        return bool(self.committed(step) and self.steps[step]["settled"])

    def state(self) -> State:
        """What the last inspection found."""
        if self.is_lost:
            return State.FOREIGN
        if self.side is None:
            return State.UNTOUCHED
        if self.is_half_dropped:
            return State.PARTIAL
        if not self.is_ours or any(step["fate"] == FORGOTTEN for step in self.steps.values()):
            return State.FOREIGN
        if self.committed(UNDO):
            return State.UNTOUCHED if self.settled(UNDO) else State.PARTIAL
        if self.live is None or self.live.oid != self.plan.facts["old_oid"] or self.changes():
            return State.FOREIGN
        if self.committed(SWITCH):
            return State.SWITCHED if self.settled(SWITCH) else State.PARTIAL
        return State.PREPARED

    def changes(self) -> list[str]:
        """What somebody did to the tables since the plan was made: gone, renamed, or with other columns."""
        with self.server.connect(self.plan.name) as live:
            now = read_trees(live, [table["oid"] for table in self.plan.facts["tables"]])
        differences = []
        for table in self.plan.facts["tables"]:
            tree = now.get(table["oid"])
            if tree is None or tree.key != table["key"]:
                differences.append(f"table {table['key']} was dropped or renamed")
            elif tree.signature != table["signature"]:
                differences.append(f"table {table['key']} has other columns")
        return differences

    def mismatch_message(self, verb: str) -> str:
        """The message for a reality that does not fit."""
        if self.is_lost:
            return (
                f"Tables of database {self.plan.name} can't be {verb}: somebody else has dropped database {self.name}, which "
                "had the rows as they were. They can only come from a backup now."
            )
        if self.side is not None and not self.is_ours:
            found = f"database {self.name} is not of this transaction"
        elif any(step["fate"] == FORGOTTEN for step in self.steps.values()):
            found = (
                f"the server does not remember whether the transactions in {STEPS}.step of {self.name} were committed"
            )
        elif self.live is None or self.live.oid != self.plan.facts["old_oid"]:
            oid = f"it has OID {self.live.oid}" if self.live else "it is gone"
            found = f"it was planned with OID {self.plan.facts['old_oid']}, but now {oid}"
        else:
            found = "; ".join(self.changes()) or f"there is no database {self.name} that is ready"
        return (
            f"Tables of database {self.plan.name} can't be {verb}: {found}. Somebody else changed it meanwhile; put that "
            "back by hand, or copy what you need from the side database."
        )
