# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables that can't be rolled back, or not just like that: orphans, locks, strangers, changes meanwhile."""

from __future__ import annotations

import threading

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    LastGoodError,
    Refused,
    StateConflict,
    UndoIncomplete,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import State
from support.postgres_server import wait_until
from support.tables_site import TablesSite, client, good_shop, shop

__all__ = ["good_shop", "shop"]


def unchanged(site: TablesSite, before: tuple[dict[str, str], str]) -> bool:
    return (site.content(), site.objects()) == before


def snapshot(site: TablesSite) -> tuple[dict[str, str], str]:
    return site.content(), site.objects()


@pytest.mark.parametrize(
    ("change", "tables", "said"),
    [
        ("SELECT 1", ["nosuch"], r"There is no table nosuch in the live database"),
        ("SELECT 1", ["order"], r"there are public.order_line, public.orders"),
        ("CREATE TABLE newer ()", ["newer"], r"has no table public.newer: it is newer"),
        ('CREATE TABLE "odd ""schema".orders ()', ["orders"], r"Several tables are called orders"),
        ("DROP TABLE lonely", ["lonely"], r"There is no table lonely .* comes back with a rollback of the schema"),
        ("ALTER TABLE orders OWNER TO reader", ["customer"], r"Role keeper does not own public.orders"),
        ("ALTER ROLE keeper NOCREATEDB", ["customer"], r"may not create databases.*CREATEDB"),
        ("SELECT 1", [], r"say with tables which tables"),
    ],
)
def test_what_can_be_known_is_refused_in_plan(shop: TablesSite, change: str, tables: list[str], said: str) -> None:
    shop.query(change)
    try:
        with pytest.raises(Refused, match=said):
            shop.wanted(tables)
        assert shop.others() == []
    finally:
        shop.query("ALTER ROLE keeper CREATEDB")


def test_columns_that_differ_are_refused_with_a_list(shop: TablesSite) -> None:
    shop.query(
        "ALTER TABLE note ADD written date; ALTER TABLE customer ALTER picture TYPE bigint;"
        " ALTER TYPE mood RENAME VALUE 'bad' TO 'sad'; ALTER TABLE invoice DROP order_id"
    )
    before = snapshot(shop)
    component, plan = shop.component(), shop.wanted(["note", "customer", "invoice"])
    with pytest.raises(Refused) as refusal:
        component.prepare(plan)
    for said in (
        "public.note: column written is not in the restore point",
        "public.customer: column picture has type bigint instead of oid",
        "public.customer: the type of column feeling lacks values",
        "public.invoice: column order_id is gone",
        "That is a schema rollback",
    ):
        assert said in refusal.value.message
    component.undo(plan)
    assert component.state(plan) is State.UNTOUCHED
    assert shop.others() == []
    assert unchanged(shop, before)


def test_rows_of_other_tables_that_would_refer_to_vanished_rows_are_refused_with_a_list(shop: TablesSite) -> None:
    shop.query(
        "INSERT INTO orders (id, customer_id) VALUES (501, 1), (502, 1); INSERT INTO invoice VALUES (901, 501), (902, 502)"
    )
    before = snapshot(shop)
    component, plan = shop.component(), shop.wanted(["orders"])
    with pytest.raises(
        Refused,
        match=r"2 of public.invoice \(invoice_order_id_fkey: order_id = 501, 502\) have no row in public.orders",
    ):
        component.prepare(plan)
    assert unchanged(shop, before)


def test_orphans_are_kept_aside_when_asked_and_come_back_with_undo(shop: TablesSite) -> None:
    """An invoice of a vanished order, the reminder that refers to it, and no trigger or cascade of its own."""
    shop.query(
        "INSERT INTO orders (id, customer_id) VALUES (501, 1); INSERT INTO invoice VALUES (901, 501);"
        " INSERT INTO reminder VALUES (801, 901, 1)"
    )
    before = snapshot(shop)
    component, plan = shop.component(), shop.go_back(["orders"], orphans="keep_aside")
    assert shop.query("SELECT count(*) FROM invoice WHERE id = 901") == "0"
    assert shop.query("SELECT count(*), count(*) FILTER (WHERE id = 801) FROM reminder") == "21|0"
    assert shop.query("SELECT count(*) FROM lonely") == "5"
    assert shop.objects() == before[1]
    side = shop.side()
    assert shop.query('SELECT * FROM lastgood_orphans."public.invoice"', side) == "901|501"
    assert shop.query('SELECT * FROM lastgood_orphans."public.reminder"', side) == "801|901|1"
    assert "rows of public.invoice, public.reminder that referred to nothing" in component.kept(plan)
    component.undo(plan)
    assert unchanged(shop, before)


def test_rows_that_a_rule_only_marks_as_deleted_are_moved_aside_all_the_same(shop: TablesSite) -> None:
    """Soft deletion: the server updates where it is told to delete, and so the row would be found again and again."""
    shop.query(
        "ALTER TABLE invoice ADD gone bool; CREATE RULE soft AS ON DELETE TO invoice"
        " DO INSTEAD UPDATE invoice SET gone = true WHERE id = OLD.id;"
        "ALTER TABLE reminder ENABLE ROW LEVEL SECURITY; CREATE RULE never AS ON DELETE TO reminder DO INSTEAD NOTHING;"
        "ALTER TABLE reminder ENABLE ALWAYS RULE never;"
        "INSERT INTO orders (id, customer_id) VALUES (501, 1); INSERT INTO invoice VALUES (901, 501);"
        "INSERT INTO reminder VALUES (801, 901, 1)"
    )
    before = snapshot(shop)
    rules = "SELECT rulename, ev_enabled FROM pg_rewrite WHERE rulename IN ('soft', 'never') ORDER BY 1"
    plan = shop.go_back(["orders"], orphans="keep_aside")
    assert shop.query("SELECT count(*), bool_or(gone) FROM invoice WHERE id = 901") == "0|"
    assert shop.query("SELECT count(*) FROM reminder WHERE id = 801") == "0"
    assert shop.query(rules) == "never|A\nsoft|O"
    shop.component().undo(plan)
    assert unchanged(shop, before)
    assert shop.query(rules) == "never|A\nsoft|O"


def test_a_restored_row_whose_parent_was_deleted_since_is_refused_or_kept_aside(shop: TablesSite) -> None:
    shop.query(
        "UPDATE orders SET customer_id = 1 WHERE customer_id = 7; UPDATE event SET customer_id = 1 WHERE customer_id = 7"
    )
    shop.query("DELETE FROM reminder WHERE customer_id = 7")
    shop.query("DELETE FROM secret WHERE customer_id = 7; DELETE FROM customer WHERE id = 7")
    before = snapshot(shop)
    component, plan = shop.component(), shop.wanted(["orders"])
    with pytest.raises(
        Refused, match=r"4 of public.orders \(of_customer: customer_id = 7 …\) have no row in public.customer"
    ):
        component.prepare(plan)
    component.undo(plan)
    plan = shop.go_back(["orders"], orphans="keep_aside")
    assert shop.query("SELECT count(*) FROM orders") == "196"
    assert shop.query('SELECT count(*) FROM lastgood_orphans."public.orders"', shop.side()) == "4"
    assert shop.query("SELECT count(*) FROM order_line") == "588"
    component.undo(plan)
    assert unchanged(shop, before)


def test_a_key_that_is_marked_valid_is_really_looked_at(shop: TablesSite) -> None:
    """A row that came after the orphans were looked for."""
    shop.query("UPDATE orders SET note = 'lost'")
    component, plan = shop.component(), shop.wanted(["orders"])
    component.prepare(plan)
    shop.query("INSERT INTO orders (id, customer_id) VALUES (501, 1); INSERT INTO invoice VALUES (901, 501)")
    before = snapshot(shop)
    with pytest.raises(LastGoodError, match=r"would refer to nothing: 1 of public.invoice .*= 501\) have no row"):
        component.switch(plan)
    assert component.state(plan) is State.PREPARED
    assert unchanged(shop, before)


def test_undo_refuses_when_newer_rows_would_refer_to_nothing(shop: TablesSite) -> None:
    shop.query("DELETE FROM reminder; DELETE FROM invoice; DELETE FROM orders WHERE id = 200")
    component, plan = shop.component(), shop.go_back(["orders", "order_line"])
    shop.query("INSERT INTO invoice VALUES (901, 200)")
    before = snapshot(shop)
    with pytest.raises(UndoIncomplete, match=r"can't be taken back: .*1 of public.invoice .*= 200\) have no row"):
        component.undo(plan)
    assert component.state(plan) is State.SWITCHED
    assert unchanged(shop, before)
    shop.query("DELETE FROM invoice")
    component.undo(plan)
    assert shop.query("SELECT count(*) FROM orders") == "199"


def test_a_sequence_never_goes_below_the_highest_value_in_use(shop: TablesSite) -> None:
    shop.query("UPDATE orders SET note = 'lost'; SELECT setval('orders_id_seq', 5)")
    shop.query("UPDATE customer SET name = name || '!'; SELECT setval('customer_id_seq', 1000)")
    shop.go_back(["orders", "customer"])
    assert shop.query("SELECT nextval('orders_id_seq'), nextval('customer_id_seq')") == "201|1001"


def test_an_exchange_that_fails_moves_no_sequence(shop: TablesSite) -> None:
    shop.query("UPDATE orders SET note = 'lost'; SELECT setval('orders_id_seq', 5)")
    component, plan = shop.component(), shop.wanted(["orders"])
    component.prepare(plan)
    shop.query("ALTER TABLE orders ADD CONSTRAINT strict CHECK (note = 'lost')")
    before = snapshot(shop)
    with pytest.raises(LastGoodError, match=r'Filling table public.orders failed: .*check constraint "strict"'):
        component.switch(plan)
    assert unchanged(shop, before)
    assert shop.query("SELECT last_value FROM orders_id_seq") == "5"


def test_neighbours_are_locked_at_once_in_the_order_of_their_oids(shop: TablesSite) -> None:
    """Whoever holds the middle one makes it wait there: with all before, and none after."""
    shop.query("UPDATE orders SET note = 'lost'")
    component, plan = shop.component(), shop.wanted(["orders"], lock_timeout=20)
    component.prepare(plan)
    # Of the switch alone: an autovacuum has locks as well, and waits for some.
    ours = (
        "FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE application_name LIKE 'lastgood%' AND datname = current_database()"
    )
    waiting = f"SELECT count(*) {ours} AND NOT granted"
    held = (
        f"SELECT string_agg(relation::regclass::text, ',' ORDER BY relation) {ours} AND mode = 'AccessExclusiveLock'"
        " AND granted AND relation IN (SELECT oid FROM pg_class WHERE relkind = 'r')"
    )
    # The thread becomes other users, and so does the whole process: no program may be started meanwhile.
    with client(shop) as cursor, client(shop) as looking:
        looking.connection.autocommit = True

        def ask(sql: str) -> object:
            looking.execute(sql)
            return looking.fetchone()[0]

        cursor.execute("SELECT count(*) FROM order_line")
        switching = threading.Thread(target=component.switch, args=[plan])
        switching.start()
        wait_until(lambda: ask(waiting) == 1)
        assert ask(held) == "customer,orders"
        cursor.connection.rollback()
        switching.join()
    assert component.state(plan) is State.SWITCHED


def test_who_uses_the_tables_is_named_when_they_can_not_be_locked(shop: TablesSite) -> None:
    shop.query("UPDATE orders SET note = 'lost'")
    before = snapshot(shop)
    component, plan = shop.component(), shop.wanted(["orders"], lock_timeout=1)
    component.prepare(plan)
    with client(shop) as cursor:
        cursor.execute("SELECT count(*) FROM invoice")
        with pytest.raises(LastGoodError, match=r"in use by \d+ \(keeper, somebody\).*lock_timeout"):
            component.switch(plan)
    assert component.state(plan) is State.PREPARED
    assert unchanged(shop, before)


def test_planning_does_not_wait_behind_somebodys_lock_and_names_who_has_it(shop: TablesSite) -> None:
    shop.query("UPDATE orders SET note = 'lost'")
    before = snapshot(shop)
    with client(shop) as cursor:
        cursor.execute("LOCK TABLE orders")
        with pytest.raises(Refused, match=r"lock timeout.*locked by \d+ \(keeper, somebody\): let that end first"):
            shop.wanted(["orders"])
    assert unchanged(shop, before)
    assert shop.others() == []


def test_event_triggers_fire_and_one_that_refuses_leaves_everything_as_it_was(shop: TablesSite) -> None:
    shop.query("UPDATE orders SET note = 'lost'")
    shop.query(
        "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no changes here'; END $$;"
        " CREATE EVENT TRIGGER careful ON ddl_command_end EXECUTE FUNCTION no()"
    )
    before = snapshot(shop)
    component, plan = shop.component(), shop.wanted(["orders"])
    assert "Event triggers careful fire when foreign keys are taken off and put back." in plan.warnings
    component.prepare(plan)
    with pytest.raises(LastGoodError, match="no changes here"):
        component.switch(plan)
    assert unchanged(shop, before)
    shop.query("ALTER EVENT TRIGGER careful DISABLE")
    component.switch(plan)
    assert component.state(plan) is State.SWITCHED


def test_tables_that_somebody_changed_meanwhile_are_not_touched(shop: TablesSite) -> None:
    shop.query("UPDATE note SET body = 'lost'")
    component, plan = shop.component(), shop.wanted(["note"])
    component.prepare(plan)
    shop.query("ALTER TABLE note ADD pages int")
    before = snapshot(shop)
    assert component.state(plan) is State.FOREIGN
    with pytest.raises(StateConflict, match=r"table public.note has other columns"):
        component.switch(plan)
    shop.query("ALTER TABLE note DROP pages")
    component.switch(plan)
    shop.query("ALTER TABLE note RENAME TO notes")
    with pytest.raises(StateConflict, match=r"table public.note was dropped or renamed"):
        component.undo(plan)
    assert before[0]["public.long_note"] == shop.content()["public.long_note"]


def test_a_single_partition_is_rolled_back_under_the_keys_of_its_parent(shop: TablesSite) -> None:
    good = snapshot(shop)
    shop.query(
        "ALTER TABLE event DISABLE TRIGGER t_partition; UPDATE event SET customer_id = 1 WHERE day < '2025-01-01'"
    )
    shop.query("ALTER TABLE event ENABLE TRIGGER t_partition; ALTER TABLE event_old ENABLE ALWAYS TRIGGER t_partition")
    shop.go_back(["event_old"])
    assert unchanged(shop, good)


def test_partitions_that_are_newer_than_the_restore_point_take_rows_by_their_bounds(shop: TablesSite) -> None:
    rows = shop.rows("event")
    march = "CREATE TABLE event_march PARTITION OF event_new FOR VALUES FROM ('2025-03-01') TO ('2025-04-01')"
    shop.server.psql(shop.name, "DELETE FROM ticket; DELETE FROM event WHERE day > '2025-01-01'", march, user="keeper")
    shop.query("ALTER TABLE event DISABLE TRIGGER t_partition; DELETE FROM event WHERE id > 100")
    shop.go_back(["event"])
    assert shop.rows("event") == rows
    assert shop.query("SELECT count(*) FROM event_march") == "31"
