# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Which settings differ between two configuration files: their names, and never a value.

Configuration files hold passwords, and what a plan shows ends up in logs and reports.
"""

from __future__ import annotations

import hashlib
import os
import re

#: Larger files are no configuration; nothing of them is shown.
LIMIT_BYTES = 256 * 1024

# A value must follow: the padding at the end of a base64 line is not a setting's name with an empty value.
SETTING = re.compile(r"^\s*(?:export\s+|-\s+)?[\"']?([A-Za-z_][\w.-]{0,99})[\"']?\s*[:=]\s*([^=\s].*)$")
ARMOUR = re.compile(r"^-----(BEGIN|END) ")


def changed_settings(before: int | None, after: int | None) -> list[str]:
    """Names of the settings that were added, removed or changed; empty for files that are no configuration.

    :param before: an open file, or nothing where there is none.
    """
    old, new = _settings(before), _settings(after)
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def _settings(handle: int | None) -> dict[str, str]:
    if handle is None or os.fstat(handle).st_size > LIMIT_BYTES:
        return {}
    try:
        text = os.pread(handle, LIMIT_BYTES, 0).decode("utf-8")
    except UnicodeDecodeError:
        return {}
    return settings_of(text)


def settings_of(text: str) -> dict[str, str]:
    """Name → digest of all values given to it, in order."""
    found: dict[str, str] = {}
    armoured = False
    for line in text.splitlines():
        edge = ARMOUR.match(line.strip())
        if edge:
            armoured = edge.group(1) == "BEGIN"
        match = None if armoured or edge else SETTING.match(line)
        if match:
            seen = found.get(match.group(1), "") + match.group(2).strip()
            found[match.group(1)] = hashlib.sha256(seen.encode()).hexdigest()
    return found
