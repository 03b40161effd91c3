# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The exchange itself: in one transaction of the server, rows of some tables leave and others take their place.

The switch and its undo are the same exchange with other rows. What leaves is streamed into the side database, and
is there for good before the live transaction may commit.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    LastGoodError,
    StateConflict,
    UndoIncomplete,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.copy import (
    column_list,
    copy_in,
    copy_out,
    stream_rows,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.foreign_keys import keys_touching
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.sequences import behind
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import DatabaseError, Session, sql

from ..context import Context
from ..plan import Plan
from . import orphans
from .catalogue import LOCK_NOT_AVAILABLE, TableTree, read_trees
from .checks import checked_together
from .detached_constraints import FOREIGN_KEY_VIOLATION, DetachedConstraints, lock, neighbours_of
from .state import PREVIOUS_ROWS, REJECTED_ROWS, STEPS, SWITCH, UNDO, TablesState, kept_table
from .views import refresh

#: Functions that constraints and indexes call find what they do in people's sessions, after what is built in.
OWN_SEARCH_PATH = (
    "SELECT set_config('search_path', concat_ws(', ', 'pg_catalog', nullif(reset_val, '')), true)"
    " FROM pg_settings WHERE name = 'search_path'"
)
NOTE_STEP = (
    f"INSERT INTO {STEPS}.step VALUES (%s, %s, false) ON CONFLICT (name)"  # noqa: S608 - our own word
    " DO UPDATE SET transaction = excluded.transaction, settled = false"
)
LOCK_HOLDERS = """
SELECT DISTINCT a.pid, a.usename, a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.granted AND l.relation = ANY(%s::oid[]) AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1
"""


class Exchange:
    """One exchange of the rows of a plan's tables.

    :param step: ``switch`` or ``undo``.
    """

    def __init__(self, context: Context, plan: Plan, current: TablesState, step: str) -> None:
        self.context = context
        self.plan = plan
        self.current = current
        self.step = step
        self.outgoing_schema = REJECTED_ROWS if step == UNDO else PREVIOUS_ROWS
        #: Rows to come stand in the tables of their own names when they come from the restore point.
        self.incoming_schema = PREVIOUS_ROWS if step == UNDO else None
        self.copied_rows = 0

    def run(self) -> None:
        """From BEGIN to COMMIT. Whatever happens before the commit, a kill -9 or a crash included, changes nothing.

        :raises StateConflict: when the tables are not as planned any more.
        :raises UndoIncomplete: when undoing would leave rows that refer to nothing.
        :raises LastGoodError: when a lock can't be had, or the rows don't fit.
        """
        with (
            self.current.server.connect(self.plan.name) as live,
            self.current.server.connect(self.current.name) as side,
        ):
            begun = time.monotonic()
            # All databases of a server share one log: what the side database commits is safe when the live transaction is.
            side.execute("SET synchronous_commit = off")
            live.show_views(shown=True)  # for functions that checks call; what we read ourselves is locked
            live.execute("BEGIN")
            trees, bystanders = self._lock(live)
            number = str(live.value("SELECT pg_current_xact_id()::text"))
            side.execute(NOTE_STEP, [self.step, number])
            self.current.remember(self.step, number)
            live.execute(OWN_SEARCH_PATH)
            constraints = DetachedConstraints(live, [*trees, *bystanders])
            constraints.detach()
            for tree in trees:
                self._keep_rows(live, side, tree)
            _delete_rows(live, trees)
            for tree in trees:
                self._copy_rows(live, side, tree)
            live.execute("SET CONSTRAINTS ALL IMMEDIATE", attempt="Checking deferred constraints")
            self._handle_orphans(live, side, constraints, bystanders)
            self._attach_keys(live, constraints)
            constraints.attach_rest()
            self._refresh(live, trees)
            self._advance_sequences(live, trees)
            live.execute("COMMIT", attempt=f"Committing the rows of database {self.plan.name}")
        spent = time.monotonic() - begun
        self.context.note(
            f"Exchanged the rows of database {self.plan.name} in {spent:.1f} s: {self.copied_rows / spent:,.0f} rows a second"
        )

    def follow_up(self) -> None:
        """What may fail without harm once the rows are exchanged: statistics. May be repeated."""
        oids = [table["oid"] for table in self.plan.facts["tables"]]
        with self.current.server.connect(self.plan.name) as live:
            live.show_views(shown=True)  # the server refreshes with the rights of the view's owner
            trees = read_trees(live, oids)
            # An older version has exchanged them, and refreshes afterwards.
            if self.current.views_left(self.step) is None:
                live.execute("BEGIN")
                self._refresh(live, list(trees.values()))
                live.execute("COMMIT", attempt=f"Refreshing materialized views of database {self.plan.name}")
            for tree in trees.values():
                live.execute(sql.SQL("ANALYZE {}").format(tree.relation), attempt=f"Gathering statistics of {tree.key}")

    def _refresh(self, live: Session, trees: Sequence[TableTree]) -> None:
        """Materialized views. A switch changes nothing where one can't be refreshed; an undo leaves that one, and says so."""
        live.execute(
            f"SET LOCAL lock_timeout = '{int(self.plan.facts['lock_timeout'])}s'"
        )  # somebody may be reading one
        left = refresh(live, [oid for tree in trees for oid in tree.oids], around=self.step == UNDO)
        live.execute("SET LOCAL lock_timeout = 0")
        for name, why in left.items():
            self.context.note(f"Materialized view {name} is not refreshed: {why}")
        self.current.remember_views(self.step, left)

    def mark_settled(self) -> None:
        """Write down that all of it is done."""
        with self.current.server.connect(self.current.name) as side:
            side.execute(f"UPDATE {STEPS}.step SET settled = true WHERE name = %s", [self.step])  # noqa: S608

    def _lock(self, live: Session) -> tuple[list[TableTree], list[TableTree]]:
        """Lock the tables and all their neighbours, and look that all are the ones that were planned for."""
        facts = self.plan.facts
        planned = {table["oid"]: table for table in facts["tables"]}
        wanted = [*planned, *(table["oid"] for table in facts["bystanders"])]
        before = read_trees(live, wanted)
        oids = [oid for tree in before.values() for oid in tree.oids]
        neighbours = [*neighbours_of(keys_touching(live, oids)), *checked_together(live, oids)]
        live.execute(f"SET LOCAL lock_timeout = '{int(facts['lock_timeout'])}s'")
        try:
            lock(live, before.values(), neighbours)
        except DatabaseError as error:
            if error.code == LOCK_NOT_AVAILABLE:
                raise self._lock_error(live, [*wanted, *(row["oid"] for row in neighbours)], error) from error
            raise
        live.execute("SET LOCAL lock_timeout = 0")
        trees = read_trees(live, wanted)
        changed = [key["key"] for oid, key in planned.items() if oid not in trees]
        changed += [
            tree.key for oid, tree in trees.items() if oid in planned and tree.signature != planned[oid]["signature"]
        ]
        if changed or any(tree.oids != before[oid].oids for oid, tree in trees.items()):
            raise StateConflict(
                f"Tables of database {self.plan.name} were changed since they were planned for: "
                f"{', '.join(changed) or 'their partitions'}. Nothing was touched; plan again."
            )
        return [trees[oid] for oid in planned], [trees[oid] for oid in wanted if oid in trees and oid not in planned]

    def _lock_error(self, live: Session, oids: Sequence[int], error: DatabaseError) -> LastGoodError:
        live.execute("ROLLBACK")
        who = [
            f"{row['pid']} ({row['usename']}, {row['application_name']})"
            for row in live.rows(LOCK_HOLDERS, [list(oids)])
        ]
        return LastGoodError(
            f"{error.message}. The tables, or tables that refer to or from them, are in use by {', '.join(who) or 'others'}. "
            "Stop what uses them, or wait longer with lock_timeout."
        )

    def _keep_rows(self, live: Session, side: Session, tree: TableTree) -> None:
        table = kept_table(self.outgoing_schema, tree.key)
        side.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
        columns = column_list(tree.stored)
        side.execute(sql.SQL("CREATE TABLE {} AS SELECT {} FROM {} WITH NO DATA").format(table, columns, tree.relation))
        rows = stream_rows(
            live,
            copy_out(tree.source, tree.stored),
            side,
            copy_in(table, tree.stored),
            f"Keeping the rows of {tree.key}",
        )
        self.context.note(f"Kept {rows} rows of {tree.key} in database {self.current.name}")

    def _copy_rows(self, live: Session, side: Session, tree: TableTree) -> None:
        source = tree.source if self.incoming_schema is None else kept_table(self.incoming_schema, tree.key)
        rows = stream_rows(
            side, copy_out(source, tree.stored), live, copy_in(tree.relation, tree.stored), f"Filling table {tree.key}"
        )
        self.copied_rows += rows
        self.context.note(f"Put {rows} rows into {tree.key} of database {self.plan.name}")

    def _handle_orphans(
        self, live: Session, side: Session, constraints: DetachedConstraints, bystanders: Sequence[TableTree]
    ) -> None:
        if self.step == UNDO:
            for tree in bystanders:
                orphans.return_orphans(live, side, tree)
        elif self.plan.facts["orphans"] == orphans.KEEP_ASIDE:
            for moved in orphans.extract_orphans(live, side, constraints.keys):
                self.context.note(moved)

    def _attach_keys(self, live: Session, constraints: DetachedConstraints) -> None:
        live.execute("SAVEPOINT keys")
        try:
            constraints.attach_keys()
        except DatabaseError as error:
            if error.code != FOREIGN_KEY_VIOLATION:
                raise
            live.execute("ROLLBACK TO SAVEPOINT keys")
            listed = "; ".join(orphans.list_orphans(live, constraints.keys))
            if self.step == SWITCH:
                raise LastGoodError(f"Rows would refer to nothing: {listed}. {orphans.ADVICE}") from error
            raise UndoIncomplete(
                f"The tables of database {self.plan.name} can't be taken back: rows that were written since would refer to "
                f"nothing: {listed}. Nothing was changed. Remove or change these rows, then recover again."
            ) from error

    def _advance_sequences(self, live: Session, trees: Sequence[TableTree]) -> None:
        """Last of all: a sequence stays where it was put even when the transaction is taken back. Never backwards."""
        for row, used in list(behind(live, [oid for tree in trees for oid in tree.oids])):
            attempt = f"Moving sequence {row['schema']}.{row['name']} to {used}"
            live.rows("SELECT setval(%s::oid::regclass, %s)", [row["oid"], used], attempt)


def _delete_rows(live: Session, trees: Sequence[TableTree]) -> None:
    for tree in (tree for tree in trees if tree.condition):
        live.execute(sql.SQL("DELETE FROM {}").format(tree.source), attempt=f"Emptying table {tree.key}")
    whole = [leaf for tree in trees if not tree.condition for leaf in tree.leaves]
    names = [sql.SQL("ONLY {}").format(sql.Identifier(leaf["schema"], leaf["name"])) for leaf in whole]
    if names:
        live.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(names)), attempt="Emptying the tables")
