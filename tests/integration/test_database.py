# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database is captured, damaged, rolled back, and brought back again; everything is looked at by psql."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import StateConflict, VerificationFailed
from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import FinishedRollback
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database.component import Database
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database.reversal import DatabaseReversal
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database.swap import Rename, swap
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import State
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import component_class
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.host_components import complete
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Server
from support.database_site import FIRST, SECOND, THIRD, Site, identifier, literal

LONG = "ü" * 31 + "x"  # 63 bytes


@pytest.mark.parametrize("name", ["blog", 'O\'Brien "& Söhne" $; --', "a=b host=nowhere", LONG])
def test_database_rollback_brings_content_and_properties_back(site: Site, name: str) -> None:
    site.create(name)
    content, properties = site.content(), site.properties()
    point = site.capture()
    site.damage()
    damaged, oid = site.content(), site.oid()
    assert damaged != content

    plan = site.plan(point)
    assert plan.changed
    component = site.component()
    evidence = component.prepare(plan)
    assert component.state(plan) is State.PREPARED
    assert (site.oid(), site.content()) == (oid, damaged)
    component.switch(plan)

    assert component.state(plan) is State.SWITCHED
    assert site.content() == content
    assert site.properties() == properties
    result = component.result(plan, evidence)
    previous = result["previous_database"]
    assert site.oid(previous) == oid
    assert site.content(previous) == damaged
    assert sorted(site.databases()) == sorted([name, previous])
    assert component.kept(plan) == {f"database {name} as it was": previous}
    assert result["verification"]["content"] == "equal"
    assert result["verification"]["schema"] == "equal"
    assert not site.plan(point, SECOND).changed


def test_undo_swaps_back_and_counts_what_was_written_meanwhile(site: Site) -> None:
    site.create()
    point = site.capture()
    site.damage()
    damaged, properties, oid = site.content(), site.properties(), site.oid()
    plan = site.roll_back(point)
    new = site.oid()
    site.query("INSERT INTO visit VALUES (51), (52)")

    component = site.component()
    component.undo(plan)

    assert component.state(plan) is State.UNTOUCHED
    assert (site.oid(), site.content(), site.properties()) == (oid, damaged, properties)
    rejected = next(name for name in site.databases() if name != "blog")
    assert site.oid(rejected) == new
    assert site.query("SELECT count(*) FROM visit", rejected) == "52"
    assert component.kept(plan) == {"database blog, rejected": rejected}, "counting reads all of it, and services wait"
    component.count_written(plan)
    kept = component.kept(plan)
    assert kept[f"rows written to {rejected}"] == {"public.visit": {"then": 50, "now": 52}}
    component.undo(plan)
    assert (site.oid(), site.oid(rejected)) == (oid, new)


def test_what_is_written_while_a_rollback_is_undone_is_counted_when_that_is_taken_back(site: Site) -> None:
    site.create()
    point = site.capture()
    site.damage()
    then = site.roll_back(point)
    good, oid = site.content(), site.oid()
    reversal = DatabaseReversal(site.make_context(SECOND))
    plan = reversal.plan_reversal(FinishedRollback(FIRST, then, site.make_context(FIRST).workspace))
    reversal.prepare(plan)
    reversal.switch(plan)
    rows = int(site.query("SELECT count(*) FROM visit"))
    site.query("INSERT INTO visit VALUES (1001), (1002)")
    reversal.undo(plan)
    assert (site.oid(), site.content()) == (oid, good)
    written = {"public.visit": {"then": rows, "now": rows + 2}}
    assert reversal.count_written(plan) == written
    returning = plan.facts["aside"]["name"]
    assert reversal.kept(plan) == {f"rows written to {returning}": written}
    assert site.query("SELECT count(*) FROM visit", returning) == str(rows + 2)


def test_what_a_rollback_retained_itself_can_come_back_where_nothing_older_is_kept(site: Site) -> None:
    site.create()
    point = site.capture()
    site.damage()
    damaged, oid = site.content(), site.oid()
    then = site.roll_back(point, keep_previous=0)
    site.component().finish(then)
    assert complete(then, component_class).can_go_back
    reversal = DatabaseReversal(site.make_context(SECOND))
    plan = reversal.plan_reversal(FinishedRollback(FIRST, then, site.make_context(FIRST).workspace))
    reversal.prepare(plan)
    reversal.switch(plan)
    assert (site.oid(), site.content()) == (oid, damaged)


def test_undo_of_a_prepared_database_drops_only_that(site: Site) -> None:
    site.create()
    point = site.capture()
    site.damage()
    oid, damaged = site.oid(), site.content()
    plan = site.plan(point)
    component = site.component()
    component.prepare(plan)
    assert len(site.databases()) == 2
    component.undo(plan)
    assert component.state(plan) is State.UNTOUCHED
    assert site.databases() == ["blog"]
    assert (site.oid(), site.content()) == (oid, damaged)
    component.undo(plan)


def test_phases_can_be_repeated(site: Site) -> None:
    site.create()
    point = site.capture()
    site.damage()
    plan = site.plan(point)
    component = site.component()
    evidence = component.prepare(plan)
    side = component.result(plan, evidence)["incoming_database"]
    oid = site.oid(side)
    assert component.prepare(plan) == evidence
    assert site.oid(side) == oid
    component.switch(plan)
    component.switch(plan)
    assert site.oid() == oid
    component.finish(plan)
    component.finish(plan)
    assert component.state(plan) is State.SWITCHED


def test_plan_shows_rows_and_changes_nothing(site: Site) -> None:
    site.create()
    point = site.capture()
    assert not site.plan(point).changed
    site.query("INSERT INTO visit VALUES (51), (52); UPDATE post SET title = 'c' WHERE id = 1; CREATE TABLE mine ()")
    before = (site.databases(), site.content(), site.properties())
    plan = site.plan(point)
    assert plan.changed
    assert plan.discards == {
        "rows": {
            "public.mine": {"now": 0, "then": None, "differs": True},
            "public.post": {"now": 300, "then": 300, "differs": True},
            "public.visit": {"now": 52, "then": 50, "differs": True},
        },
        "not_compared": [],
    }
    assert plan.before["schema"] != plan.after["schema"]
    assert plan.before.keys() == plan.after.keys()
    assert plan.downtime["grows_with"] == "nothing"
    assert plan.disk_bytes > 0
    assert (site.databases(), site.content(), site.properties()) == before
    unread = site.plan(point, compare_timeout=0)
    assert unread.changed
    assert "public.post" in unread.discards["not_compared"]


def test_settings_and_grants_are_the_live_databases_and_differences_are_reported(site: Site) -> None:
    site.create()
    point = site.capture()
    site.damage()
    site.server.psql(
        "postgres",
        "ALTER DATABASE blog SET work_mem TO '9MB'",
        "ALTER DATABASE blog CONNECTION LIMIT 33",
        "REVOKE ALL ON DATABASE blog FROM reader",
    )
    properties = site.properties()
    plan = site.roll_back(point)
    assert site.properties() == properties
    said = " ".join(plan.warnings)
    assert "settings" in said
    assert "acl" in said
    assert "limit is 33 instead of 40" in said


def test_a_missing_database_is_made_again_and_undo_takes_it_away(site: Site) -> None:
    site.create()
    content, properties = site.content(), site.properties()
    point = site.capture()
    site.query("DROP DATABASE blog", "postgres")
    plan = site.plan(point)
    component = site.component()
    assert plan.facts["old_oid"] is None
    assert component.state(plan) is State.UNTOUCHED
    evidence = component.prepare(plan)
    component.switch(plan)
    assert component.state(plan) is State.SWITCHED
    assert (site.content(), site.properties()) == (content, properties)
    assert component.result(plan, evidence)["previous_database"] is None
    assert component.kept(plan) == {}
    component.undo(plan)
    assert component.state(plan) is State.UNTOUCHED
    assert site.oid() == ""
    assert [name.rsplit("_", 1)[1] for name in site.databases()] == ["rejected"]


def test_a_database_that_refuses_connections_is_retained_as_it_is(site: Site) -> None:
    site.create()
    content = site.content()
    point = site.capture()
    site.query("ALTER DATABASE blog ALLOW_CONNECTIONS false", "postgres")
    oid = site.oid()
    plan = site.roll_back(point)
    assert plan.changed
    assert any("can't be read" in warning for warning in plan.warnings)
    assert site.content() == content
    component = site.component()
    assert site.oid(component.result(plan, {})["previous_database"]) == oid
    component.undo(plan)
    assert site.oid() == oid


def test_a_table_whose_file_is_gone_does_not_stop_the_rollback(site: Site) -> None:
    site.create()
    content = site.content()
    point = site.capture()
    path = site.query("SELECT pg_relation_filepath('post_section')")
    site.query("CHECKPOINT")
    (site.server.data / path).unlink()
    site.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'blog'", "postgres")
    plan = site.roll_back(point)
    assert "public.post_section" in plan.discards["not_compared"]
    assert site.content() == content


def test_a_connection_limit_does_not_stop_parallel_work(site: Site) -> None:
    site.create(owner="keeper")
    site.query("ALTER DATABASE blog CONNECTION LIMIT 1", "postgres")
    point = site.capture()
    site.damage()
    site.roll_back(point)
    assert site.query("SELECT datconnlimit FROM pg_database WHERE datname = 'blog'", "postgres") == "1"


def test_finish_keeps_the_newest_and_what_somebody_needs(site: Site) -> None:
    site.create()
    point = site.capture()
    oids = []
    for transaction in (FIRST, SECOND, THIRD):
        site.damage()
        oids.append(site.oid())
        plan = site.roll_back(point, transaction)
        if transaction == FIRST:
            previous = site.component(FIRST).result(plan, {})["previous_database"]
            site.query("SELECT pg_create_logical_replication_slot('needed', 'pgoutput')", previous)
        site.component(transaction).finish(plan)
    left = [site.oid(name) for name in site.databases() if name != "blog"]
    assert sorted(left) == sorted([oids[0], oids[2]])
    assert site.query("SELECT slot_name FROM pg_replication_slots", "postgres") == "needed"


def test_finish_never_drops_what_only_looks_like_ours(site: Site) -> None:
    site.create()
    point = site.capture()
    for name in ("blog_lastgood_00000000_previous", "blog_copy"):
        site.query(f"CREATE DATABASE {name}", "postgres")
    mark = {"lastgood": SECOND, "role": "previous", "name": "blog", "of": 1}
    site.query(f"COMMENT ON DATABASE blog_copy IS {literal(json.dumps(mark))}", "postgres")
    site.damage()
    plan = site.roll_back(point, keep_previous=0)
    site.component().finish(plan)
    own = site.component().result(plan, {})["previous_database"]
    assert site.databases() == sorted(["blog", "blog_copy", "blog_lastgood_00000000_previous", own])


def test_undo_refuses_when_somebody_else_changed_the_names(site: Site) -> None:
    site.create()
    point = site.capture()
    site.damage()
    plan = site.roll_back(point)
    site.query('ALTER DATABASE blog RENAME TO "elsewhere"', "postgres")
    site.query("CREATE DATABASE blog", "postgres")
    before = {name: site.oid(name) for name in site.databases()}
    component = site.component()
    assert component.state(plan) is State.FOREIGN
    with pytest.raises(StateConflict, match=r"can't be undone.*OID"):
        component.undo(plan)
    assert {name: site.oid(name) for name in site.databases()} == before


def test_switch_refuses_when_the_live_database_was_replaced(site: Site) -> None:
    site.create()
    point = site.capture()
    site.damage()
    plan = site.plan(point)
    component = site.component()
    component.prepare(plan)
    site.query("ALTER DATABASE blog RENAME TO elsewhere", "postgres")
    site.query("CREATE DATABASE blog", "postgres")
    oid = site.oid()
    with pytest.raises(StateConflict, match="Somebody else"):
        component.switch(plan)
    assert site.oid() == oid


def test_a_database_is_renamed_only_when_its_oid_is_the_planned_one(site: Site) -> None:
    for name in ("blog", "coming"):
        site.query(f"CREATE DATABASE {name}", "postgres")
    before = {name: site.oid(name) for name in site.databases()}
    outgoing, replacement = (Rename(int(before[name]), name, f"{name}_then", None) for name in ("blog", "coming"))
    for wrong in (
        (dataclasses.replace(outgoing, oid=1), replacement),
        (outgoing, dataclasses.replace(replacement, oid=1)),
    ):
        with pytest.raises(StateConflict, match=r"was taken back: .* not 1\. Somebody else"):
            swap(Server.from_options(site.server.options), *wrong, "lastgood_spare")
        assert {name: site.oid(name) for name in site.databases()} == before


def test_a_side_database_that_has_other_properties_than_planned_is_not_switched_to(site: Site) -> None:
    site.create()
    point = site.capture()
    site.damage()
    damaged, plan, context = site.content(), site.plan(point), site.make_context(FIRST)

    @contextmanager
    def change(what: str, **facts: Any) -> Iterator[None]:
        if what.startswith("Set grants and settings of database "):
            site.query(f'ALTER DATABASE "{what.rpartition(" ")[2]}" OWNER TO keeper', "postgres")
        with context.change(what, **facts):
            yield

    with pytest.raises(VerificationFailed, match="owner is 'keeper' instead of 'postgres'"):
        Database(dataclasses.replace(context, change=change)).prepare(plan)
    assert site.content() == damaged


def test_a_dropped_public_schema_stays_dropped(site: Site) -> None:
    site.query("CREATE DATABASE blog", "postgres")
    site.query("CREATE SCHEMA mine; CREATE TABLE mine.t AS SELECT 1 AS a; DROP SCHEMA public")
    point = site.capture()
    site.query("DROP TABLE mine.t")
    site.roll_back(point)
    assert site.query("SELECT nspname FROM pg_namespace WHERE nspname IN ('public', 'mine')") == "mine"


def test_a_fingerprint_knows_schema_and_migration_but_not_rows(site: Site) -> None:
    site.create()
    component = site.component()
    first = component.fingerprint(site.all_options)
    site.query("INSERT INTO visit VALUES (99)")
    assert component.fingerprint(site.all_options) == first
    site.query("UPDATE alembic_version SET version_num = 'next'")
    second = component.fingerprint(site.all_options)
    assert second != first
    site.query("CREATE OR REPLACE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN\n"
               "RETURN OLD; END $$")  # fmt: skip
    third = component.fingerprint(site.all_options)
    assert third["schema"] != second["schema"]
    site.query(f"ALTER DATABASE {identifier('blog')} SET work_mem TO '8MB'", "postgres")
    assert component.fingerprint(site.all_options) != third
