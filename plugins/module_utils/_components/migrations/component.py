# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A database's schema, taken back by the project's own migrations, which never run on the live database.

It is copied into a side database, the project's downgrade command works on the copy, and the two change their names once
the copy has the restore point's schema. Prepare tries that on a snapshot; the switch does it while writes stand still.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.migration_heads import migration_head
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session

from ..context import PointEntry
from ..database.connection import find_programs
from ..database.prepare import SideBuild
from ..database.state import DatabaseState
from ..database.unlogged import note_unlogged
from ..plan import Plan
from ..schema.component import LOADED_FILE, Schema, planned_layout
from ..schema.freeze import Freeze
from ..schema.plan import require_fit
from ..schema.sequences import read_sequences
from ..schema.written import current_transaction
from .build import MigrationsBuild, RowCounts, StepTimes, clear, command_name
from .guard import Command, Watch, guarded
from .plan import make_migrations_plan


class Migrations(Schema):
    """The schema of one database of one cluster. What is prepared and what is retained is as for a whole database."""

    kind = "migrations"
    #: Before the code: the migrations that are to be taken back are in the checkout, and run with its packages, only now.
    order = 5

    def plan(self, options: Mapping[str, Any], point: PointEntry | None) -> Plan:
        """See `make_migrations_plan`."""
        return make_migrations_plan(self.context, options, point)

    def prepare(self, plan: Plan) -> JsonObject:
        """See `Schema.prepare`; first, what an earlier call has left is ended and removed."""
        clear(self.context, plan.name)
        return super().prepare(plan)

    def switch(self, plan: Plan) -> None:
        """See `Schema.switch`, and `prepare`."""
        clear(self.context, plan.name)
        super().switch(plan)

    def undo(self, plan: Plan) -> None:
        """See `Database.undo`, and `prepare`."""
        clear(self.context, plan.name)
        super().undo(plan)

    def _try_out(self, session: Session, current: DatabaseState) -> tuple[JsonObject, SideBuild]:
        """Copy a snapshot and downgrade it, while the live database is held as it is; the evidence, and the copy."""
        build, times = self._empty(session, current), StepTimes()
        name = current.plan.name
        with current.server.connect(name) as reading:
            self._require_as_planned(current.plan, reading)
            reading.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            build.copy(reading, reading.value("SELECT pg_export_snapshot()"))
        left = build.apply_properties(session)
        times.record("copy_ms")
        with current.server.connect(build.name) as copy:
            before = RowCounts.of(copy, current.plan.facts.get("migration_tables"))
        times.record("count_ms")
        with guarded(current.server, session, name, self._command(current)) as watch:
            self._downgrade(current, build, watch, thorough=True)
        times.record("command_ms")
        with current.server.connect(name) as live, current.server.connect(build.name) as copy:
            verified = build.verify_downgrade(copy, read_sequences(live))
            after = RowCounts.of(copy, current.plan.facts.get("migration_tables"))
            left += build.extension_differences(copy)
        times.record("complete_ms")
        evidence = {
            "verification": {**verified, **self._row_changes(name, before.rows, after.rows), **times.to_json()},
            "not_restored": left,
            "set_aside": require_fit(current.plan, before.missing_in(after), sum(after.rows.values()), None),
        }
        return evidence, build

    def _row_changes(self, name: str, before: Mapping[str, int], after: Mapping[str, int]) -> JsonObject:
        """What the downgrade has done to the rows, as far as their numbers tell."""
        counts = {
            table: {"before": before.get(table), "after": after.get(table)} for table in sorted({*before, *after})
        }
        for table, rows in counts.items():
            if rows["before"] != rows["after"]:
                was, now = ("no such table" if count is None else f"{count} rows" for count in rows.values())
                self.context.note(f"Table {table} of database {name}: {was} before the downgrade, {now} after it")
        return {"content": "live", "tables": len(after), "rows": sum(after.values()), "table_rows": counts}

    def _downgrade(self, current: DatabaseState, build: MigrationsBuild, watch: Watch, *, thorough: bool) -> None:
        """Run the command, and look at the live database, however that has ended.

        :param thorough: compare all of its schema, views and functions as well.
        :raises LastGoodError: when the command fails, or the live database is not as it was planned any more.
        """
        try:
            build.downgrade(watch)
        finally:
            with current.server.connect(current.plan.name) as live:
                try:
                    self._require_as_planned(current.plan, live)
                    if thorough and build.digest_of(current.plan.name) != current.plan.before["schema"]:
                        raise LastGoodError(
                            f"The schema of database {current.plan.name} has changed since the plan was made: plan again."
                        )
                except LastGoodError as error:
                    raise LastGoodError(
                        f"{error.message} If nobody else changed it, the downgrade command did: it does not listen to its "
                        "environment."
                    ) from error

    def _before_freeze(self, session: Session, current: DatabaseState) -> None:
        """A new, empty database takes the place of the one that was tried: its rows are of an earlier moment."""
        self._empty(session, current)

    def _move(self, session: Session, current: DatabaseState, freeze: Freeze) -> None:
        """Copy and downgrade once more, now that nobody writes."""
        build = self._build(current)
        self._require_as_planned(current.plan, freeze.session)
        build.copy(freeze.session, freeze.snapshot)
        build.apply_properties(session)
        migration_tables = current.plan.facts.get("migration_tables")
        with current.server.connect(build.name) as copy:
            before = RowCounts.of(copy, migration_tables)
        watch = Watch(session, current.plan.name, self._command(current), freeze.session)
        self._downgrade(current, build, watch, thorough=False)
        with current.server.connect(build.name) as copy:
            build.verify_downgrade(copy, read_sequences(freeze.session))
            after = RowCounts.of(copy, migration_tables)
        set_aside = require_fit(current.plan, before.missing_in(after), sum(after.rows.values()), None)
        note_unlogged(self.context, current.server, build.name)
        loaded = {"rows": after.rows, "kept": {}, "schema": "", "set_aside": set_aside}
        self._write(LOADED_FILE, {**loaded, "transaction": current_transaction(session)})

    def _command(self, current: DatabaseState) -> Command:
        return Command(command_name(self.context.transaction), current.plan.facts.get("migration_tables"))

    def _empty(self, session: Session, current: DatabaseState) -> MigrationsBuild:
        """An empty database beside the live one; what there was of it is dropped."""
        self._drop_incoming(session, current)
        build = self._build(current)
        build.create(session)
        current.refresh(session)
        return build

    def _build(self, current: DatabaseState) -> MigrationsBuild:
        facts = current.plan.facts
        programs = find_programs(self.context, current.server, facts["program_major"], facts["bin_dir"])
        return MigrationsBuild(self.context, current.server, programs, facts)

    def _require_as_planned(self, plan: Plan, live: Session) -> None:
        """Look at the live database's tables and migration.

        :raises LastGoodError: when they are not those of the plan any more.
        """
        planned_layout(plan, live)
        heads, planned = migration_head(live, plan.facts.get("migration_tables")), plan.before["migration"]
        if heads != planned:
            raise LastGoodError(
                f"Database {plan.name} is at migration {', '.join(heads) or 'none'} and not at {', '.join(planned)} any more, as "
                "it was when the plan was made: plan again."
            )
