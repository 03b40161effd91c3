# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A downgrade command goes astray, or its module is killed: the live database is all old or all new, and nothing is left."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import psycopg2
import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._components.code.component import Code
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import State
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.host_components import make_component
from engine_host import Host
from integration.test_database_crash import order, run_and_die
from integration.test_schema_crash import SOME
from support.checkouts import Checkout
from support.migrations_site import BASE, STARS, TAGS, MigratedProject
from support.postgres_server import wait_until

#: Two lines a step: create, copy, grants, downgrade; in the switch drop before them, and the switch itself after them.
PREPARE_LINES, SWITCH_LINES = 8, 12


@pytest.mark.parametrize("name", [[], ["application_name=nobody"]])
def test_a_command_that_goes_to_the_live_database_is_ended_before_it_changes_it(
    migrated_project: MigratedProject, name: list[str]
) -> None:
    """It is known by its name; and where it has another one, because it waits for what is held."""
    site, point = migrated_project
    site.go_to_live_database(*name)
    site.refused(point, r"went to the live database blog \(a session of role keeper (was|waited) .* and was ended")
    assert site.query("SELECT count(*) FROM pg_stat_activity WHERE datname = 'blog' AND pid <> pg_backend_pid()") == "0"


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE tag DROP heavy",
        "DROP TABLE label",
        "UPDATE alembic_version SET version_num = 'x'",
        "TRUNCATE base",
    ],
)
def test_a_statement_that_commits_by_itself_is_stopped_as_well(
    migrated_project: MigratedProject, statement: str
) -> None:
    site, point = migrated_project
    psql = [str(site.server.programs / "psql"), "-h", str(site.server.sockets), "-p", str(site.server.port)]
    site.options = {
        "migration_command": ["env", "PGAPPNAME=nobody", *psql, "-U", "keeper", "-d", "blog", "-c", statement]
    }
    site.refused(point, "went to the live database blog")


@pytest.mark.parametrize("statement", ["CREATE TABLE stray ()", "DROP VIEW good_posts"])
def test_what_no_lock_stops_is_told_at_least(migrated_project: MigratedProject, statement: str) -> None:
    """Each waits for nobody, and is committed by itself."""
    site, point = migrated_project
    psql = [str(site.server.programs / "psql"), "-h", str(site.server.sockets), "-p", str(site.server.port)]
    site.options = {"migration_command": ["env", "PGAPPNAME=x", *psql, "-U", "keeper", "-d", "blog", "-c", statement]}
    plan, component = site.plan(point), site.component()
    with pytest.raises(LastGoodError, match=r"changed since the plan was made.* the downgrade command did"):
        component.prepare(plan)
    component.undo(plan)
    assert (site.databases(), site.head()) == (["blog"], TAGS)


def test_somebody_else_s_migration_waits_and_is_not_ended(migrated_project: MigratedProject) -> None:
    """Who was there before is not the command; but what was planned does not hold any more, and nothing is switched."""
    site, point = migrated_project
    plan, component = site.plan(point), site.component()
    where = {"host": str(site.server.sockets), "port": site.server.port, "user": "keeper", "dbname": "blog"}
    other = psycopg2.connect(**where)
    other.autocommit = True
    site.hold()

    def migrate() -> None:
        wait_until(lambda: bool(site.commands()))
        site.query("SELECT * FROM post; INSERT INTO base VALUES (71, 'people go on')")
        timer = threading.Timer(0.5, site.let_go)
        timer.start()
        with other.cursor() as cursor:
            cursor.execute("UPDATE alembic_version SET version_num = 'other'")
        timer.join()

    thread = threading.Thread(target=migrate)
    thread.start()
    component.prepare(plan)
    thread.join()
    other.close()
    with pytest.raises(LastGoodError, match="is at migration other and not at 3d2e any more"):
        component.switch(plan)
    component.undo(plan)
    assert site.databases() == ["blog"]
    assert (site.head(), site.query("SELECT v FROM base WHERE id = 71")) == ("other", "people go on")


@pytest.mark.parametrize("name", [[], ["application_name=nobody"]])
def test_a_command_that_has_gone_astray_since_it_was_tried_is_ended_in_the_switch_as_well(
    migrated_project: MigratedProject, name: list[str]
) -> None:
    site, point = migrated_project
    before, plan, component = site.snapshot(), site.plan(point), site.component()
    component.prepare(plan)
    site.go_to_live_database(*name)
    with pytest.raises(LastGoodError, match="went to the live database blog"):
        component.switch(plan)
    component.undo(plan)
    assert site.snapshot() == before


def test_prepare_and_switch_killed_at_their_lines_end_all_old_or_all_new(migrated_project: MigratedProject) -> None:
    site, point = migrated_project
    before, plan, component = site.snapshot(), site.plan(point), site.component()
    for die in (1, 3, 6) if SOME else range(PREPARE_LINES):
        assert run_and_die(site, plan, "prepare", die) == -signal.SIGKILL
        assert {**site.snapshot(), "databases": ["blog"]} == before
    component.undo(plan)
    assert site.snapshot() == before
    assert run_and_die(site, plan, "prepare", PREPARE_LINES) == 0
    for die in (1, 4, 9, 10) if SOME else range(SWITCH_LINES - 1):
        assert run_and_die(site, plan, "switch", die) == -signal.SIGKILL
        # Between dropping what was tried and making its successor there is nothing to switch to.
        bare = die in (1, 2)
        assert component.state(plan) is (State.UNTOUCHED if bare else State.PREPARED)
        assert {**site.snapshot(), "databases": ["blog"]} == before
        if bare:
            component.prepare(plan)
    assert run_and_die(site, plan, "switch", SWITCH_LINES - 1) == -signal.SIGKILL
    assert (component.state(plan), site.head()) == (State.SWITCHED, BASE)
    component.undo(plan)
    assert {**site.snapshot(), "databases": ["blog"]} == before


@pytest.mark.parametrize("phase", ["prepare", "switch"])
def test_a_module_that_is_killed_while_its_command_works_leaves_nothing(
    migrated_project: MigratedProject, phase: str
) -> None:
    site, point = migrated_project
    before, plan, component = site.snapshot(), site.plan(point), site.component()
    if phase == "switch":
        component.prepare(plan)
    site.hold()
    with order(site, plan, phase, -1) as process:
        wait_until(lambda: bool(site.commands()))
        process.kill()
    site.query("INSERT INTO base VALUES (60, 'nobody holds a lock'); DELETE FROM base WHERE id = 60")
    assert site.commands()
    component.undo(plan)
    assert site.snapshot() == before
    assert not list(component.context.workspace.glob("copy*"))
    site.let_go()
    component.prepare(plan)
    component.switch(plan)
    assert site.head() == BASE


@pytest.fixture
def committed(migrated_project: MigratedProject) -> tuple[MigratedProject, Checkout, str]:
    """The same, with the project as a checkout whose last commit brought the migrations; the commit before it."""
    site, _point = migrated_project
    (site.project / ".gitignore").write_text("__pycache__\n")
    checkout = Checkout(site.project)
    checkout.git("init", "-q", "-b", "main")
    names = [site.project / "migrations" / "versions" / f"{revision}.py" for revision in (STARS, TAGS)]
    texts = {path: path.read_text() for path in names}
    for path in names:
        path.unlink()
    before = checkout.commit("Base")
    for path, text in texts.items():
        path.write_text(text)
    checkout.commit("Migrate")
    return migrated_project, checkout, before


def prepared(committed: tuple[MigratedProject, Checkout, str], host: Host) -> None:
    """A transaction that takes schema and code back; the code is planned and prepared first."""
    (site, point), checkout, before = committed
    records = host.transaction().records
    code = make_component(Code, records, records.directory / "workspace" / "planned", {})
    plans = [code.plan({"path": str(checkout.path), "to": before}, None), site.plan(point)]
    host.begin()
    for plan in plans:
        host.transaction().prepare(plan, {})


def test_migrations_go_back_before_the_code_that_holds_them_and_both_come_back(
    committed: tuple[MigratedProject, Checkout, str], tmp_path: Path
) -> None:
    (site, _point), checkout, before = committed
    seen, head, host = site.snapshot(), checkout.id("HEAD"), Host(tmp_path / "host")
    prepared(committed, host)
    switched = host.transaction().switch()
    assert [entry["component"] for entry in switched] == ["migrations:blog", f"code:{checkout.path}"]
    assert (site.head(), checkout.id("HEAD")) == (BASE, before)
    assert not (site.project / "migrations" / "versions" / f"{TAGS}.py").exists()
    undone = host.transaction().undo("undo", "a check failed")
    assert [entry["component"] for entry in undone] == [f"code:{checkout.path}", "migrations:blog"]
    assert ({**site.snapshot(), "databases": seen["databases"]}, checkout.id("HEAD")) == (seen, head)


def test_a_module_killed_between_migrations_and_code_is_recovered_to_all_old(
    committed: tuple[MigratedProject, Checkout, str], tmp_path: Path
) -> None:
    (site, _point), checkout, _before = committed
    seen, head, host = site.snapshot(), checkout.id("HEAD"), Host(tmp_path / "host")
    prepared(committed, host)
    child = os.fork()
    if child == 0:
        Code.switch = lambda *_words: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment, method-assign, misc]
        host.transaction().switch()
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert (site.head(), checkout.id("HEAD")) == (BASE, head)
    host.transaction().decide("undo", [], "night shift")
    host.transaction().undo(None, "the module was killed")
    assert host.transaction().finish(None, []) == "undone"
    assert ({**site.snapshot(), "databases": seen["databases"]}, checkout.id("HEAD")) == (seen, head)
