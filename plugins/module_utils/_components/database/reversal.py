# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The database that a rollback retained takes its name again; what is live now is retained in its turn.

Nothing is restored: the database is there, whole, under the name that the rollback gave it, and keeps that until the
switch. If the undo is undone, it gets it back, with its mark.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    LastGoodError,
    Refused,
    StateConflict,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import content
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.catalogue import (
    DatabaseRow,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.hazards import (
    require_consent,
    require_rights,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import (
    PREVIOUS,
    Mark,
    database_lock_keys,
)

from ..base import FinishedRollback
from ..plan import Plan, State
from .component import EVIDENCE_FILE, REJECTED_FILE, Database
from .plan import COMPARE_SECONDS, rows_that_differ
from .prepare import TABLES_FILE
from .records import new_identity, read_json, remember
from .retention import written_since
from .state import DatabaseState, planned_session
from .swap import Rename, swap


class DatabaseReversal(Database):
    """Two renames again. The facts name the database that is to come: ``aside``, with OID, name and mark."""

    def plan_reversal(self, finished: FinishedRollback) -> Plan:
        """Find what was retained, and count what was written since."""
        earlier, facts = finished.plan, finished.plan.facts
        current = DatabaseState(
            replace(self.context, transaction=finished.transaction, workspace=finished.workspace), earlier
        )
        with current.session() as session:
            returning, live = self._previous(current, earlier), current.live
            if live is None:
                raise Refused(f"Database {earlier.name} is missing: there is nothing to take back.")
            require_rights(session, current.server, live.oid, earlier.name)
            warnings = require_consent(session, current.server, earlier.name, finished.accept)
            require_consent(session, current.server, returning.name, finished.accept)
        written = self._written_after(current, earlier, finished.workspace, warnings)
        return Plan(
            kind=self.kind,
            name=earlier.name,
            things=database_lock_keys(facts["system"], earlier.name, live.oid, returning.oid),
            changed=True,
            before={**earlier.after, "content": "live"},
            after={**earlier.before, "content": f"what {finished.transaction} put aside"},
            discards=written,
            facts={
                **{key: facts[key] for key in ("connection", "keep_previous", "name", "system")},
                **new_identity(),
                "old_oid": live.oid,
                "comment": live.comment,
                "aside": {"oid": returning.oid, "name": returning.name, "mark": returning.comment},
            },
            downtime=earlier.downtime,
            warnings=tuple(warnings),
            undoes=finished.transaction,
        )

    def prepare(self, plan: Plan) -> JsonObject:
        """Nothing is built; what was retained is read from end to end, so that a damaged one is never switched to."""
        current = _ReversalState(self.context, plan)
        current.inspect()
        if current.state() not in (State.UNTOUCHED, State.PREPARED):
            raise StateConflict(current.mismatch_message("prepared"))
        with current.server.connect(current.returning_name) as session:
            tables = content.hash_tables(session)
        self._write(TABLES_FILE, tables)
        verification = {"content": "as it was put aside", "tables": len(tables)}
        verification["rows"] = sum(table["rows"] for table in tables.values())
        evidence: JsonObject = {"verification": verification, "not_restored": [], "restore_ms": 0}
        self._write(EVIDENCE_FILE, evidence)
        return evidence

    def switch(self, plan: Plan) -> None:
        """Retain the live database, and put the earlier one in its place, at once."""
        current = _ReversalState(self.context, plan)
        with current.session(changing=True) as session:
            now = float(session.value("SELECT extract(epoch FROM now())::float8"))
        if current.state() is State.SWITCHED:
            return
        if current.state() is not State.PREPARED or current.live is None:
            raise StateConflict(current.mismatch_message("switched"))
        returning = plan.facts["aside"]
        earlier_mark = Mark.read(returning["mark"])
        comment, mark_id = plan.facts["comment"], plan.facts.get("mark", "")
        mark = Mark(self.context.transaction, PREVIOUS, plan.name, returning["oid"], False, comment, now, mark_id)
        with planned_session(current.server, plan) as session:
            remember(self.context, session, plan, current.live, current.names.previous, mark)
        with self.context.change(
            f"Switch database {plan.name} back to {returning['name']}", old=current.live.oid, new=returning["oid"]
        ):
            swap(
                current.server,
                Rename(current.live.oid, plan.name, current.names.previous, mark.text()),
                Rename(returning["oid"], returning["name"], plan.name, earlier_mark.comment if earlier_mark else None),
                current.names.incoming,
            )

    def undo(self, plan: Plan) -> None:
        """Swap again: what was retained gets its name and its mark back, and keeps what was written to it meanwhile."""
        current, returning = _ReversalState(self.context, plan), plan.facts["aside"]
        with current.session(changing=True) as session:
            if current.state() is State.SWITCHED:
                if current.previous is None:
                    raise StateConflict(
                        f"Database {plan.name} can't be brought back: {current.names.previous} is gone."
                    )
                with self.context.change(f"Switch database {plan.name} from {returning['name']} again"):
                    swap(
                        current.server,
                        Rename(returning["oid"], plan.name, returning["name"], returning["mark"]),
                        Rename(current.previous.oid, current.names.previous, plan.name, plan.facts["comment"]),
                        current.names.incoming,
                    )
                current.refresh(session)
        if current.state() not in (State.UNTOUCHED, State.PREPARED):
            raise StateConflict(current.mismatch_message("undone"))
        (self.context.workspace / EVIDENCE_FILE).unlink(missing_ok=True)

    def count_written(self, plan: Plan) -> JsonObject:
        """Count what was written to the database that had come back, once."""
        if not (self.context.workspace / TABLES_FILE).exists():
            return {}
        current = _ReversalState(self.context, plan)
        return self._count_once(lambda: written_since(self.context, current.server, current.returning_name))

    def state(self, plan: Plan) -> State:
        """Compare names and OIDs with the plan; that it was read to its end is noted in the workspace."""
        current = _ReversalState(self.context, plan)
        current.inspect()
        return current.state()

    def kept(self, plan: Plan) -> JsonObject:
        """The database that was live until this undo; after an undo of it, what was written meanwhile."""
        current = _ReversalState(self.context, plan)
        current.inspect()
        found: JsonObject = {}
        if current.previous is not None:
            found[f"database {plan.name} as it was"] = current.names.previous
        written = self._read(REJECTED_FILE)
        if written:
            found[f"rows written to {current.returning_name}"] = written
        return found

    def _previous(self, current: DatabaseState, earlier: Plan) -> DatabaseRow:
        """The database that the finished rollback retained.

        :raises Refused: when there was none, or is none any more.
        """
        previous, rollback = current.previous, current.context.transaction
        if previous is not None and previous.oid != earlier.facts["old_oid"]:
            raise Refused(
                f"Database {previous.name} has OID {previous.oid} and is not what {rollback} put "
                f"aside, which has {earlier.facts['old_oid']}: somebody else made it. Look for the other one, and rename it by "
                "hand."
            )
        if previous is not None and previous.is_whole:
            return previous
        if previous is not None:
            raise Refused(
                f"Database {previous.name}, which {rollback} put aside, is what a DROP DATABASE has left "
                "that was interrupted: it can only be dropped. Roll back to a restore point instead."
            )
        if earlier.facts["old_oid"] is None:
            raise Refused(f"Database {earlier.name} did not exist before {rollback}: nothing can come back.")
        raise Refused(
            f"Database {current.names.previous}, which {rollback} put aside, is gone: a later rollback, "
            "keep_previous or somebody dropped it. Roll back to a restore point instead."
        )

    def _written_after(self, current: DatabaseState, earlier: Plan, workspace: Path, warnings: list[str]) -> JsonObject:
        """What people have written since the rollback, and would lose sight of."""
        tables = read_json(workspace / TABLES_FILE) or {}
        try:
            with current.server.connect(earlier.name) as session:
                rows, unread = rows_that_differ(session, tables, COMPARE_SECONDS)
        except LastGoodError as error:
            warnings.append(f"Tables of {earlier.name} could not be compared: {error.message}")
            return {}
        return {"written": dict(sorted(rows.items())), "not_compared": sorted(unread)}


class _ReversalState(DatabaseState):
    """The state of a reversal, whose side database has a name, an OID and a mark already."""

    @property
    def returning_name(self) -> str:
        """What the database that is to come was called by the rollback."""
        return str(self.plan.facts["aside"]["name"])

    def refresh(self, session: Session) -> None:
        """Inspect again; what is to come is found under the name that the rollback gave it."""
        super().refresh(session)
        self.incoming = self.databases.get(self.returning_name)

    def state(self) -> State:
        """What the last inspection found, by OIDs alone."""
        old, new = self.plan.facts["old_oid"], self.plan.facts["aside"]["oid"]
        live = self.live.oid if self.live else None
        if live == old and self.incoming is not None and self.incoming.oid == new:
            tried = (self.context.workspace / EVIDENCE_FILE).exists()
            return State.PREPARED if tried else State.UNTOUCHED
        kept = self.previous is None or self.previous.oid == old
        return State.SWITCHED if live == new and kept else State.FOREIGN
