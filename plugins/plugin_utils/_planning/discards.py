# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What a rollback puts out of sight, and what it keeps, in the words of the kinds of components. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .kinds.base import Discard
from .kinds.registry import COUNTS, DISCARDS

_MOST_LINES = 8
_UNKNOWN = Discard(object)


def discard_lines(discards: Mapping[str, Any]) -> list[str]:
    """At most a handful of lines; the rest is counted, and stands whole in the diff and in the report."""
    lines = all_discard_lines(discards)
    if len(lines) > _MOST_LINES:
        return [*lines[: _MOST_LINES - 1], f"and {len(lines) - _MOST_LINES + 1} more"]
    return lines


def all_discard_lines(discards: Mapping[str, Any]) -> list[str]:
    """Every one of them: one line a commit, table, package or file."""
    first = sorted(discards.items(), key=lambda item: DISCARDS.get(item[0], _UNKNOWN).rank)
    return [line for subject, value in first for line in DISCARDS.get(subject, _UNKNOWN).lines(subject, value)]


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
    return f"{name} ({', '.join(words.format(number[word]) for word, words in COUNTS.items() if word in number)})"
