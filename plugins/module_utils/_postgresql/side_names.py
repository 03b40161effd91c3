# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Names and marks of the side databases of a live one.

A name is built from the transaction, so that it is known before anything is made; a mark is a JSON comment on the
database that says, to people above all, whose it is and what for. Whoever may make databases can forge both: what is
dropped or believed is known by this host's own record (see `_components/database/records`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

#: PostgreSQL cuts longer names without a word.
NAME_BYTES = 63
INCOMING, PREVIOUS, REJECTED = "incoming", "previous", "rejected"
#: Holds single tables: those that are to come, and then those that were replaced.
TABLES = "tables"


@dataclass(frozen=True)
class SideNames:
    """The names of one database in one transaction; each at most 63 bytes, whatever the live name."""

    incoming: str
    previous: str
    rejected: str
    tables: str

    @classmethod
    def of(cls, transaction: str, name: str) -> SideNames:
        """Compute them; equal input gives equal names, other transactions or databases give others."""
        tag = name_tag(transaction, name)
        return cls(*(_side_name(name, f"_lastgood_{tag}_{role}") for role in (INCOMING, PREVIOUS, REJECTED, TABLES)))


def name_tag(transaction: str, name: str) -> str:
    """What distinguishes the names of one database in one transaction from all others."""
    return hashlib.sha256(f"{transaction}\0{name}".encode()).hexdigest()[:8]


def _side_name(name: str, suffix: str) -> str:
    room = NAME_BYTES - len(suffix.encode())
    return name.encode()[:room].decode(errors="ignore") + suffix


def database_lock_keys(system: str, name: str, *oids: int | None) -> tuple[str, ...]:
    """The lock keys of a database, see `Plan.things`.

    Its name as well: in the middle of a rollback it belongs to another database than when that was planned.
    """
    return (*(f"database:{system}:{oid}" for oid in oids if oid is not None), f"database:{system}:name={name}")


def application_name(transaction: str) -> str:
    """What the sessions of a transaction are called on the server: how those of a killed module are found again."""
    return f"lastgood-{hashlib.sha256(transaction.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Mark:
    """The comment on a side database.

    :param lastgood: the transaction that made or retained it.
    :param role: ``incoming``, ``previous``, ``rejected`` or ``tables``.
    :param name: the live database's name.
    :param of: OID of the database that was live when the transaction began; for ``previous``: the OID that took over.
    :param ready: for ``incoming``: restored and checked to the end.
    :param comment: the database's own comment, which the mark stands in for.
    :param at: server time, in seconds since 1970, when it was retained.
    :param id: random, of the plan. Everybody can read it, so it proves nothing alone.
    """

    lastgood: str
    role: str
    name: str
    of: int | None
    ready: bool = False
    comment: str | None = None
    at: float = 0.0
    id: str = ""

    def text(self) -> str:
        """The comment's text."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def read(cls, comment: str | None) -> Mark | None:
        """The mark in a comment; None for any other comment."""
        try:
            mark = cls(**json.loads(comment or ""))
        except (TypeError, ValueError, RecursionError):
            return None
        kinds: dict[str, Any] = {
            "of": (int, type(None)),
            "ready": bool,
            "comment": (str, type(None)),
            "at": (int, float),
        }
        values = asdict(mark)
        return mark if all(isinstance(values[name], kinds.get(name, str)) for name in values) else None
