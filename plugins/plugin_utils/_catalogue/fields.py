# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Reading mappings that people wrote: every mistake is collected, none stops the reading."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any


@dataclass(frozen=True)
class Kind:
    """What a value has to be.

    :param description: for the sentence "must be …".
    :param accepts: whether a value is that.
    :param secret: a wrong value is not shown in the message.
    """

    description: str
    accepts: Callable[[Any], bool]
    secret: bool = False


@dataclass
class Mistakes:
    """All that is wrong, each with the place where it stands."""

    found: list[str] = field(default_factory=list)

    def add(self, where: str, what: str) -> None:
        """Note one mistake: ``rollback_projects.blog.path: must be an absolute path, not 'blog'``."""
        self.found.append(f"{where}: {what}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _is_absolute(value: Any) -> bool:
    return _is_text(value) and value.startswith("/") and ".." not in PurePosixPath(value).parts


def _is_inside(value: Any) -> bool:
    return _is_text(value) and ".." not in PurePosixPath(value).parts


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _all(value: Any, accepts: Callable[[Any], bool]) -> bool:
    return isinstance(value, (list, tuple)) and all(accepts(item) for item in value)


TEXT = Kind("a text", _is_text)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
COUNT = Kind("a whole number of at least 1", _is_count)
SECONDS = Kind("a number of seconds", _is_number)
ABSOLUTE = Kind("an absolute path without '..'", _is_absolute)
MAPPING = Kind("a mapping", lambda value: isinstance(value, Mapping))
TEXTS = Kind("a list of texts", lambda value: _all(value, _is_text))
PATHS = Kind("a list of paths without '..'", lambda value: _all(value, _is_inside))
MAPPINGS = Kind("a list of mappings", lambda value: _all(value, MAPPING.accepts))
COMMANDS = Kind(
    "a list of argument lists, such as [[python, -m, pytest]]",
    lambda value: _all(value, lambda item: _all(item, _is_text) and len(item) > 0),
)
OPTIONAL_TEXT = Kind("a text", lambda value: isinstance(value, str))
SECRET_TEXT = Kind("a text", lambda value: isinstance(value, str), secret=True)
SECRET_MAPPING = Kind("a mapping", MAPPING.accepts, secret=True)
URL_OR_MAPPING = Kind("an address or a mapping", lambda value: _is_text(value) or MAPPING.accepts(value))


def one_of(*words: str) -> Kind:
    """One of a few words."""
    return Kind(f"{', '.join(words[:-1])} or {words[-1]}", lambda value: value in words)


def read_fields(
    where: str, raw: Any, known: Mapping[str, Kind], mistakes: Mistakes, required: Iterable[str] = ()
) -> dict[str, Any]:
    """The values of a mapping that are right; what is wrong goes to ``mistakes``.

    A value of ``None`` (a key without a value in YAML) counts as not given.

    :param where: the place, for the messages.
    :param known: the keys there are, and what their values must be.
    :param required: keys that must be given.
    """
    if not MAPPING.accepts(raw):
        mistakes.add(where, f"must be {MAPPING.description}, not {described(raw)}")
        return {}
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in known:
            mistakes.add(where, f"does not know {str(key)!r}{nearest(key, known)}")
        elif value is None:
            continue
        elif known[key].accepts(value):
            values[key] = value
        else:
            shown = "what it is (not shown here)" if known[key].secret else described(value)
            mistakes.add(f"{where}.{key}", f"must be {known[key].description}, not {shown}")
    for key in required:
        if raw.get(key) is None:
            mistakes.add(where, f"has no {key!r}")
    return values


def nearest(word: Any, known: Iterable[str]) -> str:
    """``; did you mean 'path'?`` where a known word is near, else all of them, else nothing."""
    words = sorted(known)
    match = difflib.get_close_matches(str(word), words, 1)
    if match:
        return f"; did you mean {match[0]!r}?"
    return f" (known: {', '.join(words)})" if words else ""


def described(value: Any) -> str:
    """A value for a message, cut short."""
    text = repr(str(value)) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
