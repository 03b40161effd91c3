# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What hangs on a live database, and would be hurt by its switch or stop it: looked for while planning."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .server import Server, Session

#: What may be hurt when somebody accepts it by name, and how.
CONSENTS = {
    "slots": "subscribers of its logical replication slots will fail, and the slots stay with the database as it was",
    "subscriptions": "its subscriptions stay with the database as it was; the restored one will have none",
    "standbys": "sessions that are open on a standby go on reading the database as it was",
    "workers": "these background workers of extensions are ended, and may come back to either database",
}
HAZARDS = {
    "prepared_transactions": "SELECT gid AS name FROM pg_prepared_xacts WHERE database = %s",
    "slots": "SELECT slot_name AS name FROM pg_replication_slots WHERE database = %s",
    "subscriptions": "SELECT subname AS name FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid"
    " WHERE d.datname = %s",
    "standbys": "SELECT DISTINCT coalesce(nullif(application_name, ''), pid::text) AS name FROM pg_stat_replication r"
    " WHERE %s IS NOT NULL AND NOT EXISTS (SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid"
    " AND s.slot_type = 'logical')",
    # PostgreSQL's own workers are ended with the sessions they work for, or come back by themselves.
    "workers": "SELECT DISTINCT backend_type AS name FROM pg_stat_activity WHERE datname = %s AND backend_type NOT IN"
    " ('client backend', 'parallel worker', 'autovacuum worker', 'walsender') AND backend_type !~ '^logical replication '",
}
#: Their sessions come back late after a switch, unless they are paused around it.
POOLERS = "SELECT DISTINCT application_name AS name FROM pg_stat_activity WHERE datname = %s AND application_name ~* %s"
POOLER_NAMES = "pgbouncer|pgpool|odyssey|pgcat|supavisor"
#: Extensions that keep everything they know inside of their database: PostgreSQL's own, and well-known ones.
EXTENSIONS = frozenset((
    "adminpack", "amcheck", "autoinc", "bloom", "bool_plperl", "btree_gin", "btree_gist", "citext", "cube", "dblink",
    "dict_int", "dict_xsyn", "earthdistance", "file_fdw", "fuzzystrmatch", "hstore", "insert_username", "intagg",
    "intarray", "isn", "jsonb_plperl", "jsonb_plpython3u", "lo", "ltree", "moddatetime", "pageinspect",
    "pg_buffercache", "pg_freespacemap", "pg_prewarm", "pg_stat_statements", "pg_surgery", "pg_trgm", "pg_visibility",
    "pg_walinspect", "pgcrypto", "pgrowlocks", "pgstattuple", "plperl", "plperlu", "plpgsql", "plpython3u", "pltcl",
    "pltclu", "postgis", "postgis_topology", "postgres_fdw", "refint", "seg", "sslinfo", "tablefunc", "tcn",
    "tsm_system_rows", "tsm_system_time", "unaccent", "uuid-ossp", "vector", "xml2",
))  # fmt: skip


def hazards(session: Session, database: str) -> JsonObject:
    """What a switch of this database would hurt, or be stopped by: kind → list of names."""
    return {kind: sorted(row["name"] for row in session.rows(query, [database])) for kind, query in HAZARDS.items()}


def require_direct(session: Session, server: Server) -> None:
    """Refuse to work through a connection pooler: it hands out other sessions than those it was asked for.

    :raises Refused: when the process that answers is not the one that the connection was made to.
    """
    if session.value("SELECT pg_backend_pid()") != session.connection.info.backend_pid:
        raise Refused(
            f"{server.where} is a connection pooler: name the PostgreSQL server behind it with login_host, login_port or "
            "login_unix_socket."
        )


def require_primary(session: Session, server: Server) -> None:
    """Refuse a standby: after a failover the address that was planned for can lead to one.

    :raises Refused: when the server only follows another one.
    """
    if session.value("SELECT pg_is_in_recovery()"):
        raise Refused(
            f"{server.where} is in recovery: it is a standby and can't be written to. After a failover another server is the "
            "primary: name that one with login_host, login_port or login_unix_socket."
        )


def require_rights(session: Session, server: Server, oid: int | None, name: str) -> None:
    """Refuse when our role may not make databases, or not rename this one.

    :param oid: the live database's OID; None when there is none.
    :raises Refused: names what is missing.
    """
    row = session.rows(
        "SELECT current_user::text AS role, r.rolsuper, r.rolcreatedb, d.owner,"
        " d.owner IS NULL OR pg_has_role(d.owner, 'USAGE') AS owns FROM pg_roles r"
        " LEFT JOIN (SELECT pg_get_userbyid(datdba) AS owner FROM pg_database WHERE oid = %s) d ON true"
        " WHERE r.rolname = current_user",
        [oid],
    )[0]
    if row["rolsuper"]:
        return
    lacks = [] if row["rolcreatedb"] else ["CREATEDB"]
    lacks += [] if row["owns"] else [f"membership in {row['owner']}, which owns the database"]
    if lacks:
        raise Refused(
            f"Role {row['role']} on {server.where} can't roll database {name} back. It lacks {' and '.join(lacks)}: grant "
            "it, or name another role with login_user."
        )


def require_consent(session: Session, server: Server, name: str, accepted: Sequence[str]) -> list[str]:
    """Refuse what stops the switch, and what it hurts unless that is accepted by name.

    :return: warnings, on what was accepted and on what may come in the way.
    :raises Refused: see the sentences.
    """
    found = hazards(session, name)
    if found["prepared_transactions"]:
        raise Refused(
            f"Database {name} has prepared transactions ({', '.join(found['prepared_transactions'])}), which block a "
            "rename: COMMIT PREPARED or ROLLBACK PREPARED them first."
        )
    warnings = []
    for kind, what in CONSENTS.items():
        if found[kind] and kind not in accepted:
            raise Refused(
                f"Database {name} has {kind} ({', '.join(found[kind])}): after the switch {what}. Remove them first, "
                f"or accept that with 'accept: [{kind}]'."
            )
        if found[kind]:
            warnings.append(f"{kind.capitalize()} of {name} ({', '.join(found[kind])}): {what}.")
    poolers = [row["name"] for row in session.rows(POOLERS, [name, POOLER_NAMES])]
    if poolers:
        warnings.append(
            f"A pooler holds sessions of {name} ({', '.join(poolers)}). Its clients wait until it tries again, with "
            "pgbouncer 15 s, unless it is paused around the switch: see rollback_hooks."
        )
    return warnings + _stubborn_sessions(session, server, name)


def unknown_extensions(session: Session, name: str) -> list[str]:
    """A warning that names extensions which may keep something outside of the database, such as jobs; or nothing."""
    found = sorted({row["extname"] for row in session.rows("SELECT extname FROM pg_extension")} - EXTENSIONS)
    if not found:
        return []
    return [
        f"Database {name} has extensions that are not known here ({', '.join(found)}): workers or files that they have "
        "outside of the database do not go back with it."
    ]


def _stubborn_sessions(session: Session, server: Server, name: str) -> list[str]:
    """Sessions that are there now and that our role may not end."""
    query = (
        "SELECT DISTINCT coalesce(a.usename::text, '?') AS role FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid"
        " WHERE a.datname = %s AND a.pid <> pg_backend_pid() AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname ="
        " current_user) AND (r.rolsuper OR NOT (pg_has_role(a.usesysid, 'USAGE') OR pg_has_role('pg_signal_backend',"
        " 'USAGE'))) ORDER BY 1"
    )
    roles = [row["role"] for row in session.rows(query, [name])]
    if not roles:
        return []
    return [
        f"Sessions of {', '.join(roles)} are connected to {name}, and role {server.user} may not end them (superusers' "
        "sessions only by a superuser, others with pg_signal_backend): the switch will fail unless they have ended by then."
    ]
