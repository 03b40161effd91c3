# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that become another value by a session's settings are converted as the database's own sessions would."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan
from support.schema_site import SchemaSite

#: What people have written, as they see it in their own zone; and that `other` is neither converted nor moved.
TABLE = """
CREATE TABLE visit (id int PRIMARY KEY, wall timestamp, moment timestamptz, day date, said text, all_of_them timestamp[],
    other timestamptz DEFAULT '2026-03-03 03:03:03+00', span interval DEFAULT '1 day 02:00');
INSERT INTO visit VALUES (1, '2026-01-01 12:00', '2026-01-01 12:00', '2026-01-01', '02/01/2026 01:02:03',
    '{2026-01-01 12:00}'), (2, '2026-07-01 00:30', '2026-07-01 00:30', '2026-07-01', '01/07/2026 00:30:00', '{}');
"""
CHANGED = """
ALTER TABLE visit ALTER wall TYPE timestamptz, ALTER moment TYPE timestamp, ALTER day TYPE timestamptz,
    ALTER said TYPE timestamp USING said::timestamp, ALTER all_of_them TYPE timestamptz[];
"""
SEEN = "SELECT id, wall, moment, day, said, all_of_them, other, span FROM visit ORDER BY id"


@pytest.fixture
def point(schema_site: SchemaSite) -> PointEntry:
    """A database with a zone and a style of its own, captured; its server's are others."""
    site = schema_site
    site.server.psql("postgres", "CREATE DATABASE blog")
    site.query("ALTER DATABASE blog SET timezone = 'Asia/Tokyo'; ALTER DATABASE blog SET datestyle = 'SQL, DMY'")
    site.migrate(TABLE)
    return site.capture()


def roll_back(site: SchemaSite, point: PointEntry, **options: Any) -> Plan:
    """Plan, prepare, switch."""
    plan, component = site.plan(point, **options), site.component()
    component.prepare(plan)
    component.switch(plan)
    return plan


def test_a_time_is_the_one_that_people_saw(schema_site: SchemaSite, point: PointEntry) -> None:
    then = schema_site.query(SEEN)
    schema_site.migrate(CHANGED)
    plan = roll_back(schema_site, point)
    assert schema_site.query(SEEN) == then
    assert schema_site.kept() == {}
    (said,) = [line for line in plan.warnings if "are converted with" in line]
    assert "public.visit.wall" in said and "TimeZone = Asia/Tokyo" in said and "DateStyle = SQL, DMY" in said


def test_where_roles_have_other_settings_it_is_asked_which_count(schema_site: SchemaSite, point: PointEntry) -> None:
    site = schema_site
    then = site.query(SEEN)
    site.migrate(CHANGED)
    site.query("ALTER ROLE reader SET timezone = 'America/New_York'")
    try:
        with pytest.raises(Refused, match=r"reader has timezone = America/New_York.*conversion_settings"):
            site.plan(point)
        roll_back(site, point, conversion_settings={"TimeZone": "Asia/Tokyo"})
    finally:
        site.query("ALTER ROLE reader RESET timezone")
    assert site.query(SEEN) == then


def test_a_time_that_is_two_moments_is_kept_beside_the_data(schema_site: SchemaSite, point: PointEntry) -> None:
    """An hour that comes twice when the clocks go back, in the zone that counts."""
    site = schema_site
    site.migrate("ALTER TABLE visit ALTER wall TYPE timestamptz")
    site.migrate("INSERT INTO visit (id, wall) VALUES (3, '2026-10-25 00:30+00'), (4, '2026-10-25 01:30+00')")
    roll_back(site, point, conversion_settings={"timezone": "Europe/Berlin"})
    assert site.query("SELECT DISTINCT wall = '2026-10-25 02:30' FROM visit WHERE id IN (3, 4)") == "t"
    assert site.kept() == {"public_visit_values": '(3,"2026-10-25 00:30:00+00")'}
