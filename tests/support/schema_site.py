# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the component ``schema`` share: an ordinary ugly schema, and migrations that must be taken back."""

from __future__ import annotations

from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._components.schema.component import Schema
from support.database_site import FIRST, Site

#: Enums, domains, identity, serials, generated columns, partitions, inheritance, row security, views, triggers, keys of
#: several columns, exclusion and check constraints, unlogged tables, names that want quotes, a large object.
CONTENT = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN title AS varchar(40) CHECK (VALUE <> '');
CREATE SCHEMA "odd ""schema";
CREATE TABLE post (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name title NOT NULL, slug text UNIQUE, feeling mood,
    words int NOT NULL DEFAULT 0 CHECK (words >= 0), price numeric(10,2), written timestamptz DEFAULT '2026-01-01',
    note varchar(10), flags bit(3), twice int GENERATED ALWAYS AS (words * 2) STORED);
CREATE TABLE section (id serial PRIMARY KEY, post_id int NOT NULL REFERENCES post ON DELETE CASCADE, body text NOT NULL,
    extra jsonb);
CREATE TABLE tag (post_id int REFERENCES post, name text, weight int NOT NULL, PRIMARY KEY (post_id, name));
CREATE TABLE visit (id bigint, day date, UNIQUE (id, day)) PARTITION BY RANGE (day);
CREATE TABLE visit_old PARTITION OF visit FOR VALUES FROM ('2020-01-01') TO ('2026-01-01');
CREATE TABLE visit_new PARTITION OF visit FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE base (id int PRIMARY KEY, v text);
CREATE TABLE derived (more text) INHERITS (base);
CREATE UNLOGGED TABLE cache (k text, v text);
CREATE TABLE room (n int, during int4range, EXCLUDE USING gist (during WITH &&));
CREATE TABLE audit (at int, what text);
CREATE TABLE empty ();
INSERT INTO empty SELECT FROM generate_series(1, 3);
CREATE TABLE "odd ""schema"."Tä$ble; --" ("Cöl umn" text, "100%" int DEFAULT length('%s'));
CREATE VIEW good_posts AS SELECT id, name FROM post WHERE feeling = 'good';
CREATE MATERIALIZED VIEW counts AS SELECT count(*) AS posts FROM post;
CREATE FUNCTION log_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.audit VALUES (NEW.id, NEW.body); RETURN NEW; END $$;
CREATE TRIGGER logging AFTER INSERT ON section FOR EACH ROW EXECUTE FUNCTION log_it();
ALTER TABLE audit ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON audit USING (at < 5);
CREATE INDEX ON section (post_id);
CREATE SEQUENCE ticket START 10;
COMMENT ON COLUMN post.note IS 'for the editor';
GRANT SELECT, INSERT ON post TO reader;
GRANT SELECT (name) ON post TO hammer;
INSERT INTO post (name, slug, feeling, words, price, note, flags)
    SELECT 'post ' || g, 'slug-' || g, CASE g % 2 WHEN 0 THEN 'good' ELSE 'bad' END::mood, g, g / 100.0, 'note ' || g % 7,
    (g % 8)::bit(3) FROM generate_series(1, 200) g;
INSERT INTO section (post_id, body, extra) SELECT 1 + g % 200, 'body ' || g, jsonb_build_object('n', g)
    FROM generate_series(1, 600) g;
INSERT INTO tag SELECT g, 'tag', g FROM generate_series(1, 100) g;
INSERT INTO visit SELECT g, date '2025-06-01' + g FROM generate_series(1, 400) g;
INSERT INTO base VALUES (1, 'own');
INSERT INTO derived VALUES (2, 'inherited', 'more');
INSERT INTO cache VALUES ('a', 'b');
INSERT INTO room VALUES (1, '[1,5)'), (2, '[5,9)');
INSERT INTO "odd ""schema"."Tä$ble; --" VALUES ('ü', 1), (NULL, NULL);
SELECT nextval('ticket'), nextval('ticket');
SELECT lo_from_bytea(4711, 'large');
REFRESH MATERIALIZED VIEW counts;
"""


#: Where a test is not about rows that don't fit.
ACCEPTED: dict[str, Any] = {"accept": ["rows_set_aside"], "max_rows_set_aside": 1000}


class SchemaSite(Site):
    """A database of `Site`, rolled back in its schema only."""

    owner = "postgres"

    def create(self, name: str = "blog", owner: str = "postgres") -> None:
        """Make and fill it."""
        self.name = name
        self.owner = owner
        self.server.psql("postgres", f"CREATE DATABASE {name} OWNER {owner}")
        self.server.psql(name, CONTENT, user=owner)

    def component(self, transaction: str = FIRST, **secrets: str) -> Schema:
        """The component in a transaction."""
        return Schema(self.make_context(transaction, **secrets))

    def migrate(self, statements: str) -> None:
        """What somebody did to the schema, or to the rows, after the restore point."""
        self.server.psql(self.name, statements, user=self.owner)

    def definitions(self) -> str:
        """The schema as pg_dump prints it, without what is kept beside the data, and without chance."""
        said = self.server.run(
            "pg_dump", "-s", "-N", "lastgood_kept_*", "-h", str(self.server.sockets), "-p", str(self.server.port),
            "-U", "postgres", "-d", self.name,
        )  # fmt: skip
        return "\n".join(
            line for line in said.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))
        )

    def kept(self) -> dict[str, Any]:
        """What is kept beside the data: table → its rows as text, by psql."""
        tables = self.query(
            "SELECT tablename || '|' || format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname ~ '^lastgood_kept_' ORDER BY 1"
        ).splitlines()
        return {
            table: self.query(f"SELECT t::text FROM {place} t ORDER BY 1")
            for table, place in (line.split("|", 1) for line in tables)
        }
