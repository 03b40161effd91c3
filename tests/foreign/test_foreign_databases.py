# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each scope there and back, of databases that nobody made for it: pgbench, PostgreSQL's regression database, and a wide one.

    make foreign-databases

``LASTGOOD_SCALE`` (20) is pgbench's scale, ``LASTGOOD_TABLES`` (500) the number of tables with ten keys and indexes each.
What it prints beside are measurements of one run.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import State
from foreign.databases import FOREIGN, Foreign, copy, layout, rows, schema, sequences, tables
from support.database_site import Site
from support.postgres_server import PostgresServer, running_server
from support.schema_site import ACCEPTED, SchemaSite
from support.tables_site import TablesSite, quiet

SITES: dict[str, type[Site]] = {"database": Site, "tables": TablesSite, "schema": SchemaSite}
#: What nothing that is streamed may take.
MOST_MB = 150
#: Room for the locks of thousands of foreign keys; and what the regression database wants.
SETTINGS = {"max_locks_per_transaction": "512", "max_wal_size": "4GB", "allow_in_place_tablespaces": "on",
            "max_prepared_transactions": "0"}  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """A good database with its restore point."""

    server: PostgresServer
    foreign: Foreign
    point: PointEntry


@dataclass(frozen=True)
class Seen:
    """All of a database."""

    rows: dict[str, str]
    schema: list[str]
    sequences: dict[str, int | None]

    @classmethod
    def of(cls, site: Site) -> Seen:
        """Look."""
        return cls(rows(site), schema(site), sequences(site))


@contextmanager
def told(what: str) -> Iterator[list[float]]:
    """Print how long a block took."""
    spent: list[float] = []
    began = time.monotonic()
    yield spent
    spent.append(time.monotonic() - began)
    print(f"{what:>10}: {spent[0]:6.1f} s")


@pytest.fixture(scope="module", params=FOREIGN)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """See `Stage`; on a server of its own."""
    foreign, base = FOREIGN[request.param], tmp_path_factory.mktemp(request.param)
    print(f"\n{foreign.name}")
    with running_server(SETTINGS) as server:
        site = Site(server, quiet(base), base, name=foreign.name)
        site.make_roles()
        with told("made"):
            foreign.make(server, foreign.name)
            server.psql(foreign.name, "VACUUM ANALYZE")
        with told("captured"):
            point = site.capture()
        yield Stage(server, foreign, point)


class Rollback:
    """Plan, prepare and switch; and back again."""

    def __init__(self, site: Site, stage: Stage, **options: Any) -> None:
        self.component = site.component()
        with told("plan"):
            self.plan = site.plan(stage.point, **options)
        assert self.plan.changed

    def switch(self) -> None:
        """There."""
        with told("prepare"):
            self.component.prepare(self.plan)
        with told("switch") as spent:
            self.component.switch(self.plan)
        predicted = (self.plan.downtime or {})["ms"] / 1000
        print(f"{'predicted':>10}: {predicted:6.1f} s; it took {spent[0] / predicted:.2f} of that")
        assert self.component.state(self.plan) is State.SWITCHED

    def undo(self) -> None:
        """And back."""
        with told("undo"):
            self.component.undo(self.plan)
        assert self.component.state(self.plan) is State.UNTOUCHED
        with told("count"):
            self.component.count_written(self.plan)
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{'memory':>10}: {most:6.0f} MB")
        assert most < MOST_MB


@pytest.fixture
def site(request: pytest.FixtureRequest, stage: Stage, tmp_path: Path) -> Iterator[Site]:
    """A copy of the good database, and the component of the scope that the test names."""
    scope = request.param
    site = SITES[scope](stage.server, quiet(tmp_path), tmp_path, name="live")
    site.options = {"login_user": stage.foreign.owner}
    before = set(site.databases())
    copy(site, stage.foreign, "live")
    print(f"\n{stage.foreign.name}, {scope}")
    yield site
    site.drop([name for name in site.databases() if name not in before])


def broken(site: Site, statements: list[str]) -> Seen:
    """What is left of it."""
    site.server.psql(site.name, *statements, user=site.options["login_user"])
    return Seen.of(site)


@pytest.mark.parametrize("site", ["database"], indirect=True)
def test_the_whole_database_goes_back_and_comes_again(stage: Stage, site: Site) -> None:
    good = Seen.of(site)
    damaged = broken(site, [*stage.foreign.rows, *stage.foreign.more])
    assert damaged.rows != good.rows
    assert damaged.schema != good.schema
    rollback = Rollback(site, stage)
    rollback.switch()
    assert Seen.of(site) == good
    rollback.undo()
    assert Seen.of(site) == damaged


@pytest.mark.parametrize("site", ["tables"], indirect=True)
def test_all_tables_go_back_and_come_again(stage: Stage, site: Site) -> None:
    good = Seen.of(site)
    damaged = broken(site, list(stage.foreign.rows))
    assert damaged.rows != good.rows
    rollback = Rollback(site, stage, tables=tables(site))
    rollback.switch()
    assert (rows(site), schema(site)) == (good.rows, good.schema)
    assert behind(sequences(site), damaged.sequences) == []
    rollback.undo()
    assert (rows(site), schema(site)) == (damaged.rows, damaged.schema)


@pytest.mark.parametrize("site", ["schema"], indirect=True)
def test_the_schema_goes_back_with_the_present_rows_and_comes_again(stage: Stage, site: Site) -> None:
    good, columns = Seen.of(site), layout(site)
    damaged = broken(site, list(stage.foreign.migration))
    assert damaged.schema != good.schema
    # Tables that still have all columns of old keep their rows; the values of others only the restore point has.
    expected = {**good.rows, **rows(site, columns)}
    assert expected != good.rows
    rollback = Rollback(site, stage, **ACCEPTED)
    rollback.switch()
    assert (rows(site), schema(site)) == (expected, good.schema)
    assert behind(sequences(site), damaged.sequences) == []
    rollback.undo()
    assert Seen.of(site) == damaged


def behind(found: dict[str, int | None], needed: dict[str, int | None]) -> list[str]:
    """Sequences that would give a number twice."""
    return [name for name, value in needed.items() if name in found and value and (found[name] or 0) < value]
