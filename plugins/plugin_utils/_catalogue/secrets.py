# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What of a catalogue is secret. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_SECRET_NAME = re.compile(r"pass|secret|token|credential|(^|_)key", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"://[^/@\s:]*:([^/@\s]+)@")
#: What is shorter is a word of every report.
_SHORTEST = 6


def catalogue_secrets(databases: Mapping[str, Any], projects: Mapping[str, Any]) -> list[str]:
    """Passwords and settings that are named like a secret, longest first, so that no part of one is left over."""
    found = {text for each in [*databases.values(), *projects.values()] for text in _secrets(each)}
    return sorted((text for text in found if len(text) >= _SHORTEST), key=lambda text: (-len(text), text))


def _secrets(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _secrets(each, str(key))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _secrets(each, name)
    elif isinstance(value, str):
        if _SECRET_NAME.search(name):
            yield str(value)
        yield from _PASSWORD_IN_URL.findall(value)
