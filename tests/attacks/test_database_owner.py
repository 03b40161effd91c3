# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The owner of a database that a superuser captures, plans for and restores: it wants to be a superuser as well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database.component import Database
from ansible_collections.lastgood.rollback.plugins.module_utils._components.schema.component import Schema
from ansible_collections.lastgood.rollback.plugins.module_utils._components.tables.component import Tables
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import content
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import DatabaseError, Server
from support.database_site import Site

EVIL = """
CREATE FUNCTION take_over() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    PERFORM set_config('role', 'none', false);
    ALTER ROLE owner_of_shop SUPERUSER;
EXCEPTION WHEN OTHERS THEN NULL;
END $$;
-- What is not volatile may be called wherever rows come in, and may call what is.
CREATE FUNCTION evil(value int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
    PERFORM public.take_over();
    RETURN value;
END $$;
CREATE FUNCTION same(a int, b int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT public.evil(a) = b';
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = same);
CREATE DOMAIN whole AS int CHECK (public.evil(VALUE) IS NOT NULL);
CREATE TYPE pair AS (one whole, two int);
"""
#: Each runs code when rows come in.
KINDS = {
    "check": "CREATE TABLE held (a int CHECK (public.evil(a) > 0))",
    "operator": "CREATE TABLE held (a int CHECK (a OPERATOR(public.===) a))",
    "generated": "CREATE TABLE held (a int, b int GENERATED ALWAYS AS (public.evil(a)) STORED)",
    "domain": "CREATE TABLE held (a whole)",
    "domain in a check": "CREATE TABLE held (a int CHECK (a::whole > 0))",
    "partition": "CREATE TABLE held (a int) PARTITION BY LIST (public.evil(a));"
    f"CREATE TABLE held_all PARTITION OF held FOR VALUES IN ({', '.join(map(str, range(1, 21)))})",
    "built-in function that runs a text": "CREATE TABLE held (a int CHECK ("
    "query_to_xml('SELECT public.take_over()', true, true, '') IS NOT NULL))",
    "check of its own row": "CREATE TABLE held (a int);"
    "CREATE FUNCTION odd(held) RETURNS boolean LANGUAGE sql AS 'SELECT public.evil(($1).a) > 0';"
    "ALTER TABLE held ADD CHECK (public.odd(held))",
}
#: These run it when they are defined already, by the literals in them.
DEFINED = {
    "domain in an array": "CREATE TABLE held (a int, b whole[] DEFAULT '{1}')",
    "domain in a row": "CREATE TABLE held (a int, b pair DEFAULT '(1,1)')",
    "domain in a view": "CREATE TABLE held (a int); CREATE VIEW shown AS SELECT '{1}'::whole[] AS b",
}
#: These run code of the owner too, which the server limits to the owner's rights by itself.
LIMITED = "CREATE INDEX ON held (public.evil(a)); CREATE MATERIALIZED VIEW computed AS SELECT public.evil(a) FROM held"
ADMIN = "SELECT rolsuper FROM pg_roles WHERE rolname = 'owner_of_shop'"


@pytest.fixture
def shop(site: Site) -> Iterator[Site]:
    """A database that belongs to somebody who has no other rights."""
    site.server.psql("postgres", "CREATE ROLE owner_of_shop LOGIN", "CREATE DATABASE shop OWNER owner_of_shop")
    site.name = "shop"
    as_owner(site, EVIL)
    yield site
    site.drop([name for name in site.databases() if name.startswith("shop")])
    site.query("DROP ROLE owner_of_shop", "postgres")


def as_owner(site: Site, *commands: str) -> str:
    """What the attacker does."""
    return site.server.psql("shop", *commands, user="owner_of_shop")


def held(site: Site, kind: str) -> PointEntry:
    """A database with such a table, and a restore point of it; then its rows are lost."""
    as_owner(site, {**KINDS, **DEFINED}[kind], LIMITED, "INSERT INTO held SELECT generate_series(1, 20)")
    as_owner(site, "CREATE TABLE plain (a int CHECK (a > 0 AND length(a::text) < 9))", "INSERT INTO plain VALUES (1)")
    point = site.capture()
    as_owner(site, "DELETE FROM held; DELETE FROM plain")
    return point


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_restore_runs_code_of_the_owner_as_the_owner_only(shop: Site, kind: str) -> None:
    point = held(shop, kind)
    shop.roll_back(point)
    assert shop.query("SELECT count(*), sum(a) FROM held") == "20|210"
    assert shop.query("SELECT a FROM plain") == "1"
    assert shop.query(ADMIN) == "f"


@pytest.mark.parametrize("kind", sorted(DEFINED))
def test_code_that_definitions_run_is_asked_for_in_plan(shop: Site, kind: str) -> None:
    point = held(shop, kind)
    with pytest.raises(Refused, match=r"evil\(integer\) of owner_of_shop, called by public\.(whole\[\]|pair)"):
        shop.plan(point)
    as_owner(shop, "DROP DOMAIN whole CASCADE")
    with pytest.raises(Refused, match="owner_code"):  # the restore point tells of it
        shop.plan(point)
    assert shop.query(ADMIN) == "f"


@pytest.mark.parametrize("component", [Database, Tables, Schema])
def test_where_nobody_can_log_in_as_the_owner_it_is_asked_for(shop: Site, component: type[Database]) -> None:
    point = held(shop, "check")
    as_owner(shop, "ALTER TABLE held ADD added int")  # so that there is something to do for all three
    if component is Tables:
        as_owner(shop, "ALTER TABLE held DROP added")
    shop.query("ALTER ROLE owner_of_shop NOLOGIN", "postgres")
    options: dict[str, Any] = {**shop.all_options, "tables": ["held"] if component is Tables else []}
    said = r"evil\(integer\) of owner_of_shop, called by public\.held.*'accept: \[owner_code\]'"
    with pytest.raises(Refused, match=f"with the rights of postgres, a superuser on .*{said}"):
        component(shop.make_context()).plan(options, point)
    plan = component(shop.make_context()).plan({**options, "accept": ["owner_code"]}, point)
    assert any("evil(integer) of owner_of_shop" in warning for warning in plan.warnings)
    assert (shop.databases(), shop.query(ADMIN)) == (["shop"], "f")


def test_code_that_only_the_restore_point_has_is_found_before_it_runs(shop: Site) -> None:
    point = held(shop, "check")
    as_owner(shop, "DROP TABLE held CASCADE")
    plan = shop.plan(point)
    shop.query("ALTER ROLE owner_of_shop NOLOGIN", "postgres")
    with pytest.raises(Refused, match="owner_code"):
        shop.component().prepare(plan)
    shop.component().undo(plan)
    assert (shop.databases(), shop.query(ADMIN)) == (["shop"], "f")


def test_tables_whose_older_checks_call_code_are_not_filled_with_our_rights(shop: Site) -> None:
    point = held(shop, "check")
    as_owner(shop, "ALTER TABLE held DROP CONSTRAINT held_a_check")
    component = Tables(shop.make_context())
    plan = component.plan({**shop.all_options, "tables": ["held"]}, point)
    with pytest.raises(Refused, match="owner_code"):
        component.prepare(plan)
    component.undo(plan)
    assert (shop.databases(), shop.query(ADMIN)) == (["shop"], "f")


@pytest.mark.parametrize("user", ["keeper", "postgres"])
def test_checks_of_built_in_functions_are_no_question(shop: Site, user: str) -> None:
    as_owner(
        shop, "CREATE TABLE plain (a int CHECK (length(a::text) < 9), b numeric GENERATED ALWAYS AS (abs(a)) STORED)"
    )
    as_owner(shop, "INSERT INTO plain VALUES (-7)")
    shop.server.psql("postgres", "ALTER ROLE owner_of_shop NOLOGIN", "GRANT owner_of_shop TO keeper")
    shop.options = {"login_user": user}
    point = shop.capture()
    shop.query("DELETE FROM plain")
    shop.roll_back(point)
    assert shop.query("SELECT a, b FROM plain") == "-7|7"


SWAPS = {
    "a view": "CREATE VIEW held AS SELECT public.evil(1) AS a",
    "another table": "CREATE TABLE held (a int)",
}


@pytest.mark.parametrize("swap", sorted(SWAPS))
def test_what_takes_a_table_s_place_before_it_is_read_is_not_read(shop: Site, swap: str) -> None:
    as_owner(shop, "CREATE TABLE aaa (a int)", "CREATE TABLE held (a int)")
    with Server.from_options(shop.all_options).connect("shop") as session:
        reading = content.hash_within(session, 30.0)
        assert next(reading)[0] == "public.aaa"  # all are listed by now, and one is read
        as_owner(shop, "DROP TABLE held", SWAPS[swap])
        assert [(key, "Somebody has replaced it" in str(said)) for key, said in reading] == [("public.held", True)]
    assert shop.query(ADMIN) == "f"


def test_views_and_foreign_tables_are_not_read_by_any_session_of_ours(shop: Site) -> None:
    as_owner(shop, "CREATE VIEW seen AS SELECT public.evil(1) AS a")
    with Server.from_options(shop.all_options).connect("shop") as session:
        with pytest.raises(DatabaseError, match="restricted"):
            session.rows("SELECT a FROM public.seen")
        assert session.value("SELECT count(*) > 0 FROM pg_stat_activity")
    assert shop.query(ADMIN) == "f"


def test_the_migration_s_head_is_read_without_a_cast_of_the_owner(shop: Site) -> None:
    as_owner(
        shop,
        "CREATE TYPE head AS ENUM ('one')",
        "CREATE FUNCTION told(head) RETURNS text LANGUAGE sql AS 'SELECT public.evil(1)::text'",
        "CREATE CAST (head AS text) WITH FUNCTION told(head)",
        "CREATE TABLE alembic_version (version_num head)",
        "INSERT INTO alembic_version VALUES ('one')",
    )
    with Server.from_options(shop.all_options).connect("shop") as session:
        assert content.migration_head(session) == []
    assert shop.query(ADMIN) == "f"


def test_an_owner_that_logs_in_by_itself_is_asked_nothing(shop: Site) -> None:
    shop.query("ALTER ROLE owner_of_shop CREATEDB", "postgres")
    shop.options = {"login_user": "owner_of_shop"}
    shop.roll_back(held(shop, "check"))
    assert shop.query("SELECT count(*) FROM held") == "20"
