# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the component ``tables`` share: a database in which everything hangs together, owned by no superuser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context, PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan
from ansible_collections.lastgood.rollback.plugins.module_utils._components.tables.component import Tables
from support.database_site import FIRST, Site, identifier
from support.postgres_server import PostgresServer

SHOP = """
CREATE SCHEMA "odd ""schema";
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE customer (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE, feeling mood DEFAULT 'good',
    shout text GENERATED ALWAYS AS (upper(name)) STORED, picture oid);
CREATE TABLE orders (id serial PRIMARY KEY, customer_id int NOT NULL, note text, seat int,
    CONSTRAINT of_customer FOREIGN KEY (customer_id) REFERENCES customer (id) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT one_seat UNIQUE (seat) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT sane CHECK (note <> 'insane'));
COMMENT ON CONSTRAINT of_customer ON orders IS 'Whose it is';
CREATE INDEX ON orders (lower(note));
CREATE TABLE order_line (order_id int, line int, what text, PRIMARY KEY (order_id, line));
ALTER TABLE order_line ADD CONSTRAINT of_order FOREIGN KEY (order_id) REFERENCES orders ON DELETE CASCADE;
CREATE TABLE invoice (id int PRIMARY KEY, order_id int REFERENCES orders);
CREATE TABLE reminder (id int PRIMARY KEY, invoice_id int NOT NULL REFERENCES invoice ON DELETE CASCADE, customer_id int);
ALTER TABLE reminder ADD CONSTRAINT never_looked FOREIGN KEY (customer_id) REFERENCES customer NOT VALID;
CREATE TABLE part (id int PRIMARY KEY, whole int REFERENCES part);
CREATE TABLE "odd ""schema"."Tä$ble; --" ("Cöl umn" text, nothing text);
CREATE TABLE lonely (n int);
CREATE UNLOGGED TABLE visit (at int);
CREATE TABLE empty ();

CREATE TABLE event (id int, day date, customer_id int REFERENCES customer, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE event_old PARTITION OF event FOR VALUES FROM ('2020-01-01') TO ('2025-01-01');
CREATE TABLE event_new PARTITION OF event FOR VALUES FROM ('2025-01-01') TO ('2030-01-01') PARTITION BY RANGE (day);
CREATE TABLE event_all PARTITION OF event_new DEFAULT;
CREATE TABLE ticket (id int PRIMARY KEY, event_id int, day date, FOREIGN KEY (event_id, day) REFERENCES event);

CREATE TABLE note (id int PRIMARY KEY, body text);
CREATE TABLE long_note (pages int) INHERITS (note);

CREATE TABLE secret (id int PRIMARY KEY, owner text, customer_id int REFERENCES customer);
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
ALTER TABLE secret FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON secret USING (owner = current_user);

CREATE FUNCTION marked() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'triggered'; RETURN NEW; END $$;
CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO lonely VALUES (99); RETURN NULL; END $$;
CREATE TRIGGER t_origin BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION marked();
CREATE TRIGGER t_off BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION marked();
CREATE TRIGGER t_replica BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION marked();
CREATE TRIGGER t_always BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION marked();
CREATE TRIGGER t_emptied AFTER TRUNCATE ON orders FOR EACH STATEMENT EXECUTE FUNCTION count_up();
CREATE TRIGGER t_taken_out AFTER DELETE ON reminder FOR EACH ROW EXECUTE FUNCTION count_up();
CREATE TRIGGER t_partition AFTER INSERT ON event FOR EACH ROW EXECUTE FUNCTION count_up();
ALTER TABLE event_old ENABLE ALWAYS TRIGGER t_partition;
CREATE CONSTRAINT TRIGGER t_late AFTER INSERT ON customer DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    EXECUTE FUNCTION count_up();

CREATE VIEW good_customers AS SELECT id, name FROM customer WHERE feeling = 'good' WITH CHECK OPTION;
CREATE MATERIALIZED VIEW b_counts AS SELECT count(*) AS n FROM good_customers;
CREATE MATERIALIZED VIEW a_above AS SELECT n * 2 AS n FROM b_counts;
CREATE MATERIALIZED VIEW never_filled AS SELECT count(*) AS n FROM customer WITH NO DATA;
GRANT SELECT (id, note), UPDATE (note) ON orders TO reader;
COMMENT ON TABLE orders IS 'The shop''s';

INSERT INTO customer (name, feeling) SELECT 'c' || g, CASE g % 2 WHEN 0 THEN 'good' ELSE 'bad' END::mood
    FROM generate_series(1, 50) g;
ALTER TABLE orders DISABLE TRIGGER t_origin, DISABLE TRIGGER t_always, DISABLE TRIGGER t_off,
    DISABLE TRIGGER t_replica;
INSERT INTO orders (customer_id, note, seat) SELECT 1 + g % 50, E'note\t' || g, g FROM generate_series(1, 200) g;
ALTER TABLE orders ENABLE TRIGGER t_origin, ENABLE ALWAYS TRIGGER t_always, ENABLE REPLICA TRIGGER t_replica;
INSERT INTO order_line SELECT o, l, 'thing ' || l FROM generate_series(1, 200) o, generate_series(1, 3) l;
INSERT INTO invoice SELECT g, g FROM generate_series(1, 100) g;
INSERT INTO reminder SELECT g, g, g % 50 + 1 FROM generate_series(1, 20) g;
INSERT INTO part VALUES (2, NULL), (1, 2), (3, 1);
INSERT INTO "odd ""schema"."Tä$ble; --" VALUES ('ü', NULL), ('ü', NULL), (E'line\nbreak', ''), (E'\\.', E'\\N');
INSERT INTO lonely SELECT generate_series(1, 5);
INSERT INTO visit SELECT generate_series(1, 7);
INSERT INTO event SELECT g, date '2024-06-01' + g, 1 + g % 50 FROM generate_series(1, 400) g;
INSERT INTO ticket SELECT g, g, date '2024-06-01' + g FROM generate_series(1, 40) g;
INSERT INTO note VALUES (1, 'short'), (2, 'shorter');
INSERT INTO long_note VALUES (3, 'long', 300), (4, 'longer', 400);
ALTER TABLE secret NO FORCE ROW LEVEL SECURITY;
INSERT INTO secret SELECT g, CASE WHEN g < 4 THEN 'keeper' ELSE 'somebody' END, g FROM generate_series(1, 9) g;
ALTER TABLE secret FORCE ROW LEVEL SECURITY;
DELETE FROM lonely WHERE n = 99;
REFRESH MATERIALIZED VIEW b_counts; REFRESH MATERIALIZED VIEW a_above;
"""
#: As a superuser: what an owner may not do, and what was never looked at.
BY_A_SUPERUSER = """
CREATE PUBLICATION two_tables FOR TABLE orders, customer;
CREATE PUBLICATION everything FOR ALL TABLES WITH (publish = 'insert, truncate');
SET session_replication_role = replica;
INSERT INTO reminder VALUES (21, 1, 4711);
"""
DAMAGE = """
UPDATE customer SET name = name || ' damaged', feeling = 'bad' WHERE id % 2 = 0;
ALTER TABLE orders DISABLE TRIGGER t_always;
DELETE FROM order_line WHERE line = 2;
UPDATE orders SET note = 'lost' WHERE id % 3 = 0;
ALTER TABLE orders ENABLE ALWAYS TRIGGER t_always;
DELETE FROM event WHERE id > 350;
UPDATE event SET customer_id = 1;
UPDATE ONLY note SET body = 'lost';
UPDATE secret SET owner = 'nobody';
DELETE FROM visit;
UPDATE "odd ""schema"."Tä$ble; --" SET nothing = 'something';
DELETE FROM lonely WHERE n = 99;
REFRESH MATERIALIZED VIEW b_counts;
REFRESH MATERIALIZED VIEW a_above;
"""
EVERYTHING = [
    "public.customer", "orders", "order_line", "event", "note", "secret", "visit", "part", "empty",
    'odd "schema.Tä$ble; --',
]  # fmt: skip


#: Names, numbers and states of everything that must not change, whatever becomes of rows.
OBJECTS = """
SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
    SELECT format('relation %s %s %s', oid, oid::regclass, relkind) FROM pg_class WHERE oid > 16383 AND relkind <> 't'
        AND relnamespace <> 'pg_toast'::regnamespace
    UNION ALL SELECT format('trigger %s %s %s', tgrelid::regclass, tgname, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT format('constraint %s %s %s %s', conrelid::regclass, conname, convalidated,
        obj_description(oid, 'pg_constraint')) FROM pg_constraint WHERE conrelid <> 0
    UNION ALL SELECT format('policy %s %s', polrelid::regclass, polname) FROM pg_policy
    UNION ALL SELECT format('published %s %s.%s', pubname, schemaname, tablename) FROM pg_publication_tables
    UNION ALL SELECT format('grants %s %s', oid::regclass, relacl) FROM pg_class WHERE relacl IS NOT NULL AND oid > 16383
    UNION ALL SELECT format('row security %s %s %s', oid::regclass, relrowsecurity, relforcerowsecurity) FROM pg_class
        WHERE relrowsecurity) q (line)
"""


class TablesSite(Site):
    """The shop on a real server; the component works as its plain owner."""

    point: PointEntry

    def damage(self) -> None:
        """Damaged rows in most tables."""
        self.server.psql(self.name, *statements(DAMAGE))

    def objects(self) -> str:
        """See `OBJECTS`."""
        return self.query(OBJECTS)

    def component(self, transaction: str = FIRST, **secrets: str) -> Tables:  # type: ignore[override]
        """The component in a transaction."""
        return Tables(self.make_context(transaction, **secrets))

    def wanted(self, tables: list[str], transaction: str = FIRST, **options: Any) -> Plan:
        """A plan for these tables."""
        return self.plan(self.point, transaction, tables=tables, **options)

    def go_back(self, tables: list[str], transaction: str = FIRST, **options: Any) -> Plan:
        """Plan, prepare, switch."""
        plan = self.wanted(tables, transaction, **options)
        component = self.component(transaction)
        component.prepare(plan)
        component.switch(plan)
        return plan

    def rows(self, table: str, database: str | None = None) -> str:
        """Every row of a table and of its partitions, in a fixed order."""
        return self.query(f"SELECT t::text FROM {table} t ORDER BY t::text", database)

    def others(self) -> list[str]:
        """Databases that stand beside it."""
        return [name for name in self.databases() if name.startswith(f"{self.name}_")]

    def side(self) -> str:
        """The one side database."""
        (found,) = self.others()
        return found


@contextmanager
def client(site: TablesSite) -> Iterator[Any]:
    """Somebody's session with an open transaction."""
    where = {"host": str(site.server.sockets), "port": site.server.port, "user": "keeper", "dbname": site.name}
    connection = psycopg2.connect(application_name="somebody", **where)
    try:
        yield connection.cursor()
    finally:
        connection.close()


def quiet(workspace: Path) -> Callable[..., Context]:
    """Contexts whose journal nobody looks at."""

    def change(*_words: str, **_facts: object) -> AbstractContextManager[None]:
        return nullcontext()

    def make(transaction: str = FIRST, **secrets: str) -> Context:
        return Context(transaction, workspace, CommandRunner(), change, lambda _line: None, secrets)

    return make


def make_shop(server: PostgresServer, name: str) -> None:
    """The shop, good."""
    server.psql("postgres", f"CREATE DATABASE {identifier(name)} OWNER keeper")
    server.psql(name, *statements(SHOP), user="keeper")
    server.psql(name, *statements(BY_A_SUPERUSER))
    server.psql(name, "VACUUM ANALYZE")


def statements(text: str) -> list[str]:
    """Each a transaction of its own: a deferred trigger is in the way of ALTER TABLE."""
    return [statement for statement in text.split(";\n") if statement.strip()]


@pytest.fixture(scope="module")
def good_shop(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PointEntry]:
    """The shop and its restore point, made once; tests get copies."""
    base = tmp_path_factory.mktemp("shop")

    site = Site(postgres_server, quiet(base), base, name="good_shop")
    site.make_roles()
    make_shop(postgres_server, "good_shop")
    # By a superuser: nobody else sees all rows of a table that forces row security on its owner.
    yield site.capture()
    site.drop(["good_shop"])


@contextmanager
def copied_shop(
    server: PostgresServer, point: PointEntry, make_context: Callable[..., Context], directory: Path, name: str = "shop"
) -> Iterator[TablesSite]:
    """A copy of the shop, good; the component connects as its owner."""
    site = TablesSite(server, make_context, directory, name=name)
    site.point = point
    before = set(site.databases())
    server.psql("postgres", f"CREATE DATABASE {name} TEMPLATE good_shop OWNER keeper")
    site.options = {"login_user": "keeper"}
    try:
        yield site
    finally:
        site.drop([name for name in site.databases() if name not in before])


@pytest.fixture
def shop(
    postgres_server: PostgresServer, good_shop: PointEntry, make_context: Callable[..., Context], tmp_path: Path
) -> Iterator[TablesSite]:
    """See `copied_shop`."""
    with copied_shop(postgres_server, good_shop, make_context, tmp_path) as site:
        yield site
