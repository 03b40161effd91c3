# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Text of unknown origin, and times, for people's eyes. Pure."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.text import one_line

_MARKDOWN = frozenset("\\`*_[]<>#|~&")
#: What means something at the beginning of a line only.
_LEADING = re.compile(r"^(?:[-+=:]|\d+(?=[.)]))")


def markdown(text: str) -> str:
    """Text that Markdown shows as it is, in a paragraph, a list or a table's cell."""
    line = "".join(f"\\{character}" if character in _MARKDOWN else character for character in one_line(text))
    found = _LEADING.match(line)
    if found is None:
        return line
    at = 0 if found.end() == 1 and not found[0].isdigit() else found.end()
    return f"{line[:at]}\\{line[at:]}"


def redacted(value: Any, secrets: Sequence[str]) -> Any:
    """The same JSON without these secrets, wherever a tool may have printed one."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "********")
        return value
    if isinstance(value, Mapping):
        return {redacted(str(key), secrets): redacted(each, secrets) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(each, secrets) for each in value]
    return value


def clock(at: float | None) -> str:
    """``2026-11-23 14:30:05`` in the controller's local time."""
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def clock_with_zone(at: float | None) -> str:
    """``2026-11-23 14:30:05 CET``."""
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at))


def log_lines(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """The log of the controller: ``YYYY-MM-DD HH:MM:SS - ROLLBACK - <host>: <what happened>``, oldest first.

    :param events: with ``at``, ``host``, ``event`` and ``what``; intents are not logged, only what came of them.
    """
    return [
        f"{clock(event['at'])} - ROLLBACK - {'FAILED: ' if event['event'] == 'failed' else ''}"
        f"{one_line(event['host'])}: {one_line(event['what'])}"
        for event in events
        if event["event"] != "intent"
    ]


def missing_lines(present: Iterable[str], wanted: Sequence[str]) -> list[str]:
    """The lines to append so that all that is wanted is there once, however often it is written."""
    known = Counter(present)
    lines = []
    for line in wanted:
        if known[line]:
            known[line] -= 1
        else:
            lines.append(line)
    return lines
