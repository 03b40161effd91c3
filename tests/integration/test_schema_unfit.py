# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows that an older schema has no place for are counted before anything moves, and none leaves its table unasked."""

from __future__ import annotations

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import State
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.discards import discard_lines
from support.database_site import SECOND
from support.schema_site import SchemaSite

#: As an application has them: devices of sites, parts of devices, notes on parts; and a partitioned log.
TABLES = """
CREATE DOMAIN short AS varchar(5);
CREATE FUNCTION sane(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 >= 0';
CREATE TYPE mood AS ENUM ('good');
CREATE TABLE site (id int PRIMARY KEY, name text NOT NULL, facing text NOT NULL DEFAULT 'front', code short, size bigint,
    rank int CHECK (rank < 100), weight int CHECK (sane(weight)), slug text UNIQUE, mood mood, moods mood[]);
CREATE TABLE device (id int PRIMARY KEY, site_id int NOT NULL REFERENCES site, serial varchar(8) NOT NULL, number int);
CREATE TABLE part (id int PRIMARY KEY, device_id int REFERENCES device);
CREATE TABLE note (id int PRIMARY KEY, part_id int REFERENCES part);
CREATE TABLE lone (id int PRIMARY KEY, device_id int);
CREATE TABLE log (id int, day date) PARTITION BY RANGE (day);
CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
INSERT INTO site SELECT g, 'site ' || g, 'rear', 'abc', g, g, g, 's' || g, 'good', '{good}' FROM generate_series(1, 50) g;
INSERT INTO device SELECT g, g % 50 + 1, 'sn' || g, g FROM generate_series(1, 100) g;
INSERT INTO part SELECT g, g % 100 + 1 FROM generate_series(1, 300) g;
INSERT INTO note SELECT g, g FROM generate_series(1, 200) g;
INSERT INTO lone SELECT g, g FROM generate_series(1, 30) g;
INSERT INTO log SELECT g, date '2025-01-01' + g FROM generate_series(1, 20) g;
"""


@pytest.fixture
def point(schema_site: SchemaSite) -> PointEntry:
    """The application's database, captured."""
    schema_site.server.psql("postgres", "CREATE DATABASE blog")
    schema_site.migrate(TABLES)
    return schema_site.capture()


ALL = {"site": (50, 50), "device": (100, 100), "part": (300, 300), "note": (200, 200)}
#: A change, and what plan says of it: by the rows where the server can tell, all of a table where only code could. What refers
#: to such a row is told by row, what refers to that in its turn is all that refers to anything.
CHANGES: dict[str, tuple[str, dict[str, tuple[int, int]]]] = {
    "a column takes NULL now, and others refer to its rows": (
        "ALTER TABLE device ALTER site_id DROP NOT NULL; UPDATE device SET site_id = NULL WHERE id <= 10",
        {"device": (10, 100), "part": (30, 300), "note": (200, 200)},
    ),
    "a column takes NULL now, and has none": ("ALTER TABLE device ALTER site_id DROP NOT NULL", {}),
    "a number is larger now": (
        "ALTER TABLE device ALTER number TYPE bigint; UPDATE device SET number = 3000000000 WHERE id IN (1, 2)",
        {"device": (2, 100), "part": (6, 300), "note": (200, 200)},
    ),
    "a text is as short as before": ("ALTER TABLE lone ADD more int; ALTER TABLE site ALTER name TYPE varchar", {}),
    "a text was shorter": ("ALTER TABLE device ALTER serial TYPE text", {**ALL, "site": (0, 50)}),
    "a check is gone": ("ALTER TABLE site DROP CONSTRAINT site_rank_check", ALL),
    "a check calls something else": (
        "CREATE OR REPLACE FUNCTION sane(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT true'",
        ALL,
    ),
    "an enum knows more": ("ALTER TYPE mood ADD VALUE 'odd'", ALL),
    "a domain has changed": (
        "ALTER DOMAIN short ADD CHECK (VALUE <> 'x'); UPDATE site SET code = NULL WHERE id > 5",
        {**ALL, "site": (5, 50), "device": (10, 100)},
    ),
    "rows may be alike": ("ALTER TABLE site DROP CONSTRAINT site_slug_key", ALL),
    "nobody asks for the parent any more": (
        "ALTER TABLE part DROP CONSTRAINT part_device_id_fkey; DELETE FROM device WHERE id <= 3",
        {"part": (9, 300), "note": (6, 200)},
    ),
    "a partition is newer": (
        "CREATE TABLE log_2 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');"
        "INSERT INTO log VALUES (1, '2026-02-02')",
        {"log": (1, 21)},
    ),
    "a partition is wider": (
        "ALTER TABLE log DETACH PARTITION log_1;"
        "ALTER TABLE log ATTACH PARTITION log_1 FOR VALUES FROM ('2024-01-01') TO (MAXVALUE)",
        {"log": (20, 20)},
    ),
    "a table is newer": ("CREATE TABLE extra AS SELECT generate_series(1, 7) AS id", {"extra": (7, 7)}),
    "a column that must be filled is gone": ("ALTER TABLE site DROP name", ALL),
}


def test_what_differs_is_counted_in_plan_and_never_too_few(schema_site: SchemaSite, point: PointEntry) -> None:
    site, found, expected = schema_site, {}, {}
    site.query("ALTER DATABASE blog RENAME TO blog_then", "postgres")
    for name, (change, rows) in CHANGES.items():
        site.query("CREATE DATABASE blog TEMPLATE blog_then", "postgres")
        site.migrate(change)
        unfit = site.plan(point).discards["may_not_fit"]
        found[name] = {table.removeprefix("public."): (each["rows"], each["of"]) for table, each in unfit.items()}
        expected[name] = {table: counts for table, counts in rows.items() if counts[0]}
        site.query("DROP DATABASE blog", "postgres")
    assert found == expected


BROKEN = (
    "ALTER TABLE site ALTER facing DROP NOT NULL; UPDATE site SET facing = NULL WHERE id <= 10;"
    "ALTER TABLE device ALTER serial DROP NOT NULL; UPDATE device SET serial = NULL WHERE id = 100"
)


def test_no_row_leaves_its_table_unless_that_is_accepted_with_a_number(
    schema_site: SchemaSite, point: PointEntry
) -> None:
    site = schema_site
    site.migrate(BROKEN)
    before = (site.databases(), site.content())
    plan, component = site.plan(point), site.component()
    # Sites, devices of these, parts and notes of those; a device of these lacks something itself as well.
    (line,) = [line for line in discard_lines(plan.discards) if line.startswith("up to 10 of 50")]
    assert (
        line == "up to 10 of 50 rows of public.site don't fit the older schema and would leave it: NULL in facing: 10"
    )
    with pytest.raises(Refused) as refusal:
        component.prepare(plan)
    gone = 10 + 20 + 60 + 40
    assert f"{gone} of 700 rows of database blog would leave their tables" in refusal.value.message
    assert "10 of public.site" in refusal.value.message and "20 of public.device" in refusal.value.message
    assert f"-e rollback_max_rows_set_aside={gone}" in refusal.value.message
    component.undo(plan)
    assert (site.databases(), site.content()) == before

    with pytest.raises(Refused, match="say how many at most with max_rows_set_aside"):
        site.plan(point, SECOND, accept=["rows_set_aside"])
    plan = site.plan(point, SECOND, accept=["rows_set_aside", "no_undo"], max_rows_set_aside=gone - 1)
    words = f"{gone} of 700 rows .*; {gone - 1} were accepted.*-e rollback_accept=rows_set_aside,no_undo -e"
    with pytest.raises(Refused, match=words):
        site.component(SECOND).prepare(plan)
    site.component(SECOND).undo(plan)

    plan = site.plan(point, SECOND, accept=["rows_set_aside"], max_rows_set_aside=gone)
    evidence = site.component(SECOND).prepare(plan)
    assert evidence["set_aside"]["rows"] == gone
    site.component(SECOND).switch(plan)
    set_aside = site.component(SECOND).set_aside(plan)
    assert (set_aside["rows"], set_aside["of"]) == (gone, 700)
    assert set_aside["tables"] == {"public.site": 10, "public.device": 20, "public.part": 60, "public.note": 40}
    assert site.query("SELECT count(*) FROM site") == "40"


def test_rows_that_stop_fitting_after_prepare_stop_the_switch(schema_site: SchemaSite, point: PointEntry) -> None:
    site = schema_site
    site.migrate("ALTER TABLE lone DROP CONSTRAINT lone_pkey, ALTER id DROP NOT NULL")
    plan, component = site.plan(point), site.component()
    assert component.prepare(plan)["set_aside"] == {"rows": 0, "of": 700, "tables": {}}
    site.query("INSERT INTO lone VALUES (NULL, 1)")
    with pytest.raises(Refused, match="1 of 701 rows of database blog would leave their tables"):
        component.switch(plan)
    component.undo(plan)
    assert component.state(plan) is State.UNTOUCHED
    assert site.query("SELECT count(*) FROM lone WHERE id IS NULL") == "1"


def test_a_null_takes_the_older_default_where_that_is_chosen(schema_site: SchemaSite, point: PointEntry) -> None:
    site = schema_site
    site.migrate("ALTER TABLE site ALTER facing DROP NOT NULL; UPDATE site SET facing = NULL WHERE id <= 10")
    plan, component = site.plan(point, nulls="default"), site.component()
    assert plan.discards["may_not_fit"] == {}
    evidence = component.prepare(plan)
    assert evidence["set_aside"]["rows"] == 0
    component.switch(plan)
    assert component.set_aside(plan) == {"rows": 0, "of": 700, "tables": {}}
    assert site.query("SELECT facing, count(*) FROM site GROUP BY 1 ORDER BY 1") == "front|10\nrear|40"
    assert site.query("SELECT count(*) FROM device") == "100"
    assert site.kept()["public_site_values"].splitlines()[0] == "(1,)"  # which ones these were


def test_a_view_that_present_rows_break_is_found_in_prepare(schema_site: SchemaSite) -> None:
    site = schema_site
    site.server.psql("postgres", "CREATE DATABASE blog")
    site.migrate("CREATE TABLE stock (n int); CREATE MATERIALIZED VIEW share AS SELECT 100 / n FROM stock")
    point = site.capture()
    site.migrate("ALTER TABLE stock ADD note text; INSERT INTO stock VALUES (0)")
    plan, before = site.plan(point), site.definitions()
    with pytest.raises(LastGoodError, match=r"(?s)division by zero.*REFRESH MATERIALIZED VIEW public\.share"):
        site.component().prepare(plan)
    site.component().undo(plan)
    assert (site.definitions(), site.query("SELECT * FROM stock")) == (before, "0|")
