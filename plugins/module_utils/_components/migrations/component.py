# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A database's schema, taken back by the project's own migrations, which never run on the live database.

It is copied beside, the project's downgrade command works on the copy, and the two change their names once the copy has the
restore point's schema. Prepare tries that on a snapshot; the switch does it while writes stand still.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.migration_heads import migration_head
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session

from ..base import Plan, PointEntry
from ..database.plan import find_programs
from ..database.prepare import SideBuild
from ..database.state import Look
from ..database.unlogged import note_unlogged
from ..schema.component import LOADED_FILE, Schema, planned_layout
from ..schema.freeze import Freeze
from ..schema.plan import require_fit
from ..schema.sequences import read_sequences
from ..schema.written import current_transaction
from .build import MigrationsBuild, RowCounts, StepTimes, clear, command_name
from .guard import Command, Watch, guarded
from .plan import make_migrations_plan


class Migrations(Schema):
    """The schema of one database of one cluster. What stands beside and what is put aside is as for a whole database."""

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

    def _try_out(self, session: Session, look: Look) -> tuple[JsonObject, SideBuild]:
        """Copy a snapshot and downgrade it, while the live database is held as it is; the evidence, and the copy."""
        build, times = self._empty(session, look), StepTimes()
        name = look.plan.name
        with look.server.connect(name) as reading:
            self._require_as_planned(look.plan, reading)
            reading.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            build.copy(reading, reading.value("SELECT pg_export_snapshot()"))
        left = build.dress(session)
        times.record("copy_ms")
        with look.server.connect(build.name) as there:
            before = RowCounts.of(there, look.plan.facts.get("migration_tables"))
        times.record("count_ms")
        with guarded(look.server, session, name, self._command(look)) as watch:
            self._downgrade(look, build, watch, thorough=True)
        times.record("command_ms")
        with look.server.connect(name) as live, look.server.connect(build.name) as there:
            verified = build.verify_downgrade(there, read_sequences(live))
            after = RowCounts.of(there, look.plan.facts.get("migration_tables"))
            left += build.other_extensions(there)
        times.record("complete_ms")
        evidence = {
            "verification": {**verified, **self._row_changes(name, before.rows, after.rows), **times.to_json()},
            "not_restored": left,
            "set_aside": require_fit(look.plan, before.missing_in(after), sum(after.rows.values()), None),
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

    def _downgrade(self, look: Look, build: MigrationsBuild, watch: Watch, *, thorough: bool) -> None:
        """Run the command, and look at the live database, however that has ended.

        :param thorough: compare all of its schema, views and functions as well.
        :raises LastGoodError: when the command fails, or the live database is not as it was planned any more.
        """
        try:
            build.downgrade(watch)
        finally:
            with look.server.connect(look.plan.name) as live:
                try:
                    self._require_as_planned(look.plan, live)
                    if thorough and build.digest_of(look.plan.name) != look.plan.before["schema"]:
                        raise LastGoodError(
                            f"The schema of database {look.plan.name} has changed since the plan was made: plan again."
                        )
                except LastGoodError as error:
                    raise LastGoodError(
                        f"{error.message} If nobody else changed it, the downgrade command did: it does not listen to its "
                        "environment."
                    ) from error

    def _get_ready(self, session: Session, look: Look) -> None:
        """A new, empty database takes the place of the one that was tried: its rows are of an earlier moment."""
        self._empty(session, look)

    def _move(self, session: Session, look: Look, freeze: Freeze) -> None:
        """Copy and downgrade once more, now that nobody writes."""
        build = self._build(look)
        self._require_as_planned(look.plan, freeze.session)
        build.copy(freeze.session, freeze.snapshot)
        build.dress(session)
        migration_tables = look.plan.facts.get("migration_tables")
        with look.server.connect(build.name) as there:
            before = RowCounts.of(there, migration_tables)
        watch = Watch(session, look.plan.name, self._command(look), freeze.session)
        self._downgrade(look, build, watch, thorough=False)
        with look.server.connect(build.name) as there:
            build.verify_downgrade(there, read_sequences(freeze.session))
            after = RowCounts.of(there, migration_tables)
        set_aside = require_fit(look.plan, before.missing_in(after), sum(after.rows.values()), None)
        note_unlogged(self.context, look.server, build.name)
        loaded = {"rows": after.rows, "kept": {}, "schema": "", "set_aside": set_aside}
        self._write(LOADED_FILE, {**loaded, "transaction": current_transaction(session)})

    def _command(self, look: Look) -> Command:
        return Command(command_name(self.context.transaction), look.plan.facts.get("migration_tables"))

    def _empty(self, session: Session, look: Look) -> MigrationsBuild:
        """An empty database beside the live one; what there was of it is dropped."""
        self._drop_incoming(session, look)
        build = self._build(look)
        build.create(session)
        look.refresh(session)
        return build

    def _build(self, look: Look) -> MigrationsBuild:
        facts = look.plan.facts
        programs = find_programs(self.context, look.server, facts["program_major"], facts["bin_dir"])
        return MigrationsBuild(self.context, look.server, programs, facts)

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
