# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The kind ``migrations``: a schema that goes back by the project's own downgrades; ``schema`` is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from .base import DatabaseKind, Discard


def _downgraded(subject: str, names: list[str]) -> Iterator[str]:
    what = subject.removeprefix("downgraded_").removesuffix("s")
    yield from (f"{what} {name}: the downgrade takes it away; it stays in the database as it was" for name in names)


def _downgraded_types(_subject: str, changes: list[str]) -> Iterator[str]:
    yield from (f"type of {change}, as the downgrade converts it" for change in changes)


def _remade(subject: str, names: list[str]) -> Iterator[str]:
    what = subject.removeprefix("remade_").removesuffix("s")
    yield from (f"{what} {name} comes back with what the downgrade gives it" for name in names)


class Migrations(DatabaseKind):
    """See the module's docstring."""

    name = "migrations"
    title = "Schema, by its migrations, of database"
    can_be_chosen = False
    in_all = False
    discards = {
        "downgraded_tables": Discard([str], _downgraded),
        "downgraded_columns": Discard([str], _downgraded),
        "downgraded_types": Discard([str], _downgraded_types),
        "remade_tables": Discard([str], _remade),
        "remade_columns": Discard([str], _remade),
    }
