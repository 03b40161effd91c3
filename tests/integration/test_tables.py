# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One rollback of nearly all tables of a shop, as their plain owner, looked at from all sides by psql and pg_dump."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import StateConflict
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State
from support.file_limit import no_file_larger_than
from support.postgres_server import PostgresServer
from support.tables_site import EVERYTHING, TablesSite, copied_shop, good_shop, quiet, shop

__all__ = ["good_shop", "shop"]


@dataclass
class Story:
    """What the shop held when it was good, when it was damaged, and what was there besides rows."""

    site: TablesSite
    plan: Plan
    good: dict[str, str]
    damaged: dict[str, str]
    secrets: str
    objects: str

    @property
    def side(self) -> str:
        """The database that keeps the rows as they were."""
        return self.site.side()


@pytest.fixture(scope="module")
def story(
    postgres_server: PostgresServer, good_shop: PointEntry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    """A shop that was damaged and rolled back."""
    base = tmp_path_factory.mktemp("story")
    with copied_shop(postgres_server, good_shop, quiet(base), base, "story") as site:
        good, objects = site.content(), site.objects()
        site.damage()
        damaged, secrets = site.content(), site.rows("secret")
        yield Story(site, site.go_back(EVERYTHING), good, damaged, secrets, objects)


def test_all_rows_are_back_and_other_tables_are_untouched(story: Story) -> None:
    differing = {name for name in story.good if story.damaged[name] != story.good[name]}
    assert len(differing) > 8
    assert story.site.content() == story.good
    assert story.site.component().state(story.plan) is State.SWITCHED


def test_keys_indexes_sequences_triggers_policies_grants_and_publications_stay(story: Story) -> None:
    assert "published two_tables public.orders" in story.objects
    assert "policy secret own" in story.objects
    assert story.site.objects() == story.objects


def test_no_trigger_fires_while_rows_come_back(story: Story) -> None:
    assert story.site.query("SELECT count(*) FROM orders WHERE note = 'triggered'") == "0"
    assert story.site.query("SELECT count(*) FROM lonely") == "5"


def test_each_trigger_keeps_its_own_state(story: Story) -> None:
    states = story.site.query(
        "SELECT string_agg(tgname::text || tgenabled::text, ',' ORDER BY tgname) FROM pg_trigger"
        " WHERE tgrelid = 'orders'::regclass AND NOT tgisinternal"
    )
    assert states == "t_alwaysA,t_emptiedO,t_offD,t_originO,t_replicaR"
    of_partitions = story.site.query(
        "SELECT string_agg(tgenabled::text, '' ORDER BY tgrelid::regclass::text) FROM pg_trigger WHERE tgname = 't_partition'"
    )
    assert of_partitions == "OOOA"


def test_views_and_foreign_keys_of_other_tables_survive(story: Story) -> None:
    assert story.site.query("SELECT count(*) FROM good_customers") == "25"
    keys = "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = 'invoice'::regclass"
    assert story.site.query(keys) == "invoice_order_id_fkey"


def test_a_foreign_key_keeps_its_comment_and_is_deferrable_as_before(story: Story) -> None:
    found = "obj_description(oid, 'pg_constraint'), condeferrable, condeferred FROM pg_constraint"
    assert story.site.query(f"SELECT {found} WHERE conname = 'of_customer'") == "Whose it is|t|t"


def test_identity_columns_take_their_values_and_generated_ones_are_computed(story: Story) -> None:
    assert story.site.query("SELECT id, name, shout FROM customer WHERE id = 8") == "8|c8|C8"
    story.site.query("BEGIN; INSERT INTO customer (name) VALUES ('next'); ROLLBACK")


def test_partitions_are_filled_and_inheriting_tables_are_not_emptied(story: Story) -> None:
    for table in ("public.event_old", "public.event_all"):
        assert story.damaged[table] != story.good[table]
    assert story.site.query("SELECT count(*) FROM ONLY note") == "2"
    assert story.site.rows("long_note") == "(3,long,300)\n(4,longer,400)"


def test_a_key_that_was_not_valid_stays_so(story: Story) -> None:
    assert story.site.query("SELECT convalidated FROM pg_constraint WHERE conname = 'never_looked'") == "f"
    assert story.site.query("SELECT count(*) FROM reminder WHERE customer_id = 4711") == "1"


def test_materialized_views_are_refreshed_in_the_order_of_their_dependence(story: Story) -> None:
    assert story.site.query("SELECT b.n, a.n FROM b_counts b, a_above a") == "25|50"
    assert story.site.query("SELECT ispopulated FROM pg_matviews WHERE matviewname = 'never_filled'") == "f"


def test_forced_row_security_hides_no_row_and_is_forced_again(story: Story) -> None:
    assert story.site.query("SELECT count(*), count(DISTINCT owner) FROM secret") == "9|2"
    assert story.site.rows('lastgood_previous."public.secret"', story.side) == story.secrets
    assert story.site.query("SELECT relforcerowsecurity FROM pg_class WHERE relname = 'secret'") == "t"


def test_statistics_are_those_of_the_rows_that_came(story: Story) -> None:
    assert story.site.query("SELECT reltuples FROM pg_class WHERE relname = 'order_line'") == "600"


def test_the_rows_as_they_were_are_kept(story: Story) -> None:
    kept = story.site.query('SELECT count(*) FROM lastgood_previous."public.order_line"', story.side)
    assert kept == "400"
    changed = story.site.query(
        "SELECT count(*) FROM lastgood_previous.\"public.customer\" WHERE name ~ 'damaged'", story.side
    )
    assert changed == "25"
    names = story.site.query('SELECT nothing FROM lastgood_previous."odd ""schema.Tä$ble; --"', story.side)
    assert names.splitlines() == ["something"] * 4


def test_plan_shows_the_closure_of_foreign_keys_and_what_is_discarded(shop: TablesSite) -> None:
    shop.damage()
    shop.query("ANALYZE")
    plan = shop.wanted(["orders"])
    said = " ".join(plan.warnings)
    assert (
        "refers to these tables, directly or by way of others: public.order_line, public.invoice, public.reminder."
        in said
    )
    assert "referred to by these tables: public.customer." in said
    assert "Publications everything, two_tables: their subscribers get a TRUNCATE" in said
    assert plan.discards["rows"] == {"public.orders": {"now": 200, "then": 200, "differs": True}}
    assert plan.downtime["ms"] > 0 and plan.downtime["rows_per_second"] > 0
    assert "Large objects" in " ".join(shop.wanted(["customer"], orphans="keep_aside").warnings)
    assert shop.others() == []


def test_plan_tells_when_the_server_may_run_out_of_locks(shop: TablesSite) -> None:
    many = " ".join(f"CREATE TABLE many_{n} (id int);" for n in range(3))
    one = "EXECUTE format('ALTER TABLE many_%s ADD FOREIGN KEY (id) REFERENCES lonely', n % 3)"
    assert "locks are needed" not in " ".join(shop.wanted(["lonely"]).warnings)
    shop.server.psql(shop.name, "ALTER TABLE lonely ADD PRIMARY KEY (n)", many, user="keeper")
    shop.query(f"DO $$ BEGIN FOR n IN 1..1100 LOOP {one}; END LOOP; END $$")
    assert "max_locks_per_transaction the switch may fail" in " ".join(shop.wanted(["lonely"]).warnings)


def test_a_second_rollback_finds_nothing_to_do(shop: TablesSite) -> None:
    assert not shop.wanted(["customer", "orders", "event", "empty"]).changed


def test_undo_restores_the_rows_as_they_were_and_keeps_what_was_written_meanwhile(shop: TablesSite) -> None:
    shop.damage()
    before, objects = shop.content(), shop.objects()
    plan = shop.go_back(EVERYTHING)
    shop.query("INSERT INTO customer (name) VALUES ('meanwhile')")
    component = shop.component()
    component.undo(plan)
    assert component.state(plan) is State.UNTOUCHED
    stale = {"public.b_counts", "public.a_above"}  # fresh now, which they were not before
    untouched = {"public.lonely"}  # a trigger wrote to it meanwhile
    after = shop.content()
    assert {name for name in before if after[name] != before[name]} <= stale | untouched
    assert shop.objects() == objects
    written = {"public.customer": {"then": 50, "now": 51}}
    assert component.count_written(plan) == written
    assert component.kept(plan)["rows written to shop"] == written
    assert shop.query('SELECT name FROM lastgood_rejected."public.customer" WHERE id > 50', shop.side()) == "meanwhile"


def test_rows_that_break_a_check_which_nobody_validated_come_back_and_go_again(shop: TablesSite) -> None:
    """NOT VALID lets old rows be, and no new ones in; a table that inherits may have validated its copy."""
    shop.server.psql(
        "shop",
        "ALTER TABLE lonely ADD CONSTRAINT large CHECK (n > 4) NOT VALID",
        "CREATE TABLE short_note () INHERITS (note)",
        "ALTER TABLE long_note ADD CONSTRAINT late CHECK (id > 2)",
        "ALTER TABLE note ADD CONSTRAINT late CHECK (id > 2) NOT VALID",
        "COMMENT ON CONSTRAINT late ON note IS 'Not yet'",
        "ALTER TABLE short_note VALIDATE CONSTRAINT late",
        "DELETE FROM lonely WHERE n IN (1, 5)",
        "DELETE FROM ONLY note WHERE id = 1",
        user="keeper",
    )
    before, objects = shop.content(), shop.objects()
    plan = shop.go_back(["lonely", "note"])
    assert (shop.rows("lonely"), shop.query("SELECT id FROM ONLY note")) == ("(1)\n(2)\n(3)\n(4)\n(5)", "1\n2")
    assert shop.objects() == objects
    local = "SELECT conrelid::regclass, conislocal, coninhcount FROM pg_constraint WHERE conname = 'late' ORDER BY 1"
    assert shop.query(local) == "note|t|0\nlong_note|t|1\nshort_note|f|1"
    assert "violates check constraint" in shop.server.psql("shop", "INSERT INTO lonely VALUES (3)", check=False)
    shop.component().undo(plan)
    assert (shop.content(), shop.objects()) == (before, objects)


def test_undo_without_new_rows_leaves_nothing_behind(shop: TablesSite) -> None:
    shop.damage()
    component, plan = shop.component(), shop.go_back(EVERYTHING)
    component.undo(plan)
    assert component.state(plan) is State.UNTOUCHED
    assert component.kept(plan) == {"rows of shop, rejected": f"{shop.side()}, schema lastgood_rejected"}
    assert component.count_written(plan) == {}
    component.discard_rejected(plan)
    assert component.state(plan) is State.UNTOUCHED
    assert (shop.others(), component.kept(plan)) == ([], {})


def test_where_nobody_wrote_a_full_disk_leaves_nothing_either(shop: TablesSite) -> None:
    shop.damage()
    component, plan = shop.component(), shop.go_back(EVERYTHING)
    component.undo(plan)
    with no_file_larger_than(0):
        assert component.count_written(plan) == {}
    component.discard_rejected(plan)
    assert (shop.others(), component.state(plan)) == ([], State.UNTOUCHED)


def test_on_a_full_disk_what_was_written_is_kept_and_counted_when_there_is_room(shop: TablesSite) -> None:
    shop.damage()
    component, plan = shop.component(), shop.go_back(EVERYTHING)
    shop.query("INSERT INTO customer (name) VALUES ('meanwhile')")
    component.undo(plan)
    with no_file_larger_than(0), pytest.raises(OSError, match="File too large"):
        component.count_written(plan)
    assert component.kept(plan) == {"rows of shop, rejected": f"{shop.side()}, schema lastgood_rejected"}
    assert component.count_written(plan) == {"public.customer": {"then": 50, "now": 51}}
    assert component.kept(plan)["rows written to shop"] == {"public.customer": {"then": 50, "now": 51}}


def test_what_was_dropped_by_hand_is_not_told_as_undone(shop: TablesSite) -> None:
    """Somebody drops the side database while it has the only copy of the rows as they were."""
    shop.damage()
    component, plan = shop.component(), shop.go_back(EVERYTHING)
    switched = shop.content()
    side = shop.side()
    shop.query(f"DROP DATABASE {side}", "postgres")
    assert component.state(plan) is State.FOREIGN
    with pytest.raises(StateConflict, match=f"has dropped database {side}, which had the rows"):
        component.undo(plan)
    assert shop.content() == switched


def test_a_crash_while_it_lets_go_leaves_nothing_that_undo_does_not_remove(shop: TablesSite) -> None:
    """What an interrupted DROP DATABASE leaves can't be looked into any more, only dropped."""
    shop.damage()
    before = shop.content()
    component, plan = shop.component(), shop.go_back(EVERYTHING)
    component.undo(plan)
    component.count_written(plan)
    shop.query(f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{shop.side()}'", "postgres")
    assert (component.state(plan), component.kept(plan)) == (State.PARTIAL, {})
    component.undo(plan)
    assert component.count_written(plan) == {}
    component.discard_rejected(plan)
    assert (component.state(plan), shop.others()) == (State.UNTOUCHED, [])
    assert shop.content()["public.customer"] == before["public.customer"]


def test_finish_keeps_the_rows_as_they_were_and_prunes_older_ones(shop: TablesSite) -> None:
    for number in (1, 2):
        shop.query(f"UPDATE customer SET name = 'day {number} ' || id")
        transaction = f"2026010{number}T000000Z-test-0001"
        plan = shop.go_back(["customer"], transaction, keep_previous=1)
        shop.component(transaction).finish(plan)
        assert shop.component(transaction).state(plan) is State.SWITCHED
    assert (
        shop.query('SELECT min(name), count(*) FROM lastgood_previous."public.customer"', shop.side()) == "day 2 1|50"
    )
    assert shop.query("SELECT count(*) FROM customer", shop.side()) == "0"


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_tables_come_back_from_a_named_dump(shop: TablesSite, form: str) -> None:
    good, objects, dump = shop.content(), shop.objects(), shop.dump(form, form)
    shop.query("UPDATE customer SET name = 'lost ' || id; DELETE FROM visit")
    options = {"source": str(dump), "checksum": shop.checksum(dump)}
    if form == "plain":
        # Sent as it is, publication of all tables included: more than the owner may do.
        shop.options = {}
    component, plan = shop.component(), shop.plan(None, tables=["customer", "visit"], **options)
    component.prepare(plan)
    component.switch(plan)
    assert (shop.content(), shop.objects()) == (good, objects)


def test_all_foreign_keys_of_a_table_come_back_each_as_it_was(shop: TablesSite) -> None:
    """One of them was never looked at and has a comment; they are put back together."""
    shop.server.psql("shop", "COMMENT ON CONSTRAINT never_looked ON reminder IS 'Some day'", user="keeper")
    shop.server.psql("shop", "DELETE FROM reminder", user="keeper")
    query = (
        "SELECT conname, convalidated, pg_get_constraintdef(oid), obj_description(oid, 'pg_constraint')"
        " FROM pg_constraint WHERE conrelid = 'reminder'::regclass AND contype = 'f' ORDER BY 1"
    )
    before, keys = shop.content(), shop.query(query)
    assert [line.split("|")[:2] for line in keys.splitlines()] == [
        ["never_looked", "f"],
        ["reminder_invoice_id_fkey", "t"],
    ]
    plan = shop.go_back(["reminder"])
    assert shop.rows("reminder") != ""
    assert shop.query(query) == keys
    shop.component().undo(plan)
    assert (shop.content(), shop.query(query)) == (before, keys)
