# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A migration goes wrong, the schema goes back, and the data stays; everything is looked at by psql and pg_dump."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import FinishedRollback
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import State
from ansible_collections.lastgood.rollback.plugins.module_utils._components.schema.reversal import SchemaReversal
from support.database_site import FIRST, SECOND
from support.schema_site import ACCEPTED, SchemaSite

#: A migration as people write them, and what people wrote into it.
MIGRATION = """
DROP VIEW good_posts;
ALTER TYPE mood ADD VALUE 'odd';
ALTER TABLE post ADD stars int;
ALTER TABLE post DROP COLUMN note;
ALTER TABLE post ALTER price TYPE numeric(12,4);
ALTER TABLE post DROP CONSTRAINT post_slug_key;
ALTER TABLE post DROP CONSTRAINT post_words_check;
ALTER TABLE post ALTER name TYPE text;
ALTER TABLE section DROP CONSTRAINT section_post_id_fkey, ALTER body DROP NOT NULL;
ALTER TABLE tag ALTER weight TYPE text;
ALTER TABLE room DROP CONSTRAINT room_during_excl;
CREATE TABLE visit_later PARTITION OF visit FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
CREATE TABLE comment (id int PRIMARY KEY, mood mood, body text);
DROP TABLE cache;
DROP MATERIALIZED VIEW counts;
DROP POLICY few ON audit;
ALTER TABLE audit DISABLE ROW LEVEL SECURITY;
DROP TRIGGER logging ON section;
REVOKE INSERT ON post FROM reader;
REVOKE SELECT (name) ON post FROM hammer;
"""
WRITTEN = """
UPDATE post SET stars = id WHERE id <= 3;
UPDATE post SET price = 1.2345 WHERE id = 10;
UPDATE post SET feeling = 'odd' WHERE id = 11;
UPDATE post SET words = -1 WHERE id = 12;
UPDATE post SET slug = 'slug-1' WHERE id = 13;
UPDATE post SET name = repeat('x', 41) WHERE id = 14;
INSERT INTO post (name, slug, words) VALUES ('new', 'new', 5);
DELETE FROM section WHERE post_id BETWEEN 11 AND 14;
INSERT INTO section (post_id, body) VALUES (9999, 'orphan'), (1, NULL);
DELETE FROM tag WHERE post_id BETWEEN 11 AND 14;
UPDATE tag SET weight = 'heavy' WHERE post_id = 1;
INSERT INTO visit VALUES (500, '2027-05-05'), (501, '2026-12-31');
INSERT INTO room VALUES (3, '[4,6)');
INSERT INTO comment VALUES (1, 'odd', 'kept'), (2, NULL, NULL);
DELETE FROM derived;
SELECT nextval('ticket');
"""
#: What the older schema holds of it, whatever it is called there: a query and its answer.
PRESENT = {
    "SELECT count(*), count(*) FILTER (WHERE note = 'note ' || id % 7) FROM post": "197|196",
    "SELECT price, twice FROM post WHERE id = 10": "1.23|20",
    "SELECT name, note, words, twice, feeling IS NULL FROM post WHERE slug = 'new'": "new||5|10|t",
    "SELECT string_agg(id::text, ',' ORDER BY id) FROM post WHERE id BETWEEN 9 AND 15": "9,10,15",
    "SELECT count(*) FROM section": "588",
    "SELECT count(*), sum(weight) FROM tag": "95|4999",
    "SELECT count(*), max(day) FROM visit": "401|2026-12-31",
    "SELECT count(*) FROM ONLY base": "1",
    "SELECT count(*) FROM derived": "0",
    "SELECT string_agg(n::text, ',' ORDER BY n) FROM room": "1,2",
    "SELECT count(*) FROM cache": "1",
    "SELECT count(*) FROM empty": "3",
    "SELECT posts FROM counts": "197",
    "SELECT count(*) FROM audit": "600",
    'SELECT count(*) FROM "odd ""schema"."Tä$ble; --"': "2",
    "SELECT lo_get(4711)": "\\x6c61726765",
    "SELECT count(*) FROM good_posts": "98",
    "SELECT nextval('ticket')": "13",
    "SELECT nextval('post_id_seq')": "202",
    "SELECT nextval('section_id_seq')": "603",
}
UNFIT = {
    "public.comment": {"table": 2},
    "public.post": {"columns": 3, "rows": 4, "values": 1},
    "public.room": {"rows": 1},
    "public.section": {"orphans": 1, "rows": 1},
    "public.tag": {"rows": 1},
    "public.visit": {"rows": 1},
}


@pytest.mark.parametrize("owner", ["postgres", "keeper"])
def test_schema_rollback_brings_the_schema_back_and_keeps_the_data(schema_site: SchemaSite, owner: str) -> None:
    """As a superuser; and as an owner with CREATEDB and pg_signal_backend alone."""
    site = schema_site
    site.create(owner=owner)
    site.options = {"login_user": owner}
    schema, then = site.definitions(), site.content()
    point = site.capture()
    site.migrate(MIGRATION)
    site.migrate(WRITTEN)
    oid, migrated = site.oid(), site.content()

    plan = site.plan(point, **ACCEPTED)
    assert plan.changed
    may_not_fit = {name: entry["rows"] for name, entry in plan.discards.pop("may_not_fit").items()}
    # As many as are set aside or more: what an enum, a domain or an index will say is not asked for.
    assert may_not_fit == {
        "public.comment": 2,
        "public.post": 201,
        "public.room": 3,
        "public.section": 590,
        "public.tag": 96,
        "public.visit": 1,
    }
    assert plan.discards == {
        "kept_tables": ["public.comment"],
        "kept_columns": ["public.post.stars"],
        "changed_types": [
            "public.post.name: text becomes public.title",
            "public.post.price: numeric(12,4) becomes numeric(10,2)",
            "public.tag.weight: text becomes integer",
        ],
        "returning_tables": ["public.cache"],
        "returning_columns": ["public.post.note"],
        "unknown_columns": [],
        "returning_grants": [
            "SELECT(name) on TABLE public.post to hammer",
            "INSERT on TABLE public.post to reader",
        ],
    }
    diff = site.component().result(plan, {})["diff"]["prepared"]
    assert "-    stars integer,\n" in diff or "-    stars integer\n" in diff
    assert "+    note character varying(10),\n" in diff
    assert "+CREATE VIEW public.good_posts AS\n" in diff
    assert "restrict" not in diff
    assert plan.downtime["grows_with"].startswith("the whole database")
    assert plan.downtime["ms"] > 0 and plan.downtime["rows_per_second"] > 0
    assert (site.oid(), site.content(), site.databases()) == (oid, migrated, ["blog"])

    component = site.component()
    evidence = component.prepare(plan)
    assert (site.oid(), site.content()) == (oid, migrated)
    assert {name: entry["rows"] for name, entry in evidence["unfit"].items()} == UNFIT
    assert 'invalid input value for enum public.mood: "odd"' in evidence["unfit"]["public.post"]["reasons"]
    assert component.state(plan) is State.PREPARED
    component.switch(plan)

    assert component.state(plan) is State.SWITCHED
    assert site.definitions() == schema
    assert {query: site.query(query) for query in PRESENT} == PRESENT
    assert site.query("TABLE cache") == "a|b"
    assert site.content()["public.audit"] == then["public.audit"]
    kept = site.kept()
    assert kept["public_comment_table"] == "(1,odd,kept)\n(2,,)"
    assert kept["public_post_columns"] == "(1,1)\n(2,2)\n(3,3)"
    assert kept["public_post_values"] == '(10,"post 10",1.2345)'
    assert "9999,orphan" in kept["public_section_orphans"]
    assert "heavy" in kept["public_tag_rows"]
    assert "2027-05-05" in kept["public_visit_rows"]
    assert kept["public_post_rows"].count("\n") == 3
    previous = component.result(plan, evidence)["previous_database"]
    assert (site.oid(previous), site.content(previous)) == (oid, migrated)
    assert UNFIT in component.kept(plan).values()
    assert component.set_aside(plan)["tables"] == {
        "public.comment": 2,
        "public.post": 4,
        "public.room": 1,
        "public.section": 2,
        "public.tag": 1,
        "public.visit": 1,
    }
    assert not site.plan(point, SECOND).changed

    site.query("INSERT INTO base VALUES (77, 'later'); DELETE FROM tag WHERE post_id = 2")
    component.undo(plan)
    assert component.state(plan) is State.UNTOUCHED
    assert (site.oid(), site.content()) == (oid, migrated)
    rejected = component.kept(plan)["database blog, rejected"]
    assert site.query("SELECT v FROM base WHERE id = 77", rejected) == "later"
    component.count_written(plan)
    assert component.kept(plan)[f"rows written to {rejected}"] == {
        "public.base": {"then": 1, "now": 2, "written": 1},
        "public.tag": {"then": 95, "now": 94, "written": 0},
    }


def test_the_prediction_counts_the_rows_that_live_not_those_that_died(schema_site: SchemaSite) -> None:
    site = schema_site
    site.create()
    site.query(
        "CREATE TABLE busy WITH (autovacuum_enabled = off) AS SELECT g, repeat('x', 400) FROM generate_series(1, 20000) g"
    )
    site.query("ANALYZE busy")
    point = site.capture()
    for _time in range(3):
        site.query("UPDATE busy SET g = g + 1")
    site.query("ALTER TABLE busy ADD newer int")
    downtime = site.plan(point).downtime
    alive = int(site.query("SELECT count(*) FROM busy"))
    assert alive == 20_000
    # Some of the pages are counted, chosen by chance: near enough to tell 20,000 rows from the 80,000 that lie in the file.
    assert alive / 2 < downtime["rows_per_second"] * downtime["ms"] / 1000 < alive * 2


def test_a_rename_is_followed_by_the_map_of_the_operator(schema_site: SchemaSite) -> None:
    site = schema_site
    site.create()
    schema, then = site.definitions(), site.content()
    point = site.capture()
    site.migrate(
        "ALTER TABLE post RENAME name TO headline; ALTER TABLE post RENAME TO article; CREATE TABLE post (other int)"
    )
    site.migrate("INSERT INTO post VALUES (1); ALTER TABLE visit RENAME id TO number")
    blind = site.plan(point)
    assert "public.article" in blind.discards["kept_tables"]
    assert blind.discards["returning_columns"] == []
    renames = {"public.post": "article", "post.name": "headline", "public.visit.id": "number"}
    plan = site.plan(point, renames=renames, **ACCEPTED)
    assert plan.discards["kept_tables"] == ["public.post"]
    assert (
        plan.discards["kept_columns"] == plan.discards["returning_columns"] == plan.discards["returning_tables"] == []
    )
    component = site.component()
    component.prepare(plan)
    component.switch(plan)
    assert site.definitions() == schema
    now = site.content()
    assert {key: value for key, value in now.items() if key != "schema" and not key.startswith("lastgood")} == {
        key: value for key, value in then.items() if key != "schema"
    }
    assert site.kept() == {"public_post_table": "(1)"}
    for wrong, said in {
        "public.nothing": "no table or column public.nothing",
        "public.tag": "there is no such table",
        "tag.weight": "has no such column",
    }.items():
        with pytest.raises(Refused, match=said):
            site.plan(point, SECOND, renames={wrong: "nowhere"})


def test_a_dropped_not_null_column_comes_back_by_key_and_what_it_cannot_fill_is_listed(schema_site: SchemaSite) -> None:
    site = schema_site
    site.create()
    site.migrate("CREATE TABLE keyless (a int, b int NOT NULL); INSERT INTO keyless VALUES (1, 1)")
    site.migrate(
        "ALTER TABLE visit ADD kind text NOT NULL DEFAULT 'page'; UPDATE visit SET kind = 'feed' WHERE id < 10"
    )
    site.migrate("ALTER TABLE visit DROP CONSTRAINT visit_id_day_key, ADD PRIMARY KEY (id, day)")
    point = site.capture()
    site.migrate(
        "DROP TRIGGER logging ON section; ALTER TABLE section DROP COLUMN body; ALTER TABLE visit DROP COLUMN kind;"
        "ALTER TABLE keyless DROP COLUMN b;"
        "INSERT INTO section (post_id) VALUES (1), (2); DELETE FROM section WHERE id = 5;"
        "INSERT INTO visit VALUES (900, '2026-02-02')"
    )
    plan = site.plan(point, **ACCEPTED)
    assert plan.discards["returning_columns"] == ["public.section.body", "public.visit.kind"]
    assert plan.discards["unknown_columns"] == ["public.keyless.b"]
    component = site.component()
    unfit = component.prepare(plan)["unfit"]
    assert unfit["public.section"]["rows"] == {"rows": 2}
    assert "violates not-null constraint" in unfit["public.section"]["reasons"][0]
    component.switch(plan)
    assert site.query("SELECT count(*), count(*) FILTER (WHERE body = 'body ' || id) FROM section") == "599|599"
    assert site.query("SELECT kind, count(*) FROM visit GROUP BY 1 ORDER BY 1") == "feed|9\npage|392"
    assert site.query("SELECT count(*) FROM keyless") == "0"
    assert set(site.kept()) == {"public_keyless_rows", "public_section_rows"}


def test_a_partition_s_own_foreign_key_is_looked_at_like_any_other(schema_site: SchemaSite) -> None:
    site = schema_site
    site.create()
    site.migrate(
        "CREATE TABLE visitor AS SELECT id FROM visit_new; ALTER TABLE visitor ADD PRIMARY KEY (id);"
        "ALTER TABLE visit_new ADD CONSTRAINT known FOREIGN KEY (id) REFERENCES visitor"
    )
    schema, rows = site.definitions(), site.query("SELECT count(*) FROM visit")
    point = site.capture()
    site.migrate("ALTER TABLE visit_new DROP CONSTRAINT known; INSERT INTO visit VALUES (9000, '2026-02-02')")
    plan, component = site.plan(point, **ACCEPTED), site.component()
    unfit = component.prepare(plan)["unfit"]
    assert unfit["public.visit"]["rows"] == {"orphans": 1}
    component.switch(plan)
    assert site.definitions() == schema
    assert site.query("SELECT count(*) FROM visit") == rows
    assert "known: no such row in public.visitor,9000," in site.kept()["public_visit_orphans"].replace('"', "")


def test_versions_of_extensions_are_not_in_dumps_and_are_reported(schema_site: SchemaSite) -> None:
    site = schema_site
    site.query("CREATE DATABASE blog", "postgres")
    site.migrate(
        "CREATE EXTENSION pg_trgm VERSION '1.3'; CREATE TABLE t (a text); CREATE INDEX ON t USING gin (a gin_trgm_ops)"
    )
    newest = site.query("SELECT default_version FROM pg_available_extensions WHERE name = 'pg_trgm'")
    assert newest != "1.3"
    point = site.capture()
    site.migrate("ALTER TABLE t ADD b int")
    plan = site.plan(point)
    evidence = site.component().prepare(plan)
    assert evidence["not_restored"] == [f"extension pg_trgm: version {newest} instead of 1.3"]
    assert evidence["verification"]["schema"] == "equal"


def test_what_cannot_be_taken_back_is_refused_before_anything_is_touched(schema_site: SchemaSite) -> None:
    site = schema_site
    site.create(owner="keeper")
    point = site.capture()
    site.owner = "postgres"
    site.migrate("ALTER TABLE post ADD stars int; CREATE TABLE ours (a int)")
    site.options = {"login_user": "keeper"}
    with pytest.raises(Refused, match=r"keeper may not read and lock public\.ours"):
        site.plan(point)
    site.migrate("ALTER TABLE ours OWNER TO keeper; ALTER TABLE ours ENABLE ROW LEVEL SECURITY")
    site.migrate("ALTER TABLE ours FORCE ROW LEVEL SECURITY")
    with pytest.raises(Refused, match=r"Row security would hide rows of public\.ours"):
        site.plan(point)
    site.options = {}
    site.migrate("DROP TABLE ours")
    before = (site.databases(), site.content())
    with pytest.raises(Refused, match="restore point"):
        site.plan(None, source="/nowhere")
    layout = point.directory / "layout.json"
    content = layout.read_bytes()
    layout.write_bytes(content.replace(b"post", b"pest", 1))
    with pytest.raises(Refused, match="Captured layout"):
        site.plan(point)
    layout.write_bytes(content)
    plan = site.plan(point)
    site.migrate("ALTER TABLE post ADD more int")
    with pytest.raises(LastGoodError, match="have changed since the plan was made"):
        site.component().prepare(plan)
    site.component().undo(plan)
    site.migrate("ALTER TABLE post DROP more")
    assert (site.databases(), site.content()) == before
    site.query("ALTER DATABASE blog RENAME TO gone", "postgres")
    with pytest.raises(Refused, match="missing or can't be read"):
        site.plan(point)


def test_a_second_schema_rollback_carries_what_the_first_one_kept(schema_site: SchemaSite) -> None:
    site = schema_site
    site.create()
    point = site.capture()
    for transaction in (FIRST, SECOND):
        site.migrate("CREATE TABLE more (a int, b text); INSERT INTO more VALUES (1, NULL), (2, 'b')")
        plan = site.plan(point, transaction, **ACCEPTED)
        component = site.component(transaction)
        component.prepare(plan)
        component.switch(plan)
        component.finish(plan)
    kept = site.query("SELECT count(DISTINCT schemaname), count(*) FROM pg_tables WHERE schemaname ~ '^lastgood_kept_'")
    assert kept == "2|2"
    assert list(site.kept().values()) == ["(1,)\n(2,b)"]
    assert len(site.databases()) == 2


def test_a_finished_schema_rollback_is_undone_as_a_whole_and_the_undo_as_well(schema_site: SchemaSite) -> None:
    site = schema_site
    site.create()
    point = site.capture()
    site.migrate("ALTER TABLE post ADD stars int; UPDATE post SET stars = 3")
    oid, migrated = site.oid(), site.content()
    plan, component = site.plan(point), site.component()
    component.prepare(plan)
    component.switch(plan)
    component.finish(plan)
    site.query("INSERT INTO base VALUES (77, 'later')")
    after, reversal = site.content(), SchemaReversal(site.make_context(SECOND))
    planned = reversal.plan_reversal(FinishedRollback(FIRST, plan, component.context.workspace))
    assert planned.kind == "schema"
    assert planned.discards == {
        "written": {"public.base": {"then": 1, "now": 2, "written": 1}},
        "not_compared": [],
    }
    reversal.prepare(planned)
    reversal.switch(planned)
    assert (site.oid(), site.content()) == (oid, migrated)
    assert reversal.state(planned) is State.SWITCHED
    reversal.undo(planned)
    assert reversal.state(planned) is State.UNTOUCHED
    assert site.content() == after


def test_phases_can_be_repeated(schema_site: SchemaSite) -> None:
    site = schema_site
    site.create()
    point = site.capture()
    site.migrate("ALTER TABLE post ADD stars int")
    plan, component = site.plan(point), site.component()
    evidence = component.prepare(plan)
    side = site.oid(component.result(plan, evidence)["incoming_database"])
    assert component.prepare(plan) == json.loads(json.dumps(evidence))
    assert site.oid(component.result(plan, evidence)["incoming_database"]) == side
    component.switch(plan)
    component.switch(plan)
    assert site.oid() == side
    component.finish(plan)
    assert component.state(plan) is State.SWITCHED
