# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The component of each kind, and of its reversal.

A component is imported when it is first asked for: a module's code is compiled anew at every call, and most calls need
no component or one. The imports are written out, because only what is imported somewhere travels to a target.
"""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable

from .base import Component


def _database() -> type[Component]:
    from .database.component import Database

    return Database


def _tables() -> type[Component]:
    from .tables.component import Tables

    return Tables


def _schema() -> type[Component]:
    from .schema.component import Schema

    return Schema


def _migrations() -> type[Component]:
    from .migrations.component import Migrations

    return Migrations


def _code() -> type[Component]:
    from .code.component import Code

    return Code


def _files() -> type[Component]:
    from .files.component import Files

    return Files


def _packages() -> type[Component]:
    from .packages.component import Packages

    return Packages


def _database_reversal() -> type[Component]:
    from .database.reversal import DatabaseReversal

    return DatabaseReversal


def _schema_reversal() -> type[Component]:
    from .schema.reversal import SchemaReversal

    return SchemaReversal


def _migrations_reversal() -> type[Component]:
    from .schema.reversal import MigrationsReversal

    return MigrationsReversal


def _code_reversal() -> type[Component]:
    from .code.reversal import CodeReversal

    return CodeReversal


def _packages_reversal() -> type[Component]:
    from .packages.reversal import PackagesReversal

    return PackagesReversal


#: A new kind is one package, one function and one line here, one module.
COMPONENTS: dict[str, Callable[[], type[Component]]] = {
    "database": _database,
    "tables": _tables,
    "schema": _schema,
    "migrations": _migrations,
    "code": _code,
    "files": _files,
    "packages": _packages,
}

#: The option of ``restore_point`` that lists what is captured of a kind.
CAPTURE_OPTIONS = {"database": "databases", "code": "checkouts", "files": "files", "packages": "packages"}

#: Kinds whose finished rollbacks are taken back by other steps than they were made by.
REVERSALS: dict[str, Callable[[], type[Component]]] = {
    "database": _database_reversal,
    "schema": _schema_reversal,
    "migrations": _migrations_reversal,
    "code": _code_reversal,
    "packages": _packages_reversal,
}


def component_class(kind: str, *, reversal: bool = False) -> type[Component]:
    """The component of a kind.

    :param reversal: the one that takes a finished rollback back.
    :raises Unreadable: for a word that is no kind; it was read from a journal.
    """
    if kind not in COMPONENTS:
        raise Unreadable(f"{kind!r} is no kind of component that this release knows.")
    return REVERSALS[kind]() if reversal and kind in REVERSALS else COMPONENTS[kind]()
