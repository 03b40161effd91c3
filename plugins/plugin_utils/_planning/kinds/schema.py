# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The kind ``schema``: the schemas of a database, whose rows stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .base import DatabaseKind, Discard


def _unfit(_subject: str, tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for table, row in sorted(tables.items(), key=lambda item: -(item[1]["rows"] or item[1]["of"])):
        of, why = f"{row['of']:,}", "; ".join(row["why"])
        if row["rows"] is None:
            yield f"rows of {table}, which has about {of}: not counted in time how many would leave it: {why}"
        else:
            yield f"up to {row['rows']:,} of {of} rows of {table} don't fit the older schema and would leave it: {why}"


def _keeps(subject: str, names: list[str]) -> Iterator[str]:
    what = subject.removeprefix("kept_").removesuffix("s")
    yield from (f"{what} {name}: no place at the restore point, kept beside the data" for name in names)


def _types(_subject: str, changes: list[str]) -> Iterator[str]:
    yield from (f"type of {change}; what is not the same any more is kept beside the data" for change in changes)


def _returns(subject: str, names: list[str]) -> Iterator[str]:
    what = subject.removeprefix("returning_").removesuffix("s")
    source = "" if what == "grant" else ", with what it held at the restore point"
    yield from (f"{what} {name} comes back{source}" for name in names)


def _unknown(_subject: str, names: list[str]) -> Iterator[str]:
    yield from (f"column {name} comes back empty: no primary key tells which row is which" for name in names)


class Schema(DatabaseKind):
    """See the module's docstring."""

    name = "schema"
    title = "Schema of database"
    in_all = False
    discards = {
        "may_not_fit": Discard({str: {"rows": (None, int), "of": int, "why": [str]}}, _unfit, rank=0),
        "kept_tables": Discard([str], _keeps),
        "kept_columns": Discard([str], _keeps),
        "changed_types": Discard([str], _types),
        "returning_tables": Discard([str], _returns),
        "returning_columns": Discard([str], _returns),
        "returning_grants": Discard([str], _returns),
        "unknown_columns": Discard([str], _unknown),
    }
    #: What an older schema has no place for.
    counts = {
        "table": "the whole table: {}",
        "columns": "columns of rows: {}",
        "rows": "rows: {}",
        "orphans": "rows that refer to one that is gone: {}",
        "values": "rows whose values are not the same: {}",
    }
