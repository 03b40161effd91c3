# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A schema goes back by the project's own downgrade, made with Alembic; everything is looked at by psql and pg_dump."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._components._base import State
from integration.database_site import SECOND
from integration.migrations_site import BASE, TAGS, MigrationsSite
from integration.postgres_server import PostgresServer


@pytest.fixture
def site(
    postgres_server: PostgresServer, make_context: Callable[..., object], tmp_path: Path
) -> Iterator[MigrationsSite]:
    """A place for a database and its project."""
    site = MigrationsSite(postgres_server, make_context, tmp_path)
    site.make_roles()
    before = set(site.databases())
    yield site
    site.drop([name for name in site.databases() if name not in before])


def test_there_and_back_by_the_project_s_own_downgrade(site: MigrationsSite) -> None:
    site.create()
    site.query("ALTER DATABASE blog SET work_mem TO '5MB'; ALTER DATABASE blog CONNECTION LIMIT 30", "postgres")
    point = site.capture()
    site.upgrade()
    site.migrate(
        "UPDATE post SET stars = 5, words = -7 WHERE id = 3; INSERT INTO post (name, path) VALUES ('new', 'new')"
    )
    properties, oid, migrated = site.properties(), site.oid(), site.content()
    plan = site.plan(point)
    print(plan.discards)
    print(site.component().result(plan, {})["diff"]["prepared"])
    evidence = site.prepared(plan)
    print(evidence)
    component = site.component()
    component.switch(plan)
    assert site.head() == BASE
