# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A database's schema as a component: the older schema is built beside, the present rows move over, and the two
databases change their names. From the first lock to that moment nobody writes; readers go on.
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
    terminate_leftover_sessions,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.layout import layout_digest, read_layout
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session

from ..base import Plan, PointEntry, State
from ..database.component import EVIDENCE_FILE, NOW, Database
from ..database.plan import find_programs
from ..database.prepare import SideBuild
from ..database.state import Look
from ..database.swap import LastSession
from ..database.unlogged import note_unlogged
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
    """The schema of one database of one cluster. What stands beside and what is put aside is as for a whole database."""

    kind = "schema"
    order = 45

    @classmethod
    def entry_kind(cls) -> str:
        """A restore point holds the schema as a part of the database."""
        return Database.kind

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
        look = Look(self.context, plan)
        with look.session() as session:
            terminate_leftover_sessions(session, look.server.application_name)
            look.refresh(session)
            if look.state() not in (State.UNTOUCHED, State.PREPARED):
                raise StateConflict(look.said("prepared"))
            done = self._read(EVIDENCE_FILE)
            if done and self._is_intact(look):
                return done
            evidence, build = self._try_out(session, look)
            note_unlogged(self.context, look.server, build.name)
            build.mark(session, ready=True)
        self._write(EVIDENCE_FILE, evidence)
        return evidence

    def switch(self, plan: Plan) -> None:
        """Let writes stand still, move the rows, and let the two databases change their names."""
        look = Look(self.context, plan)
        with look.session() as session:
            terminate_leftover_sessions(session, look.server.application_name)
            look.refresh(session)
            if look.state() is State.SWITCHED:
                return
            if look.state() is not State.PREPARED or look.incoming is None:
                raise StateConflict(look.said("switched"))
            self._get_ready(session, look)
            with Freeze(look.server, plan.name) as freeze:
                self._move(session, look, freeze)
                with look.server.connect(look.names.incoming) as writing:
                    last = LastSession(freeze.pid, lambda: _leave(freeze, writing))
                    self._swap(plan, look, self._side(session, look), session.value(NOW), last)

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

    def _try_out(self, session: Session, look: Look) -> tuple[JsonObject, SideBuild]:
        """See `prepare`; the evidence, and what stands beside the live database from then on."""
        plan = look.plan
        with look.server.connect(plan.name) as reading:
            mapped = self._map(plan, reading)
            evidence = self._try(plan, session, reading, self._base(session, look, mapped), mapped)
        self.context.note(_set_aside_words(plan, evidence["set_aside"]))
        return evidence, self._base(session, look, mapped)

    def _get_ready(self, session: Session, look: Look) -> None:
        """What a switch can do before writes stand still."""

    def _move(self, session: Session, look: Look, freeze: Freeze) -> None:
        """Fill the side database while writes stand still, and note what of it is to be known afterwards."""
        mapped = self._map(look.plan, freeze.session)
        build = self._ready(session, look, mapped)
        staged = set((self._read(EVIDENCE_FILE) or {}).get("verification", {}).get("staged", ()))
        loaded = build.fill_from(look.plan.name, mapped, freeze.snapshot, staged)
        set_aside = self._require_fit(look.plan, mapped, loaded)
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

    def _base(self, session: Session, look: Look, mapped: JsonObject) -> SchemaBuild:
        """A side database with the older schema and no present row; what there was of it is dropped."""
        self._drop_incoming(session, look)
        facts = look.plan.facts
        programs = find_programs(self.context, look.server, facts["program_major"], facts["bin_dir"])
        build = SchemaBuild(self.context, look.server, programs, facts)
        build.create(session)
        build.base(mapped)
        look.refresh(session)
        return build

    def _try(
        self, plan: Plan, session: Session, reading: Session, build: SchemaBuild, mapped: JsonObject
    ) -> JsonObject:
        """Move the rows of one snapshot, to know what will come of it; the evidence."""
        begun = time.monotonic()
        reading.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        snapshot = reading.value("SELECT pg_export_snapshot()")
        loaded = build.fill_from(build.facts["name"], mapped, snapshot, set())
        set_aside = self._require_fit(plan, mapped, loaded)
        completed = build.complete(lambda: read_sequences(reading))
        spent = int((time.monotonic() - begun) * 1000)
        left = build.dress(session)
        with build.server.connect(build.name) as there:
            left += build.other_extensions(there)
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

    def _ready(self, session: Session, look: Look, mapped: JsonObject) -> SchemaBuild:
        """The side database as prepare left it; built anew where a switch was killed while it copied, or the server crashed."""
        facts = look.plan.facts
        if self._is_intact(look):
            programs = find_programs(self.context, look.server, facts["program_major"], facts["bin_dir"])
            build = SchemaBuild(self.context, look.server, programs, facts)
        else:
            build = self._base(session, look, mapped)
        build.mark(session, ready=False)
        return build

    def _complete(
        self, session: Session, freeze: Freeze, build: SchemaBuild, loaded: Loaded, set_aside: JsonObject
    ) -> None:
        """All that is left to do before the names change; and what is to be known of it afterwards."""
        build.complete(lambda: read_sequences(freeze.session))
        build.dress(session)
        note_unlogged(self.context, build.server, build.name)
        kept = {
            "rows": loaded.rows,
            "kept": loaded.kept.to_json(),
            "schema": loaded.kept.schema,
            "set_aside": set_aside,
        }
        self._write(LOADED_FILE, {**kept, "transaction": current_transaction(session)})

    def _side(self, session: Session, look: Look) -> DatabaseRow:
        look.refresh(session)
        if look.incoming is None:
            raise StateConflict(look.said("switched"))
        return look.incoming

    def _count_written(self, look: Look) -> JsonObject:
        loaded = self._read(LOADED_FILE)
        return written_later(self.context, look.server, look.names.rejected, loaded) if loaded else {}


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
