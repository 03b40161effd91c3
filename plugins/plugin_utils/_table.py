# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Tables as text, for terminals and job logs."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

_WIDEST_CELL = 100
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def render_table(title: str, rows: Sequence[Sequence[Any]]) -> str:
    """Lay out rows of cells in columns under a title.

    Control characters and marks that change the direction of writing are shown as what they are, so that no name can
    forge a line; a cell of several lines goes on below itself.
    """
    lines = [[_lines(cell) for cell in row] for row in rows]
    columns = max((len(row) for row in lines), default=0)
    widths = [
        max((len(text) for row in lines if index < len(row) for text in row[index]), default=0)
        for index in range(columns)
    ]
    out = [_plain(title), "-" * max(len(_plain(title)), min(sum(widths) + 2 * max(columns - 1, 0), 100))]
    for row in lines:
        for depth in range(max((len(cell) for cell in row), default=0)):
            cells = [cell[depth] if depth < len(cell) else "" for cell in row]
            out.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())
    return "\n".join(out)


def _lines(cell: Any) -> list[str]:
    found: list[str] = []
    for line in ("" if cell is None else str(cell)).split("\n"):
        text = _plain(line)
        while len(text) > _WIDEST_CELL:
            cut = text.rfind(" ", 1, _WIDEST_CELL)
            cut = cut if cut > 0 else _WIDEST_CELL
            found.append(text[:cut])
            text = text[cut:].lstrip()
        found.append(text)
    return found


def _plain(text: str) -> str:
    """Without anything that is not seen: control characters, direction marks, other line ends."""
    return "".join(
        character if unicodedata.category(character) not in _UNSEEN else character.encode("unicode_escape").decode()
        for character in text
    )
