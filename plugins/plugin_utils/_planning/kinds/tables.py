# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The kind ``tables``: named tables of a database. What it discards is as of a whole one, but for sequences."""

from __future__ import annotations

from collections.abc import Iterator

from .base import DatabaseKind, Discard


def _behind(_subject: str, names: list[str]) -> Iterator[str]:
    yield from (f"sequence {name} would give values that are in use: it is moved on" for name in names)


class Tables(DatabaseKind):
    """See the module's docstring."""

    name = "tables"
    title = "Tables of database"
    in_all = False
    in_every_database = False
    undo_needs_kept = False
    discards = {"sequences_behind": Discard([str], _behind)}
