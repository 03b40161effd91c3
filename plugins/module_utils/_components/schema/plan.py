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

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import require_checksum
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import owner_code
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.catalogue import DatabaseRow
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.layout import (
    LAYOUT_FILE,
    layout_digest,
    read_layout,
    table_name,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.programs import PgPrograms
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.schema_text import open_schema, write_schema
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session

from ..context import Context, PointEntry
from ..database.connection import find_programs
from ..database.plan import DEFAULT_JOBS, Planner, plan_with
from ..plan import Plan
from .convert import plan_settings
from .diff import blocks, returning_grants, unified
from .downtime import predict_downtime
from .fit import UnfitRows
from .map import KEPT, SET_ASIDE, make_map

GROWS_WITH = "the whole database: writes stand still while its rows are copied, readers go on"
#: What must be accepted by name, and how many tables a refusal names.
ROWS_SET_ASIDE = "rows_set_aside"
SHOWN = 5
#: Why rows leave their tables, and what else can be done.
UNFIT = (
    "they don't fit the older schema",
    "Change these rows, let NULLs take the older column's default where it has one (nulls: default; -e rollback_nulls=default)",
)
TAKEN_AWAY = ("the downgrade takes them away", "Correct the downgrade, use method: rebuild")
# Reading is not enough to hold SHARE locks; and row security would hide rows from a copy.
RIGHTS = """
SELECT n.nspname || '.' || c.relname AS name, has_table_privilege(c.oid, 'SELECT') AS readable,
       has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE') AS lockable, row_security_active(c.oid) AS hiding
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY(%s::oid[]) ORDER BY 1
"""


def make_schema_plan(
    context: Context, options: Mapping[str, Any], point: PointEntry | None, planner: type[Planner] | None = None
) -> Plan:
    """Look at both schemas, refuse what can't work. Changes nothing.

    :param planner: another one than `SchemaPlanner`, which keeps more of it.
    :raises Refused: see the sentences.
    """
    name = str(options["name"])
    if point is None:
        raise Refused(
            f"The schema of database {name} is taken back to a restore point; a named archive says too little."
        )
    return plan_with(planner or SchemaPlanner, context, options, point)


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
        requested = {
            "renames": dict(self.options.get("renames") or {}),
            "migration_tables": self._migration_tables(),
            "nulls": self._nulls(),
            "conversion_settings": self.found["settings"],
            "max_rows_set_aside": accepted_rows(self.options),
            "layout": self.found["digest"],
        }
        return replace(
            plan,
            kind="schema",
            before={**plan.before, "content": "live"},
            after={**plan.after, "content": "live"},
            facts={**plan.facts, **requested, "diff": self.found["diff"]},
            downtime={**self.found["downtime"], "grows_with": GROWS_WITH},
            warnings=tuple(self.warnings),
        )

    def _inspect_live(self, name: str, live: DatabaseRow | None, programs: PgPrograms) -> JsonObject | None:
        """See `Planner`; but what can't be read or locked is refused by name, before anything waits for it.

        :raises Refused: names the tables.
        """
        if live is not None and live.allows_connections:
            with self.server.connect(name) as session:
                self.found["live"] = read_layout(session)
                _require_rights(session, name, self.found["live"])
        return super()._inspect_live(name, live, programs)

    def _with_our_rights(self) -> tuple[list[owner_code.Code], str]:
        """All with code: the present rows are moved by sessions of ours."""
        code = self.code or owner_code.still_theirs(self.session, self.source.facts.get("code", ()))
        return code, owner_code.NO_LOGIN

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
            mapped = make_map(old, live, self.options.get("renames") or {}, self._migration_tables(), self._nulls())
            self.found["downtime"] = predict_downtime(
                self.server, name, session, mapped, int(self.options.get("jobs") or DEFAULT_JOBS)
            )
            then, now = self.found["both"] = self._both(name)
            unfit_rows = UnfitRows(session, mapped, then, now, self._seconds())
            unfit = unfit_rows.count(self.source.facts.get("tables", {}))
            requested = self.options.get("conversion_settings") or {}
            self.found["settings"], notes = plan_settings(session, name, mapped, requested)
            self.warnings += notes
            if session.value("SELECT count(*) FROM pg_largeobject_metadata"):
                self.warnings.append(f"Large objects of {name} can't be locked: let nobody write them meanwhile.")
        self.found["digest"] = layout_digest(live)
        self.found["diff"] = unified(now, then)
        discarded = {"may_not_fit": unfit, **_discarded(mapped, returning_grants(now, then))}
        return discarded, inside["schema"] == self.source.facts["schema"]

    def _nulls(self) -> str:
        return str(self.options.get("nulls") or SET_ASIDE)

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
        return find_programs(self.context, self.server, self.session.version // 10_000, self.options.get("bin_dir"))

    def _size(self) -> int:
        """What the side database will take: about as much as the live one."""
        return int(self.session.value("SELECT pg_database_size(%s)", [self.options["name"]]))


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


def accepted_rows(options: Mapping[str, Any]) -> int:
    """How many rows may leave their tables.

    :raises Refused: when that is accepted and no number is given.
    """
    if ROWS_SET_ASIDE not in (options.get("accept") or []):
        return 0
    most = options.get("max_rows_set_aside")
    if most is None:
        raise Refused(
            f"accept: [{ROWS_SET_ASIDE}] lets rows leave the tables of database {options['name']}: say how many at most with "
            "max_rows_set_aside (rollback_max_rows_set_aside). Without the word, prepare counts them and changes nothing."
        )
    return int(most)


def require_fit(plan: Plan, left: Mapping[str, int], rows: int, why: Mapping[str, Any] | None) -> JsonObject:
    """What has left its tables, for the report; or the refusal, when that is more than was accepted.

    :param left: table → rows that did not come along.
    :param rows: how many did.
    :param why: what is kept, with reasons (see `KeptRows.to_json`); None for a downgrade, of which nothing is known.
    :raises Refused: says how many of how many, of which tables, why, and what to do.
    """
    gone = sum(left.values())
    found = {"rows": gone, "of": gone + rows, "tables": dict(left)}
    most = plan.facts.get("max_rows_set_aside")
    if most is None or gone <= most:  # a plan of an older version has no such limit
        return found
    shown = []
    for name, count in sorted(left.items(), key=lambda item: -item[1])[:SHOWN]:
        reasons = "; ".join((why or {}).get(name, {}).get("reasons", [])[:2])
        shown.append(f"{count:,} of {name}{f' ({reasons})' if reasons else ''}")
    more = f" and {len(left) - SHOWN} tables more" if len(left) > SHOWN else ""
    accepted = f"; {most:,} were accepted" if most else ""
    cause, advice = UNFIT if why is not None else TAKEN_AWAY
    words = ",".join(dict.fromkeys([*plan.facts.get("accept", ()), ROWS_SET_ASIDE]))
    raise Refused(
        f"{gone:,} of {gone + rows:,} rows of database {plan.name} would leave their tables, because {cause}: "
        f"{', '.join(shown)}{more}{accepted}. The live database was not touched. {advice}, or accept it: accept: "
        f"[{ROWS_SET_ASIDE}] and max_rows_set_aside: {gone} "
        f"(-e rollback_accept={words} -e rollback_max_rows_set_aside={gone})."
    )


def _is_data(table: JsonObject, mapped: JsonObject) -> bool:
    """Neither what an earlier rollback kept, nor what says which schema there is."""
    return not table["schema"].startswith(KEPT) and table_name(table) not in mapped["versions"]


def _discarded(mapped: JsonObject, grants: list[str]) -> JsonObject:
    """What has no place in the older schema and is kept beside it, and what comes back with that."""
    found: JsonObject = {
        "kept_tables": [name for table in mapped["added"] for name in [table_name(table)] if _is_data(table, mapped)],
        "kept_columns": [],
        "changed_types": [],
        "returning_tables": [table_name(table) for table in mapped["returning"] if _is_data(table, mapped)],
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
