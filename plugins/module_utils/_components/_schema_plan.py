# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Planning a schema's rollback: what differs, what has no place in the older schema, and how long it takes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._components._base import Context, Plan, PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components._database_catalogue import Database
from ansible_collections.lastgood.rollback.plugins.module_utils._components._database_plan import (
    DEFAULT_JOBS,
    Planner,
    find_programs,
    plan_with,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components._database_schema import (
    open_schema,
    write_schema,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components._schema_diff import (
    blocks,
    returning_grants,
    unified,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components._schema_foresight import predict
from ansible_collections.lastgood.rollback.plugins.module_utils._components._schema_layout import (
    LAYOUT_FILE,
    layout_digest,
    read_layout,
    table_name,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components._schema_map import KEPT, make_map
from ansible_collections.lastgood.rollback.plugins.module_utils._errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._files import require_checksum
from ansible_collections.lastgood.rollback.plugins.module_utils._postgres import Session
from ansible_collections.lastgood.rollback.plugins.module_utils._tools.pg_programs import PgPrograms
from ansible_collections.lastgood.rollback.plugins.module_utils._types import JsonObject

GROWS_WITH = "the whole database: writes stand still while its rows are copied, readers go on"
# Reading is not enough to hold SHARE locks; and row security would hide rows from a copy.
RIGHTS = """
SELECT n.nspname || '.' || c.relname AS name, has_table_privilege(c.oid, 'SELECT') AS readable,
       has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE') AS lockable, row_security_active(c.oid) AS hiding
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY(%s::oid[]) ORDER BY 1
"""


def make_schema_plan(
    context: Context, wish: Mapping[str, Any], point: PointEntry | None, planner: type[Planner] | None = None
) -> Plan:
    """Look at both schemas, refuse what can't work. Changes nothing.

    :param planner: another one than `SchemaPlanner`, which keeps more of it.
    :raises Refused: see the sentences.
    """
    name = str(wish["name"])
    if point is None:
        raise Refused(
            f"The schema of database {name} is taken back to a restore point; a named archive says too little."
        )
    return plan_with(planner or SchemaPlanner, context, wish, point)


def point_layout(directory: Path, artefacts: Mapping[str, str]) -> JsonObject:
    """The layout of a restore point's database, its checksum compared just now."""
    if LAYOUT_FILE not in artefacts:
        raise Refused(f"{directory} was captured without a layout of its tables: capture a new restore point.")
    require_checksum(directory / LAYOUT_FILE, artefacts[LAYOUT_FILE], "Captured layout")
    layout: JsonObject = json.loads((directory / LAYOUT_FILE).read_bytes())
    return layout


class SchemaPlanner(Planner):
    """The plan of a database's rollback, with the rows staying where they are."""

    def plan(self, name: str) -> Plan:
        """Put everything together."""
        self.found: JsonObject = {}
        plan = super().plan(name)
        wished = {
            "renames": dict(self.wish.get("renames") or {}),
            "migration_tables": self._own_versions(),
            "layout": self.found["digest"],
        }
        return replace(
            plan,
            kind="schema",
            before={**plan.before, "content": "live"},
            after={**plan.after, "content": "live"},
            facts={**plan.facts, **wished, "diff": self.found["diff"]},
            downtime={**self.found["downtime"], "grows_with": GROWS_WITH},
            warnings=tuple(self.warnings),
        )

    def _look_inside(self, name: str, live: Database | None, programs: PgPrograms) -> JsonObject | None:
        """See `Planner`; but what can't be read or locked is refused by name, before anything waits for it.

        :raises Refused: names the tables.
        """
        if live is not None and live.allows_connections:
            with self.server.connect(name) as session:
                self.found["live"] = read_layout(session)
                _require_rights(session, name, self.found["live"])
        return super()._look_inside(name, live, programs)

    def _discards(self, name: str, inside: JsonObject | None) -> tuple[JsonObject, bool]:
        """What has no place in the older schema, and whether both are equal.

        :raises Refused: when the live schema can't be read.
        """
        if inside is None or not inside["schema"]:
            raise Refused(
                f"The schema of database {name} can't be taken back while the database is missing or can't be read: "
                f"{' '.join(self.warnings)} Take the whole database back (scope=database)."
            )
        path = Path(self.source.path)
        old = point_layout(path.parent, self.source.artefacts)
        with self.server.connect(name) as session:
            live = self.found["live"]
            mapped = make_map(old, live, self.wish.get("renames") or {}, self._own_versions())
            self.found["downtime"] = predict(
                self.server, name, session, mapped, int(self.wish.get("jobs") or DEFAULT_JOBS)
            )
            if session.value("SELECT count(*) FROM pg_largeobject_metadata"):
                self.warnings.append(f"Large objects of {name} can't be locked: let nobody write them meanwhile.")
        self.found["digest"] = layout_digest(live)
        then, now = self.found["both"] = self._both(name)
        self.found["diff"] = unified(now, then)
        return _discarded(mapped, returning_grants(now, then)), inside["schema"] == self.source.facts["schema"]

    def _both(self, name: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """The restore point's schema and the live one, object by object."""
        captured = Path(str(self.source.schema_file))
        require_checksum(captured, self.source.artefacts["schema.sql"], "Captured schema")
        with open_schema(captured) as lines:
            then = blocks(lines)
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape", newline="\n") as output:
            write_schema(self._client(), name, output)
            output.seek(0)
            return then, blocks(output)

    def _client(self) -> PgPrograms:
        return find_programs(self.context, self.server, self.session.version // 10_000, self.wish.get("bin_dir"))

    def _size(self) -> int:
        """What the side database will take: about as much as the live one."""
        return int(self.session.value("SELECT pg_database_size(%s)", [self.wish["name"]]))


def _require_rights(session: Session, name: str, layout: JsonObject) -> None:
    foreign = [table_name(table) for table in layout["tables"] if table["foreign_parts"]]
    if foreign:
        raise Refused(
            f"Tables of {name} have foreign tables as partitions ({', '.join(foreign)}): their rows would be copied into "
            "themselves. Detach these partitions first."
        )
    found = session.rows(RIGHTS, [[table["oid"] for table in layout["tables"]]])
    closed = [row["name"] for row in found if not (row["readable"] and row["lockable"])]
    if closed:
        raise Refused(
            f"Role {session.value('SELECT current_user')} may not read and lock {', '.join(closed)} of database {name}: "
            "use the role that owns these tables, or a superuser."
        )
    hidden = [row["name"] for row in found if row["hiding"]]
    if hidden:
        raise Refused(
            f"Row security would hide rows of {', '.join(hidden)} of database {name} from a copy: use a role with BYPASSRLS, "
            "or take FORCE ROW LEVEL SECURITY from these tables."
        )


def _discarded(mapped: JsonObject, grants: list[str]) -> JsonObject:
    """What has no place in the older schema and is kept beside it, and what comes back with that."""
    found: JsonObject = {
        "kept_tables": [table_name(table) for table in mapped["added"] if not table["schema"].startswith(KEPT)],
        "kept_columns": [],
        "changed_types": [],
        "returning_tables": [table_name(table) for table in mapped["returning"]],
        "returning_columns": [],
        "unknown_columns": [],
        "returning_grants": grants,
    }
    for move in mapped["moves"]:
        name = table_name(move["old"])
        found["kept_columns"] += [f"{move['from']}.{column}" for column in move["added"]]
        found["changed_types"] += [
            f"{move['from']}.{pair['live']['name']}: {pair['live']['type']} becomes {pair['old']['type']}"
            for pair in move["pairs"]
            if not pair["same"]
        ]
        kind = "returning_columns" if move["key"] else "unknown_columns"
        found[kind] += [f"{name}.{column['name']}" for column in move["back"]]
    return found
