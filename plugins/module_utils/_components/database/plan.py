# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Planning a database's rollback: everything that can be known before anything is changed, and the refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import content, hazards, owner_code
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.catalogue import (
    CONTENT_PROPERTIES,
    HALF_DROPPED,
    NO_LIMIT,
    DatabaseRow,
    all_databases,
    compare_properties,
    read_properties,
    system_identifier,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.migration_heads import migration_head
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.programs import PgPrograms
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.schema_text import schema_digest
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import DatabaseError, Server, Session
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import (
    INCOMING,
    SideNames,
    database_lock_keys,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.source import (
    Source,
    captured_source,
    named_source,
)

from ..context import Context, PointEntry
from ..plan import Plan
from .connection import find_programs, open_server
from .needs import refuse_other_database, require_needs, require_space
from .records import new_identity

RESERVED = ("template0", "template1")
DEFAULT_JOBS = 4
COMPARE_SECONDS = 30
#: What clients that knock all the time saw, whatever the size of the database.
DOWNTIME_MS = 150
#: An archive is compressed; what it holds takes about this much more room, indexes included.
UNPACKED = 6


def programs_major(session: Session, source: Source) -> int:
    """The oldest major version of the programs that is sure to do."""
    return max(session.version // 10_000, source.archive.major)


def choose_programs(
    context: Context, server: Server, session: Session, source: Source, options: Mapping[str, Any]
) -> PgPrograms:
    """The programs that read the source and suit the server.

    :raises Refused: when there are none, or the source is from a newer server.
    """
    major = session.version // 10_000
    if source.server_major > major:
        raise Refused(
            f"Archive {source.path} was made from PostgreSQL {source.server_major}; {server.where} is the older "
            f"{major} and can't be trusted to hold it. Restore it into a server of that version."
        )
    return find_programs(context, server, programs_major(session, source), options.get("bin_dir"))


def make_plan(context: Context, options: Mapping[str, Any], point: PointEntry | None) -> Plan:
    """Look at everything, refuse what can't work.

    :raises Refused: see the sentences.
    """
    return plan_with(Planner, context, options, point)


def plan_with(planner: type[Planner], context: Context, options: Mapping[str, Any], point: PointEntry | None) -> Plan:
    """Plan with the database's own planner, or with one that keeps more of it."""
    name = str(options["name"])
    server = open_server(context, options)
    if name in (*RESERVED, server.maintenance):
        raise Refused(
            f"Database {name} can't be rolled back while it is the one that this task connects to, or a template: name "
            "another one with login_db."
        )
    if point:
        source = captured_source(point.point, point.directory, point.facts, point.artefacts)
    else:
        source = named_source(options, context.run.as_user(server.os_user()))
    try:
        with server.connect() as session:
            hazards.require_primary(session, server)
            return planner(context, server, session, options, source).plan(name)
    except Refused:
        raise
    except LastGoodError as error:
        raise Refused(f"Database {name} can't be planned for: {error.message}") from error


class Planner:
    """One planning run; collects warnings on the way."""

    def __init__(
        self, context: Context, server: Server, session: Session, options: Mapping[str, Any], source: Source
    ) -> None:
        self.context = context
        self.server = server
        self.session = session
        self.options = options
        self.source = source
        self.warnings: list[str] = []
        self.code: list[owner_code.Code] = []

    def plan(self, name: str) -> Plan:
        """Put everything together."""
        names = SideNames.of(self.context.transaction, name)
        databases = all_databases(self.session)
        live = databases.get(name)
        programs = choose_programs(self.context, self.server, self.session, self.source, self.options)
        hazards.require_direct(self.session, self.server)
        hazards.require_rights(self.session, self.server, live.oid if live else None, name)
        if live is not None:
            self.warnings += hazards.require_consent(self.session, self.server, name, self.options.get("accept") or [])
        properties = self._properties(name, live)
        self._refuse_concurrent(names, databases, live, str(properties["owner"]))
        inside = self._inspect_live(name, live, programs)
        discards, equal = self._discards(name, inside)
        discards = {**self._heads(inside), **discards}
        system = system_identifier(self.session, self.server.where)
        oid = live.oid if live else None
        size = self._size()
        source_tables = require_needs(self.session, self.source, properties, programs)
        if inside is not None and not self.source.facts and "other_database" not in (self.options.get("accept") or []):
            self.warnings += filter(None, [refuse_other_database(name, self.source, source_tables, inside["tables"])])
        restore_as = "" if equal else self._limit_code(str(properties["owner"]))
        self.warnings += require_space(self.server, self.session, properties["tablespace"], size)
        facts = {
            "connection": self.server.to_json(),
            "bin_dir": self.options.get("bin_dir"),
            # Neither a tar archive nor plain SQL can be shared between jobs.
            "jobs": 1
            if self.source.archive.form in ("tar", "plain")
            else int(self.options.get("jobs") or DEFAULT_JOBS),
            "keep_previous": keep_previous(self.options),
            "name": name,
            "server_version": self.session.version,
            "system": system,
            **new_identity(),
            "old_oid": oid,
            "comment": live.comment if live else None,
            "properties": properties,
            "program_major": programs_major(self.session, self.source),
            "accept": list(self.options.get("accept") or []),
            "restore_as": restore_as,
            "source": self.source.to_json(),
            "expected": self.source.facts or None,
        }
        return Plan(
            kind="database",
            name=name,
            things=database_lock_keys(system, name, oid),
            changed=not equal,
            before=self._before(name, oid, inside, properties),
            after=self._after(name, properties),
            discards=discards,
            facts=facts,
            downtime={"ms": DOWNTIME_MS, "grows_with": "nothing"},
            disk_bytes=size,
            warnings=tuple(self.warnings),
        )

    def _refuse_concurrent(
        self, names: SideNames, databases: Mapping[str, DatabaseRow], live: DatabaseRow | None, owner: str
    ) -> None:
        """Refuse what another host of ours does just now. Only a database with the owner that ours have can be of it."""
        name = str(self.options["name"])
        for other in databases.values():
            mark = other.mark
            if mark is None or mark.role != INCOMING or mark.lastgood == self.context.transaction:
                continue
            if other.owner == owner and mark.name == name and (live is None or mark.of == live.oid):
                raise Refused(
                    f"Database {name} is already being rolled back by transaction {mark.lastgood}, which has prepared "
                    f"{other.name}. Finish, undo or recover that one first."
                )
        for side in (names.previous, names.rejected):
            if side in databases:
                raise Refused(f"Database {side} exists already: transaction {self.context.transaction} was run before.")

    def _properties(self, name: str, live: DatabaseRow | None) -> JsonObject:
        """The live database's own, but for what belongs to the content; the restore point's where there is no live one."""
        then = self.source.facts.get("properties")
        if live is None:
            self.warnings.append(f"Database {name} is missing: there is nothing to keep.")
            if then:
                return dict(then)
            self.warnings.append(f"Owner, grants and settings of {name} are not known: those of template1 are taken.")
            properties = read_properties(self.session, "template1")
            owner = self.session.value("SELECT current_user::text")
            return {**properties, "owner": owner, "acl": None, "is_template": False, "comment": None, "limit": NO_LIMIT}
        properties = read_properties(self.session, name)
        if properties["limit"] == HALF_DROPPED:  # what it was is known to the restore point alone
            properties["limit"] = then["limit"] if then else NO_LIMIT
        if then:
            differences = compare_properties(then, properties)
            self.warnings += [f"Since the restore point, of database {name}: {change}." for change in differences]
            properties.update({key: then[key] for key in CONTENT_PROPERTIES})
        return properties

    def _inspect_live(self, name: str, live: DatabaseRow | None, programs: PgPrograms) -> JsonObject | None:
        """What can be read of the live database, or None: a database that can't be read is a case, not a crash."""
        if live is None:
            return None
        try:
            with self.server.connect(name) as session:
                session.execute(f"SET lock_timeout = {content.LOCK_WAIT_MS}")
                self.warnings += hazards.unknown_extensions(session, name)
                self.code = owner_code.tables_with_code(session)
                tables = frozenset(map(content.table_key, content.read_tables(session)))
                return {**self._definitions(session, name, programs), "tables": tables}
        except LastGoodError as error:
            self.warnings.append(f"Database {name} can't be read and will be put aside as it is: {error.message}")
            return None

    def _limit_code(self, owner: str) -> str:
        """Refuse what would run code of the database's owners with our rights.

        :return: the role that plain SQL is to be run as; empty for our own.
        """
        accepted = self.options.get("accept") or []
        if self.source.archive.form == "plain":
            return owner_code.script_role(self.session, self.server, owner, accepted, self.source.label)
        found, advice = self._with_our_rights()
        self.warnings += owner_code.require_accepted(self.session, self.server, found, accepted, advice)
        return ""

    def _with_our_rights(self) -> tuple[list[owner_code.Code], str]:
        """The tables whose code could only be run with our rights, and how else. The archive's is looked at in prepare."""
        found = owner_code.without_login(self.server, self.code)
        if not found:
            found = owner_code.still_theirs(self.session, self.source.facts.get("code", ()))
        return found, owner_code.login_advice(found)

    def _definitions(self, session: Session, name: str, programs: PgPrograms) -> JsonObject:
        """Schema and migration head; None for what somebody has locked: nobody is waited for while planning."""
        try:
            schema = schema_digest(programs, name, content.LOCK_WAIT_MS)
            return {"schema": schema, "migration": migration_head(session, self._migration_tables())}
        except LastGoodError as error:
            self.warnings.append(f"The schema of database {name} was not compared: {error.message}")
            return {"schema": None, "migration": None}

    def _heads(self, inside: JsonObject | None) -> JsonObject:
        """The migrations then and now, as far as they differ."""
        captured = self.source.facts.get("inside", {})
        then, now = captured.get("migration") or [], (inside or {}).get("migration") or []
        # What older versions of this collection have captured knows of Alembic alone.
        if then == now or not ("migration_tables" in captured or then):
            return {}
        differing = {
            "then": [head for head in then if head not in now],
            "now": [head for head in now if head not in then],
        }
        return {"migration": differing}

    def _migration_tables(self) -> dict[str, str]:
        """Tables that say which schema there is, as the restore point or the task names them: see `version_tables`."""
        captured = self.source.facts.get("inside", {}).get("migration_tables") or {}
        return {**captured, **(self.options.get("migration_tables") or {})}

    def _discards(self, name: str, inside: JsonObject | None) -> tuple[JsonObject, bool]:
        """Rows per table that people would lose sight of, and whether everything is as in the restore point."""
        then: JsonObject = self.source.facts.get("tables", {})
        rows: JsonObject = {}
        unread: list[str] = []
        same = bool(then) and inside is not None and inside["schema"] == self.source.facts["schema"]
        others: JsonObject = {}
        if inside is not None:
            try:
                with self.server.connect(name) as session:
                    rows, unread = self._rows_that_differ(session, then)
                    if then:
                        others, late = content.differences_outside_tables(
                            session, self.source.facts["inside"], self._seconds()
                        )
                        unread += late
                same = same and not rows and not unread and not others
            except DatabaseError as error:
                self.warnings.append(f"Tables of {name} could not be compared: {error.message}")
                same = False
        if unread:
            self.warnings.append(
                f"{len(unread)} tables of {name} were not compared within {self._seconds():.0f} s, or can't be read: "
                f"{', '.join(unread[:5])}{' …' if len(unread) > 5 else ''}."
            )
        return {"rows": dict(sorted(rows.items())), "not_compared": sorted(unread), **others}, same

    def _rows_that_differ(self, session: Session, then: JsonObject) -> tuple[JsonObject, list[str]]:
        unknown = content.not_captured(self.source.facts, content.read_tables(session))
        return rows_that_differ(session, then, self._seconds(), unknown.__contains__)

    def _seconds(self) -> float:
        given = self.options.get("compare_timeout")
        return float(COMPARE_SECONDS if given is None else given)

    def _size(self) -> int:
        known = self.source.facts.get("inside", {}).get("bytes")
        return int(known or self.source.archive.bytes * UNPACKED)

    def _before(self, name: str, oid: int | None, inside: JsonObject | None, properties: JsonObject) -> JsonObject:
        return {
            "name": name,
            "exists": oid is not None,
            "schema": inside["schema"] if inside else None,
            "migration": inside["migration"] if inside else None,
            "owner": properties["owner"] if oid is not None else None,
            "content": "live",
        }

    def _after(self, name: str, properties: JsonObject) -> JsonObject:
        return {
            "name": name,
            "exists": True,
            "schema": self.source.facts.get("schema"),
            "migration": self.source.facts.get("inside", {}).get("migration"),
            "owner": properties["owner"],
            "content": self.source.label,
        }


def rows_that_differ(
    session: Session, then: JsonObject, seconds: float, skip: Callable[[str], bool] | None = None
) -> tuple[JsonObject, list[str]]:
    """Count and hash the tables of a session's database, and compare.

    :param then: what they held once, by key.
    :param skip: tables (by key) to leave out.
    :return: the differences by table, and the tables that could not be compared in time, or be read.
    """
    rows: JsonObject = {}
    unread: list[str] = []
    for key, now in content.hash_within(session, seconds, skip):
        if not isinstance(now, dict):
            unread.append(key)
        elif now != then.get(key):
            rows[key] = difference(then.get(key), now)
    return rows, unread


def difference(then: JsonObject | None, now: JsonObject) -> JsonObject:
    """What is reported of a table that is discarded: rows now and then, and whether they differ."""
    return {
        "now": now["rows"],
        "then": then["rows"] if then else None,
        "differs": then is None or now["hash"] != then["hash"],
    }


def keep_previous(options: Mapping[str, Any]) -> int:
    """How many databases are to be kept."""
    given = options.get("keep_previous")
    return 1 if given is None else int(given)
