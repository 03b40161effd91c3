# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Two schemas as a person compares them: a unified diff, object by object; and the grants between them. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.schema_text import HEADER, levelled

GRANT = re.compile(r"(?:GRANT) (?P<what>.+?) ON (?P<object>.+) TO (?P<who>\S+?)(?: WITH GRANT OPTION)?;$")
REVOKE = re.compile(r"REVOKE (?P<what>.+?) ON (?P<object>.+) FROM (?P<who>\S+);$")
CHECK = re.compile(r"\bCHECK \(")
#: Of a type: its length or scale, and that it is an array.
SUFFIX = re.compile(r"(\([^()]*\))?(\[\])*$")
#: More than this nobody reads, and the journal holds it.
MOST_LINES = 2_000
#: Of one object, in a sentence.
MOST_WORDS = 4
Blocks = Mapping[str, list[str]]


def blocks(lines: Iterable[str]) -> dict[str, list[str]]:
    """The objects of a schema: ``TABLE public post`` → the lines of its definition."""
    found: dict[str, list[str]] = {}
    key = ""
    for line in lines:
        match = HEADER.match(line)
        if match:
            key = f"{match['type']} {match['schema']} {match['name']}"
        elif line.strip():
            found.setdefault(key, []).append(line.rstrip("\n"))
    return {key: text for key, text in found.items() if key}


def unified(live: Blocks, then: Blocks) -> str:
    """What going back changes, as ``diff -u`` writes it: lines with a minus are live, those with a plus come back."""
    lines: list[str] = []
    for key in sorted({*live, *then}):
        now, old = live.get(key, []), then.get(key, [])
        if [levelled(line) for line in now] != [levelled(line) for line in old]:
            lines += difflib.unified_diff(
                now,
                old,
                f"live: {key}" if now else "/dev/null",
                f"restore point: {key}" if old else "/dev/null",
                lineterm="",
            )
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"… and {len(lines) - MOST_LINES} lines more"]
    return "\n".join(lines) + "\n" if lines else ""


def unlike(then: Blocks, now: Blocks) -> tuple[list[str], list[str]]:
    """What is not as it was, with the lines that tell; and tables whose columns only stand in another order."""
    wrong, reordered = [], []
    for key in sorted({*then, *now}):
        was, found = ([levelled(line).strip().rstrip(",") for line in side.get(key, [])] for side in (then, now))
        if was == found:
            continue
        if not was or not found:
            wrong.append(f"{'added' if found else 'missing'}: {key}")
        elif key.startswith("TABLE ") and sorted(was) == sorted(found):
            reordered.append(f"order of columns: {key}")
        else:
            changes = [f"without {line!r}" for line in was if line not in found]
            changes += [f"with {line!r}" for line in found if line not in was]
            wrong.append(
                f"changed: {key} ({', '.join(changes[:MOST_WORDS])}{' …' if len(changes) > MOST_WORDS else ''})"
            )
    return wrong, reordered


def checks(lines: Iterable[str]) -> set[str]:
    """The ``CHECK (…)`` of an object's definition."""
    text, found = "\n".join(lines), set()
    for match in CHECK.finditer(text):
        depth, at = 1, match.end()
        while depth and at < len(text):
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        found.add(text[match.start() : at])
    return found


class Differing:
    """What both schemas have under one name, and not with one meaning."""

    def __init__(self, then: Blocks, now: Blocks) -> None:
        self._now = now
        self._functions = {name for names in self._among(then, ("FUNCTION ", "PROCEDURE ")) for name in names}
        self._types = {name for names in self._among(then, ("TYPE ", "DOMAIN ")) for name in names} | self._functions
        rest = {key: lines for key, lines in then.items() if key.startswith(("TYPE ", "DOMAIN "))}
        while True:  # types made of types; each round takes some of the rest away
            more = {key for key, lines in rest.items() if _mentions(lines, self._types)}
            if not more:
                break
            rest = {key: lines for key, lines in rest.items() if key not in more}
            self._types |= {name for key in more for name in _spellings(key)}
        #: Partitions, as schema and name.
        self.attached = {
            (schema, name)
            for key, lines in then.items()
            if key.startswith("TABLE ATTACH ") and _comparable(lines) != _comparable(now.get(key, []))
            for schema, _space, name in [key[len("TABLE ATTACH ") :].partition(" ")]
        }

    def has_type(self, name: str) -> bool:
        """Whether a type, as ``format_type`` calls it, has other values now."""
        return SUFFIX.sub("", name) in self._types

    def calls(self, expression: str) -> bool:
        """Whether an expression calls a function that does something else now, or names such a type."""
        return _mentions([expression], self._types)

    def _among(self, then: Blocks, kinds: tuple[str, ...]) -> Iterator[set[str]]:
        for key, lines in then.items():
            if key.startswith(kinds) and _comparable(lines) != _comparable(self._now.get(key, [])):
                yield _spellings(key)


def _comparable(lines: Iterable[str]) -> list[str]:
    return [levelled(line) for line in lines if " OWNER TO " not in line]


def _spellings(key: str) -> set[str]:
    """How SQL may call an object: with quotes and without."""
    schema, _space, name = key.partition(" ")[2].partition(" ")
    name = name.partition("(")[0]
    return {f"{a}.{b}" for a in (schema, _quoted(schema)) for b in (name, _quoted(name))}


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))


def _mentions(lines: Iterable[str], names: Iterable[str]) -> bool:
    text = "\n".join(lines)
    return any(name in text for name in names)


def returning_grants(live: Blocks, then: Blocks) -> list[str]:
    """Grants that were taken away since the restore point from what is still there, and come back with its schema."""
    found = []
    for key in sorted({*live, *then}):
        if " ACL " not in f" {key.split(' ', 2)[0]} " and not key.startswith("DEFAULT ACL "):
            continue
        if _is_there(key, live):
            now, old = live.get(key, []), then.get(key, [])
            found += sorted(_granted(old) - _granted(now))
            found += [f"{what} on {on} to {who}" for what, on, who in sorted(_revoked(now) - _revoked(old))]
    return found


def _is_there(key: str, live: Blocks) -> bool:
    """Whether the object of ``ACL public TABLE post`` is live, too."""
    kind, schema, name = ([*key.split(" ", 2), "", ""])[:3]
    if kind != "ACL":
        return True
    what, _space, of = name.partition(" ")
    if what == "COLUMN":
        return True
    return f"{what} {schema} {of}" in live or what not in (
        "TABLE",
        "FUNCTION",
        "SEQUENCE",
        "TYPE",
        "DOMAIN",
        "PROCEDURE",
    )


def _granted(lines: Iterable[str]) -> set[str]:
    return {f"{what} on {on} to {who}" for what, on, who in _words(GRANT, lines)}


def _revoked(lines: Iterable[str]) -> set[tuple[str, str, str]]:
    return {words for words in _words(REVOKE, lines) if words[2] == "PUBLIC"}


def _words(pattern: re.Pattern[str], lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    for line in lines:
        match = pattern.match(line)
        if match:
            for what in match["what"].split(","):
                yield what.strip(), match["object"], match["who"]
