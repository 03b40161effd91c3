# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A schema's switch among clients that write, read and draw numbers all the time; and every step of it under kill -9."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import psycopg2
import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database.connection import open_server
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database.swap import (
    LastSession,
    Rename,
    swap,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State
from ansible_collections.lastgood.rollback.plugins.module_utils._components.schema.build import SchemaBuild
from ansible_collections.lastgood.rollback.plugins.module_utils._components.schema.component import Schema
from integration.test_database_crash import order, run_and_die
from integration.test_tables_crash import Mortal, crash, dying
from support.database_site import FIRST
from support.postgres_server import running_server, wait_until
from support.schema_site import SchemaSite
from support.tables_site import quiet

MIGRATION = "ALTER TABLE post ADD stars int; ALTER TABLE section DROP COLUMN extra; DROP TABLE cache"
#: Enough rows for a copy that clients notice.
KNOCK = (
    "CREATE TABLE knock (n bigint, filler text); GRANT ALL ON knock TO hammer; GRANT USAGE ON SEQUENCE ticket TO hammer"
)
FILL = "INSERT INTO knock SELECT -g, repeat('x', 200) FROM generate_series(1, 150000) g"
ME = "(SELECT oid FROM pg_database WHERE datname = current_database())"


class Client(threading.Thread):
    """Does one thing again and again, connects again whenever it is cut off, and remembers the answers with their times."""

    def __init__(self, site: SchemaSite, statement: str) -> None:
        super().__init__()
        self.statement = statement
        self.where = {"host": str(site.server.sockets), "port": site.server.port, "user": "hammer", "dbname": "blog"}
        self.answers: list[tuple[float, int, int]] = []
        self.enough = threading.Event()

    def run(self) -> None:
        count = 0
        while not self.enough.is_set():
            try:
                connection = psycopg2.connect(**self.where)
                connection.autocommit = True
                with connection.cursor() as cursor:
                    while not self.enough.is_set():
                        count += 1
                        cursor.execute(self.statement, {"count": count})
                        oid, value = cursor.fetchone()
                        self.answers.append((time.monotonic(), oid, value))
                connection.close()
            except psycopg2.Error:
                continue


def start(site: SchemaSite) -> dict[str, Client]:
    """A writer, a reader, and one who draws numbers from a sequence."""
    statements = {
        "writer": f"INSERT INTO knock VALUES (%(count)s) RETURNING {ME}, n",
        "reader": f"SELECT {ME}, count(*) FROM post",
        "drawer": f"SELECT {ME}, nextval('ticket')",
    }
    clients = {name: Client(site, statement) for name, statement in statements.items()}
    for client in clients.values():
        client.start()
    wait_until(lambda: all(len(client.answers) > 10 for client in clients.values()))
    return clients


def stop(clients: dict[str, Client]) -> None:
    for client in clients.values():
        client.enough.set()
    for client in clients.values():
        client.join()


def test_no_row_is_lost_while_it_copies_readers_go_on_and_no_number_is_given_twice(schema_site: SchemaSite) -> None:
    site = schema_site
    site.create()
    site.migrate(KNOCK)
    point = site.capture()
    site.migrate(MIGRATION)
    site.migrate(FILL)
    plan, component = site.plan(point), site.component()
    component.prepare(plan)
    old, clients = int(site.oid()), start(site)
    try:
        begun = time.monotonic()
        component.switch(plan)
        ended, new = time.monotonic(), int(site.oid())
        wait_until(lambda: all(client.answers[-1][1] == new for client in clients.values()))
    finally:
        stop(clients)
    assert old != new
    rows = set(map(int, site.query("SELECT n FROM knock WHERE n > 0").split()))
    written = [value for _at, _oid, value in clients["writer"].answers]
    assert len(written) == len(set(written))
    assert set(written) <= rows
    # From the lock on nobody wrote to the old database; somebody read it until the very end.
    wrote = max(at for at, oid, _value in clients["writer"].answers if oid == old)
    read = [at for at, oid, _value in clients["reader"].answers if oid == old]
    still = [at for at in read if at > wrote + 0.2]
    assert len(still) > 10
    assert read[-1] > begun + 0.7 * (ended - begun)
    drawn = [value for _at, _oid, value in clients["drawer"].answers]
    assert len(drawn) == len(set(drawn))
    assert component.state(plan) is State.SWITCHED


def test_a_transaction_that_does_not_end_is_ended_and_one_that_ends_is_waited_for(schema_site: SchemaSite) -> None:
    site = schema_site
    site.create()
    point = site.capture()
    site.migrate(MIGRATION)
    plan, component = site.plan(point), site.component()
    component.prepare(plan)
    where = {"host": str(site.server.sockets), "port": site.server.port, "user": "postgres", "dbname": "blog"}
    where["options"] = "-c role=keeper"
    site.migrate("GRANT ALL ON base TO keeper")
    stuck, quick = psycopg2.connect(**{**where, "user": "keeper", "options": ""}), None
    quick = psycopg2.connect(**{**where, "user": "keeper", "options": ""})
    with stuck.cursor() as one, quick.cursor() as two:
        one.execute("INSERT INTO base VALUES (50, 'never committed')")
        two.execute("INSERT INTO base VALUES (51, 'committed')")
        ending = threading.Timer(1.0, quick.commit)
        ending.start()
        component.switch(plan)
        ending.join()
    with pytest.raises(psycopg2.Error):
        stuck.commit()
    assert site.query("SELECT id FROM base WHERE id >= 50") == "51"
    stuck.close()
    quick.close()


def test_a_table_that_is_made_while_it_copies_takes_everything_back(
    schema_site: SchemaSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No lock keeps a new table out; its rows would be lost."""
    site = schema_site
    site.create()
    point = site.capture()
    site.migrate(MIGRATION)
    plan, component = site.plan(point), site.component()
    component.prepare(plan)
    oid, copy = site.oid(), SchemaBuild.copy_rows

    def meddle(build: SchemaBuild, *args: Any) -> Any:
        """Somebody makes a table when writes stand still already, and before a row has moved."""
        site.query("CREATE TABLE late AS SELECT 1 AS a")
        return copy(build, *args)

    monkeypatch.setattr(SchemaBuild, "copy_rows", meddle)
    with pytest.raises(LastGoodError, match=r"came or went while its rows were copied \(public\.late\)"):
        component.switch(plan)
    assert component.state(plan) is State.PREPARED
    component.undo(plan)
    assert (site.databases(), site.oid(), site.query("TABLE late")) == (["blog"], oid, "1")


Seen = dict[str, str]


def rows_and_schema(site: SchemaSite) -> Seen:
    """All of a database, what is kept beside the data apart."""
    found = {key: value for key, value in site.content().items() if not key.startswith("lastgood_kept_")}
    return {**found, "schema": site.definitions()}


def staged(site: SchemaSite, *first: str) -> tuple[SchemaSite, Plan, Seen, Seen]:
    """A migrated database, a plan, and what it held before the migration and after it."""
    site.create()
    for statement in first:
        site.migrate(statement)
    good = rows_and_schema(site)
    point = site.capture()
    site.migrate(MIGRATION)
    return site, site.plan(point), good, rows_and_schema(site)


@pytest.fixture
def stage(schema_site: SchemaSite) -> tuple[SchemaSite, Plan, Seen, Seen]:
    """See `staged`."""
    return staged(schema_site)


#: Two lines a step: create, definitions, rows, copy, constraints, grants, drop; then the first three again.
PREPARE_LINES, SWITCH_LINES, UNDO_LINES = 20, 8, 2
#: All of them with LASTGOOD_ALL_KILLS=1; some of them else.
SOME = os.environ.get("LASTGOOD_ALL_KILLS") != "1"
SERVER_KILLS = [
    (phase, line)
    for phase, lines in (("prepare", PREPARE_LINES), ("switch", SWITCH_LINES), ("undo", UNDO_LINES))
    for line in range(lines)
]


@pytest.mark.parametrize("die", (3, 8, 13, 19) if SOME else range(PREPARE_LINES))
def test_prepare_killed_at_each_line(stage: Any, die: int) -> None:
    site, plan, good, migrated = stage
    oid, component = site.oid(), site.component()
    assert run_and_die(site, plan, "prepare", die) == -signal.SIGKILL
    assert component.state(plan) in (State.UNTOUCHED, State.PREPARED)
    assert (site.oid(), rows_and_schema(site)) == (oid, migrated)
    component.undo(plan)
    assert site.databases() == ["blog"]
    component.prepare(plan)
    component.switch(plan)
    assert rows_and_schema(site) == good


def test_the_lines_of_prepare_and_switch_are_all_tried(stage: Any) -> None:
    site, plan, _good, _migrated = stage
    assert run_and_die(site, plan, "prepare", PREPARE_LINES) == 0
    assert run_and_die(site, plan, "switch", SWITCH_LINES) == 0


def test_switch_killed_at_each_line_is_all_old_or_all_new_and_can_be_undone(stage: Any) -> None:
    site, plan, good, migrated = stage
    oid, component = site.oid(), site.component()
    for die in (0, 3, 6, 7) if SOME else range(SWITCH_LINES):
        component.prepare(plan)
        assert run_and_die(site, plan, "switch", die) == -signal.SIGKILL
        live = rows_and_schema(site)
        if die < SWITCH_LINES - 1:
            assert (component.state(plan), site.oid(), live) == (State.PREPARED, oid, migrated)
        else:
            assert (component.state(plan), live) == (State.SWITCHED, good)
    assert run_and_die(site, plan, "undo", 0) == -signal.SIGKILL
    assert component.state(plan) is State.SWITCHED
    component.undo(plan)
    assert component.state(plan) is State.UNTOUCHED
    assert (site.oid(), rows_and_schema(site)) == (oid, migrated)


@pytest.mark.parametrize("phase", ["prepare", "switch"])
def test_a_killed_pg_restore_takes_everything_back_and_can_be_repeated(stage: Any, phase: str) -> None:
    site, plan, good, migrated = stage
    oid, component = site.oid(), site.component()
    if phase == "switch":
        component.prepare(plan)
    with pytest.raises(LastGoodError, match="Restoring restore point point"):
        getattr(Schema(replace(component.context, run=Mortal())), phase)(plan)
    assert (component.state(plan), site.oid(), rows_and_schema(site)) == (State.PREPARED, oid, migrated)
    site.query("INSERT INTO base VALUES (70, 'nobody holds a lock'); DELETE FROM base WHERE id = 70")
    component.prepare(plan)
    component.switch(plan)
    assert rows_and_schema(site) == good


def test_undo_after_a_switch_that_was_killed_while_it_copied(stage: Any) -> None:
    site, plan, _good, migrated = stage
    oid, component = site.oid(), site.component()
    component.prepare(plan)
    assert run_and_die(site, plan, "switch", 1) == -signal.SIGKILL
    # Six lines to build it anew; then the rows are copied, under locks.
    assert run_and_die(site, plan, "switch", 7) == -signal.SIGKILL
    component.undo(plan)
    assert component.state(plan) is State.UNTOUCHED
    assert (site.databases(), site.oid(), rows_and_schema(site)) == (["blog"], oid, migrated)
    site.query("INSERT INTO base VALUES (60, 'nobody holds a lock')")


def test_a_crash_of_the_server_while_it_copies_and_right_after_the_switch(make_context: Any, tmp_path: Any) -> None:
    settings = {"fsync": "on", "synchronous_commit": "off", "wal_writer_delay": "10s"}
    with running_server(settings) as server:
        site = SchemaSite(server, make_context, tmp_path)
        site.make_roles()
        _site, plan, good, _migrated = staged(site)
        component = site.component()
        component.prepare(plan)
        with order(site, plan, "switch", -1):
            time.sleep(0.4)
            server.stop("immediate")
        server.start()
        assert component.state(plan) in (State.PREPARED, State.SWITCHED)
        component.switch(plan)
        server.stop("immediate")
        server.start()
        assert component.state(plan) is State.SWITCHED
        # A crash empties unlogged tables, as it must.
        assert {**rows_and_schema(site), "public.cache": ""} == {**good, "public.cache": ""}


def test_a_crash_of_the_server_after_prepare_loses_nothing_that_the_restore_point_alone_has(
    make_context: Any, tmp_path: Any
) -> None:
    """Rows of a dropped unlogged table wait in an unlogged one, which a crash empties; values of a dropped column do not."""
    with running_server() as server:
        site = SchemaSite(server, make_context, tmp_path)
        site.make_roles()
        _site, plan, good, _migrated = staged(site)
        component = site.component()
        component.prepare(plan)
        server.stop("immediate")
        server.start()
        component.switch(plan)
        assert rows_and_schema(site) == good


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SchemaSite, Plan, Seen, Seen]]:
    """See `staged`; on a server of its own that may be killed, on which commits are not synchronous."""
    base = tmp_path_factory.mktemp("crashing")
    settings = {"fsync": "on", "synchronous_commit": "off", "wal_writer_delay": "10s", "wal_writer_flush_after": "0"}
    with running_server(settings) as server:
        site = SchemaSite(server, quiet(base), base)
        site.make_roles()
        # A crash empties an unlogged table, as it must.
        found = staged(site, "ALTER TABLE cache SET LOGGED")
        # Else the first crash would lose the migration itself.
        site.query("CHECKPOINT")
        yield found


@pytest.mark.parametrize(("phase", "line"), [("switch", 3), ("switch", 7)] if SOME else SERVER_KILLS)
def test_the_server_killed_at_each_line_is_all_old_or_all_new_and_is_recovered(
    crashing: tuple[SchemaSite, Plan, Seen, Seen], phase: str, line: int
) -> None:
    site, plan, good, migrated = crashing
    oid, component = site.oid(), site.component()
    if phase != "prepare":
        component.prepare(plan)
    if phase == "undo":
        component.switch(plan)
    killed: list[int] = []
    mortal = Schema(dying(component.context.workspace, line, lambda: (crash(site.server), killed.append(line))))
    with suppress(LastGoodError):
        getattr(mortal, phase)(plan)
    assert killed == [line]
    state, live = component.state(plan), rows_and_schema(site)
    assert state in (State.UNTOUCHED, State.PREPARED, State.SWITCHED)
    assert live == (good if state is State.SWITCHED else migrated)
    assert state is not State.SWITCHED or (phase, line) in [("switch", SWITCH_LINES - 1), ("undo", 0)]
    component.undo(plan)
    assert (component.state(plan), site.oid(), rows_and_schema(site)) == (State.UNTOUCHED, oid, migrated)
    site.drop([name for name in site.databases() if name != "blog"])


def test_a_switch_is_taken_back_when_the_session_that_keeps_writes_out_has_ended(schema_site: SchemaSite) -> None:
    site = schema_site
    site.create()
    site.server.psql("postgres", "CREATE DATABASE beside")
    oids, server = (int(site.oid()), int(site.oid("beside"))), open_server(site.make_context(FIRST), site.all_options)
    with server.connect("blog") as session:
        last = LastSession(session.connection.info.backend_pid, lambda: pytest.fail("nobody may call this"))
        site.query(f"SELECT pg_terminate_backend({last.pid}, 20000)", "postgres")
        outgoing, replacement = Rename(oids[0], "blog", "aside", None), Rename(oids[1], "beside", "blog", None)
        with pytest.raises(
            LastGoodError, match=r"taken back: the session that kept writes to blog standing still has ended"
        ):
            swap(server, outgoing, replacement, "spare", last)
    assert (int(site.oid()), int(site.oid("beside"))) == oids
