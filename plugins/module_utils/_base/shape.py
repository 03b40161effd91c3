# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The types of what was not made by this process: read from a disk, a database's comment or another host.

A shape is written as plain Python:

- a type: ``str``, ``bool``, ``int``, ``float`` (whole numbers too), ``object`` for anything;
- ``None`` for null, and a tuple of shapes for one of them;
- a frozenset of words for one of these words, a range for a number in it;
- ``[shape]`` for a list, ``{str: shape}`` for an object with any keys;
- ``{"name": shape}`` for an object with at least these keys; ``"name?"`` for one that may be left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from .errors import Unreadable

Shape = Any
#: Seconds since the epoch that any calendar has a date for.
MOMENT = range(253_402_214_400)
#: No count is larger; what is could not be computed with.
_LARGEST = 2**64
_WORDS = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "an object",
    list: "a list",
}


def require(value: Any, shape: Shape, place: str) -> Any:
    """The value, if it fits.

    :param place: where it was read, for the message: a file and what is in it, a database's comment, a host.
    :raises Unreadable: with the place inside of it that does not fit.
    """
    wrong = _misfit(value, shape, "")
    if wrong:
        raise Unreadable(f"{place} can't be understood: {wrong}.")
    return value


def require_json(content: bytes, shape: Shape, place: str) -> Any:
    """What a file or a comment says, if it is JSON and fits.

    :raises Unreadable: see `require`.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{place} can't be understood: {error}.") from error
    return require(value, shape, place)


def _misfit(value: Any, shape: Shape, at: str) -> str:
    """What does not fit first, in words; empty when all does."""
    if isinstance(shape, tuple):
        misfits = [_misfit(value, one, at) for one in shape]
        return "" if "" in misfits else misfits[0]
    if isinstance(shape, frozenset):
        fits = isinstance(value, str) and value in shape
    elif isinstance(shape, range):
        fits = _is_a(value, float) and shape.start <= value < shape.stop
    elif isinstance(shape, list):
        return _misfit_list(value, shape[0], at)
    elif isinstance(shape, dict):
        return _misfit_object(value, shape, at)
    else:
        fits = value is None if shape is None else _is_a(value, shape)
    return "" if fits else f"{at or 'it'} is {_kind(value)}, not {_wanted(shape)}"


def _misfit_list(value: Any, shape: Shape, at: str) -> str:
    if not isinstance(value, list):
        return f"{at or 'it'} is {_kind(value)}, not a list"
    return next(filter(None, (_misfit(one, shape, f"{at}[{number}]") for number, one in enumerate(value))), "")


def _misfit_object(value: Any, shape: Mapping[Any, Shape], at: str) -> str:
    if not isinstance(value, Mapping):
        return f"{at or 'it'} is {_kind(value)}, not an object"
    prefix = f"{at}." if at else ""
    if str in shape:
        return next(filter(None, (_misfit(one, shape[str], f"{prefix}{name}") for name, one in value.items())), "")
    for name, one in shape.items():
        known = name.rstrip("?")
        if known not in value:
            if name == known:
                return f"{prefix}{known} is missing"
            continue
        wrong = _misfit(value[known], one, f"{prefix}{known}")
        if wrong:
            return wrong
    return ""


def _is_a(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind in (bool, object)
    if kind is float and isinstance(value, float):
        return math.isfinite(value) and abs(value) < _LARGEST
    if kind in (int, float):
        return isinstance(value, int) and abs(value) < _LARGEST
    return isinstance(value, kind)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    return next((words for kind, words in _WORDS.items() if isinstance(value, kind)), value.__class__.__name__)


def _wanted(shape: Shape) -> str:
    if isinstance(shape, frozenset):
        return " or ".join(sorted(shape))
    if isinstance(shape, range):
        return f"a number from {shape.start} to {shape.stop - 1}"
    return "null" if shape is None else _WORDS[shape]
