# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hangs on a live database, found while planning: replicas, poolers, workers, locks, rights, and room on its disks."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database import needs
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import hazards as hazards_of
from support.database_site import Site
from support.file_limit import no_file_larger_than
from support.postgres_server import PostgresServer, free_port, running_server, wait_until


def client(server: PostgresServer, **params: Any) -> Any:
    """A session of somebody else."""
    where = {"host": str(server.sockets), "port": server.port, "user": "hammer", "dbname": "blog"}
    return psycopg2.connect(**{**where, **params})


@contextlib.contextmanager
def standby_of(server: PostgresServer, base: Path) -> Iterator[PostgresServer]:
    """A streaming replica."""
    standby = PostgresServer(server.programs, base, free_port(), server.account)
    standby.sockets.mkdir(parents=True)
    for path in (base, standby.sockets):
        shutil.chown(path, server.account)
        path.chmod(0o755)
    name = "application_name=second_site"
    server.run(
        *("pg_basebackup", "-D", str(standby.data), "-R", "-X", "stream", "-c", "fast"),
        *("-d", f"host={server.sockets} port={server.port} user=postgres {name}"),
    )
    with (standby.data / "postgresql.conf").open("a") as stream:
        stream.write(f"port = {standby.port}\nunix_socket_directories = '{standby.sockets}'\n")
    standby.start()
    try:
        yield standby
    finally:
        standby.stop()


def test_a_standby_needs_consent_and_its_open_sessions_go_on_reading_the_old_database(
    make_context: Callable[..., Any], tmp_path: Path
) -> None:
    with running_server() as server, standby_of(server, server.base / "standby") as standby:
        site = Site(server, make_context, tmp_path)
        site.make_roles()
        site.create()
        site.query("GRANT SELECT ON post TO hammer")
        point = site.capture()
        site.damage()
        wait_until(lambda: standby.psql("blog", "SELECT count(*) FROM post") == "301")
        with pytest.raises(Refused, match=r"standbys \(second_site\).*accept: \[standbys\]"):
            site.plan(point)
        reader = client(standby)
        reader.autocommit = True
        plan = site.roll_back(point, accept=["standbys"])
        assert any("second_site" in warning for warning in plan.warnings)
        wait_until(lambda: standby.psql("blog", "SELECT count(*) FROM post") == "300")
        with reader.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM post")
            assert cursor.fetchone() == (301,)
        reader.close()


class Relay(threading.Thread):
    """Hands out another process number than the server's, as every pooler must that shares its connections."""

    def __init__(self, target: Path) -> None:
        super().__init__(daemon=True)
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs: list[socket.socket] = []
        self.pumps: list[threading.Thread] = []

    def run(self) -> None:
        while True:
            try:
                inner, _address = self.listener.accept()
            except OSError:
                return
            outer = socket.socket(socket.AF_UNIX)
            outer.connect(str(self.target))
            self.pairs += [inner, outer]
            for ends in ((inner, outer, False), (outer, inner, True)):
                self.pumps.append(threading.Thread(target=self.pump, args=ends, daemon=True))
                self.pumps[-1].start()

    def close(self) -> None:
        """End it, with all of its connections."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join()
        for pump in self.pumps:
            pump.join()
        for one in self.pairs:
            one.close()

    @staticmethod
    def pump(source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                key = data.find(b"K\0\0\0\x0c") if answers else -1
                sink.sendall(data if key < 0 else data[: key + 5] + b"\0\0\0\x07" + data[key + 9 :])
            sink.shutdown(socket.SHUT_WR)


def test_a_connection_through_a_pooler_is_refused(site: Site) -> None:
    site.create(owner="keeper")
    point = site.capture()
    relay = Relay(site.server.sockets / f".s.PGSQL.{site.server.port}")
    relay.start()
    try:
        options = {"login_host": "127.0.0.1", "login_port": relay.port, "login_user": "keeper", "ssl_mode": "disable"}
        with pytest.raises(Refused, match=f"127.0.0.1:{relay.port} is a connection pooler"):
            site.plan(point, **options)
    finally:
        relay.close()


def test_sessions_of_a_pooler_are_told(damaged: tuple[Site, PointEntry]) -> None:
    site, point = damaged
    with contextlib.closing(client(site.server, application_name="pgbouncer")):
        said = " ".join(site.plan(point).warnings)
    assert "A pooler holds sessions of blog (pgbouncer)" in said


def test_a_background_worker_of_an_extension_needs_consent(
    damaged: tuple[Site, PointEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No extension that Debian ships with the server has one, so that a client stands in for it."""
    site, point = damaged
    assert site.plan(point)
    query = hazards_of.HAZARDS["workers"].replace("'client backend', ", "")
    monkeypatch.setitem(hazards_of.HAZARDS, "workers", query)
    with contextlib.closing(client(site.server)):
        with pytest.raises(Refused, match=r"workers \(client backend\).*accept: \[workers\]"):
            site.plan(point)
        assert any("background workers" in warning for warning in site.plan(point, accept=["workers"]).warnings)


def test_extensions_that_are_not_known_are_named(damaged: tuple[Site, PointEntry]) -> None:
    site, point = damaged
    assert not any("extensions" in warning for warning in site.plan(point).warnings)
    site.query("SET allow_system_table_mods = on; UPDATE pg_extension SET extname = 'pg_cron'")
    assert any("not known here (pg_cron)" in warning for warning in site.plan(point).warnings)


@pytest.mark.parametrize(
    "command", ["LOCK TABLE post_section, alembic_version", "ALTER SEQUENCE post_section_id_seq CACHE 5"]
)
def test_planning_does_not_wait_behind_somebodys_lock(damaged: tuple[Site, PointEntry], command: str) -> None:
    site, point = damaged
    with contextlib.closing(client(site.server, user="boss_of_locks")) as blocker, blocker.cursor() as cursor:
        cursor.execute(command)
        begun = time.monotonic()
        plan = site.plan(point, compare_timeout=300)
        spent = time.monotonic() - begun
    assert plan.changed
    assert spent < 60, "it waited for the lock"
    assert plan.discards["rows"]["public.post"]["now"] == 301
    locked = "TABLE" in command
    assert plan.discards["not_compared"] == (["public.alembic_version", "public.post_section"] if locked else [])
    assert any("schema of database blog was not compared" in warning for warning in plan.warnings) == locked


@pytest.fixture(autouse=True)
def _boss(site: Site) -> Iterator[None]:
    """A superuser who is let in without being the administrator's account."""
    site.query("CREATE ROLE boss_of_locks SUPERUSER LOGIN", "postgres")
    yield
    site.query("DROP ROLE boss_of_locks", "postgres")


def test_a_role_that_may_not_make_or_rename_databases_is_refused(site: Site) -> None:
    site.create(owner="keeper")
    point = site.capture()
    site.query("DELETE FROM visit")
    before = (site.oid(), site.databases())
    with pytest.raises(Refused, match=r"Role reader .*lacks CREATEDB and membership in keeper"):
        site.plan(point, login_user="reader")
    site.query("ALTER ROLE keeper NOCREATEDB", "postgres")
    with pytest.raises(Refused, match=r"Role keeper .*lacks CREATEDB:"):
        site.plan(point, login_user="keeper")
    site.query("ALTER ROLE reader CREATEDB; GRANT keeper TO reader", "postgres")
    assert site.plan(point, login_user="reader").changed
    assert (site.oid(), site.databases()) == before


def test_sessions_that_the_role_may_not_end_are_told(site: Site) -> None:
    site.create(owner="keeper")
    point = site.capture()
    site.query("DELETE FROM visit")
    with contextlib.closing(client(site.server)):
        assert not any("may not end" in warning for warning in site.plan(point, login_user="keeper").warnings)
        site.query("REVOKE pg_signal_backend FROM keeper", "postgres")
        said = " ".join(site.plan(point, login_user="keeper").warnings)
    assert "Sessions of hammer are connected to blog, and role keeper may not end them" in said


def test_a_session_on_the_side_database_does_not_stop_the_switch(damaged: tuple[Site, PointEntry]) -> None:
    """A monitoring agent that visits every database: the server would give up the rename after 5 s."""
    site, point = damaged
    plan = site.plan(point)
    component = site.component()
    side = component.result(plan, component.prepare(plan))["incoming_database"]
    with contextlib.closing(client(site.server, dbname=side, user="boss_of_locks")) as agent:
        component.switch(plan)
        assert site.query("SELECT count(*) FROM post") == "300"
        with pytest.raises(psycopg2.OperationalError), agent.cursor() as cursor:
            cursor.execute("SELECT 1")


def test_a_disk_of_its_own_for_the_log_that_is_too_small(
    make_context: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two file systems, of which one is said to be full: no other one can be made without being root."""
    gib = 1024**3
    with running_server() as server, tempfile.TemporaryDirectory(prefix="lgwal", dir="/dev/shm") as other:
        server.stop("fast")
        log, aside = server.data / "pg_wal", Path(other) / "wal"
        shutil.move(log, aside)
        for path in [aside, *aside.rglob("*")]:
            shutil.chown(path, server.account)
        log.symlink_to(aside)
        Path(other).chmod(0o755)
        server.start()
        assert log.stat().st_dev != server.data.stat().st_dev
        site = Site(server, make_context, tmp_path)
        site.make_roles()
        site.create()
        point = sized(site.capture(), 2 * gib)
        site.damage()
        usage = shutil.disk_usage(server.data)
        free = {log.stat().st_dev: gib // 2, server.data.stat().st_dev: 3 * gib}
        monkeypatch.setattr(needs.shutil, "disk_usage", lambda at: usage._replace(free=free[at.stat().st_dev]))
        with pytest.raises(Refused, match=r"pg_wal on .* has 512 MB free; 1024 MB are needed"):
            site.plan(point)
        free[log.stat().st_dev] = gib
        assert site.plan(point).changed
        free[server.data.stat().st_dev] = 2 * gib
        with pytest.raises(Refused, match=r"data on .* has 2048 MB free; 2253 MB are needed"):
            site.plan(point)
        server.stop("fast")


def sized(point: PointEntry, size: int) -> PointEntry:
    """The same restore point of a database that is said to be of this size."""
    facts = {**point.facts, "inside": {**point.facts["inside"], "bytes": size}}
    return PointEntry(point.point, point.directory, facts, point.artefacts)


@pytest.mark.parametrize("holds", ["slot", "archiver"])
def test_a_log_that_is_held_back_is_counted_in_full(site: Site, monkeypatch: pytest.MonkeyPatch, holds: str) -> None:
    """An unused slot, or an archive command that fails, keeps all the log that the restore writes."""
    site.create()
    entry = sized(site.capture(), 10 * 1024**3)
    site.damage()
    usage = shutil.disk_usage(site.server.data)
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda _place: usage._replace(free=14 * 1024**3))
    assert site.plan(entry).changed
    if holds == "slot":
        site.query("SELECT pg_create_physical_replication_slot('forgotten')", "postgres")
        said = "unused replication slots forgotten"
    else:
        row = "SELECT true AS failing"
        monkeypatch.setattr(needs, "ARCHIVER_FAILS", row)
        said = "archiving the log fails"
    try:
        with pytest.raises(Refused, match=said):
            site.plan(entry)
    finally:
        if holds == "slot":
            site.query("SELECT pg_drop_replication_slot('forgotten')", "postgres")


def test_a_disk_that_fills_during_the_restore_leaves_the_live_database_alone(
    make_context: Callable[..., Any], tmp_path: Path
) -> None:
    with running_server() as server:
        site = Site(server, make_context, tmp_path)
        site.make_roles()
        site.create()
        site.query("CREATE TABLE big AS SELECT g, repeat('x', 400) FROM generate_series(1, 50000) g")
        point = site.capture()
        site.query("TRUNCATE big")
        before = (site.oid(), site.content())
        plan = site.plan(point)
        server.stop("fast")
        with no_file_larger_than(17 * 1024**2):
            server.start()
        component = site.component()
        with pytest.raises(CommandFailed, match=r"could not (extend|write)"):
            component.prepare(plan)
        component.undo(plan)
        assert (site.oid(), site.content(), site.databases()) == (*before, ["blog"])
