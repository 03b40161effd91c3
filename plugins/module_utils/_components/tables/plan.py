# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Planning a rollback of tables: which they are, what hangs on them, and the refusals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import catalogue, content, owner_code
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.foreign_keys import keys_touching
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.hazards import require_primary
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.sequences import behind
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import DatabaseError, Server, Session
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import database_lock_keys
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.source import (
    Source,
    captured_source,
    named_source,
)

from ..context import Context, PointEntry
from ..database.connection import open_server
from ..database.needs import require_space
from ..database.plan import COMPARE_SECONDS, DEFAULT_JOBS, choose_programs, difference, keep_previous, programs_major
from ..database.records import new_identity
from ..plan import Plan
from .catalogue import LOCK_NOT_AVAILABLE, RELATIONS, TableTree, read_trees
from .detached_constraints import neighbours_of
from .downtime import Counts, predict_downtime
from .orphans import FAIL, KEEP_ASIDE, descendants
from .views import require_rights
from .warnings import warnings_for

LOCK_SECONDS = 10
#: Types of columns that can name a large object; the second is of the extension lo.
HANDLES = ("oid", "lo", "public.lo")
#: Who keeps even readers out of a table.
LOCK_HOLDERS = """
SELECT DISTINCT a.pid, a.usename, a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.granted AND l.mode = 'AccessExclusiveLock' AND l.relation IS NOT NULL AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = %s) ORDER BY 1
"""
MAY_CREATE = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"


def make_plan(context: Context, options: Mapping[str, Any], point: PointEntry | None) -> Plan:
    """Look at everything, refuse what can't work.

    :raises Refused: see the sentences.
    """
    name = str(options["name"])
    if not options.get("tables"):
        raise Refused(f"Database {name}: say with tables which tables are to be rolled back.")
    server = open_server(context, options)
    source = (
        captured_source(point.point, point.directory, point.facts, point.artefacts) if point else named_source(options)
    )
    try:
        with server.connect() as session:
            require_primary(session, server)
            if name not in catalogue.all_databases(session):
                raise Refused(f"Database {name} is missing on {server.where}: roll back the whole database.")
            with server.connect(name) as live:
                live.execute(f"SET lock_timeout = {content.LOCK_WAIT_MS}")  # planning waits for nobody
                try:
                    return _Planner(context, server, session, live, options, source).plan(name)
                except DatabaseError as error:
                    if error.code == LOCK_NOT_AVAILABLE:
                        raise _lock_error(session, name, error) from error
                    raise
    except Refused:
        raise
    except LastGoodError as error:
        raise Refused(f"Tables of database {name} can't be planned for: {error.message}") from error


def _lock_error(session: Session, name: str, error: DatabaseError) -> Refused:
    who = [f"{row['pid']} ({row['usename']}, {row['application_name']})" for row in session.rows(LOCK_HOLDERS, [name])]
    return Refused(
        f"Tables of database {name} can't be planned for: {error.message}. Tables are locked by {', '.join(who) or 'others'}: "
        "let that end first."
    )


class _Planner:
    """One planning run."""

    def __init__(
        self,
        context: Context,
        server: Server,
        session: Session,
        live: Session,
        options: Mapping[str, Any],
        source: Source,
    ) -> None:
        self.context = context
        self.server = server
        self.session = session
        self.live = live
        self.options = options
        self.source = source
        self.counted: dict[str, int] = {}

    def plan(self, name: str) -> Plan:
        """Put everything together."""
        choose_programs(self.context, self.server, self.session, self.source, self.options)
        trees = self._trees()
        keys = keys_touching(self.live, [oid for tree in trees for oid in tree.oids])
        dependents = descendants(self.live, trees)
        self._refuse_rights(trees, keys, dependents)
        discards, equal = self._discards(trees)
        code = [] if equal else self._code(trees)
        if not equal:
            require_rights(self.live, [oid for tree in trees for oid in tree.oids])
        size = 2 * sum(int(part["bytes"]) for tree in trees for part in tree.parts)
        properties = self._properties(name)
        space_warnings = require_space(self.server, self.session, properties["tablespace"], size)
        system = catalogue.system_identifier(self.session, self.server.where)
        oid = catalogue.all_databases(self.session)[name].oid
        return Plan(
            kind="tables",
            name=name,
            things=database_lock_keys(system, name, oid),
            changed=not equal,
            before=self._shown(trees, "now", "live"),
            after=self._shown(trees, "then", self.source.label),
            discards=discards,
            facts={**self._facts(name, trees, dependents), "system": system, "old_oid": oid, "properties": properties},
            downtime=self._downtime(name, trees, keys) if not equal else _NO_DOWNTIME,
            disk_bytes=size,
            warnings=(*space_warnings, *code, *warnings_for(self.live, trees, keys, dependents)),
        )

    def _code(self, trees: Sequence[TableTree]) -> list[str]:
        """See `require_accepted`: the rows are exchanged by one session, which is ours."""
        oids = {oid for tree in trees for oid in tree.oids}
        found = [code for code in owner_code.tables_with_code(self.live) if code.oid in oids]
        return owner_code.require_accepted(
            self.live, self.server, found, self.options.get("accept") or [], owner_code.NO_LOGIN
        )

    def _facts(self, name: str, trees: Sequence[TableTree], dependents: Sequence[TableTree]) -> JsonObject:
        orphans = self.options.get("orphans") or FAIL
        given = self.options.get("lock_timeout")
        return {
            "connection": self.server.to_json(),
            "bin_dir": self.options.get("bin_dir"),
            "jobs": 1 if self.source.archive.form == "tar" else int(self.options.get("jobs") or DEFAULT_JOBS),
            "keep_previous": keep_previous(self.options),
            **new_identity(),
            "accept": list(self.options.get("accept") or []),
            "name": name,
            "comment": None,
            "server_version": self.session.version,
            "program_major": programs_major(self.session, self.source),
            "source": self.source.to_json(),
            "expected": self.source.facts or None,
            "orphans": orphans,
            "lock_timeout": LOCK_SECONDS if given is None else int(given),
            "tables": [_described(tree) for tree in trees],
            "bystanders": [_described(tree) for tree in dependents] if orphans == KEEP_ASIDE else [],
        }

    def _trees(self) -> list[TableTree]:
        """The tables that are asked for, each once; a partition that comes with its parent is left to it."""
        there = {content.table_key(row): row for row in self.live.rows(RELATIONS)}
        asked = {row["oid"]: row for row in (_find(str(word), there) for word in self.options["tables"])}
        trees = read_trees(self.live, list(asked))
        inner = {oid for tree in trees.values() for oid in tree.oids if oid != tree.oid}
        chosen = [tree for oid, tree in trees.items() if oid not in inner]
        foreign = [f"{part['schema']}.{part['name']}" for tree in chosen for part in tree.parts if part["kind"] == "f"]
        if foreign:
            raise Refused(
                f"The rows of {', '.join(foreign)} lie on another server: a foreign table can't be rolled back."
            )
        known = self.source.facts.get("tables")
        newer = [tree.key for tree in chosen if known is not None and tree.kind == "r" and tree.key not in known]
        if newer:
            raise Refused(
                f"{self.source.label.capitalize()} has no table {', '.join(newer)}: it is newer. Leave it out, or roll the "
                "schema back."
            )
        return chosen

    def _refuse_rights(
        self, trees: Sequence[TableTree], keys: Sequence[JsonObject], dependents: Sequence[TableTree]
    ) -> None:
        """Owner of the tables, and of those that refer to them; no more than that, and no superuser."""
        owned = {row["oid"]: row["owned"] for row in self.live.rows(RELATIONS)}
        others = dependents if self.options.get("orphans") == KEEP_ASIDE else []
        need = [*(part for tree in (*trees, *others) for part in tree.parts), *neighbours_of(keys)]
        not_owned = sorted({content.table_key(row) for row in need if not owned.get(row["oid"], True)})
        if not_owned:
            raise Refused(
                f"Role {self.server.session_role or self.server.user} does not own {', '.join(not_owned)}: the tables and all "
                "that foreign keys connect with them have to be locked and changed. Connect as their owner, or as a superuser."
            )
        if not self.session.value(MAY_CREATE):
            raise Refused(
                f"Role {self.server.session_role or self.server.user} may not create databases, and the restore point is "
                "restored into one beside the live one: ALTER ROLE … CREATEDB."
            )

    def _discards(self, trees: Sequence[TableTree]) -> tuple[JsonObject, bool]:
        """Rows that people would lose sight of, by table and partition, and whether all is as in the restore point."""
        then: JsonObject = self.source.facts.get("tables", {})
        leaves = {content.table_key(leaf) for tree in trees for leaf in tree.leaves}
        rows: JsonObject = {}
        unread: list[str] = []
        same = bool(then)
        for key, now in content.hash_within(self.live, self._seconds(), lambda key: key not in leaves):
            if isinstance(now, dict):
                self.counted[key] = now["rows"]
            if not isinstance(now, dict):
                unread.append(key)
            elif now != then.get(key):
                rows[key] = difference(then.get(key), now)
            same = same and isinstance(now, dict) and now == then.get(key)
        found: JsonObject = {"rows": dict(sorted(rows.items())), "not_compared": sorted(unread)}
        if same:
            self._refuse_large_objects(trees)
            moved = behind(self.live, [oid for tree in trees for oid in tree.oids])
            late = sorted(f"{row['schema']}.{row['name']}" for row, _used in moved)
            found.update({"sequences_behind": late} if late else {})
            same = not late
        return found, same

    def _refuse_large_objects(self, trees: Sequence[TableTree]) -> None:
        """Rows alone are as they were; but what some of them refer to can't be put back without the rest."""
        holding = [tree.key for tree in trees if any(column["plain"] in HANDLES for column in tree.columns)]
        if not holding:
            return
        others, late = content.differences_outside_tables(self.live, self.source.facts["inside"], self._seconds())
        if late or "large_objects" in others:
            raise Refused(
                f"The rows of {', '.join(holding)} are as in {self.source.label}, but large objects that they may refer to "
                f"{'could not be compared in time' if late else 'are not'}, and a rollback of tables leaves these: roll the "
                "whole database back."
            )

    def _properties(self, name: str) -> JsonObject:
        """What the side database is made with: it is ours, and nobody else's."""
        live = catalogue.read_properties(self.session, name)
        owner = self.session.value("SELECT current_user::text")
        return {**live, "owner": owner, "acl": None, "comment": None, "settings": {}, "labels": {}}

    def _downtime(self, name: str, trees: Sequence[TableTree], keys: Sequence[JsonObject]) -> JsonObject:
        counts = Counts(self.counted, self.source.facts.get("tables", {}))
        return predict_downtime(self.server, name, self.live, trees, keys, counts, self._seconds())

    def _seconds(self) -> float:
        given = self.options.get("compare_timeout")
        return float(COMPARE_SECONDS if given is None else given)

    def _shown(self, trees: Sequence[TableTree], when: str, label: str) -> JsonObject:
        then: JsonObject = self.source.facts.get("tables", {})
        keys = sorted(content.table_key(leaf) for tree in trees for leaf in tree.leaves)
        tables = {key: self.counted.get(key) if when == "now" else then.get(key, {}).get("rows") for key in keys}
        return {"name": self.options["name"], "tables": tables, "content": label}


_NO_DOWNTIME: JsonObject = {"ms": 0, "grows_with": "nothing"}


def _described(tree: TableTree) -> JsonObject:
    words = {"oid": tree.oid, "key": tree.key, "schema": tree.schema, "name": tree.name, "kind": tree.kind}
    return {**words, "signature": tree.signature}


def _find(word: str, there: Mapping[str, JsonObject]) -> JsonObject:
    """A table by ``schema.name``, or by its name alone where only one has it. As it is written, without quotes."""
    if word in there:
        return there[word]
    named = [key for key, row in there.items() if row["name"] == word]
    if len(named) == 1:
        return there[named[0]]
    if named:
        raise Refused(f"Several tables are called {word}: {', '.join(named)}. Name one with its schema.")
    raise Refused(
        f"There is no table {word} in the live database{_near(word, there)}. One that was dropped comes back with a rollback "
        "of the schema, or of the whole database."
    )


def _near(word: str, there: Iterable[str]) -> str:
    alike = [key for key in there if word.lower().rpartition(".")[2] in key.lower()]
    return f" (there are {', '.join(sorted(alike)[:3])})" if alike else ""
