# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""People's data beside ordinary tables: rows in tables of extensions, sequences, large objects. Nothing of it is forgotten."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import Component
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database.component import Database
from ansible_collections.lastgood.rollback.plugins.module_utils._components.schema.component import Schema
from ansible_collections.lastgood.rollback.plugins.module_utils._components.tables.component import Tables
from support.database_site import FIRST, SECOND, Site
from support.postgres_server import PostgresServer, newest_programs, running_server

EXTENSION = """
CREATE TABLE job (id int PRIMARY KEY, name text, own boolean DEFAULT false);
CREATE TABLE run (job_id int REFERENCES job, at int);
CREATE SEQUENCE ticket;
INSERT INTO job VALUES (1, 'built in', true);
SELECT pg_catalog.pg_extension_config_dump('job', 'WHERE NOT own');
SELECT pg_catalog.pg_extension_config_dump('run', '');
"""
CONTENT = """
CREATE SCHEMA planner;
CREATE EXTENSION planner SCHEMA planner;
INSERT INTO planner.job VALUES (10, 'nightly'), (11, 'weekly');
INSERT INTO planner.run VALUES (10, 1), (11, 2);
SELECT nextval('planner.ticket');
CREATE TABLE post (id serial PRIMARY KEY, title text, picture oid);
INSERT INTO post (title, picture) SELECT 'post ' || g, 4711 FROM generate_series(1, 5) g;
SELECT lo_from_bytea(4711, convert_to(repeat('large', 100000), 'UTF8'));
COMMENT ON LARGE OBJECT 4711 IS 'a picture';
ALTER LARGE OBJECT 4711 OWNER TO reader;
GRANT SELECT ON LARGE OBJECT 4711 TO hammer
"""
#: All of it, as psql shows it.
SHOWN = """
SELECT concat_ws(' | ', (SELECT string_agg(j::text, ',' ORDER BY id) FROM planner.job j),
    (SELECT string_agg(r::text, ',' ORDER BY r) FROM planner.run r),
    (SELECT string_agg(concat_ws(' ', m.oid, md5(lo_get(m.oid)), pg_get_userbyid(lomowner), lomacl,
        obj_description(m.oid, 'pg_largeobject')), ',') FROM pg_largeobject_metadata m),
    (SELECT last_value FROM post_id_seq))
"""


def installed_with(extension: str, base: Path) -> Path:
    """A copy of PostgreSQL that knows one more extension: it looks for its files beside its own program."""
    programs = newest_programs().resolve()
    place = PostgresServer(programs, Path("/"), 0, "root")
    said = {
        word: Path(place.run("pg_config", f"--{word}").stdout.strip()) for word in ("bindir", "sharedir", "pkglibdir")
    }
    for word, path in said.items():
        copy = base / path.relative_to("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        if word == "pkglibdir":
            copy.symlink_to(path)
        else:
            shutil.copytree(path, copy, symlinks=False)
    directory = base / said["sharedir"].relative_to("/") / "extension"
    (directory / "planner.control").write_text("default_version = '1'\nrelocatable = false\n")
    (directory / "planner--1.sql").write_text(extension)
    return base / said["bindir"].relative_to("/")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with TemporaryDirectory(prefix="lgpg") as base:
        Path(base).chmod(0o755)
        with running_server(programs=installed_with(EXTENSION, Path(base))) as server:
            yield server


@pytest.fixture
def site(server: PostgresServer, make_context: Callable[..., Context], tmp_path: Path) -> Iterator[Site]:
    site = Site(server, make_context, tmp_path, name="plans", options={"bin_dir": str(newest_programs())})
    site.make_roles()
    server.psql("postgres", "CREATE DATABASE plans")
    server.psql("plans", CONTENT)
    yield site
    site.drop(site.databases())


DAMAGES = {
    "rows of an extension": "UPDATE planner.job SET name = 'lost' WHERE id = 10",
    "rows all gone": "DELETE FROM planner.run",
    "sequence": "SELECT setval('post_id_seq', 1)",
    "large object": "SELECT lo_put(4711, 200000, 'other')",
    "comment": "COMMENT ON LARGE OBJECT 4711 IS NULL",
    "owner": "ALTER LARGE OBJECT 4711 OWNER TO hammer",
}


def test_a_database_is_not_as_it_was_when_only_that_is_damaged(site: Site) -> None:
    good, point = site.query(SHOWN), site.capture()
    assert site.plan(point).changed is False
    for damage in DAMAGES.values():
        site.query(f"BEGIN; {damage}; COMMIT")
        assert site.plan(point).changed, damage
        site.drop(["plans"])
        site.server.psql("postgres", "CREATE DATABASE plans")
        site.server.psql("plans", CONTENT)
    for damage in DAMAGES.values():
        site.query(damage)
    plan = site.roll_back(point)
    assert site.query(SHOWN) == good
    assert site.plan(point, SECOND).changed is False
    site.component().undo(plan)
    assert site.query(SHOWN) != good


def test_tables_of_an_extension_and_sequences_of_tables_are_put_back(site: Site) -> None:
    good, point = site.query(SHOWN), site.capture()
    for damage in list(DAMAGES.values())[:3]:
        site.query(damage)
    site.query("UPDATE planner.job SET name = 'changed by hand' WHERE own")
    damaged, component = site.query(SHOWN), Tables(site.make_context(FIRST))
    assert component.plan({**site.all_options, "tables": ["post"]}, point).discards["sequences_behind"] == [
        "public.post_id_seq"
    ]
    plan = component.plan({**site.all_options, "tables": ["planner.job", "planner.run", "post"]}, point)
    component.prepare(plan)
    component.switch(plan)
    assert site.query(SHOWN) == good.replace("built in", "changed by hand")
    component.undo(plan)
    # A sequence is never moved backwards.
    assert site.query(SHOWN).rpartition(" | ")[0] == damaged.rpartition(" | ")[0]


def test_tables_whose_large_objects_are_damaged_are_no_reason_to_do_nothing(site: Site) -> None:
    point = site.capture()
    tables = Tables(site.make_context(FIRST))
    assert tables.plan({**site.all_options, "tables": ["post"]}, point).changed is False
    site.query(DAMAGES["large object"])
    with pytest.raises(Refused, match=r"rows of public\.post are as in restore point point, but large objects"):
        tables.plan({**site.all_options, "tables": ["post"]}, point)


def test_a_schema_takes_all_of_it_along(site: Site) -> None:
    point = site.capture()
    site.query("ALTER TABLE post ADD COLUMN slug text")
    for damage in ("UPDATE planner.job SET name = 'new' WHERE id = 10", "COMMENT ON LARGE OBJECT 4711 IS 'newer'"):
        site.query(damage)
    now, component = site.query(SHOWN), Schema(site.make_context(FIRST))
    plan = component.plan(site.all_options, point)
    component.prepare(plan)
    component.switch(plan)
    assert site.query("SELECT count(*) FROM information_schema.columns WHERE column_name = 'slug'") == "0"
    assert site.query(SHOWN) == now


@pytest.fixture(scope="module")
def standby(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A real one, that follows the server."""
    with running_server() as other:
        other.stop("fast")
        shutil.rmtree(other.data)
        where = ["-h", str(server.sockets), "-p", str(server.port), "-U", "postgres"]
        server.run("pg_basebackup", "-D", str(other.data), "-R", "-X", "stream", "-c", "fast", *where)
        with (other.data / "postgresql.conf").open("a") as stream:
            stream.write(f"port = {other.port}\nunix_socket_directories = '{other.sockets}'\n")
        other.start()
        yield other


@pytest.mark.parametrize("kind", [Database, Tables, Schema])
def test_a_standby_is_refused(site: Site, kind: type[Component], standby: PostgresServer) -> None:
    point = site.capture()
    options = {**site.all_options, **standby.options, "tables": ["post"]}
    with pytest.raises(Refused, match=r"is in recovery: it is a standby .* After a failover"):
        kind(site.make_context(FIRST)).plan(options, point)
