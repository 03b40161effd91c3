# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Text of unknown origin for people's eyes: a terminal obeys what is in it, and a reader believes what it hides."""

from __future__ import annotations

import unicodedata

#: Control characters, marks that turn the direction of writing round, other line ends, and what no font has.
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def visible(text: str, *, keep: str = "\n\t") -> str:
    """Show what is not seen as what it is: ``\\x1b`` for the character that begins a terminal's orders.

    :param keep: characters that stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in keep or unicodedata.category(character) not in _UNSEEN
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def one_line(text: str) -> str:
    """All on one line, and nothing hidden."""
    return visible(" ".join(str(text).split()), keep="")
