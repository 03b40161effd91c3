# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Building the side database of a rollback of tables: definitions, the rows of those tables, and no more."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused, VerificationFailed
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import write_atomic
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import content, owner_code
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.archive import give_to
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.programs import PgPrograms
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session, sql
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import TABLES, Mark

from ..context import Context
from ..database.prepare import SideBuild
from ..database.restore import DEFINITIONS, ROWS
from ..database.restore_progress import restore_progress
from ..plan import Plan
from .catalogue import RELATIONS, TableTree, compare_columns, read_trees
from .orphans import ADVICE, KEEP_ASIDE, OrphanCheck
from .state import CREATE_STEPS, TablesState
from .views import require_refresh

#: Nobody else uses the side database, and roles, tablespaces and labels may be gone by now.
PLAIN = (
    "--no-owner",
    "--no-privileges",
    "--no-comments",
    "--no-security-labels",
    "--no-publications",
    "--no-tablespaces",
)
#: ``4021; 0 16423 TABLE DATA public post keeper``
ENTRY = re.compile(r"\d+; \d+ \d+ TABLE DATA (.*)")


class TablesBuild(SideBuild):
    """Builds the side database of one plan."""

    def __init__(self, context: Context, current: TablesState, programs: PgPrograms, plan: Plan) -> None:
        super().__init__(context, current.server, programs, plan.facts)
        self.name = current.name
        self.live = plan.name
        self.oids = [table["oid"] for table in plan.facts["tables"]]

    def restore(self) -> int:
        """Restore the definitions and the rows of the tables, without indexes, keys and triggers; milliseconds."""
        source = self.facts["source"]
        if source["form"] not in ("custom", "directory", "tar"):
            return super().restore()
        begun = time.monotonic()
        change = self.context.change(f"Restore tables of {source['label']} into database {self.name}")
        progress = restore_progress(self.server, self.name, None)
        with change, self._archive() as archive, progress as meanwhile:
            self._run_pg_restore(archive, only=[*PLAIN, DEFINITIONS])
            self._limit_code()
            wanted = [f"{row['schema']} {row['name']} " for row in self._relations()]
            entries = [line for line in self.programs.archive_entries(archive) if _is_of(line, wanted)]
            if entries:
                listed = self.context.workspace / "entries"
                write_atomic(listed, "".join(f"{line}\n" for line in entries).encode())
                give_to(listed, self.programs.run.user)
                self._run_pg_restore(archive, meanwhile, only=[*PLAIN, ROWS], listed=listed)
        return int((time.monotonic() - begun) * 1000)

    def _limit_code(self) -> None:
        """See `require_accepted`; nothing here has its owner any more, so that all that people made is meant.

        :raises Refused: when rows would run code with more rights than the database's owner has.
        """
        wanted = {content.table_key(row) for row in self._relations()}
        with self.server.connect(self.name) as side, self.server.connect(self.live) as live:
            found = [] if owner_code.owner_has_all(live) else owner_code.tables_with_code_of(side, owner_code.BY_ORIGIN)
            code = [one for one in found if f"{one.schema}.{one.name}" in wanted]
            owner_code.require_accepted(live, self.server, code, self.facts.get("accept", ()), owner_code.NO_LOGIN)

    def _relations(self) -> list[JsonObject]:
        """The tables in the side database, and their partitions as they were then."""
        with self.server.connect(self.name) as side:
            return [part for tree in self._then(side) for part in tree.parts]

    def _then(self, side: Session) -> list[TableTree]:
        """The tables as they were, in the order of the plan.

        :raises Refused: when one is missing.
        """
        wanted = [table["key"] for table in self.facts["tables"]]
        there = {content.table_key(row): row["oid"] for row in side.rows(RELATIONS)}
        missing = [key for key in wanted if key not in there]
        if missing:
            raise Refused(
                f"{self.facts['source']['label'].capitalize()} has no table {', '.join(missing)}. Leave it out, or roll the "
                "schema back."
            )
        trees = read_trees(side, [there[key] for key in wanted])
        return [trees[there[key]] for key in wanted]

    def verify_tables(self) -> JsonObject:
        """Compare columns, rows and foreign keys with the live tables and with the restore point; evidence.

        :raises Refused: when the rows would not fit, or would refer to nothing.
        :raises VerificationFailed: when they are not what was captured.
        """
        begun = time.monotonic()
        with self.server.connect(self.live) as live, self.server.connect(self.name) as side:
            then, now = self._then(side), read_trees(live, self.oids)
            self._require_same_columns(then, [now[oid] for oid in self.oids if oid in now])
            _make_durable(side, then)
            side.execute("ANALYZE", attempt=f"Gathering statistics of database {self.name}")
            counted = self._count(side, then)
            side.execute(CREATE_STEPS)
            orphans = OrphanCheck(live, side, list(now.values())).violations()
        if orphans and self.facts["orphans"] != KEEP_ASIDE:
            raise Refused(f"Rows would refer to nothing after the rollback: {'; '.join(orphans)}. {ADVICE}")
        self._try_views(list(now.values()))
        return {
            "content": "equal" if self.facts["expected"] else "unknown",
            "schema": "equal",
            "schema_differences": [],
            "tables": len(then),
            "rows": sum(table["rows"] for table in counted.values()),
            "orphans": orphans,
            "check_ms": int((time.monotonic() - begun) * 1000),
        }

    def _try_views(self, now: Sequence[TableTree]) -> None:
        """See `require_refresh`."""
        with self.server.connect(self.live) as live, self.server.connect(self.name) as side:
            require_refresh(live, side, [oid for tree in now for oid in tree.oids], self.facts["source"]["label"])

    def _require_same_columns(self, then: Sequence[TableTree], now: Sequence[TableTree]) -> None:
        differences = [f"{tree.key}: {each}" for tree, other in zip(now, then) for each in compare_columns(tree, other)]
        if differences:
            raise Refused(
                f"Tables of database {self.live} have other columns than at {self.facts['source']['label']}: "
                f"{'; '.join(differences)}. That is a schema rollback; nothing was touched."
            )

    def _count(self, side: Session, trees: Sequence[TableTree]) -> JsonObject:
        leaves = {f"{leaf['schema']}.{leaf['name']}" for tree in trees for leaf in tree.leaves}
        found = {
            content.table_key(table): content.hash_table(side, table)
            for table in content.read_tables(side)
            if content.table_key(table) in leaves
        }
        if self.facts["expected"]:
            expected = {key: value for key, value in self.facts["expected"]["tables"].items() if key in leaves}
            wrong = content.compare_tables(expected, found)
            if wrong:
                raise VerificationFailed(
                    f"Tables restored from {self.facts['source']['label']} are not what was captured: {'; '.join(wrong)}."
                )
        return found

    def _mark(self, ready: bool) -> Mark:
        facts = self.facts
        mark = facts.get("mark", "")
        return Mark(self.context.transaction, TABLES, facts["name"], facts["old_oid"], ready, at=time.time(), id=mark)


def _make_durable(side: Session, trees: Sequence[TableTree]) -> None:
    """A crash of the server empties unlogged tables; what waits here to be switched to must survive it."""
    leaves = {leaf["oid"]: leaf for tree in trees for leaf in tree.leaves}
    unlogged = "SELECT oid::bigint AS oid FROM pg_class WHERE oid = ANY(%s::oid[]) AND relpersistence = 'u'"
    for row in side.rows(unlogged, [list(leaves)]):
        name = sql.Identifier(leaves[row["oid"]]["schema"], leaves[row["oid"]]["name"])
        side.execute(sql.SQL("ALTER TABLE {} SET LOGGED").format(name))


def _is_of(line: str, wanted: Sequence[str]) -> bool:
    match = ENTRY.match(line)
    return match is not None and any(match[1].startswith(name) for name in wanted)
