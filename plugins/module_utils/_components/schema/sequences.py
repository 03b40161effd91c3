# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Sequences that go along with rows: at or above what was given out, and what is in use."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.sequences import SEQUENCES, highest_in_use
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session, sql

# pg_sequences leaves the value out where our role may not read it, and before the first use.
ALL = """
SELECT n.nspname AS schema, c.relname AS name, s.seqincrement AS step, s.seqmin AS least, s.seqmax AS most,
       pg_sequence_last_value(c.oid) AS value
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND n.nspname !~ '^pg_'
"""


def read_sequences(session: Session) -> dict[str, int | None]:
    """Where each sequence stands, None before its first use. Not of any snapshot: sequences have none."""
    return {f"{row['schema']}.{row['name']}": row["value"] for row in session.rows(ALL)}


def settle(session: Session, live: Mapping[str, int | None], then: Mapping[str, str | None]) -> None:
    """Set the sequences of a database that was filled with rows.

    :param live: where those of the live database stand.
    :param then: where those of the restore point stood, for the ones that the live database does not have any more.
    """
    used: dict[str, list[int]] = {}
    for row in session.rows(SEQUENCES):
        value = session.value(highest_in_use(row))
        if value is not None:
            used.setdefault(f"{row['schema']}.{row['name']}", []).append(int(value))
    wanted = {}
    for key in read_sequences(session):
        given = live[key] if key in live else then.get(key)
        wanted[key] = [*used.get(key, ()), *([int(given)] if given is not None else [])]
    _set(session, wanted)


def advance(session: Session, live: Mapping[str, int | None]) -> None:
    """Follow the live database's sequences, which may have moved on while the rows stood still."""
    _set(session, {key: [value] for key, value in live.items() if value is not None})


def _set(session: Session, wanted: Mapping[str, list[int]]) -> None:
    for row in session.rows(ALL):
        key = f"{row['schema']}.{row['name']}"
        values = [*wanted.get(key, ()), *([row["value"]] if row["value"] is not None else [])]
        if not wanted.get(key):
            continue
        value = _furthest(row, values)
        if value != row["value"]:
            place = sql.Literal(sql.Identifier(row["schema"], row["name"]).as_string(session.connection))
            statement = sql.SQL("SELECT setval({}::regclass, {})").format(place, sql.Literal(value))
            session.execute(statement, attempt=f"Setting sequence {key}")


def _furthest(row: JsonObject, values: list[int]) -> int:
    """The value that is furthest along the sequence's way, within its bounds."""
    value = max(values) if row["step"] > 0 else min(values)
    return int(min(max(value, row["least"]), row["most"]))
