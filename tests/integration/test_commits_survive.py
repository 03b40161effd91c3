# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a switch says is switched is on the disk, also where the server's commits do not wait for the disk.

The server's own processes write its log sooner or later by themselves. Here they are stopped, so that only what a commit
waits for is in the log's files; then all of the server is killed at once.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import Component
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database.component import Database
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import State
from ansible_collections.lastgood.rollback.plugins.module_utils._components.tables.component import Tables
from integration.test_extensions_and_large_objects import CONTENT, EXTENSION, installed_with
from integration.test_tables_crash import postmaster, started
from support.database_site import FIRST, Site
from support.postgres_server import PostgresServer, newest_programs, running_server, wait_until

SETTINGS = {"synchronous_commit": "off", "wal_writer_delay": "10s", "autovacuum": "off"}
WRITERS = "SELECT pid FROM pg_stat_activity WHERE backend_type IN ('walwriter', 'background writer', 'checkpointer') ORDER BY 1"
PROCESSES = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
DAMAGE = "UPDATE planner.job SET name = 'lost' WHERE id = 10"
ROWS = "SELECT string_agg(j::text, ',' ORDER BY id) FROM planner.job j"


@pytest.fixture
def site(make_context: Callable[..., Context], tmp_path: Path) -> Iterator[Site]:
    """A database with rows in a table of an extension, which an exchange empties by DELETE: no file has to go with its commit."""
    with TemporaryDirectory(prefix="lgpg") as base:
        Path(base).chmod(0o755)
        with running_server(SETTINGS, programs=installed_with(EXTENSION, Path(base))) as server:
            site = Site(server, make_context, tmp_path, name="plans", options={"bin_dir": str(newest_programs())})
            site.make_roles()
            server.psql("postgres", "CREATE DATABASE plans")
            server.psql("plans", CONTENT)
            yield site


def stop_writers(server: PostgresServer) -> None:
    """From here on nothing gets into the files of the server's log but what a session itself waits for."""
    found = [int(pid) for pid in server.psql("postgres", WRITERS).split()]
    assert len(found) == 3
    for pid in found:
        os.kill(pid, signal.SIGSTOP)


def kill_all(server: PostgresServer) -> None:
    """kill -9 of each process of the server, and start it again."""
    first = postmaster(server)
    others = [int(pid) for pid in server.psql("postgres", PROCESSES).split()]
    os.kill(first, signal.SIGSTOP)  # it must not begin to recover before all are gone
    for pid in [*others, first]:
        with suppress(ProcessLookupError):  # a session that has just ended
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: started(server))


def crashed_after_the_switch(site: Site, component: Component, **options: object) -> State:
    """Take a database back; at the moment at which the switch says that it is done the server is killed."""
    good, point = site.query(ROWS), site.capture()
    site.query(DAMAGE)
    plan = component.plan({**site.all_options, **options}, point)
    component.prepare(plan)
    site.query("CHECKPOINT")
    stop_writers(site.server)
    component.switch(plan)
    kill_all(site.server)
    assert site.query(ROWS) == good
    return component.state(plan)


def test_two_renames_survive(site: Site) -> None:
    assert crashed_after_the_switch(site, Database(site.make_context(FIRST))) is State.SWITCHED


def test_an_exchange_of_rows_survives(site: Site) -> None:
    component = Tables(site.make_context(FIRST))
    assert crashed_after_the_switch(site, component, tables=["planner.job"]) is State.SWITCHED
