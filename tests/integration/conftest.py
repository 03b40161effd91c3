# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the integration tests share: a real journal around a component under test."""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context, PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.journal import Journal
from built_modules import share_built_modules
from support.database_site import Site
from support.migrations_site import migrated_project, migrations_site
from support.postgres_server import PostgresServer, postgres_server
from support.rollback_stack import captured_stack, healthy, stack
from support.schema_site import SchemaSite

__all__ = ["captured_stack", "healthy", "migrated_project", "migrations_site", "postgres_server", "stack"]

#: Marks the report of a test that should have used another account, and could not.
OWN_ACCOUNT = "own account"

ContextFactory = Callable[..., Context]


@pytest.fixture(scope="session", autouse=True)
def built_modules(tmp_path_factory: pytest.TempPathFactory) -> None:
    """All playbooks of this process build each module once."""
    share_built_modules(tmp_path_factory.mktemp("built-modules"))


@pytest.fixture
def make_context(tmp_path: Path) -> ContextFactory:
    """Build a `Context` as the engine would, for a component that is tested without the engine."""

    def make(transaction: str = "20260101T000000Z-test-0000", **secrets: str) -> Context:
        workspace = tmp_path / "state" / "transactions" / transaction / "workspace" / "component"
        workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
        journal = Journal(workspace.parent.parent / "journal.jsonl", tmp_path / "state" / "rollback.log")
        return Context(
            transaction=transaction,
            workspace=workspace,
            run=CommandRunner(),
            change=journal.change,
            note=journal.note,
            secrets=secrets,
        )

    return make


@pytest.fixture
def site(postgres_server: PostgresServer, make_context: ContextFactory, tmp_path: Path) -> Iterator[Site]:
    """A place for a database on the session's PostgreSQL; whatever the test leaves there is dropped."""
    site = Site(postgres_server, make_context, tmp_path)
    site.make_roles()
    before = set(site.databases())
    yield site
    site.drop([name for name in site.databases() if name not in before])


@pytest.fixture
def damaged(site: Site) -> tuple[Site, PointEntry]:
    """A damaged database with a restore point."""
    site.create()
    point = site.capture()
    site.damage()
    return site, point


@pytest.fixture
def schema_site(postgres_server: PostgresServer, make_context: ContextFactory, tmp_path: Path) -> Iterator[SchemaSite]:
    """A place for a database whose schema is rolled back; whatever the test leaves there is dropped."""
    site = SchemaSite(postgres_server, make_context, tmp_path)
    site.make_roles()
    before = set(site.databases())
    yield site
    site.drop([name for name in site.databases() if name not in before])


def say_own_account(test: pytest.Item) -> None:
    """Whoever calls this shows less than its name says."""
    test.user_properties.append((OWN_ACCOUNT, True))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that had to do without another account."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    properties = [(report, getattr(report, "user_properties", ())) for report in reports]
    names = sorted({report.nodeid for report, given in properties if (OWN_ACCOUNT, True) in map(tuple, given)})
    if names:
        terminalreporter.section("without another account")
        terminalreporter.line(
            "Not run as root: these took our own account for another one, and show nothing of owners."
        )
        for name in names:
            terminalreporter.line(name)


@pytest.fixture
def other_account(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    """The number of another account when we are root, else of our own, and the summary says so; it can reach ``tmp_path``."""
    if os.geteuid() != 0:
        say_own_account(request.node)
        yield os.geteuid()
        return
    # pytest's own directories only: from the test's up to the one that holds those of all runs.
    own = len(tmp_path.relative_to(tempfile.gettempdir()).parts)
    closed = [path for path in (tmp_path, *tmp_path.parents)[:own] if not path.stat().st_mode & 0o001]
    modes = [(path, path.stat().st_mode & 0o7777) for path in closed]
    for path, mode in modes:
        path.chmod(mode | 0o111)
    yield pwd.getpwnam("nobody").pw_uid
    for path, mode in modes:
        path.chmod(mode)
