# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Materialized views over tables that are rolled back, when one of them can't be refreshed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import State
from support.database_site import Site
from support.postgres_server import PostgresServer
from support.tables_site import TablesSite, client, quiet, statements

#: Refreshing it fails where a row has n = 0, where two have the same n, or where the function says so.
VIEWS = """
CREATE TABLE stock (id int PRIMARY KEY, n int);
CREATE TABLE opinion (id int PRIMARY KEY, stock_id int);
CREATE VIEW some_stock AS SELECT * FROM stock WHERE id < 1000;
CREATE MATERIALIZED VIEW share AS SELECT id, 100 / n AS part FROM some_stock;
CREATE MATERIALIZED VIEW whole AS SELECT sum(part) AS parts FROM share;
CREATE MATERIALIZED VIEW one_each AS SELECT n FROM stock;
CREATE UNIQUE INDEX ON one_each (n);
CREATE MATERIALIZED VIEW at_home AS SELECT max(to_timestamp(n))::text AS at, current_setting('search_path') AS path FROM stock;
CREATE FUNCTION looked_at(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    IF n = 77 THEN RAISE 'nobody likes 77'; END IF; RETURN (SELECT count(*) FROM public.opinion) + n; END $$;
CREATE MATERIALIZED VIEW liked AS SELECT looked_at(n) FROM stock;
INSERT INTO stock VALUES (1, 10), (2, 20);
REFRESH MATERIALIZED VIEW share; REFRESH MATERIALIZED VIEW whole; REFRESH MATERIALIZED VIEW one_each;
REFRESH MATERIALIZED VIEW at_home; REFRESH MATERIALIZED VIEW liked
"""
BROKEN = {"share": "UPDATE stock SET n = 0 WHERE id = 2", "one_each": "UPDATE stock SET n = 10 WHERE id = 2"}
UNSEEN = "UPDATE stock SET n = 77 WHERE id = 2"
DAMAGE = "UPDATE stock SET n = 5 WHERE id = 1"
ROWS = "SELECT string_agg(id || '=' || n, ' ' ORDER BY id) FROM stock"


@pytest.fixture
def store(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[TablesSite]:
    """A table with views, good."""
    site = TablesSite(postgres_server, quiet(tmp_path), tmp_path, name="store")
    site.make_roles()
    before = set(site.databases())
    postgres_server.psql("postgres", "CREATE DATABASE store OWNER keeper")
    postgres_server.psql("postgres", "ALTER DATABASE store SET timezone = 'Asia/Tokyo'")
    postgres_server.psql("store", VIEWS, user="keeper")
    site.options = {"login_user": "keeper"}
    try:
        yield site
    finally:
        site.drop([name for name in site.databases() if name not in before])


def captured(site: TablesSite) -> PointEntry:
    """Its restore point."""
    site.point = Site.capture(site)
    return site.point


@pytest.mark.parametrize("view", BROKEN)
def test_a_view_that_restored_rows_break_is_found_in_prepare(store: TablesSite, view: str) -> None:
    store.query(BROKEN[view])  # nobody has refreshed it since
    captured(store)
    store.query(DAMAGE)
    before = store.query(ROWS)
    plan = store.wanted(["stock"])
    with pytest.raises(
        Refused, match=f"(?s)with the rows of restore point point: .*public.{view}.*Nothing was touched"
    ):
        store.component().prepare(plan)
    store.component().undo(plan)
    assert (store.query(ROWS), store.others()) == (before, [])


def test_a_view_that_only_the_exchange_can_try_changes_nothing(store: TablesSite) -> None:
    store.query(UNSEEN)
    captured(store)
    store.query(DAMAGE)
    before, plan = store.query(ROWS), store.wanted(["stock"])
    component = store.component()
    component.prepare(plan)
    with pytest.raises(LastGoodError, match=r"(?s)public\.liked.*nobody likes 77.*The rows were not exchanged"):
        component.switch(plan)
    assert (component.state(plan), store.query(ROWS)) == (State.PREPARED, before)
    component.undo(plan)
    assert (store.query(ROWS), store.others()) == (before, [])


def test_an_empty_view_is_in_nobodys_way(store: TablesSite) -> None:
    store.query(BROKEN["share"])
    good = store.query(ROWS)
    captured(store)
    store.query(DAMAGE)
    store.query("REFRESH MATERIALIZED VIEW share WITH NO DATA; REFRESH MATERIALIZED VIEW whole WITH NO DATA")
    store.go_back(["stock"])
    assert store.query(ROWS) == good


@pytest.mark.parametrize("view", ["table", "column", "function"])
def test_what_an_owner_may_not_do_is_found_in_the_plan(store: TablesSite, view: str) -> None:
    captured(store)
    store.options = {}
    store.query("ALTER MATERIALIZED VIEW one_each OWNER TO reader; ALTER MATERIALIZED VIEW liked OWNER TO reader")
    store.query("GRANT SELECT (n) ON stock TO reader; GRANT SELECT ON opinion TO reader")
    store.query(DAMAGE)
    assert store.wanted(["stock"]).changed  # one column is enough for both
    what, said = {
        "table": ("REVOKE SELECT (n) ON stock FROM reader", "one_each, because role reader may not read public.stock"),
        "column": (
            "REVOKE SELECT (n) ON stock FROM reader; GRANT SELECT (id) ON stock TO reader",
            "one_each, because role reader may not read public.stock",
        ),
        "function": (
            "REVOKE EXECUTE ON FUNCTION looked_at FROM public",
            r"liked, because role reader may not run (public\.)?looked_at\(integer\)",
        ),
    }[view]
    store.query(what)
    with pytest.raises(Refused, match=said):
        store.wanted(["stock"])


def test_an_undo_goes_around_a_view_and_names_it(store: TablesSite) -> None:
    captured(store)
    good = store.query(ROWS)
    store.query(BROKEN["share"])
    before = store.query(ROWS)
    plan = store.go_back(["stock"])
    component = store.component()
    assert (store.query(ROWS), store.query("SELECT parts FROM whole")) == (good, "15")
    component.undo(plan)
    assert (component.state(plan), store.query(ROWS)) == (State.UNTOUCHED, before)
    assert store.query("SELECT max(n), min(n) FROM one_each") == "10|0"  # the others are refreshed
    named = component.kept(plan)["materialized views of store to refresh by hand"]
    assert list(named) == ["public.share"]
    assert "division by zero" in named["public.share"]
    assert component.count_written(plan) == {}
    component.discard_rejected(plan)
    assert (store.others(), list(component.kept(plan))) == ([], ["materialized views of store to refresh by hand"])


def test_a_view_that_somebody_reads_is_not_waited_for_forever(store: TablesSite) -> None:
    captured(store)
    store.query(DAMAGE)
    before, plan = store.query(ROWS), store.wanted(["stock"], lock_timeout=1)
    component = store.component()
    component.prepare(plan)
    with client(store) as cursor:
        cursor.execute("SELECT * FROM whole")
        with pytest.raises(LastGoodError, match=r"(?s)public\.whole.*lock timeout"):
            component.switch(plan)
    assert (component.state(plan), store.query(ROWS)) == (State.PREPARED, before)
    component.switch(plan)
    assert component.state(plan) is State.SWITCHED


def test_a_view_is_refreshed_with_the_settings_of_its_database(store: TablesSite) -> None:
    captured(store)
    good = store.query("SELECT at, path FROM at_home")
    assert "+09" in good
    store.query(DAMAGE)
    store.query("INSERT INTO stock VALUES (3, 30); REFRESH MATERIALIZED VIEW at_home")
    store.go_back(["stock"])
    assert store.query("SELECT at, path FROM at_home") == good


#: Named like what our own statements call, and found first by the search_path of the database.
TRAPS = """
CREATE TABLE caught (what text, who text DEFAULT current_user);
CREATE FUNCTION pg_has_role(oid, text) RETURNS boolean LANGUAGE sql AS $$
    INSERT INTO public.caught VALUES ('pg_has_role'); SELECT true $$;
CREATE FUNCTION set_config(text, text, boolean) RETURNS text LANGUAGE sql AS $$
    INSERT INTO public.caught VALUES ('set_config'); SELECT pg_catalog.set_config($1, $2, $3) $$;
CREATE FUNCTION setval(regclass, bigint) RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO public.caught VALUES ('setval'); SELECT pg_catalog.setval($1, $2) $$;
CREATE SEQUENCE number OWNED BY stock.id; ALTER TABLE stock ALTER id SET DEFAULT pg_catalog.nextval('number');
ALTER DATABASE store SET search_path = public, pg_catalog
"""


def test_what_the_search_path_of_the_database_finds_first_does_not_run_with_our_rights(
    store: TablesSite,
) -> None:
    for statement in statements(TRAPS):
        store.server.psql("store", statement, user="keeper")
    captured(store)
    store.options = {}
    store.query(DAMAGE)
    plan = store.go_back(["stock"])
    assert store.query("SELECT pg_catalog.nextval('number')") == "3"  # it was moved, after the views
    store.component().undo(plan)
    assert store.query("SELECT * FROM public.caught") == ""
