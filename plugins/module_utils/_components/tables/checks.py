# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Checks that are NOT VALID: rows may break them that were there before, and nobody could put these back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session, sql

#: Each where it was made: tables that inherit it have copies, which come and go with it. A copy may be valid by itself.
#: From PostgreSQL 18 on NOT NULL can be NOT VALID, too.
CHECKS = """
WITH RECURSIVE up (relation, name) AS (
    SELECT conrelid, conname FROM pg_constraint
    WHERE contype IN ('c', 'n') AND NOT convalidated AND conrelid = ANY(%s::oid[])
    UNION SELECT o.conrelid, o.conname FROM up JOIN pg_inherits i ON i.inhrelid = up.relation
    JOIN pg_constraint o ON o.conrelid = i.inhparent AND o.conname = up.name AND o.contype IN ('c', 'n')),
down (root, relation, name) AS (
    SELECT up.relation, up.relation, up.name FROM up
    JOIN pg_constraint o ON o.conrelid = up.relation AND o.conname = up.name AND o.coninhcount = 0
    UNION SELECT down.root, o.conrelid, o.conname FROM down JOIN pg_inherits i ON i.inhparent = down.relation
    JOIN pg_constraint o ON o.conrelid = i.inhrelid AND o.conname = down.name AND o.contype IN ('c', 'n'))
SELECT down.root::bigint AS root, c.oid::bigint AS oid, n.nspname AS schema, c.relname AS relation, c.relkind::text AS kind,
       o.conname AS name, o.convalidated AS valid, pg_get_constraintdef(o.oid) AS definition,
       obj_description(o.oid, 'pg_constraint') AS comment
FROM down JOIN pg_constraint o ON o.conrelid = down.relation AND o.conname = down.name
JOIN pg_class c ON c.oid = o.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY down.root <> down.relation, c.oid, o.conname
"""


def checked_together(session: Session, oids: Sequence[int]) -> list[JsonObject]:
    """The tables that have such a check in common with these: ``oid``, ``schema``, ``name`` and ``kind``."""
    rows = session.rows(CHECKS, [list(oids)])
    return [{**row, "name": row["relation"]} for row in rows if row["kind"] in ("r", "p")]


class UnvalidatedChecks:
    """Takes such checks from some tables, and puts them back as they were. Needs the locks of all that share them."""

    def __init__(self, session: Session, oids: Sequence[int]) -> None:
        self.session = session
        self.oids = list(oids)
        self.detached: list[JsonObject] = []

    def detach(self) -> None:
        """A copy that is its table's own as well stays when its parent's goes, and goes in the next round."""
        while found := self.session.rows(CHECKS, [self.oids]):
            for row in found:
                if row["root"] == row["oid"]:
                    self._alter(row, "DROP CONSTRAINT {}", sql.Identifier(row["name"]))
            self.detached += found

    def attach(self) -> None:
        """The last ones first: where a copy is its table's own, its parent's is merged into it."""
        made = [row for row in reversed(self.detached) if row["root"] == row["oid"]]
        for row in made:
            self._alter(row, "ADD CONSTRAINT {} {}", sql.Identifier(row["name"]), sql.SQL(row["definition"]))
        for row in self.detached:
            if row["valid"]:
                self._alter(row, "VALIDATE CONSTRAINT {}", sql.Identifier(row["name"]))
            if row["comment"] is not None:
                words = sql.SQL("COMMENT ON CONSTRAINT {} ON {} IS {}")
                name, comment = sql.Identifier(row["name"]), sql.Literal(row["comment"])
                self.session.execute(words.format(name, _table(row), comment))

    def _alter(self, row: JsonObject, what: str, *parts: Any) -> None:
        statement = sql.SQL("ALTER TABLE {} {}").format(_table(row), sql.SQL(what).format(*parts))
        self.session.execute(statement, attempt=statement.as_string(self.session.connection))


def _table(row: JsonObject) -> Any:
    return sql.Identifier(row["schema"], row["relation"])
