# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What a cluster knows of its databases: which there are, what hangs on them, and their properties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .server import DatabaseError, Session, sql
from .side_names import Mark

NOT_ALLOWED = "42501"
#: Settings whose value is a list of names: each has to be quoted by itself.
NAME_LISTS = (
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
)
#: The connection limit by which PostgreSQL (since the minor releases of August 2023) marks a database whose DROP has begun.
NO_LIMIT, HALF_DROPPED = -1, -2
#: Properties that belong to the content; the others are the live database's own.
CONTENT_PROPERTIES = ("encoding", "provider", "collate", "ctype", "locale", "rules")


@dataclass(frozen=True)
class DatabaseRow:
    """A database of the cluster, as a row of pg_database.

    :param limit: how many may connect.
    :param is_whole: false for what a DROP DATABASE has left that was interrupted: it can only be dropped again. Any other
        change of it, and a connection to it, ends the session.
    """

    oid: int
    name: str
    comment: str | None
    allows_connections: bool
    is_template: bool
    is_whole: bool
    owner: str
    limit: int

    @property
    def mark(self) -> Mark | None:
        """Its mark, when it is a side database."""
        return Mark.read(self.comment)


def all_databases(session: Session) -> dict[str, DatabaseRow]:
    """Every database of the cluster by name."""
    rows = session.rows(
        "SELECT oid::bigint AS oid, datname AS name, shobj_description(oid, 'pg_database') AS comment,"
        " datallowconn AS allows_connections, datistemplate AS is_template,"
        " datconnlimit <> %s AS is_whole, pg_get_userbyid(datdba) AS owner, datconnlimit AS limit FROM pg_database",
        [HALF_DROPPED],
    )
    return {row["name"]: DatabaseRow(**row) for row in rows}


def system_identifier(session: Session, fallback: str) -> str:
    """Names the cluster for good, wherever it is reached; ``fallback`` where the role may not know."""
    try:
        return str(session.value("SELECT system_identifier FROM pg_control_system()"))
    except DatabaseError as error:
        if error.code != NOT_ALLOWED:
            raise
        return fallback


def timeline(session: Session) -> int:
    """The timeline that the cluster writes: another one after it was restored, or a standby was promoted."""
    return int(str(session.value("SELECT pg_walfile_name(pg_current_wal_lsn())"))[:8], 16)


def terminate_leftover_sessions(session: Session, application: str) -> None:
    """End sessions that a killed module of the same transaction left behind, its pg_restore's too; wait for it."""
    query = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name = %s AND pid <> pg_backend_pid() AND usename = session_user"
    )
    if session.version < 140000:
        query = query.replace("(pid, 5000)", "(pid)")
    role = session.value("SELECT current_setting('role')")
    session.execute("SET ROLE NONE")  # these are the login's own, and a session_role may have no right to end them
    try:
        session.rows(query, [application], "Ending what a killed run of the same transaction left behind")
    finally:
        session.rows("SELECT set_config('role', %s, false)", [role])


def read_properties(session: Session, database: str) -> JsonObject:
    """Everything about a database that is not inside it and does not follow to a new one. JSON.

    :return: owner, encoding, provider, collate, ctype, locale, rules, tablespace, limit, is_template, comment,
        ``acl`` (None for the default, else sorted ``[grantee or None for PUBLIC, privilege, grantable]``),
        ``settings`` (role or "" → list of ``name=value``), ``labels`` (provider → label).
    """
    row = session.rows(
        "SELECT d.oid::bigint AS oid, pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(d.encoding) AS encoding,"
        " t.spcname AS tablespace, shobj_description(d.oid, 'pg_database') AS comment, d.datacl IS NULL AS plain,"
        " to_jsonb(d) - 'datacl' AS raw FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace"
        " WHERE d.datname = %s",
        [database],
    )[0]
    raw: JsonObject = row["raw"]
    oid = row["oid"]
    return {
        "owner": row["owner"],
        "encoding": row["encoding"],
        "provider": {"i": "icu", "b": "builtin"}.get(str(raw.get("datlocprovider", "c")), "libc"),
        "collate": raw["datcollate"],
        "ctype": raw["datctype"],
        "locale": raw.get("datlocale", raw.get("daticulocale")),
        "rules": raw.get("daticurules"),
        "tablespace": row["tablespace"],
        "limit": raw["datconnlimit"],
        "is_template": raw["datistemplate"],
        "comment": row["comment"],
        "acl": None if row["plain"] else _acl(session, oid),
        "settings": _settings(session, oid),
        "labels": _labels(session, oid),
    }


def _acl(session: Session, oid: int) -> list[list[Any]]:
    rows = session.rows(
        "SELECT CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END AS grantee,"
        " a.privilege_type, bool_or(a.is_grantable) AS grantable"
        " FROM pg_database d, aclexplode(d.datacl) a WHERE d.oid = %s GROUP BY 1, 2 ORDER BY 1 NULLS FIRST, 2",
        [oid],
    )
    return [list(row.values()) for row in rows]


def _settings(session: Session, oid: int) -> JsonObject:
    rows = session.rows(
        "SELECT coalesce(r.rolname, '') AS role, s.setconfig FROM pg_db_role_setting s"
        " LEFT JOIN pg_roles r ON r.oid = s.setrole WHERE s.setdatabase = %s ORDER BY 1",
        [oid],
    )
    return {row["role"]: sorted(row["setconfig"]) for row in rows}


def _labels(session: Session, oid: int) -> JsonObject:
    rows = session.rows(
        "SELECT provider, label FROM pg_shseclabel WHERE objoid = %s AND classoid = 'pg_database'::regclass", [oid]
    )
    return {row["provider"]: row["label"] for row in rows}


def create_statement(name: str, properties: JsonObject, version: int, limit: int = NO_LIMIT) -> Any:
    """CREATE DATABASE from template0 with what can't be changed later, and a connection limit for as long as it is built."""
    words = [sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))]
    words.append(sql.SQL("OWNER {}").format(sql.Identifier(properties["owner"])))
    words.append(sql.SQL("ENCODING {}").format(sql.Literal(properties["encoding"])))
    words.append(sql.SQL("LC_COLLATE {}").format(sql.Literal(properties["collate"])))
    words.append(sql.SQL("LC_CTYPE {}").format(sql.Literal(properties["ctype"])))
    if version >= 150000:
        words.append(sql.SQL("LOCALE_PROVIDER {}").format(sql.SQL(properties["provider"])))
    if properties["locale"] and properties["provider"] == "icu":
        words.append(sql.SQL("ICU_LOCALE {}").format(sql.Literal(properties["locale"])))
    if properties["locale"] and properties["provider"] == "builtin":
        words.append(sql.SQL("BUILTIN_LOCALE {}").format(sql.Literal(properties["locale"])))
    if properties["rules"]:
        words.append(sql.SQL("ICU_RULES {}").format(sql.Literal(properties["rules"])))
    if properties["tablespace"] != "pg_default":
        words.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(properties["tablespace"])))
    words.append(sql.SQL("CONNECTION LIMIT {}").format(sql.Literal(limit)))
    return sql.SQL(" ").join(words)


def comment_statement(name: str, comment: str | None) -> Any:
    """COMMENT ON DATABASE; None removes it."""
    return sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(comment))


def replay_properties(session: Session, name: str, properties: JsonObject) -> list[str]:
    """Give a new database the grants, settings, labels and limit of another.

    Last of all, when nobody has to connect to it any more: a limit or a setting could be in the way.

    :return: sentences on what our role is not allowed to set.
    :raises DatabaseError: for any other reason.
    """
    left = []
    for what, statement in _replay(name, properties):
        try:
            session.execute(statement, attempt=f"Setting {what} of database {name}")
        except DatabaseError as error:
            if error.code != NOT_ALLOWED:
                raise
            left.append(f"{what}: {error.message}")
    return left


def _replay(name: str, properties: JsonObject) -> list[tuple[str, Any]]:
    database = sql.Identifier(name)
    steps: list[tuple[str, Any]] = []
    if properties["acl"] is not None:
        owner = sql.Identifier(properties["owner"])
        steps.append(("privileges", sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC, {}").format(database, owner)))
        for grantee, privilege, grantable in properties["acl"]:
            words = [
                sql.SQL("GRANT {} ON DATABASE").format(sql.SQL(privilege)),
                database,
                sql.SQL("TO {}").format(sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee)),
                sql.SQL("WITH GRANT OPTION" if grantable else ""),
            ]
            steps.append((f"privilege {privilege} for {grantee or 'PUBLIC'}", sql.SQL(" ").join(words)))
    for role, settings in properties["settings"].items():
        of = sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(role), database) if role else None
        target = of or sql.SQL("DATABASE {}").format(database)
        for setting in settings:
            key, _equals, value = setting.partition("=")
            statement = sql.SQL("ALTER {} SET {} TO {}").format(target, _dotted(key), _setting_value(key, value))
            steps.append((f"setting {key}{f' of role {role}' if role else ''}", statement))
    for provider, label in properties["labels"].items():
        parts = sql.Identifier(provider), database, sql.Literal(label)
        steps.append((f"label {provider}", sql.SQL("SECURITY LABEL FOR {} ON DATABASE {} IS {}").format(*parts)))
    template = sql.SQL("IS_TEMPLATE true") if properties["is_template"] else sql.SQL("")
    limit = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {} {}")
    steps.append(("connection limit", limit.format(database, sql.Literal(properties["limit"]), template)))
    return steps


def _dotted(key: str) -> Any:
    """The name of a setting, which may have two parts."""
    return sql.SQL(".").join([sql.Identifier(part) for part in key.split(".")])


def _setting_value(key: str, value: str) -> Any:
    if key.lower() not in NAME_LISTS:
        return sql.Literal(value)
    return sql.SQL(", ").join([sql.Literal(name) for name in split_names(value)] or [sql.Literal("")])


def split_names(text: str) -> list[str]:
    """Split a list of names as the catalogue stores it: ``"$user", public`` → ``$user``, ``public``."""
    names, name, quoted, index = [], "", False, 0
    while index < len(text):
        letter = text[index]
        if quoted and text.startswith('""', index):
            name, index = name + '"', index + 1
        elif letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted:
            names.append(name)
            name = ""
        elif quoted or letter != " ":
            name += letter
        index += 1
    return [*names, name] if text.strip() else []


def compare_properties(wanted: JsonObject, found: JsonObject) -> list[str]:
    """Sentences on what differs, comment and limit included; empty when all is equal."""
    return [
        f"{name} is {found[name]!r} instead of {wanted[name]!r}"
        for name in wanted
        if name != "comment" and wanted[name] != found[name]
    ]
