# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One small thing of each kind of component: what the modules are told of it, and ways to look at it that are not ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.checkouts import Checkout, make_checkout
from support.database_site import Site
from support.environments import BAD, GOOD, change, frozen, make_environment
from support.migrations_site import COMMAND, MigrationsSite, unordered
from support.postgres_server import PostgresServer
from support.schema_site import ACCEPTED, SchemaSite

POINT = "before"


@dataclass(frozen=True)
class Thing:
    """A good state that can be captured, and how it is spoiled and rolled back."""

    kind: str
    #: For the module ``restore_point``.
    capture: Mapping[str, Any]
    #: The module that rolls it back, and its options.
    module: str
    options: Mapping[str, Any]
    spoil: Callable[[], object]
    #: All that must come back, asked from psql, git, pip and the file system.
    snapshot: Callable[[], object]


def files(directory: Path) -> Thing:
    """Two files that were changed, and one that was not there."""
    names = [directory / name for name in (".env", "config.py", "extra.conf")]

    def spoil() -> None:
        names[0].write_text("MODE=broken\n")
        names[1].write_text("DEBUG = True\n")
        names[2].write_text("left behind\n")
        names[0].chmod(0o644)

    def snapshot() -> object:
        found = [path for path in names if path.exists()]
        return {path.name: (path.stat().st_mode, Checkout.sha256sum(path)) for path in found}

    names[0].write_text("MODE=good\n")
    names[1].write_text("DEBUG = False\n")
    names[0].chmod(0o600)
    captured = {"files": [str(name) for name in names]}
    return Thing("files", captured, "file_restore", {"restore_point": POINT}, spoil, snapshot)


def code(directory: Path) -> Thing:
    """A checkout with a commit too many, and a change that was never committed."""
    checkout = make_checkout(directory / "checkout")
    checkout.write("app.py", "VALUE = 1\n")
    checkout.write("old.py", "")
    checkout.commit("good")

    def spoil() -> None:
        checkout.write("app.py", "VALUE = 2\n")
        (checkout.path / "old.py").unlink()
        checkout.write("new/module.py", "")
        checkout.commit("broken")
        checkout.write("app.py", "VALUE = 3\n")

    def snapshot() -> object:
        return checkout.tree(), checkout.id("HEAD"), checkout.git("status", "--porcelain=v2")

    where = {"path": str(checkout.path)}
    return Thing("code", {"checkouts": [where]}, "git_reset", {**where, "restore_point": POINT}, spoil, snapshot)


def packages(directory: Path) -> Thing:
    """An environment with a wrong version, a package too many, and one too few."""
    environment = make_environment(directory / "environment", *GOOD)

    def spoil() -> None:
        change(environment, "uninstall", "idna")
        change(environment, "install", "--no-deps", *BAD)

    where = {"path": str(environment)}
    options = {**where, "restore_point": POINT}
    return Thing("packages", {"packages": [where]}, "venv_restore", options, spoil, lambda: frozen(environment))


def _restored(
    site: Site, kind: str, spoil: Callable[[], object], snapshot: Callable[[], object], **options: Any
) -> Thing:
    """What is common to everything in a database."""
    where = {"name": site.name, "jobs": 2, **site.server.options}
    given = {**where, "restore_point": POINT, **options}
    return Thing(kind, {"databases": [where]}, "pg_restore", given, spoil, snapshot)


def database(site: Site) -> Thing:
    """A whole database."""
    site.create()

    def snapshot() -> object:
        return site.content(), site.properties()

    return _restored(site, "database", site.damage, snapshot)


def tables(site: Site) -> Thing:
    """Two tables of a database, one that refers to another, with damaged rows."""
    site.create()

    def spoil() -> None:
        site.query("UPDATE post_section SET body = 'lost' WHERE id % 3 = 0")
        site.query("DELETE FROM visit")

    return _restored(site, "tables", spoil, site.content, scope="tables", tables=["post_section", "visit"])


def schema(site: SchemaSite) -> Thing:
    """A migrated schema, whose rows stay."""
    site.create()

    def spoil() -> None:
        site.migrate("ALTER TABLE post ADD stars int; ALTER TABLE section DROP COLUMN extra")

    return _restored(site, "schema", spoil, site.definitions, scope="schema", **ACCEPTED)


def migrations(site: MigrationsSite) -> Thing:
    """A schema that the project's own downgrades take back."""
    site.create()
    how = {"method": "migrations", "migration_command": COMMAND, "migration_chdir": str(site.project)}

    def snapshot() -> object:
        return site.head(), unordered(site.definitions())

    return _restored(site, "migrations", site.upgrade, snapshot, scope="schema", **how, **ACCEPTED)


_LOCAL = {"files": files, "code": code, "packages": packages}
_DATABASES: dict[str, tuple[type[Site], Callable[[Any], Thing]]] = {
    "database": (Site, database),
    "tables": (Site, tables),
    "schema": (SchemaSite, schema),
    "migrations": (MigrationsSite, migrations),
}
KINDS = (*_LOCAL, *_DATABASES)


@contextmanager
def thing(kind: str, directory: Path, server: PostgresServer) -> Iterator[Thing]:
    """A good one; whatever is left of it in the cluster afterwards is dropped."""
    if kind in _LOCAL:
        yield _LOCAL[kind](directory)
        return
    of, make = _DATABASES[kind]

    def no_context(*_words: str, **_secrets: str) -> Any:
        raise AssertionError("The component is not used in this process.")

    site = of(server, no_context, directory)
    site.make_roles()
    before = set(site.databases())
    try:
        yield make(site)
    finally:
        site.drop([name for name in site.databases() if name not in before])
