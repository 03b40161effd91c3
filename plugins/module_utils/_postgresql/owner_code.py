# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Code of a database's owners that the server runs when rows come into a table, and with whose rights.

A check of a table or of a domain, a generated column, the key of a partition can call a function. It runs with the rights
of whoever brings the row, and ``SET ROLE`` is no limit for it: it can set the role back. So such rows are brought by a
session that logs in as the table's owner, which would run it anyway. Indexes, foreign keys and materialized views are
not looked for: the server itself runs their code as their owner.

Functions that are built in or belong to a superuser are no such code, unless they are volatile (or make XML of what a text
names): such a one can do whatever its arguments say, from running SQL to writing a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .server import DatabaseError, Server, Session

ACCEPT = "owner_code"

TABLES_WITH_CODE = r"""
WITH RECURSIVE own AS (
  SELECT p.oid, p.oid::regprocedure::text AS function, pg_get_userbyid(p.proowner)::text AS author
  FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner WHERE {theirs}
), trees AS (
  SELECT 'pg_constraint'::regclass AS classid, o.oid AS objid, o.conbin::text AS tree, coalesce(c.relowner, t.typowner) AS who
  FROM pg_constraint o LEFT JOIN pg_class c ON c.oid = o.conrelid LEFT JOIN pg_type t ON t.oid = o.contypid
  WHERE o.contype = 'c'
  UNION ALL
  SELECT 'pg_class'::regclass, c.oid, p.partexprs::text, c.relowner FROM pg_partitioned_table p
  JOIN pg_class c ON c.oid = p.partrelid
), calls AS (
  SELECT t.classid, t.objid, p.oid::regprocedure::text AS function, r.rolname::text AS author
  FROM trees t CROSS JOIN regexp_matches(t.tree, ':(?:funcid|opfuncid) (\d+)', 'g') AS used (word)
  JOIN pg_proc p ON p.oid = used.word[1]::oid JOIN pg_roles r ON r.oid = t.who
  WHERE (p.provolatile = 'v' OR p.proname ~ '_to_xml') AND {writer}
  UNION ALL

  SELECT d.classid, d.objid, own.function, own.author FROM pg_depend d
  JOIN own ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = own.oid
  UNION ALL
  SELECT d.classid, d.objid, own.function, own.author FROM pg_depend d
  JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND d.refobjid = o.oid JOIN own ON own.oid = o.oprcode
), typed AS (
  SELECT o.contypid AS oid, calls.function, calls.author FROM pg_constraint o
  JOIN calls ON calls.classid = 'pg_constraint'::regclass AND calls.objid = o.oid WHERE o.contypid <> 0
  UNION
  SELECT t.oid, typed.function, typed.author FROM typed JOIN pg_type t ON typed.oid IN (t.typbasetype, t.typelem)
    OR EXISTS (SELECT FROM pg_range r WHERE r.rngtypid = t.oid AND r.rngsubtype = typed.oid)
    OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.atttypid = typed.oid)
), reached AS (
  SELECT classid, objid, function, author FROM calls
  UNION ALL
  SELECT d.classid, d.objid, typed.function, typed.author FROM pg_depend d
  JOIN typed ON d.refclassid = 'pg_type'::regclass AND d.refobjid = typed.oid
), found AS (
  SELECT o.conrelid AS oid, function, author FROM reached
  JOIN pg_constraint o ON classid = 'pg_constraint'::regclass AND objid = o.oid WHERE o.contype = 'c'
  UNION
  SELECT f.adrelid, function, author FROM reached JOIN pg_attrdef f ON classid = 'pg_attrdef'::regclass AND objid = f.oid
  JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum WHERE a.attgenerated <> ''
  UNION
  SELECT coalesce(t.relid::oid, objid), function, author FROM reached LEFT JOIN LATERAL pg_partition_tree(objid) t ON true
  WHERE classid = 'pg_class'::regclass -- the key of a table is looked at in each of its partitions
)
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, pg_get_userbyid(c.relowner)::text AS owner,
  r.rolsuper AS owner_is_superuser, false AS is_type, min(f.function) AS function, min(f.author) AS author
FROM found f JOIN pg_class c ON c.oid = f.oid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_roles r ON r.oid = c.relowner WHERE c.relkind IN ('r', 'p') GROUP BY 1, 2, 3, 4, 5
UNION ALL
-- A literal of such a type, in any definition, is checked by whoever makes the definition.
SELECT t.oid::bigint, n.nspname,
  coalesce((SELECT e.typname || '[]' FROM pg_type e WHERE e.typarray = t.oid), t.typname),
  pg_get_userbyid(t.typowner)::text, r.rolsuper, true, min(function), min(author)
FROM typed JOIN pg_type t ON t.oid = typed.oid JOIN pg_namespace n ON n.oid = t.typnamespace
JOIN pg_roles r ON r.oid = t.typowner
WHERE t.typtype <> 'd' AND EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid = t.oid
  AND d.classid <> 'pg_type'::regclass AND d.deptype <> 'i') GROUP BY 1, 2, 3, 4, 5 ORDER BY 2, 3
"""
#: Functions of others than superusers and us; and whose checks are suspected to call others with words of their own.
_OTHERS = "NOT r.rolsuper AND r.rolname <> session_user"
BY_OWNER = {"theirs": _OTHERS, "writer": _OTHERS}
#: All functions that people made, where nothing has its owner any more.
BY_ORIGIN = {
    "theirs": "p.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass"
    " AND e.objid = p.oid AND e.deptype = 'e')",
    "writer": "true",
}
OTHERS_OF = f"SELECT r.rolname AS name FROM pg_roles r WHERE r.rolname = ANY(%s) AND {_OTHERS}"  # noqa: S608 - our own words
IS_OWN = "SELECT pg_get_userbyid(datdba) = session_user FROM pg_database WHERE datname = current_database()"
OWNER_HAS_ALL = (
    "SELECT rolsuper OR rolname = session_user FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba"
    " WHERE datname = current_database()"
)
WHO = "SELECT session_user::text AS role, rolsuper FROM pg_roles WHERE rolname = session_user"


#: How it could be avoided where rows are moved within one session.
NO_LOGIN = "Name the database's owner with login_user."


@dataclass(frozen=True)
class Code:
    """A table that runs code of somebody when rows come in; or a type that does when it is written down.

    :param owner: of the table, or of a type that holds domains.
    :param function: one that is called.
    :param author: whose function that is.
    """

    oid: int
    schema: str
    name: str
    owner: str
    owner_is_superuser: bool
    is_type: bool
    function: str
    author: str

    @property
    def is_unlimited(self) -> bool:
        """Whether logging in as the owner would be no limit, or would come too late: definitions are made before rows."""
        return self.owner_is_superuser or self.is_type


def tables_with_code(session: Session) -> list[Code]:
    """The tables of a session's database that run others' code with our rights; none where we are logged in as its owner."""
    return [] if session.value(IS_OWN) else tables_with_code_of(session, BY_OWNER)


def tables_with_code_of(session: Session, theirs: Mapping[str, str]) -> list[Code]:
    """The same, wherever we are logged in.

    :param theirs: which functions are others': `BY_OWNER` or `BY_ORIGIN`.
    """
    return [Code(**row) for row in session.rows(TABLES_WITH_CODE.format(**theirs))]


def owner_has_all(session: Session) -> bool:
    """Whether the owner of a session's database has all the rights that we have."""
    return bool(session.value(OWNER_HAS_ALL))


def captured_code(session: Session) -> list[JsonObject]:
    """What a restore point has to contain, as it is too late to look for it once the definitions are restored."""
    return [asdict(code) for code in tables_with_code_of(session, BY_ORIGIN) if code.is_type]


def still_theirs(session: Session, captured: Sequence[JsonObject]) -> list[Code]:
    """What `captured_code` found, of owners who are neither superusers now nor what we log in as."""
    found = [Code(**raw) for raw in captured]
    others = {row["name"] for row in session.rows(OTHERS_OF, [[code.owner for code in found]])} if found else set()
    return [code for code in found if code.owner in others]


def can_log_in(server: Server, role: str, database: str | None = None) -> bool:
    """Whether this host gets a session that is logged in as the role, and whether that one is no superuser."""
    try:
        with server.logged_in_as(role).connect(database) as session:
            found = session.rows(WHO)
    except DatabaseError:
        return False
    return found == [{"role": role, "rolsuper": False}]


def without_login(server: Server, found: Sequence[Code]) -> list[Code]:
    """Those of these tables that can't be filled by their owners."""
    possible = {
        code.owner: can_log_in(server, code.owner)
        for code in {code.owner: code for code in found if not code.is_unlimited}.values()
    }
    return [code for code in found if code.is_unlimited or not possible[code.owner]]


def require_accepted(
    session: Session, server: Server, found: Sequence[Code], accepted: Sequence[str], alternative: str
) -> list[str]:
    """Refuse to run code with other rights than its owner's, unless that is accepted.

    :param found: what would run with our rights.
    :param alternative: how else it could be run, a sentence.
    :return: a warning where it is accepted.
    :raises Refused: says whose code would run with which rights.
    """
    if not found:
        return []
    who = session.rows(WHO)[0]
    rights = f"the rights of {who['role']}{', a superuser' if who['rolsuper'] else ''}"
    named = "; ".join(f"{code.function} of {code.author}, called by {code.schema}.{code.name}" for code in found[:5])
    words = f"Code of the database's owners would run with {rights} on {server.where}: {named}{' …' if len(found) > 5 else ''}."
    if ACCEPT in accepted:
        return [words]
    raise Refused(f"{words} {alternative} Or accept it with 'accept: [{ACCEPT}]'.")


def script_role(session: Session, server: Server, owner: str, accepted: Sequence[str], label: str) -> str:
    """The role that a script is run as: a script can do whatever its role may, so that is the database's owner.

    :param owner: of the database. Where that is a superuser, or what we log in as, there is nobody with less rights.
    :return: empty for our own.
    :raises Refused: when it would run with our rights, and that was not accepted.
    """
    who = session.rows(WHO)[0]
    more = session.value("SELECT NOT rolsuper FROM pg_roles WHERE rolname = %s", [owner]) and who["role"] != owner
    if not more or ACCEPT in accepted:
        return ""
    if can_log_in(server, owner):
        return owner
    raise Refused(
        f"{label.capitalize()} is plain SQL, which could do whatever role {who['role']} may on {server.where}, and this host "
        f"can't log in there as {owner}, which owns the database: let it (as with peer authentication and an account of that "
        f"name here), name it with login_user, or accept that with 'accept: [{ACCEPT}]'."
    )


def login_advice(found: Sequence[Code]) -> str:
    """What lets such a table be filled by its owner."""
    owners = ", ".join(sorted({code.owner for code in found if not code.is_unlimited}))
    if not owners:
        return NO_LOGIN
    return (
        f"This host could not log in as {owners}: let it (as with peer authentication and an account of that name here), or "
        "name the database's owner with login_user."
    )
