# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A schema goes back by the project's own downgrade, made with Alembic; everything is looked at by psql and pg_dump."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import State
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import component_class
from support.database_site import SECOND
from support.migrations_site import BASE, COMMAND, STARS, TAGS, VERSIONS, MigratedProject, MigrationsSite, unordered

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


@pytest.mark.parametrize("login", ["postgres", "keeper"])
def test_there_and_back_by_the_downgrade_of_the_project(migrations_site: MigrationsSite, login: str) -> None:
    """As a superuser; and as an owner with CREATEDB and pg_signal_backend alone."""
    site = migrations_site
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
    before = site.snapshot()
    # Whole rows that the downgrade takes away have to be accepted, as those that a rebuild sets aside.
    plan, component = site.plan(point, max_rows_set_aside=0), site.component()
    with pytest.raises(Refused, match=r"1 of [\d,]+ rows .* because the downgrade takes them away: 1 of public.label"):
        component.prepare(plan)
    component.undo(plan)
    assert site.snapshot() == before
    plan = site.plan(point)
    assert plan.discards == {
        "migration": {"then": [BASE], "now": [site.head()]},
        "downgraded_tables": ["public.label"],
        "downgraded_columns": ["public.post.path", "public.post.stars", "public.tag.heavy"],
        "downgraded_types": [],
        "remade_tables": [],
        "remade_columns": ["public.post.slug", "public.post.note"],
    }
    assert "-    path text,\n" in component.result(plan, {})["diff"]["prepared"]
    assert site.snapshot() == before

    evidence = component.prepare(plan)
    assert component.state(plan) is State.PREPARED
    assert site.snapshot() == {**before, "databases": sorted(["blog", component.result(plan, {})["incoming_database"]])}
    verification = evidence["verification"]
    assert verification["migration"] == [BASE]
    assert verification["schema_differences"] == ["order of columns: TABLE public post"]
    assert verification["table_rows"]["public.label"] == {"before": 1, "after": None}
    assert verification["table_rows"]["public.post"] == {"before": 201, "after": 201}
    log = (site.directory / "state" / "rollback.log").read_text()
    assert "Table public.label of database blog: 1 rows before the downgrade, no such table after it" in log
    assert component.prepare(plan) == json.loads(json.dumps(evidence))
    site.migrate("INSERT INTO base VALUES (70, 'written after prepare')")
    before = site.snapshot()

    component.switch(plan)
    assert component.state(plan) is State.SWITCHED
    assert component.set_aside(plan)["tables"] == {"public.label": 1}
    assert site.head() == BASE
    assert unordered(site.definitions()) == unordered(schema)
    assert {query: site.query(query) for query in PRESENT} == PRESENT
    now = site.snapshot()
    assert {key: now[key] for key in now if key.endswith(OTHERS)} == {
        key: before[key] for key in before if key.endswith(OTHERS)
    }
    assert now["properties"] == before["properties"]
    previous = component.result(plan, evidence)["previous_database"]
    assert {**before, **site.content(previous), "oid": site.oid(previous)} == before
    assert not site.plan(point, SECOND).changed

    site.query("INSERT INTO base VALUES (77, 'later'); SELECT nextval('ticket')")
    component.undo(plan)
    assert component.state(plan) is State.UNTOUCHED
    rejected = component.kept(plan)["database blog, rejected"]
    assert site.snapshot() == {**before, "databases": sorted(["blog", rejected])}
    assert site.query("SELECT v FROM base WHERE id = 77", rejected) == "later"
    component.count_written(plan)
    assert component.kept(plan)[f"rows written to {rejected}"] == {"public.base": {"then": 2, "now": 3, "written": 1}}


def test_a_downgrade_that_fails_is_told_in_its_own_words_without_secrets(migrated_project: MigratedProject) -> None:
    site, point = migrated_project
    before, upgrade, _downgrade = VERSIONS[STARS]
    site.write_version(STARS, before, upgrade, 'raise RuntimeError("no way back with " + os.environ["BLOG_PASSWORD"])')
    environment = {"BLOG_PASSWORD": "hunter2hunter2", "DATABASE_URL": "postgresql+psycopg2://keeper:x@/{database}"}
    said = site.refused(point, "no way back with \\*{8}", migration_environment=environment)
    written = [path.read_bytes() for path in (site.directory / "state").rglob("*") if path.is_file()]
    assert any(b"no way back with ****" in text for text in written)
    assert "hunter2" not in said and not any(b"hunter2" in text for text in written)
    assert "alembic downgrade 1f0a" in said


def test_a_downgrade_that_does_not_end_is_ended_with_all_that_it_has_started(migrated_project: MigratedProject) -> None:
    site, point = migrated_project
    before, upgrade, _downgrade = VERSIONS[TAGS]
    started = 'print("starting", flush=True); subprocess.run(["setsid", "sleep", "1000"])'
    site.write_version(TAGS, before, upgrade, started)
    seen, plan, component = site.snapshot(), site.plan(point, migration_timeout=3), site.component()
    with pytest.raises(LastGoodError, match="no end after 3 s"):
        component.prepare(plan)
    assert site.commands() == []
    component.undo(plan)
    assert site.snapshot() == seen


def test_another_schema_than_the_restore_point_s_is_refused_by_name(migrated_project: MigratedProject) -> None:
    site, point = migrated_project
    before, upgrade, downgrade = VERSIONS[STARS]
    lazy = "\n".join(line for line in downgrade.splitlines() if "create_check_constraint" not in line)
    site.write_version(STARS, before, upgrade, f"{lazy}\nop.create_index('extra', 'post', ['words'])")
    said = site.refused(point, "with another schema than that of restore point point")
    assert "added: INDEX public extra" in said
    assert "changed: TABLE public post (without 'CONSTRAINT post_words_check CHECK" in said


def test_a_command_that_does_not_go_all_the_way_is_refused(migrated_project: MigratedProject) -> None:
    site, point = migrated_project
    site.options = {"migration_command": ["true"]}
    site.refused(point, f"at migration {TAGS} instead of {BASE}")


def test_the_command_runs_as_the_owner_of_its_directory(migrated_project: MigratedProject, other_account: int) -> None:
    site, point = migrated_project
    site.write("who", "")
    script = site.project / "who.sh"
    script.write_text("#!/bin/sh\nid -u >who\npwd >>who\nexit 3\n")
    script.chmod(0o755)
    for path in (site.project, *site.project.rglob("*")):
        shutil.chown(path, other_account)
    site.options = {"migration_command": ["./who.sh"]}
    site.refused(point, "ended with 3")
    assert (site.project / "who").read_text().split() == [str(other_account), str(site.project)]


def test_what_can_t_work_is_refused_by_the_plan(migrated_project: MigratedProject) -> None:
    site, point = migrated_project
    before = site.snapshot()
    account = pwd.getpwuid(os.geteuid()).pw_name
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
    for said, options in wrong.items():
        with pytest.raises(Refused, match=said):
            site.plan(point, **options)
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
    assert site.snapshot() == before
    (point.directory / "layout.json").unlink()
    without = {name: digest for name, digest in point.artefacts.items() if name != "layout.json"}
    with pytest.raises(Refused, match="without a layout"):
        site.plan(PointEntry(point.point, point.directory, point.facts, without))


def test_a_schema_that_no_downgrade_can_mend_is_refused(migrated_project: MigratedProject) -> None:
    site, _point = migrated_project
    point = site.capture("after")
    assert not site.plan(point).changed
    site.migrate("ALTER TABLE tag ADD more int")
    with pytest.raises(Refused, match=r"at migration 3d2e already.*changed: TABLE public tag \(with 'more integer'\)"):
        site.plan(point)
    site.migrate("ALTER TABLE tag DROP more; DROP TABLE alembic_version")
    with pytest.raises(Refused, match="nothing to downgrade from"):
        site.plan(point)
