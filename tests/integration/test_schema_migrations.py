# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A schema goes back by the project's own downgrade, made with Alembic; everything is looked at by psql and pg_dump."""

from __future__ import annotations

import json
import pwd
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._components._base import Plan, PointEntry, State
from ansible_collections.lastgood.rollback.plugins.module_utils._components._registry import component_class
from ansible_collections.lastgood.rollback.plugins.module_utils._errors import LastGoodError, Refused
from integration.database_site import SECOND
from integration.migrations_site import BASE, COMMAND, STARS, TAGS, VERSIONS, MigrationsSite
from integration.postgres_server import PostgresServer, wait_until
from integration.test_database_crash import order, run_and_die

#: What people wrote after the migration.
WRITTEN = """
UPDATE post SET stars = 5, words = -7 WHERE id = 3;
INSERT INTO post (name, path, words) VALUES ('new', 'new', 8);
INSERT INTO tag VALUES (200, 'late', 1, true);
SELECT nextval('ticket');
"""
#: What the downgrade makes of it: a query and its answer.
PRESENT = {
    "SELECT words, note IS NULL FROM post WHERE id = 3": "0|t",
    "SELECT words, twice, slug FROM post WHERE name = 'new'": "8|16|new",
    "SELECT count(*), count(note) FROM post": "201|0",
    "SELECT count(*), sum(weight) FROM tag": "101|5051",
    "SELECT to_regclass('label') IS NULL": "t",
    "SELECT lo_get(4711)": "\\x6c61726765",
    "SELECT posts FROM counts": "201",
    "SELECT nextval('ticket')": "13",
    "SELECT nextval('post_id_seq')": "202",
}
#: Tables that no migration has to do with, views and large objects.
OTHERS = ("audit", "base", "derived", "room", "visit_old", "visit_new", "section", "cache", "empty", "large objects")


@pytest.fixture
def site(postgres_server: PostgresServer, make_context: Callable[..., Any], tmp_path: Path) -> Iterator[MigrationsSite]:
    """A place for a database and its project; whatever the test leaves there is dropped."""
    site = MigrationsSite(postgres_server, make_context, tmp_path)
    site.make_roles()
    before = set(site.databases())
    yield site
    site.drop([name for name in site.databases() if name not in before])


@pytest.fixture
def migrated(site: MigrationsSite) -> tuple[MigrationsSite, PointEntry]:
    """A database that was migrated after the restore point."""
    site.create()
    point = site.capture()
    site.upgrade()
    return site, point


Migrated = tuple[MigrationsSite, PointEntry]
Seen = dict[str, Any]


def look(site: MigrationsSite) -> Seen:
    """All that may not change while it is prepared, or when it fails."""
    return {
        **site.content(),
        "oid": site.oid(),
        "properties": site.properties(),
        "databases": site.databases(),
        "commands": site.commands(),
    }


def unordered(schema: str) -> list[str]:
    """The lines of a schema, with the columns of each table in any order."""
    return sorted(line.strip().rstrip(",") for line in schema.splitlines())


@pytest.mark.parametrize("login", ["postgres", "keeper"])
def test_there_and_back_by_the_downgrade_of_the_project(site: MigrationsSite, login: str) -> None:
    """As a superuser; and as an owner with CREATEDB and pg_signal_backend alone."""
    site.create()
    site.options = {"login_user": login}
    site.query(
        "ALTER DATABASE blog SET work_mem TO '5MB'; REVOKE CONNECT ON DATABASE blog FROM PUBLIC;"
        "GRANT CONNECT ON DATABASE blog TO reader, keeper; COMMENT ON DATABASE blog IS 'The blog''s own';"
        "ALTER DATABASE blog CONNECTION LIMIT 30",
        "postgres",
    )
    schema, point = site.definitions(), site.capture()
    site.upgrade()
    site.migrate(WRITTEN)
    before = look(site)
    plan, component = site.plan(point), site.component()
    assert plan.discards == {
        "downgraded_tables": ["public.label"],
        "downgraded_columns": ["public.post.path", "public.post.stars", "public.tag.heavy"],
        "downgraded_types": [],
        "remade_tables": [],
        "remade_columns": ["public.post.slug", "public.post.note"],
    }
    assert "-    path text,\n" in component.result(plan, {})["diff"]["prepared"]
    assert look(site) == before

    evidence = component.prepare(plan)
    assert component.state(plan) is State.PREPARED
    assert look(site) == {**before, "databases": sorted(["blog", component.result(plan, {})["incoming_database"]])}
    verification = evidence["verification"]
    assert verification["migration"] == [BASE]
    assert verification["schema_differences"] == ["order of columns: TABLE public post"]
    assert verification["table_rows"]["public.label"] == {"before": 1, "after": None}
    assert verification["table_rows"]["public.post"] == {"before": 201, "after": 201}
    assert component.prepare(plan) == json.loads(json.dumps(evidence))
    site.migrate("INSERT INTO base VALUES (70, 'written after prepare')")
    before = look(site)

    component.switch(plan)
    assert component.state(plan) is State.SWITCHED
    assert site.head() == BASE
    assert unordered(site.definitions()) == unordered(schema)
    assert {query: site.query(query) for query in PRESENT} == PRESENT
    now = look(site)
    assert {key: now[key] for key in now if key.endswith(OTHERS)} == {
        key: before[key] for key in before if key.endswith(OTHERS)
    }
    assert now["properties"] == before["properties"]
    aside = component.result(plan, evidence)["previous_database"]
    assert (site.oid(aside), site.content(aside)) == (before["oid"], site_content(before))
    assert not site.plan(point, SECOND).changed

    site.query("INSERT INTO base VALUES (77, 'later'); SELECT nextval('ticket')")
    component.undo(plan)
    assert component.state(plan) is State.UNTOUCHED
    rejected = component.kept(plan)["database blog, rejected"]
    assert look(site) == {**before, "databases": sorted(["blog", rejected])}
    assert site.query("SELECT v FROM base WHERE id = 77", rejected) == "later"
    component.count_written(plan)
    assert component.kept(plan)[f"rows written to {rejected}"] == {"public.base": {"then": 2, "now": 3, "written": 1}}


def site_content(seen: Seen) -> Seen:
    """Of a look, what `Site.content` gives."""
    return {key: value for key, value in seen.items() if key not in ("oid", "properties", "databases", "commands")}


def refused(site: MigrationsSite, point: PointEntry, said: str, **secrets: Any) -> str:
    """Prepare fails, the live database stays as it was, and an undo leaves nothing; the message."""
    before, plan = look(site), site.plan(point)
    component = site.component(**secrets)
    with pytest.raises(LastGoodError, match=said) as failure:
        component.prepare(plan)
    component.undo(plan)
    assert look(site) == before
    return failure.value.message


def test_a_downgrade_that_fails_is_told_in_its_own_words_without_secrets(migrated: Migrated) -> None:
    site, point = migrated
    before, upgrade, _downgrade = VERSIONS[STARS]
    site.write_version(STARS, before, upgrade, 'raise RuntimeError("no way back with " + os.environ["BLOG_PASSWORD"])')
    environment = {"BLOG_PASSWORD": "hunter2hunter2", "DATABASE_URL": "postgresql+psycopg2://keeper:x@/{database}"}
    said = refused(site, point, "no way back with \\*{8}", migration_environment=environment)
    assert "hunter2" not in said + (site.directory / "state" / "rollback.log").read_text()
    assert "alembic downgrade 1f0a" in said


def test_a_downgrade_that_does_not_end_is_ended_with_all_that_it_has_started(migrated: Migrated) -> None:
    site, point = migrated
    before, upgrade, _downgrade = VERSIONS[TAGS]
    started = 'print("starting", flush=True); subprocess.run(["setsid", "sleep", "1000"])'
    site.write_version(TAGS, before, upgrade, started)
    seen, plan, component = look(site), site.plan(point, migration_timeout=3), site.component()
    with pytest.raises(LastGoodError, match="no end after 3 s"):
        component.prepare(plan)
    assert site.commands() == []
    component.undo(plan)
    assert look(site) == seen


def test_another_schema_than_the_restore_point_s_is_refused_by_name(migrated: Migrated) -> None:
    site, point = migrated
    before, upgrade, downgrade = VERSIONS[STARS]
    lazy = "\n".join(line for line in downgrade.splitlines() if "create_check_constraint" not in line)
    site.write_version(STARS, before, upgrade, f"{lazy}\nop.create_index('extra', 'post', ['words'])")
    said = refused(site, point, "with another schema than that of restore point point")
    assert "added: INDEX public extra" in said
    assert "changed: TABLE public post (without 'CONSTRAINT post_words_check CHECK" in said


def test_a_command_that_does_not_go_all_the_way_is_refused(migrated: Migrated) -> None:
    site, point = migrated
    site.options = {"migration_command": ["true"]}
    refused(site, point, f"at migration {TAGS} instead of {BASE}")


@pytest.mark.parametrize("name", [[], ["application_name=nobody"]])
def test_a_command_that_goes_to_the_live_database_is_ended_before_it_changes_it(
    migrated: Migrated, name: list[str]
) -> None:
    """It is known by its name; and where it has another one, because it waits for what is held."""
    site, point = migrated
    site.go_stray(*name)
    refused(site, point, "went to the live database blog .* and was stopped before it could change it")
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
def test_a_statement_that_commits_by_itself_is_stopped_as_well(migrated: Migrated, statement: str) -> None:
    site, point = migrated
    psql = [str(site.server.programs / "psql"), "-h", str(site.server.sockets), "-p", str(site.server.port)]
    site.options = {
        "migration_command": ["env", "PGAPPNAME=nobody", *psql, "-U", "keeper", "-d", "blog", "-c", statement]
    }
    refused(site, point, "went to the live database blog")


def test_somebody_else_s_migration_waits_and_is_not_ended(migrated: Migrated) -> None:
    """Who was there before is not the command; but what was planned does not hold any more."""
    site, point = migrated
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
    with pytest.raises(LastGoodError, match="is at migration other and not at 3d2e any more"):
        component.prepare(plan)
    thread.join()
    other.close()
    assert (site.head(), site.query("SELECT v FROM base WHERE id = 71")) == ("other", "people go on")


#: Two lines a step: create, copy, grants, downgrade; in the switch drop before them, and the switch itself after them.
PREPARE_LINES, SWITCH_LINES = 8, 12


def test_prepare_and_switch_killed_at_their_lines_end_all_old_or_all_new(migrated: Migrated) -> None:
    site, point = migrated
    before, plan, component = look(site), site.plan(point), site.component()
    for die in (1, 3, 6):
        assert run_and_die(site, plan, "prepare", die) == -signal.SIGKILL
        assert {**look(site), "databases": ["blog"]} == before
    component.undo(plan)
    assert look(site) == before
    assert run_and_die(site, plan, "prepare", PREPARE_LINES) == 0
    for die in (1, 4, 9, 10):
        assert run_and_die(site, plan, "switch", die) == -signal.SIGKILL
        assert component.state(plan) is (State.UNTOUCHED if die == 1 else State.PREPARED)
        assert {**look(site), "databases": ["blog"]} == before
        if die == 1:
            component.prepare(plan)
    assert run_and_die(site, plan, "switch", SWITCH_LINES - 1) == -signal.SIGKILL
    assert (component.state(plan), site.head()) == (State.SWITCHED, BASE)
    component.undo(plan)
    assert {**look(site), "databases": ["blog"]} == before


@pytest.mark.parametrize("phase", ["prepare", "switch"])
def test_a_module_that_is_killed_while_its_command_works_leaves_nothing(migrated: Migrated, phase: str) -> None:
    site, point = migrated
    before, plan, component = look(site), site.plan(point), site.component()
    if phase == "switch":
        component.prepare(plan)
    site.hold()
    with order(site, plan, phase, -1) as process:
        wait_until(lambda: bool(site.commands()))
        process.kill()
    site.query("INSERT INTO base VALUES (60, 'nobody holds a lock'); DELETE FROM base WHERE id = 60")
    assert site.commands()
    component.undo(plan)
    assert look(site) == before
    assert not list(component.context.workspace.glob("copy*"))
    site.let_go()
    component.prepare(plan)
    component.switch(plan)
    assert site.head() == BASE


def test_what_is_live_is_looked_at_again_when_writes_stand_still(migrated: Migrated) -> None:
    site, point = migrated
    plan, component = site.plan(point), site.component()
    component.prepare(plan)
    site.migrate("UPDATE alembic_version SET version_num = 'other'")
    before = site.content()
    with pytest.raises(LastGoodError, match="is at migration other and not at 3d2e any more"):
        component.switch(plan)
    component.undo(plan)
    assert (site.content(), site.databases()) == (before, ["blog"])


def test_a_command_that_has_gone_astray_since_it_was_tried_is_ended_in_the_switch_as_well(migrated: Migrated) -> None:
    site, point = migrated
    before, plan, component = look(site), site.plan(point), site.component()
    component.prepare(plan)
    site.go_stray()
    with pytest.raises(LastGoodError, match="went to the live database blog"):
        component.switch(plan)
    component.undo(plan)
    assert look(site) == before


def test_the_command_runs_as_the_owner_of_its_directory(migrated: Migrated, other_account: int) -> None:
    site, point = migrated
    site.write("who", "")
    script = site.project / "who.sh"
    script.write_text("#!/bin/sh\nid -u >who\npwd >>who\nexit 3\n")
    script.chmod(0o755)
    for path in (site.project, *site.project.rglob("*")):
        shutil.chown(path, other_account)
    site.options = {"migration_command": ["./who.sh"]}
    refused(site, point, "ended with 3")
    assert (site.project / "who").read_text().split() == [str(other_account), str(site.project)]


def test_what_can_t_work_is_refused_by_the_plan(migrated: Migrated) -> None:
    site, point = migrated
    before = look(site)
    account = pwd.getpwuid(0).pw_name
    wrong: dict[str, dict[str, Any]] = {
        "migration_command is not given": {"migration_command": []},
        "migration_chdir is not given": {"migration_chdir": None},
        "not the absolute path of a directory on this host": {"migration_chdir": "/nowhere"},
        "program 'alembic downgrade -1' can't be run .* The command must be a list": {
            "migration_command": ["alembic downgrade -1"]
        },
        f"program './alembic' can't be run by {account}": {"migration_command": ["./alembic"]},
        "User 'somebody' does not exist": {"migration_user": "somebody"},
        "migration_timeout must be at least one second": {"migration_timeout": -1},
    }
    for said, wish in wrong.items():
        with pytest.raises(Refused, match=said):
            site.plan(point, **wish)
    headless = PointEntry(
        point.point, point.directory, {**point.facts, "inside": {**point.facts["inside"], "migration": []}}
    )
    with pytest.raises(Refused, match="not known how far to downgrade"):
        site.plan(headless)
    branched = {**point.facts, "inside": {**point.facts["inside"], "migration": ["a", "b"]}}
    with pytest.raises(Refused, match="has 2 migration heads"):
        site.plan(PointEntry(point.point, point.directory, branched), migration_command=COMMAND)
    for scope in ("database", "tables"):
        with pytest.raises(Refused, match=f"keeps its rows, but scope is {scope}: say scope: schema"):
            component_class(scope).variant({"name": "blog", "method": "migrations"})
    assert look(site) == before
    (point.directory / "layout.json").unlink()
    without = {name: digest for name, digest in point.artefacts.items() if name != "layout.json"}
    with pytest.raises(Refused, match="without a layout"):
        site.plan(PointEntry(point.point, point.directory, point.facts, without))


def test_a_schema_that_no_downgrade_can_mend_is_refused(migrated: Migrated) -> None:
    site, _point = migrated
    point = site.capture("after")
    assert not site.plan(point).changed
    site.migrate("ALTER TABLE tag ADD more int")
    with pytest.raises(Refused, match=r"at migration 3d2e already.*changed: TABLE public tag \(with 'more integer'\)"):
        site.plan(point)
    site.migrate("ALTER TABLE tag DROP more; DROP TABLE alembic_version")
    with pytest.raises(Refused, match="nothing to downgrade from"):
        site.plan(point)


def test_the_kinds_of_a_plan_survive_the_journal(migrated: Migrated) -> None:
    site, point = migrated
    plan = site.plan(point)
    assert plan.key == "migrations:blog"
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
