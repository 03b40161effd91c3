# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A PostgreSQL database as a component: restored into a side database, then switched by two renames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, StateConflict
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.catalogue import (
    DatabaseRow,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import (
    PREVIOUS,
    REJECTED,
    Mark,
    SideNames,
)

from ..context import PointEntry
from ..plan import Plan, State
from .capture import DatabaseEntry
from .connection import find_programs
from .plan import make_plan
from .prepare import SideBuild
from .records import remember
from .retention import drop_database, prune, written_since
from .state import DatabaseState, planned_session
from .swap import LastSession, Rename, swap
from .unlogged import lost_unlogged, note_unlogged

#: In the workspace: what prepare found out, and what was written to a rejected database.
EVIDENCE_FILE, REJECTED_FILE = "evidence.json", "rejected.json"
NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"


class Database(DatabaseEntry):
    """One database of one cluster, by its OID as well as by its name."""

    kind = "database"
    order = 40
    captured_last = True

    def plan(self, options: Mapping[str, Any], point: PointEntry | None) -> Plan:
        """See `make_plan`."""
        return make_plan(self.context, options, point)

    @classmethod
    def is_reversible(cls, plan: Plan) -> bool:
        """Only where there is a database to come back: what a rollback retains itself, it never drops."""
        return plan.facts["old_oid"] is not None

    @classmethod
    def kept_instead(cls, plan: Plan) -> str:
        """See `Component.kept_instead`."""
        return "nothing, since there is no such database now"

    def prepare(self, plan: Plan) -> JsonObject:
        """Restore into a side database and verify it there; a finished one is used again, a torn one is rebuilt."""
        current = DatabaseState(self.context, plan)
        with current.session(changing=True) as session:
            if current.state() not in (State.UNTOUCHED, State.PREPARED):
                raise StateConflict(current.mismatch_message("prepared"))
            done = self._read(EVIDENCE_FILE)
            if done and self._is_intact(current):
                return done
            self._drop_incoming(session, current)
            programs = find_programs(
                self.context, current.server, plan.facts["program_major"], plan.facts["bin_dir"]
            )  # fmt: skip
            build = SideBuild(self.context, current.server, programs, plan.facts)
            build.create(session)
            restore_ms = build.restore()
            verification = build.verify()
            not_restored = build.apply_properties(session)
            note_unlogged(self.context, current.server, current.names.incoming)
            build.mark(session, ready=True)
        evidence = {"verification": verification, "not_restored": not_restored, "restore_ms": restore_ms}
        self._write(EVIDENCE_FILE, evidence)
        return evidence

    def switch(self, plan: Plan) -> None:
        """Retain the live database and put the side database in its place, at once."""
        current = DatabaseState(self.context, plan)
        with current.session(changing=True) as session:
            now = session.value(NOW)
        if current.state() is State.SWITCHED:
            return
        incoming = current.incoming
        if current.state() is not State.PREPARED or incoming is None or not (incoming.mark and incoming.mark.ready):
            raise StateConflict(current.mismatch_message("switched"))
        self._swap(plan, current, incoming, now)

    def _swap(
        self, plan: Plan, current: DatabaseState, incoming: DatabaseRow, now: float, last: LastSession | None = None
    ) -> None:
        facts, names = plan.facts, current.names
        replacement = Rename(
            incoming.oid, names.incoming, plan.name, facts["comment"] or facts["properties"]["comment"]
        )
        outgoing = None
        if current.live is not None:
            mark = self._mark(PREVIOUS, plan, incoming.oid, facts["comment"], now)
            with planned_session(current.server, plan) as session:
                remember(self.context, session, plan, current.live, names.previous, mark)
            outgoing = Rename(current.live.oid, plan.name, names.previous, mark.text())
        with self.context.change(
            f"Switch database {plan.name} to {names.incoming}", old=facts["old_oid"], new=incoming.oid
        ):
            swap(current.server, outgoing, replacement, names.rejected, last, lambda: self._require_intact(current))

    def _require_intact(self, current: DatabaseState) -> None:
        lost = lost_unlogged(self.context, current.server, current.names.incoming)
        if lost:
            raise LastGoodError(
                f"Database {current.names.incoming} is not what was prepared any more: the server has crashed since, and so has "
                f"emptied {', '.join(lost[:5])}{' …' if len(lost) > 5 else ''}. Nothing was switched; prepare it again."
            )

    def _is_intact(self, current: DatabaseState) -> bool:
        """Whether the side database is built to its end, and no crash of the server has taken something from it since."""
        mark = current.incoming.mark if current.incoming else None
        return bool(mark and mark.ready) and not lost_unlogged(self.context, current.server, current.names.incoming)

    def undo(self, plan: Plan) -> None:
        """Swap back and keep what was rejected; or drop what was prepared."""
        current = DatabaseState(self.context, plan)
        with current.session(changing=True) as session:
            if current.state() is State.SWITCHED:
                self._undo_swap(session, plan, current)
                current.refresh(session)
            if current.state() not in (State.UNTOUCHED, State.PREPARED):
                raise StateConflict(current.mismatch_message("undone"))
            self._drop_incoming(session, current)

    def count_written(self, plan: Plan) -> JsonObject:
        """Count what was written to the rejected database, once: that reads all of it, so nobody may be waiting."""
        current = DatabaseState(self.context, plan)
        current.inspect()
        return {} if current.rejected is None else self._count_once(lambda: self._count_written(current))

    def finish(self, plan: Plan) -> None:
        """Drop databases that were retained earlier, except for the newest ones."""
        current = DatabaseState(self.context, plan)
        with planned_session(current.server, plan) as session:
            prune(self.context, session, plan)

    def state(self, plan: Plan) -> State:
        """Compare names, OIDs and marks with the plan."""
        current = DatabaseState(self.context, plan)
        current.inspect()
        return current.state()

    def kept(self, plan: Plan) -> JsonObject:
        """The databases that are retained now, and what was written to a rejected one, once it is counted."""
        current = DatabaseState(self.context, plan)
        current.inspect()
        found: JsonObject = {}
        if current.previous is not None:
            found[f"database {plan.name} as it was"] = current.names.previous
        if current.rejected is not None:
            found[f"database {plan.name}, rejected"] = current.names.rejected
            written = self._read(REJECTED_FILE)
            if written is not None:
                found[f"rows written to {current.names.rejected}"] = written
        return found

    def result(self, plan: Plan, evidence: Mapping[str, Any]) -> JsonObject:
        """The values that the module pg_restore documents."""
        names = SideNames.of(self.context.transaction, plan.name)
        existed = plan.facts["old_oid"] is not None
        return {
            "name": plan.name,
            "previous_database": names.previous if existed and plan.changed else None,
            "incoming_database": names.incoming if plan.changed else None,
            "verification": evidence.get("verification", {}),
            "not_restored": evidence.get("not_restored", []),
        }

    def _undo_swap(self, session: Session, plan: Plan, current: DatabaseState) -> None:
        names, live = current.names, current.live
        if live is None or (plan.facts["old_oid"] is not None and current.previous is None):
            raise StateConflict(f"Database {plan.name} can't be brought back: {names.previous} is gone.")
        now = session.value(NOW)
        mark = self._mark(REJECTED, plan, plan.facts["old_oid"], live.comment, now)
        remember(self.context, session, plan, live, names.rejected, mark)
        outgoing = Rename(live.oid, plan.name, names.rejected, mark.text())
        replacement = None
        if current.previous is not None:
            replacement = Rename(current.previous.oid, names.previous, plan.name, plan.facts["comment"])
        with self.context.change(f"Switch database {plan.name} back from {names.previous}", rejected=names.rejected):
            swap(current.server, outgoing, replacement, names.incoming)

    def _mark(self, role: str, plan: Plan, of: int | None, comment: str | None, now: float) -> Mark:
        return Mark(self.context.transaction, role, plan.name, of, False, comment, now, plan.facts.get("mark", ""))

    def _count_written(self, current: DatabaseState) -> JsonObject:
        return written_since(self.context, current.server, current.names.rejected)

    def _count_once(self, count: Callable[[], JsonObject]) -> JsonObject:
        written = self._read(REJECTED_FILE)
        if written is None:
            written = count()
            self._write(REJECTED_FILE, written)
        return written

    def _drop_incoming(self, session: Session, current: DatabaseState) -> None:
        if current.incoming is None:
            return
        with self.context.change(f"Drop database {current.names.incoming}", oid=current.incoming.oid):
            drop_database(session, current.incoming, force=True)
        current.refresh(session)
