# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A session in a database that reads only, ends in time, and remembers what it found and what it could not see."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    CommandFailed,
    LastGoodError,
    Refused,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import content
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import DatabaseError, Session

_Answer = TypeVar("_Answer")

ERROR, WARNING = "error", "warning"
#: A table that somebody is changing is left to the next run: the time is for the others.
LOCK_WAIT_MS = 2000
OUT_OF_TIME = "the time was up"

#: SQLSTATEs: a timeout, a lock that was not to be had, and those that say what is on the disk is not what was written.
_CANCELLED, _LOCKED, _INTERNAL = "57014", "55P03", "XX000"
_DAMAGED = ("XX", "58")
_CONNECTION_ENDED = ("08", "57P")
#: Internal errors that only say that something was dropped meanwhile.
_DROPPED = ("could not open relation with OID", "cache lookup failed")

# Nothing here may wait for a lock, as pg_relation_size would: the size is the one that VACUUM or ANALYZE last saw.
RELATIONS = f"""
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       c.reltoastrelid::bigint AS toast,
       ARRAY(SELECT a.relid::oid::bigint FROM pg_partition_ancestors(c.oid) a) AS ancestors,
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             ORDER BY a.attname COLLATE "C") AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't'
  AND {content.USER_SCHEMA} AND {content.NOT_OF_EXTENSION}
ORDER BY c.relpages, 2, 3
"""  # noqa: S608 - our own words only


class ConnectionLost(LastGoodError):
    """The server ended the session: nothing more can be asked."""


@dataclass(frozen=True)
class Scope:
    """The tables that are checked.

    :param tables: OID → ``schema.name``; partitioned tables, partitions and materialized views as well.
    :param toasts: OIDs of what holds their large values.
    :param filled: those with rows of their own, the small ones first: ``schema``, ``name``, ``columns``.
    :param everything: whether these are all that the database has.
    """

    tables: dict[int, str]
    toasts: frozenset[int]
    filled: tuple[JsonObject, ...]
    everything: bool


class CatalogueSession:
    """One session with a deadline; each question may fail by itself.

    :param seconds: how long all questions together may take.
    """

    def __init__(self, session: Session, seconds: float) -> None:
        self.session = session
        self.findings: list[JsonObject] = []
        self.not_checked: list[JsonObject] = []
        self.tables: JsonObject = {}
        self._deadline = time.monotonic() + seconds
        session.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")

    @property
    def left_s(self) -> float:
        """Seconds that are left; not positive when there are none."""
        return self._deadline - time.monotonic()

    def add_finding(self, check: str, severity: str, what: str, detail: str, **more: Any) -> None:
        """Remember something that is wrong (``error``) or that somebody should know (``warning``)."""
        self.findings.append({"check": check, "severity": severity, "object": what, "detail": detail, **more})

    def skip(self, check: str, what: str, reason: str) -> None:
        """Remember what was not checked."""
        self.not_checked.append({"check": check, "object": what, "reason": reason})

    def try_to(self, check: str, what: str, question: Callable[[], _Answer]) -> _Answer | None:
        """The answer; None when there is none, and then it is remembered why.

        :raises ConnectionLost: when the session has ended.
        """
        left_ms = int(self.left_s * 1000)
        if left_ms <= 0:
            self.skip(check, what, OUT_OF_TIME)
            return None
        try:
            self.session.execute(
                "SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false)",
                [str(left_ms), str(min(left_ms, LOCK_WAIT_MS))],
            )
            return question()
        except DatabaseError as error:
            self._failed(check, what, error)
        except CommandFailed as error:
            self.skip(check, what, OUT_OF_TIME if self.left_s <= 0 else error.message)
        return None

    def rows(self, check: str, what: str, statement: Any, values: Sequence[Any] | None = None) -> list[JsonObject]:
        """The rows of a query; none when it could not be answered (see `try_to`)."""
        return self.try_to(check, what, lambda: self.session.rows(statement, values, f"Looking at {what}")) or []

    def _failed(self, check: str, what: str, error: DatabaseError) -> None:
        if self.session.connection.closed or error.code.startswith(_CONNECTION_ENDED):
            raise ConnectionLost(error.message) from error
        dropped = error.code == _INTERNAL and any(words in error.message for words in _DROPPED)
        if error.code == _CANCELLED:
            self.skip(check, what, OUT_OF_TIME)
        elif error.code == _LOCKED:
            self.skip(check, what, "it is locked by somebody who is changing it")
        elif error.code.startswith(_DAMAGED) and not dropped:
            self.add_finding(check, ERROR, what, f"can't be read: {error.message}")
        else:
            self.skip(check, what, error.message)


def choose_tables(catalogue: CatalogueSession, wanted: Sequence[str], also_known: Iterable[str] = ()) -> Scope:
    """All tables, or those that are named, with their partitions.

    :param wanted: names; without a schema they are of ``public``.
    :param also_known: names that are no mistake although there is no such table.
    :raises Refused: when one of the names is of no table.
    """
    relations = catalogue.session.rows(RELATIONS, attempt=f"Listing the tables of {catalogue.session.where}")
    keys = {row["oid"]: content.table_key(row) for row in relations}
    names = {full_name(name) for name in wanted}
    unknown = sorted(names - set(keys.values()) - set(also_known))
    if unknown:
        raise Refused(
            f"{catalogue.session.where.capitalize()} has no table {', '.join(unknown)}. Names are schema.table, without quotes."
        )
    chosen = [
        row for row in relations if not names or names & {keys.get(oid) for oid in (row["oid"], *row["ancestors"])}
    ]
    return Scope(
        tables={row["oid"]: keys[row["oid"]] for row in chosen},
        toasts=frozenset(row["toast"] for row in chosen),
        filled=tuple(row for row in chosen if row["kind"] == "r"),
        everything=not names,
    )


def full_name(name: str) -> str:
    """``schema.name`` of a table that may be named without its schema."""
    return name if "." in name else f"public.{name}"
