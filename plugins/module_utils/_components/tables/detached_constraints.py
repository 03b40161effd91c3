# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What is in the way of exchanging rows, taken away and put back: keys, checks, triggers, row security.

All of it within the transaction that exchanges the rows, and under its locks: nobody sees the tables without.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.foreign_keys import keys_touching
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session, sql

from .catalogue import RULES, TRIGGERS, TableTree, read_trees
from .checks import UnvalidatedChecks

#: pg_trigger.tgenabled and pg_rewrite.ev_enabled in the words of ALTER TABLE; what is disabled stays so.
STATES = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}
FOREIGN_KEY_VIOLATION = "23503"


def lock(session: Session, trees: Iterable[TableTree], neighbours: Iterable[JsonObject]) -> None:
    """Lock tables and all their neighbours at once, in the order of their OIDs, so that two of us can't deadlock.

    :param neighbours: ``oid``, ``schema``, ``name`` and ``kind``.
    """
    wanted = {tree.oid: (tree.schema, tree.name, tree.kind) for tree in trees}
    wanted.update({row["oid"]: (row["schema"], row["name"], row["kind"]) for row in neighbours})
    names = [
        sql.SQL("{} {}").format(sql.SQL("" if kind == "p" else "ONLY"), sql.Identifier(schema, name))
        for _oid, (schema, name, kind) in sorted(wanted.items())
    ]
    session.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.SQL(", ").join(names)))


def neighbours_of(keys: Iterable[JsonObject]) -> list[JsonObject]:
    """The tables at both ends of foreign keys."""
    found = {}
    for key in keys:
        for side in ("child", "parent"):
            words = {word: key[f"{side}_{word}"] for word in ("schema", "name", "kind")}
            found[key[side]] = {"oid": key[side], **words}
    return list(found.values())


class DetachedConstraints:
    """Takes keys, checks that are not valid, triggers, rules and forced row security away, and puts all of it back. Needs
    `lock` before.

    :param trees: the tables whose rows are exchanged, and those that rows may be taken out of.
    """

    def __init__(self, session: Session, trees: Sequence[TableTree]) -> None:
        self.session = session
        self.trees = trees
        oids = [oid for tree in trees for oid in tree.oids]
        self.keys = keys_touching(session, oids)
        self.checks = UnvalidatedChecks(session, oids)
        self.triggers_and_rules = [
            (word, row)
            for word, query in (("TRIGGER", TRIGGERS), ("RULE", RULES))
            for row in session.rows(query, [oids])
            if row["state"] in STATES
        ]
        around = read_trees(session, sorted({*oids, *(row["oid"] for row in neighbours_of(self.keys))}))
        #: Of the neighbours, too: a key could not check the rows of its owner.
        self.forced = {part["oid"]: part for tree in around.values() for part in tree.parts if part["forced"]}

    def detach(self) -> None:
        """From here on rows can be exchanged without any of these in the way."""
        self._force_row_security("NO FORCE")
        for key in self.keys:
            self._alter(_child(key), sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(key["name"])))
        self.checks.detach()
        for word, row in self.triggers_and_rules:
            self._set_state("DISABLE", word, row)

    def attach_keys(self) -> None:
        """Make every key again, and so look at every row, unless nobody had looked before (NOT VALID).

        Not in two steps, as NOT VALID and then VALIDATE: that is an error on a partitioned table, and the copies of a key
        to a partitioned one would stay not valid. All keys of a table at once: the server reads all that it knows of both
        tables again for each statement, which takes longer than the key itself.
        """
        by_child = itemgetter("child")
        for _oid, keys in groupby(sorted(self.keys, key=by_child), by_child):
            mine = list(keys)
            add = sql.SQL("ADD CONSTRAINT {} {}")
            added = [add.format(sql.Identifier(key["name"]), sql.SQL(key["definition"])) for key in mine]
            self._alter(_child(mine[0]), sql.SQL(", ").join(added))
        for key in self.keys:
            if key["comment"] is not None:
                words = sql.SQL("COMMENT ON CONSTRAINT {} ON {} IS {}")
                name, comment = sql.Identifier(key["name"]), sql.Literal(key["comment"])
                self.session.execute(words.format(name, _child(key), comment))

    def attach_rest(self) -> None:
        """Checks, triggers and rules, each in its own state, and row security."""
        self.checks.attach()
        for word, row in self.triggers_and_rules:
            self._set_state(STATES[row["state"]], word, row)
        self._force_row_security("FORCE")

    def _force_row_security(self, word: str) -> None:
        for part in self.forced.values():
            table = sql.Identifier(part["schema"], part["name"])
            self._alter(table, sql.SQL("{} ROW LEVEL SECURITY").format(sql.SQL(word)))

    def _set_state(self, state: str, word: str, row: JsonObject) -> None:
        name = sql.Identifier(row["name"])
        self._alter(_only(row), sql.SQL("{} {} {}").format(sql.SQL(state), sql.SQL(word), name))

    def _alter(self, table: Any, what: Any) -> None:
        statement = sql.SQL("ALTER TABLE {} {}").format(table, what)
        self.session.execute(statement, attempt=statement.as_string(self.session.connection))


def _child(key: JsonObject) -> Any:
    return sql.Identifier(key["child_schema"], key["child_name"])


def _only(row: JsonObject) -> Any:
    """Not the partitions as well: each has a trigger of its own, with its own state."""
    return sql.SQL("ONLY {}").format(sql.Identifier(row["schema"], row["relation"]))
