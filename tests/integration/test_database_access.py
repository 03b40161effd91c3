# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to reach a server, roles that are no superusers, and content hashes that mean what they say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import State
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import content
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import DatabaseError, Server
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import application_name
from support.database_site import FIRST, Site

PASSWORD = "se cret"


def test_an_owner_without_superuser_rights_can_do_everything(site: Site) -> None:
    site.create(owner="keeper")
    site.query("ALTER ROLE reader IN DATABASE blog RESET ALL", "postgres")
    site.options = {"login_user": "keeper"}
    good, properties = site.content(), site.properties()
    point = site.capture()
    site.query("DELETE FROM visit; ALTER TABLE post_section DROP COLUMN body")
    damaged, oid = site.content(), site.oid()
    # Somebody else is connected, and has to be ended.
    where = {"host": str(site.server.sockets), "port": site.server.port, "user": "hammer", "dbname": "blog"}
    other = psycopg2.connect(**where)
    plan = site.roll_back(point)
    assert (site.content(), site.properties()) == (good, properties)
    with pytest.raises(psycopg2.OperationalError), other.cursor() as cursor:
        cursor.execute("SELECT 1")
    other.close()
    component = site.component()
    component.undo(plan)
    assert component.state(plan) is State.UNTOUCHED
    assert (site.content(), site.properties(), site.oid()) == (damaged, properties, oid)
    again = site.roll_back(point, "20260101T000009Z-test-0009")
    site.component("20260101T000009Z-test-0009").finish(again)
    assert site.content() == good


def test_what_an_owner_may_not_set_is_named(site: Site) -> None:
    site.create(owner="keeper")
    site.query("ALTER DATABASE blog SET log_min_duration_statement TO 7", "postgres")
    site.options = {"login_user": "keeper"}
    point = site.capture()
    site.query("DELETE FROM visit")
    plan = site.plan(point)
    component = site.component()
    evidence = component.prepare(plan)
    said = " ".join(component.result(plan, evidence)["not_restored"])
    assert "log_min_duration_statement" in said
    assert "statement_timeout of role reader" in said


def test_a_password_reaches_the_programs_but_never_their_arguments(site: Site, tmp_path: Path) -> None:
    site.create(owner="keeper")
    log = tmp_path / "seen"
    programs = tmp_path / "watched"  # the server's own directory is its account's: what lies there is not run as root
    programs.mkdir()
    for name in ("pg_dump", "pg_restore"):
        (programs / name).write_text(
            f'#!/bin/sh\necho "{name} $* user=$PGUSER mode=$PGSSLMODE keys=$(env | grep -c PGPASSWORD)" >> {log}\n'
            f'exec {site.server.programs}/{name} "$@"\n'
        )
        (programs / name).chmod(0o755)
    site.options = {
        "login_host": "127.0.0.1",
        "login_unix_socket": "",
        "login_user": "keeper",
        "bin_dir": str(programs),
        "ssl_mode": "disable",
        "connect_params": {"keepalives_idle": 30},
    }
    good = site.content()
    point = site.capture(login_password=PASSWORD)
    site.query("DELETE FROM visit")
    component = site.component(FIRST, login_password=PASSWORD)
    plan = component.plan(site.all_options, point)
    component.prepare(plan)
    component.switch(plan)
    assert site.content() == good
    seen = log.read_text()
    assert "pg_dump --format=directory" in seen
    assert "pg_restore --exit-on-error" in seen
    assert "user=keeper mode=disable keys=1" in seen
    assert "keepalives_idle='30'" in seen
    assert PASSWORD not in seen
    written = [path for path in (site.directory / "state").rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if PASSWORD in path.read_text()]
    assert PASSWORD not in str(plan.to_json())
    assert PASSWORD not in repr(Server.from_options(site.all_options, PASSWORD))
    with pytest.raises(Refused, match="keeper"):
        site.component(FIRST, login_password="wrong").plan(site.all_options, point)


@contextmanager
def leftover_session(site: Site) -> Iterator[int]:
    """What a killed module leaves behind: a session of the login itself, under the transaction's name."""
    server = Server.from_options({**site.server.options, "login_user": "postgres"}, "", application_name(FIRST))
    with server.connect("postgres") as session:
        yield session.value("SELECT pg_backend_pid()")


def test_a_session_role_is_used_by_sessions_and_programs(site: Site) -> None:
    site.create(owner="keeper")
    good = site.content()
    site.query("GRANT keeper TO reader", "postgres")
    site.options = {"login_user": "reader", "session_role": "keeper"}
    point = site.capture()
    assert point.facts["properties"]["owner"] == "keeper"
    site.query("DELETE FROM visit")
    site.options = {"login_user": "postgres", "session_role": "keeper"}
    with leftover_session(site) as pid:
        site.roll_back(point)
        assert site.query(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}", "postgres") == "0"
    assert site.content() == good
    owners = "SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    assert site.query(owners) == "keeper"


def test_a_secret_among_the_connection_parameters_is_refused(site: Site) -> None:
    with pytest.raises(Refused, match="login_password"):
        site.component().plan({**site.all_options, "source": "/x", "connect_params": {"password": "x"}}, None)


def test_an_archive_of_ours_is_closed_to_everybody_else(site: Site) -> None:
    """The state directory is root's alone; the programs of another account reach into it by a descriptor only."""
    site.create()
    point = site.capture()
    archive = point.directory / "archive"
    assert point.directory.stat().st_mode & 0o777 == 0o700
    assert archive.stat().st_mode & 0o777 == 0o700
    if os.geteuid() == 0:
        assert archive.owner() == site.server.account
        assert Path(point.directory).owner() == "root"


def hashes(site: Site, name: str = "blog") -> dict[str, dict[str, object]]:
    with Server.from_options({**site.server.options, **site.options}).connect(name) as session:
        return content.hash_tables(session)


def test_equal_rows_in_another_order_under_other_settings_have_the_same_hash(site: Site) -> None:
    site.create()
    first = hashes(site)
    site.server.psql(
        "blog",
        "CREATE TABLE aside AS SELECT * FROM post_section ORDER BY id DESC",
        "TRUNCATE post_section",
        "ALTER TABLE post_section DISABLE TRIGGER ALL",
        "INSERT INTO post_section SELECT * FROM aside",
        "ALTER TABLE post_section ADD passing int",
        "ALTER TABLE post_section DROP passing",
        "ALTER DATABASE blog SET DateStyle TO 'German'",
        "ALTER DATABASE blog SET TimeZone TO 'Asia/Tokyo'",
        "ALTER DATABASE blog SET IntervalStyle TO 'iso_8601'",
        "ALTER DATABASE blog SET extra_float_digits TO -5",
        "ALTER DATABASE blog SET bytea_output TO 'escape'",
        "DROP TABLE aside",
    )
    assert hashes(site) == first
    assert set(first) == {
        "odd \"schema.Tä$ble; --",
        "public.alembic_version",
        "public.empty",
        "public.event_new",
        "public.event_old",
        "public.post",
        "public.post_section",
        "public.visit",
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE t SET a = a + 1 WHERE a = 3",
        "UPDATE t SET b = '' WHERE b IS NULL",
        "DELETE FROM t WHERE a = 7; INSERT INTO t VALUES (8, 'twice')",  # the same count, and each row pairwise
        "INSERT INTO t VALUES (9, 'x')",
        "UPDATE t SET b = CASE a WHEN 1 THEN 'two' WHEN 2 THEN 'one' ELSE b END",
        "ALTER TABLE t RENAME b TO c",
        "ALTER TABLE t ADD c int",
    ],
)
def test_any_change_changes_the_hash(site: Site, change: str) -> None:
    site.query("CREATE DATABASE blog", "postgres")
    site.server.psql(
        "blog",
        "CREATE TABLE t (a int, b text)",
        "INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, NULL), (7, 'twice'), (7, 'twice'), (8, 'twice'), (8, 'twice')",
    )
    first = hashes(site)
    site.query(change)
    assert hashes(site)["public.t"]["hash"] != first["public.t"]["hash"]


def test_errors_name_the_attempt_the_object_and_the_cause(site: Site) -> None:
    server = Server.from_options(site.server.options)
    with pytest.raises(DatabaseError, match=r"Connecting to database nowhere on .*\.s\.PGSQL\.\d+ as postgres failed: "
                                            r".*does not exist"):  # fmt: skip
        server.connect("nowhere")
    with server.connect() as session, pytest.raises(LastGoodError, match=r"Counting failed: .*no_such_table"):
        session.execute("SELECT * FROM no_such_table", attempt="Counting")
