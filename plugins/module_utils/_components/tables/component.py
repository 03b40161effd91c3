# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Some tables of a database as a component: restored into a side database, then exchanged in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import StateConflict
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import content
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session, sql
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import SideNames

from ..context import PointEntry
from ..database.capture import DatabaseEntry
from ..database.connection import find_programs
from ..database.records import remember
from ..database.retention import drop_database, prune
from ..plan import Plan, State
from .build import TablesBuild
from .exchange import Exchange
from .plan import make_plan
from .state import ORPHANS, PREVIOUS_ROWS, REJECTED_ROWS, SWITCH, UNDO, TablesState, kept_name

#: In the workspace: what prepare found out, and what was written to tables that were taken back.
EVIDENCE_FILE, REJECTED_FILE = "evidence.json", "rejected.json"
KEPT_TABLES = (
    "SELECT c.relname AS name FROM pg_class c WHERE c.relnamespace = %s::regnamespace AND c.relkind = 'r' ORDER BY 1"
)


class Tables(DatabaseEntry):
    """Tables of one database, by their OIDs as well as by their names."""

    kind = "tables"
    order = 40

    def plan(self, options: Mapping[str, Any], point: PointEntry | None) -> Plan:
        """See `make_plan`."""
        return make_plan(self.context, options, point)

    def prepare(self, plan: Plan) -> JsonObject:
        """Restore what is needed into a side database and verify it; a finished one is used again, a torn one rebuilt."""
        current = TablesState(self.context, plan)
        with current.session(changing=True) as session:
            state = State.UNTOUCHED if current.is_half_dropped and not current.is_lost else current.state()
            if state not in (State.UNTOUCHED, State.PREPARED) or current.committed(UNDO):
                raise StateConflict(current.mismatch_message("prepared"))
            done = self._read(EVIDENCE_FILE)
            if current.is_ready and done:
                return done
            self._drop_side(session, current)
            facts = plan.facts
            programs = find_programs(self.context, current.server, facts["program_major"], facts["bin_dir"])
            build = TablesBuild(self.context, current, programs, plan)
            build.create(session)
            spent = build.restore()
            verification = build.verify_tables()
            evidence = {"verification": verification, "not_restored": [], "restore_ms": spent}
            self._write(EVIDENCE_FILE, evidence)
            current.refresh(session)
            if current.side is not None:
                remember(self.context, session, plan, current.side, current.name, build.mark(session, ready=True))
        return evidence

    def switch(self, plan: Plan) -> None:
        """Exchange the rows and what is computed from them; then gather statistics."""
        current = TablesState(self.context, plan)
        with current.session(changing=True):
            state = current.state()
        exchange = Exchange(self.context, plan, current, SWITCH)
        if state is State.PARTIAL and current.committed(SWITCH) and not current.committed(UNDO):
            exchange.follow_up()
            exchange.mark_settled()
            return
        if state is State.SWITCHED:
            return
        if state is not State.PREPARED or not current.is_ready:
            raise StateConflict(current.mismatch_message("switched"))
        with self.context.change(f"Exchange the rows of {_names(plan)}", side=current.name):
            exchange.run()
        with self.context.change(f"Refresh what is computed from {_names(plan)}"):
            exchange.follow_up()
            exchange.mark_settled()

    def undo(self, plan: Plan) -> None:
        """Exchange back and keep what was taken back; or drop what was prepared."""
        current = TablesState(self.context, plan)
        with current.session(changing=True) as session:
            if current.is_lost or (current.side is not None and not current.is_ours):
                raise StateConflict(current.mismatch_message("undone"))
            if not current.committed(SWITCH):
                self._drop_side(session, current)
                return
            exchange = Exchange(self.context, plan, current, UNDO)
            if not current.committed(UNDO):
                if current.state() is State.FOREIGN:
                    raise StateConflict(current.mismatch_message("undone"))
                with self.context.change(f"Exchange the rows of {_names(plan)} back", side=current.name):
                    exchange.run()
            with self.context.change(f"Refresh what is computed from {_names(plan)}"):
                exchange.follow_up()
                exchange.mark_settled()

    def count_written(self, plan: Plan) -> JsonObject:
        """Compare what was taken back with what was restored; what was found is remembered."""
        current = TablesState(self.context, plan)
        with current.session():
            if not current.committed(UNDO):
                return {}
            known = self._read(REJECTED_FILE)
            if known is not None:
                return known
            written = self._written(plan, current)
            if written:  # nothing needs no file, which a full disk would refuse: then its rows could never be let go of
                self._write(REJECTED_FILE, written)
            return written

    def discard_rejected(self, plan: Plan) -> None:
        """Where nobody had written to it, what was taken back is what the restore point has."""
        current = TablesState(self.context, plan)
        with current.session() as session:
            if current.committed(UNDO):
                self._drop_side(session, current)

    def finish(self, plan: Plan) -> None:
        """Empty the side copies of the rows that are live now; drop older side databases, but for the newest."""
        current = TablesState(self.context, plan)
        with current.session() as session:
            if current.committed(SWITCH):
                names = [sql.Identifier(table["schema"], table["name"]) for table in plan.facts["tables"]]
                with (
                    current.server.connect(current.name) as side,
                    self.context.change(f"Empty restored tables in {current.name}"),
                ):
                    side.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(names)))
            prune(self.context, session, plan)

    def state(self, plan: Plan) -> State:
        """Ask the server what became of the transactions that changed the tables."""
        current = TablesState(self.context, plan)
        with current.session():
            return current.state()

    @classmethod
    def kept_instead(cls, plan: Plan) -> str:
        """See `Component.kept_instead`; the name of that database is in the final table."""
        return "the rows as they were, in a database beside it"

    def kept(self, plan: Plan) -> JsonObject:
        """Where rows stand that were replaced, or taken out because they referred to nothing."""
        current = TablesState(self.context, plan)
        with current.session():
            left = current.views_left(UNDO)
            views: JsonObject = {f"materialized views of {plan.name} to refresh by hand": left} if left else {}
            if current.committed(UNDO):
                written = self._read(REJECTED_FILE)
                rejected = {f"rows of {plan.name}, rejected": f"{current.name}, schema {REJECTED_ROWS}", **views}
                return {**rejected, f"rows written to {plan.name}": written} if written else rejected
            if not current.committed(SWITCH):
                return views
            found: JsonObject = {f"tables of {plan.name} as they were": f"{current.name}, schema {PREVIOUS_ROWS}"}
            with current.server.connect(current.name) as side:
                orphans = [row["name"] for row in side.rows(KEPT_TABLES, [ORPHANS])]
            if orphans:
                found[f"rows of {', '.join(orphans)} that referred to nothing"] = f"{current.name}, schema {ORPHANS}"
            return found

    def result(self, plan: Plan, evidence: Mapping[str, Any]) -> JsonObject:
        """The values that the module pg_restore documents."""
        side = SideNames.of(self.context.transaction, plan.name).tables if plan.changed else None
        return {
            "name": plan.name,
            "previous_database": side,
            "incoming_database": None,  # nobody's tests could run on some tables alone
            "verification": evidence.get("verification", {}),
            "not_restored": evidence.get("not_restored", []),
        }

    def _written(self, plan: Plan, current: TablesState) -> JsonObject:
        """Tables that were written to between the switch and its undo, with the number of rows."""
        found: JsonObject = {}
        with current.server.connect(current.name) as side:
            for table in plan.facts["tables"]:
                columns = sorted(column[0] for column in table["signature"] if not column[3])
                rejected = {"schema": REJECTED_ROWS, "name": kept_name(table["key"])}
                restored = {"schema": table["schema"], "name": table["name"], "partitioned": table["kind"] == "p"}
                now = content.hash_table(side, {**rejected, "columns": columns})
                then = content.hash_table(side, {**restored, "columns": columns})
                if now != then:
                    found[table["key"]] = {"then": then["rows"], "now": now["rows"]}
        return found

    def _drop_side(self, session: Session, current: TablesState) -> None:
        if current.side is None:
            return
        if not current.is_ours:
            raise StateConflict(current.mismatch_message("undone"))
        with self.context.change(f"Drop database {current.name}", oid=current.side.oid):
            drop_database(session, current.side, force=True)
        current.refresh(session)


def _names(plan: Plan) -> str:
    return f"{', '.join(table['key'] for table in plan.facts['tables'])} of database {plan.name}"
