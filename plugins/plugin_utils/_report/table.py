# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Tables as text, for terminals and job logs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.text import visible

#: Columns of a table, where nobody knows how many there are.
WIDTH = 100
#: The last column gets at least so many, however wide the others are.
_MIN_LAST_COLUMN = 36
#: A command, up to the end of its line; its blanks are kept from being broken at by what no plain text holds.
_COMMAND, _UNBREAKABLE_SPACE = re.compile(r"ansible-playbook .*"), "\0"


def render_table(title: str, rows: Sequence[Sequence[Any]], width: int = WIDTH) -> str:
    """Lay out rows of cells in columns under a title.

    Control characters and marks that change the direction of writing are shown as what they are, so that no name can
    forge a line. A cell of several lines goes on below itself; so does one of the last column that is too long, but no
    path and no command is ever cut: people copy them. A row of a single cell is a line of its own.

    :param width: columns of the terminal.
    """
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    last = max((len(row) for row in cells), default=1) - 1
    widths = [
        max((_widest(row[index]) for row in cells if len(row) > max(index, 1)), default=0) for index in range(last)
    ]
    max_width = max(width - sum(column_width + 2 for column_width in widths), _MIN_LAST_COLUMN)
    lines_out = []
    for row in cells:
        lines = [_lines(row[0], width)] if len(row) == 1 else [_lines(cell) for cell in row[:last]]
        lines += [_lines(cell, max_width) for cell in row[max(last, 1) :]]
        for number in range(max((len(cell) for cell in lines), default=0)):
            texts = [cell[number] if number < len(cell) else "" for cell in lines]
            padded = [text.ljust(column_width) for text, column_width in zip(texts, widths)]
            lines_out.append("  ".join([*padded, *texts[len(padded) :]]).rstrip())
    head = _lines(title, width)
    return "\n".join([*head, "-" * min(max(map(len, [*head, *lines_out])), width), *lines_out])


def _widest(cell: str) -> int:
    return max(len(line) for line in _lines(cell))


def _lines(cell: str, max_width: int | None = None) -> list[str]:
    """The lines of a cell; without ``room``, as long as they are."""
    found: list[str] = []
    for line in cell.split("\n"):
        text = _COMMAND.sub(lambda command: command[0].replace(" ", _UNBREAKABLE_SPACE), visible(line, keep=""))
        indent = " " * (len(text) - len(text.lstrip()))
        while max_width is not None and len(text) > max_width:
            break_at = text.rfind(" ", len(indent) + 1, max_width + 1)
            break_at = break_at if break_at > 0 else text.find(" ", max_width)
            if break_at < 0:
                break
            found.append(text[:break_at])
            text = f"{indent}{text[break_at:].lstrip()}"
        found.append(text)
    return [line.replace(_UNBREAKABLE_SPACE, " ") for line in found]
