# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Planning looks; it runs no code that the owner of a table may have put into it, least of all with an administrator's rights."""

from __future__ import annotations

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database.connection import open_server
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.user_code import runs_own_code
from support.database_site import FIRST
from support.schema_site import SchemaSite
from support.tables_site import TablesSite

#: It can't take the number back that it draws, whatever becomes of the transaction.
SPY = "CREATE SEQUENCE spied; CREATE FUNCTION spy(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN"
SPY += (
    " PERFORM nextval('public.spied'); RETURN $1; END $$; CREATE DOMAIN spied_on AS int CHECK (public.spy(VALUE) > 0)"
)
PLACES = {
    "check": "CREATE TABLE trap (id int CHECK (spy(id) > 0))",
    "domain": "CREATE TABLE trap (id spied_on)",
    "generated column": "CREATE TABLE trap (id int, twice int GENERATED ALWAYS AS (spy(id)) STORED)",
    "index": "CREATE TABLE trap (id int); CREATE INDEX ON trap (spy(id))",
    "statistics": "CREATE TABLE trap (id int); CREATE STATISTICS s ON id, (spy(id)) FROM trap",
    "index of some rows": "CREATE TABLE trap (id int); CREATE INDEX ON trap (id) WHERE spy(id) > 0",
}
#: No autovacuum, which would call functions of indexes and statistics some day.
FILL = "ALTER TABLE trap SET (autovacuum_enabled = off);"
FILL += " INSERT INTO trap SELECT generate_series(1, 500); ALTER SEQUENCE spied RESTART"
ASK = "SELECT is_called FROM spied"


def trapped(site: SchemaSite, place: str) -> None:
    """A database whose owner is no superuser, in a table of which somebody waits."""
    site.server.psql("postgres", "CREATE DATABASE blog OWNER keeper")
    site.server.psql("blog", SPY, PLACES[place], FILL, user="keeper")
    assert site.query(ASK) == "f"


@pytest.mark.parametrize("place", PLACES)
def test_planning_calls_no_function_of_a_tables_owner(schema_site: SchemaSite, place: str) -> None:
    site = schema_site
    trapped(site, place)
    point = site.capture()
    site.query("UPDATE trap SET id = id + 1; ALTER SEQUENCE spied RESTART; ALTER TABLE trap ADD note text")
    assert site.plan(point, accept=["owner_code"]).changed
    assert site.query(ASK) == "f"
    site.query("ALTER TABLE trap DROP note")
    tables = TablesSite(site.server, site.make_context, site.directory)
    tables.point = point
    assert tables.wanted(["trap"], accept=["owner_code"]).changed
    assert site.query(ASK) == "f"


def test_tables_that_only_compute_are_still_measured(schema_site: SchemaSite) -> None:
    site = schema_site
    site.create()
    site.query(
        "CREATE TABLE plain (id serial PRIMARY KEY, name text DEFAULT now()::text CHECK (lower(name) <> ''), mood mood,"
        " twice int GENERATED ALWAYS AS (length(name) * 2) STORED); CREATE INDEX ON plain (upper(name)) WHERE id > 3"
    )
    site.query("CREATE TABLE sly (id oid CHECK (lo_export(id, '/nowhere') = 1))")
    with open_server(site.make_context(FIRST), site.all_options).connect("blog") as session:
        assert {name: runs_own_code(session, "public", name) for name in ("plain", "section", "sly")} == {
            "plain": False,
            "section": False,
            "sly": True,
        }
