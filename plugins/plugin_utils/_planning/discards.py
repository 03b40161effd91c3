# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What a rollback puts out of sight, in words: one line a commit, table, package or file. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

_MOST_LINES = 8
#: What is listed before all else, whatever order a journal has given it.
_FIRST = ("may_not_fit", "migration")


def discard_lines(discards: Mapping[str, Any]) -> list[str]:
    """At most a handful of lines; the rest is counted, and stands whole in the diff and in the report."""
    lines = all_discard_lines(discards)
    if len(lines) > _MOST_LINES:
        return [*lines[: _MOST_LINES - 1], f"and {len(lines) - _MOST_LINES + 1} more"]
    return lines


def all_discard_lines(discards: Mapping[str, Any]) -> list[str]:
    """Every one of them."""
    first = sorted(discards.items(), key=lambda item: _FIRST.index(item[0]) if item[0] in _FIRST else len(_FIRST))
    return [line for kind, value in first for line in _WORDS.get(kind, _other)(kind, value)]


def _unfit(_kind: str, tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for table, row in sorted(tables.items(), key=lambda item: -(item[1]["rows"] or item[1]["of"])):
        of, why = f"{row['of']:,}", "; ".join(row["why"])
        if row["rows"] is None:
            yield f"rows of {table}, which has about {of}: not counted in time how many would leave it: {why}"
        else:
            yield f"up to {row['rows']:,} of {of} rows of {table} don't fit the older schema and would leave it: {why}"


def _rows(_kind: str, tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for table, row in tables.items():
        now, then = row["now"], row["then"]
        if now is None or then is None:
            yield f"{table}: {_count(now)} rows now, {_count(then)} at the restore point"
        elif now != then:
            yield f"{table}: {_count(now)} rows now, {_count(then)} at the restore point ({now - then:+,})"
        elif row["differs"]:
            yield f"{table}: {_count(now)} rows, of other content than at the restore point"


def _sequences(_kind: str, sequences: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, row in sequences.items():
        yield f"sequence {name}: {row['now'] or 'not used'} now, {row['then'] or 'not used'} at the restore point"


def _behind(_kind: str, names: list[str]) -> Iterator[str]:
    yield from (f"sequence {name} would give values that are in use: it is moved on" for name in names)


def _large_objects(_kind: str, row: Mapping[str, Any]) -> Iterator[str]:
    if row["now"] != row["then"]:
        yield f"large objects: {_count(row['now'])} now, {_count(row['then'])} at the restore point"
    else:
        yield f"{_count(row['now'])} large objects: other content, owners, grants or comments than at the restore point"


def _written(_kind: str, tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
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


def _count(rows: int | None) -> str:
    return "an unknown number of" if rows is None else f"{rows:,}"


def _commits(_kind: str, commits: list[Mapping[str, Any]]) -> Iterator[str]:
    for commit in commits:
        yield f"commit {commit['id'][:9]} {commit['subject']} ({commit['author']}, {commit['date'][:10]})"


def _files(_kind: str, files: list[Mapping[str, Any]]) -> Iterator[str]:
    for file in files:
        settings = f" ({', '.join(file['settings'])})" if file.get("settings") else ""
        yield f"{file['path']} is {file['becomes']}{settings}"


def _migration(_kind: str, heads: Mapping[str, list[str]]) -> Iterator[str]:
    """Where migration tools stand; an application has dozens of these lines."""
    then, now = (", ".join(heads[word]) or "none" for word in ("then", "now"))
    yield f"migrations: then {then}, now {now}"


def _keeps(kind: str, names: list[str]) -> Iterator[str]:
    what = kind.removeprefix("kept_").removesuffix("s")
    yield from (f"{what} {name}: no place at the restore point, kept beside the data" for name in names)


def _types(_kind: str, changes: list[str]) -> Iterator[str]:
    yield from (f"type of {change}; what is not the same any more is kept beside the data" for change in changes)


def _returns(kind: str, names: list[str]) -> Iterator[str]:
    what = kind.removeprefix("returning_").removesuffix("s")
    source = "" if what == "grant" else ", with what it held at the restore point"
    yield from (f"{what} {name} comes back{source}" for name in names)


def _downgraded(kind: str, names: list[str]) -> Iterator[str]:
    what = kind.removeprefix("downgraded_").removesuffix("s")
    yield from (f"{what} {name}: the downgrade takes it away; it stays in the database as it was" for name in names)


def _downgraded_types(_kind: str, changes: list[str]) -> Iterator[str]:
    yield from (f"type of {change}, as the downgrade converts it" for change in changes)


def _remade(kind: str, names: list[str]) -> Iterator[str]:
    what = kind.removeprefix("remade_").removesuffix("s")
    yield from (f"{what} {name} comes back with what the downgrade gives it" for name in names)


def _unknown(_kind: str, names: list[str]) -> Iterator[str]:
    yield from (f"column {name} comes back empty: no primary key tells which row is which" for name in names)


def _other(kind: str, value: Any) -> Iterator[str]:
    entries = value if isinstance(value, (list, tuple)) else [value] if value else []
    for entry in entries:
        yield f"{kind}: {entry}"


_WORDS: dict[str, Callable[[str, Any], Iterator[str]]] = {
    "rows": _rows,
    "sequences": _sequences,
    "sequences_behind": _behind,
    "large_objects": _large_objects,
    "written": _written,
    "commits": _commits,
    "files": _files,
    "may_not_fit": _unfit,
    "migration": _migration,
    "kept_tables": _keeps,
    "kept_columns": _keeps,
    "changed_types": _types,
    "returning_tables": _returns,
    "returning_columns": _returns,
    "returning_grants": _returns,
    "unknown_columns": _unknown,
    "downgraded_tables": _downgraded,
    "downgraded_columns": _downgraded,
    "downgraded_types": _downgraded_types,
    "remade_tables": _remade,
    "remade_columns": _remade,
}


_NAMES = [str]
_COUNTED = {"now": (None, int), "then": (None, int)}
#: The types of what is put into these words; any other kind is shown as it comes.
SHAPES = {
    "rows?": {str: {**_COUNTED, "differs": bool}},
    "not_compared?": [object],
    "sequences?": {str: {"now": object, "then": object}},
    "sequences_behind?": _NAMES,
    "large_objects?": _COUNTED,
    "written?": {str: _COUNTED},
    "commits?": [{"id": str, "subject": str, "author": str, "date": str}],
    "files?": [{"path": str, "becomes": str, "settings?": (None, _NAMES)}],
    "may_not_fit?": {str: {"rows": (None, int), "of": int, "why": _NAMES}},
    "migration?": {"then": _NAMES, "now": _NAMES},
    **{
        f"{kind}?": _NAMES
        for kind in _WORDS
        if kind.startswith(("kept_", "changed_", "returning_", "unknown_", "downgraded_", "remade_"))
    },
}

#: What was counted, in words: rows in the order of time, and what an older schema has no place for.
_COUNTS = {
    "then": "then {}",
    "now": "now {}",
    "written": "written {}",
    "table": "the whole table: {}",
    "columns": "columns of rows: {}",
    "rows": "rows: {}",
    "orphans": "rows that refer to one that is gone: {}",
    "values": "rows whose values are not the same: {}",
}


def kept_places(kept: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a component keeps and where, one pair for each place; of counts, all in one place.

    :param kept: label → one place, several, or by name a number or numbers with their words (``{"then": 50, "now": 52}``).
    """
    for label, places in kept.items():
        if isinstance(places, Mapping):
            yield label, ", ".join(_counted(name, number) for name, number in places.items()) or "nothing"
            continue
        for place in places if isinstance(places, (list, tuple)) else [places]:
            yield label, str(place)


def _counted(name: str, number: Any) -> str:
    if not isinstance(number, Mapping):
        return f"{name}: {number}"
    return f"{name} ({', '.join(words.format(number[word]) for word, words in _COUNTS.items() if word in number)})"
