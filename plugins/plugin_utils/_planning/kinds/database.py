# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The kind ``database``: a database as a whole. Its words are those of the other ways to go back in one, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .base import DatabaseKind, Discard


def _rows(_subject: str, tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for table, row in tables.items():
        now, then = row["now"], row["then"]
        if now is None or then is None:
            yield f"{table}: {_count(now)} rows now, {_count(then)} at the restore point"
        elif now != then:
            yield f"{table}: {_count(now)} rows now, {_count(then)} at the restore point ({now - then:+,})"
        elif row["differs"]:
            yield f"{table}: {_count(now)} rows, of other content than at the restore point"


def _sequences(_subject: str, sequences: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, row in sequences.items():
        yield f"sequence {name}: {row['now'] or 'not used'} now, {row['then'] or 'not used'} at the restore point"


def _large_objects(_subject: str, row: Mapping[str, Any]) -> Iterator[str]:
    if row["now"] != row["then"]:
        yield f"large objects: {_count(row['now'])} now, {_count(row['then'])} at the restore point"
    else:
        yield f"{_count(row['now'])} large objects: other content, owners, grants or comments than at the restore point"


def _written(_subject: str, tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What people wrote after a rollback, when that one is undone."""
    for table, row in tables.items():
        now, then = row["now"], row["then"]
        if then is None:
            yield f"{table}: {_count(now)} rows, a table that is new since the rollback"
        elif now is None:
            yield f"{table}: {_count(now)} rows now, {_count(then)} right after the rollback"
        elif now != then:
            yield f"{table}: {_count(now)} rows now, {_count(then)} right after the rollback ({now - then:+,})"
        else:
            yield f"{table}: {_count(now)} rows, of other content than right after the rollback"


def _migration(_subject: str, heads: Mapping[str, list[str]]) -> Iterator[str]:
    """Where migration tools stand; an application has dozens of these lines."""
    then, now = (", ".join(heads[word]) or "none" for word in ("then", "now"))
    yield f"migrations: then {then}, now {now}"


def _count(rows: int | None) -> str:
    return "an unknown number of" if rows is None else f"{rows:,}"


_COUNTED = {"now": (None, int), "then": (None, int)}


class Database(DatabaseKind):
    """See the module's docstring."""

    name = "database"
    title = "Database"
    discards = {
        "migration": Discard({"then": [str], "now": [str]}, _migration, rank=1),
        "rows": Discard({str: {**_COUNTED, "differs": bool}}, _rows),
        "not_compared": Discard([object]),
        "sequences": Discard({str: {"now": object, "then": object}}, _sequences),
        "large_objects": Discard(_COUNTED, _large_objects),
        "written": Discard({str: _COUNTED}, _written),
    }
    counts = {"then": "then {}", "now": "now {}", "written": "written {}"}
