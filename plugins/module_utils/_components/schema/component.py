# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A database's schema as a component: the older schema is built in a side database, the present rows move over, and
the two databases change their names. From the first lock to that moment nobody writes; readers go on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, StateConflict
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.catalogue import (
    DatabaseRow,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.layout import layout_digest, read_layout
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session

from ..context import PointEntry
from ..database.component import EVIDENCE_FILE, NOW, Database
from ..database.connection import find_programs
from ..database.prepare import SideBuild
from ..database.state import DatabaseState
from ..database.swap import LastSession
from ..database.unlogged import note_unlogged
from ..plan import Plan, State
from .build import SchemaBuild
from .freeze import Freeze
from .kept_rows import rows_set_aside
from .load import Loaded
from .map import SET_ASIDE, make_map
from .plan import make_schema_plan, point_layout, require_fit
from .sequences import advance, read_sequences
from .written import current_transaction, written_later

#: In the workspace: what the tables held right before the switch, and what had no place in them.
LOADED_FILE = "loaded.json"


class Schema(Database):
    """The schema of one database of one cluster. What is prepared and what is retained is as for a whole database."""

    kind = "schema"
    order = 45

    @classmethod
    def variant(cls, options: Mapping[str, Any]) -> str:
        """By ``method``: what was migrated can also be taken back by the project's own migrations."""
        return "migrations" if options.get("method") == "migrations" else cls.kind

    def plan(self, options: Mapping[str, Any], point: PointEntry | None) -> Plan:
        """See `make_schema_plan`."""
        return make_schema_plan(self.context, options, point)

    def prepare(self, plan: Plan) -> JsonObject:
        """Try it all on a snapshot of the live database: what fits, what does not, how long it takes. Then leave the older
        schema ready, without the rows, which go on changing until the switch.
        """
        current = DatabaseState(self.context, plan)
        with current.session(changing=True) as session:
            if current.state() not in (State.UNTOUCHED, State.PREPARED):
                raise StateConflict(current.mismatch_message("prepared"))
            done = self._read(EVIDENCE_FILE)
            if done and self._is_intact(current):
                return done
            evidence, build = self._try_out(session, current)
            note_unlogged(self.context, current.server, build.name)
            build.mark(session, ready=True)
        self._write(EVIDENCE_FILE, evidence)
        return evidence

    def switch(self, plan: Plan) -> None:
        """Let writes stand still, move the rows, and let the two databases change their names."""
        current = DatabaseState(self.context, plan)
        with current.session(changing=True) as session:
            if current.state() is State.SWITCHED:
                return
            if current.state() is not State.PREPARED or current.incoming is None:
                raise StateConflict(current.mismatch_message("switched"))
            self._before_freeze(session, current)
            with Freeze(current.server, plan.name) as freeze:
                self._move(session, current, freeze)
                with current.server.connect(current.names.incoming) as writing:
                    last = LastSession(freeze.pid, lambda: _leave(freeze, writing))
                    self._swap(plan, current, self._incoming(session, current), session.value(NOW), last)

    def kept(self, plan: Plan) -> JsonObject:
        """See `Database.kept`; and what had no place in the older schema, once the rows have moved."""
        found = super().kept(plan)
        loaded = self._read(LOADED_FILE)
        if loaded and loaded["kept"] and f"database {plan.name} as it was" in found:
            label = f"what the older schema of {plan.name} has no place for, schema {loaded['schema']}"
            found[label] = {name: entry["rows"] for name, entry in loaded["kept"].items()}
        return found

    def set_aside(self, plan: Plan) -> JsonObject:
        """Rows that have left their tables; once they have moved."""
        found: JsonObject = (self._read(LOADED_FILE) or {}).get("set_aside", {})
        return found

    def result(self, plan: Plan, evidence: Mapping[str, Any]) -> JsonObject:
        """The values that the module pg_restore documents; the diff is one of the two schemas."""
        text = plan.facts["diff"]
        return {
            **super().result(plan, evidence),
            "unfit": evidence.get("unfit", {}),
            "set_aside": evidence.get("set_aside", {}),
            "diff": {"prepared": text},
        }

    def _try_out(self, session: Session, current: DatabaseState) -> tuple[JsonObject, SideBuild]:
        """See `prepare`; the evidence, and the side database that there is from then on."""
        plan = current.plan
        with current.server.connect(plan.name) as reading:
            mapped = self._map(plan, reading)
            evidence = self._try(plan, session, reading, self._build_without_rows(session, current, mapped), mapped)
        self.context.note(_set_aside_words(plan, evidence["set_aside"]))
        return evidence, self._build_without_rows(session, current, mapped)

    def _before_freeze(self, session: Session, current: DatabaseState) -> None:
        """What a switch can do before writes stand still."""

    def _move(self, session: Session, current: DatabaseState, freeze: Freeze) -> None:
        """Fill the side database while writes stand still, and note what of it is to be known afterwards."""
        mapped = self._map(current.plan, freeze.session)
        build = self._prepared_build(session, current, mapped)
        staged = set((self._read(EVIDENCE_FILE) or {}).get("verification", {}).get("staged", ()))
        loaded = build.copy_rows(current.plan.name, mapped, freeze.snapshot, staged)
        set_aside = self._require_fit(current.plan, mapped, loaded)
        self._complete(session, freeze, build, loaded, set_aside)

    def _require_fit(self, plan: Plan, mapped: JsonObject, loaded: Loaded) -> JsonObject:
        """See `require_fit`; rows go on changing until the switch, so it is asked there once more."""
        kept = loaded.kept.to_json()
        return require_fit(plan, rows_set_aside(kept, mapped["versions"]), sum(loaded.rows.values()), kept)

    def _map(self, plan: Plan, live: Session) -> JsonObject:
        """From the live tables to the restore point's, as it was planned.

        :raises LastGoodError: when the live tables are not those of the plan any more.
        """
        facts, layout = plan.facts, planned_layout(plan, live)
        source = facts["source"]
        old = point_layout(Path(source["path"]).parent, source["artefacts"])
        mapped = make_map(old, layout, facts["renames"], facts.get("migration_tables"), facts.get("nulls", SET_ASIDE))
        return {**mapped, "settings": facts.get("conversion_settings", {})}

    def _build_without_rows(self, session: Session, current: DatabaseState, mapped: JsonObject) -> SchemaBuild:
        """A side database with the older schema and no present row; what there was of it is dropped."""
        self._drop_incoming(session, current)
        facts = current.plan.facts
        programs = find_programs(self.context, current.server, facts["program_major"], facts["bin_dir"])
        build = SchemaBuild(self.context, current.server, programs, facts)
        build.create(session)
        build.restore_definitions(mapped)
        current.refresh(session)
        return build

    def _try(
        self, plan: Plan, session: Session, reading: Session, build: SchemaBuild, mapped: JsonObject
    ) -> JsonObject:
        """Move the rows of one snapshot, to know what will come of it; the evidence."""
        begun = time.monotonic()
        reading.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        snapshot = reading.value("SELECT pg_export_snapshot()")
        loaded = build.copy_rows(build.facts["name"], mapped, snapshot, set())
        set_aside = self._require_fit(plan, mapped, loaded)
        completed = build.complete(lambda: read_sequences(reading))
        spent = int((time.monotonic() - begun) * 1000)
        left = build.apply_properties(session)
        with build.server.connect(build.name) as there:
            left += build.extension_differences(there)
        rows = sum(loaded.rows.values())
        for name, entry in loaded.kept.to_json().items():
            self.context.note(f"No place in the older schema: {name}: {entry['rows']} ({'; '.join(entry['reasons'])})")
        verification = {
            **completed,
            "content": "live",
            "tables": len(loaded.rows),
            "rows": rows,
            "large_objects": loaded.large_objects,
            "staged": sorted(loaded.staged),
            "copy_ms": loaded.copy_ms,
            "rows_per_second": int(rows / max(loaded.copy_ms, 1) * 1000),
            "predicted_ms": spent,
        }
        return {
            "verification": verification,
            "not_restored": left,
            "unfit": loaded.kept.to_json(),
            "set_aside": set_aside,
        }

    def _prepared_build(self, session: Session, current: DatabaseState, mapped: JsonObject) -> SchemaBuild:
        """The side database as prepare left it; built anew where a switch was killed while it copied, or the server crashed."""
        facts = current.plan.facts
        if self._is_intact(current):
            programs = find_programs(self.context, current.server, facts["program_major"], facts["bin_dir"])
            build = SchemaBuild(self.context, current.server, programs, facts)
        else:
            build = self._build_without_rows(session, current, mapped)
        build.mark(session, ready=False)
        return build

    def _complete(
        self, session: Session, freeze: Freeze, build: SchemaBuild, loaded: Loaded, set_aside: JsonObject
    ) -> None:
        """All that is left to do before the names change; and what is to be known of it afterwards."""
        build.complete(lambda: read_sequences(freeze.session))
        build.apply_properties(session)
        note_unlogged(self.context, build.server, build.name)
        kept = {
            "rows": loaded.rows,
            "kept": loaded.kept.to_json(),
            "schema": loaded.kept.schema,
            "set_aside": set_aside,
        }
        self._write(LOADED_FILE, {**kept, "transaction": current_transaction(session)})

    def _incoming(self, session: Session, current: DatabaseState) -> DatabaseRow:
        current.refresh(session)
        if current.incoming is None:
            raise StateConflict(current.mismatch_message("switched"))
        return current.incoming

    def _count_written(self, current: DatabaseState) -> JsonObject:
        loaded = self._read(LOADED_FILE)
        return written_later(self.context, current.server, current.names.rejected, loaded) if loaded else {}


def _set_aside_words(plan: Plan, found: JsonObject) -> str:
    return f"{found['rows']} of {found['of']} rows of database {plan.name} don't fit the older schema"


def planned_layout(plan: Plan, live: Session) -> JsonObject:
    """The live database's layout.

    :raises LastGoodError: when it is not that of the plan any more.
    """
    layout = read_layout(live)
    if layout_digest(layout) != plan.facts["layout"]:
        raise LastGoodError(f"The tables of database {plan.name} have changed since the plan was made: plan again.")
    return layout


def _leave(freeze: Freeze, writing: Session) -> None:
    """Nobody is in the live database any more but us: look for the last time, and leave both."""
    if freeze.is_open:
        freeze.require_same_tables()
        advance(writing, read_sequences(freeze.session))
        writing.close()
        freeze.close()
