# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the component ``database`` share: a database worth losing, and ways to look at it by psql alone."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context, PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database.component import Database
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan
from support.postgres_server import PostgresServer

#: Other ones in each process of pytest: what a transaction has left on this machine is ended by its name.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
FIRST, SECOND, THIRD = (f"20260101T00000{number}Z-test-{_WORKER:02x}0{number}" for number in (1, 2, 3))

CONTENT = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE SCHEMA "odd ""schema";
CREATE TABLE post (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title varchar(80) CHECK (title IN ('a', 'b', 'c')),
    written timestamptz DEFAULT now(), score float8, feeling mood, raw bytea, took interval, price money,
    tags text[], extra jsonb, twice int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE post_section (id serial PRIMARY KEY, post_id int NOT NULL REFERENCES post (id), body text);
CREATE INDEX ON post_section (post_id);
CREATE UNLOGGED TABLE visit (at int);
CREATE TABLE event (id int, day date) PARTITION BY RANGE (day);
CREATE TABLE event_old PARTITION OF event FOR VALUES FROM ('2020-01-01') TO ('2025-01-01');
CREATE TABLE event_new PARTITION OF event FOR VALUES FROM ('2025-01-01') TO ('2030-01-01');
CREATE TABLE "odd ""schema"."Tä$ble; --" ("Cöl umn" text, nothing text);
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
CREATE TABLE empty ();
CREATE VIEW good_posts AS SELECT id, title FROM post WHERE feeling = 'good';
CREATE MATERIALIZED VIEW counts AS SELECT count(*) AS posts FROM post;
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
-- Dumped by nobody
NEW.body := upper(NEW.body);
RETURN NEW; END $$;
CREATE TRIGGER shouting BEFORE INSERT ON post_section FOR EACH ROW EXECUTE FUNCTION shout();
INSERT INTO post (title, written, score, feeling, raw, took, price, tags, extra)
    SELECT (ARRAY['a', 'b', 'c'])[1 + g % 3], timestamptz '2026-01-01 00:00+00' + g * interval '1 hour', g / 3.0::float8,
        CASE g % 2 WHEN 0 THEN 'good' ELSE 'bad' END::mood, decode(md5(g::text), 'hex'), g * interval '1 day 2 min',
        g::numeric::money, ARRAY[g::text, NULL], jsonb_build_object('n', g) FROM generate_series(1, 300) g;
INSERT INTO post_section (post_id, body) SELECT 1 + g % 300, 'body ' || g FROM generate_series(1, 900) g;
INSERT INTO visit SELECT generate_series(1, 50);
INSERT INTO event SELECT g, date '2024-06-01' + g FROM generate_series(1, 400) g;
INSERT INTO "odd ""schema"."Tä$ble; --" VALUES ('ü', NULL), ('ü', NULL), (E'line\\nbreak', '');
INSERT INTO alembic_version VALUES ('4f2a');
SELECT lo_from_bytea(0, 'large');
REFRESH MATERIALIZED VIEW counts;
"""

DAMAGE = """
UPDATE post_section SET body = 'lost' WHERE id % 3 = 0;
DELETE FROM visit;
INSERT INTO post (title) VALUES ('a');
ALTER TABLE post ADD COLUMN slug text;
DROP VIEW good_posts;
UPDATE alembic_version SET version_num = '9999';
"""


@dataclass
class Site:
    """One database on a real server, and the component under test."""

    server: PostgresServer
    make_context: Callable[..., Context]
    directory: Path
    name: str = "blog"
    options: dict[str, Any] = field(default_factory=dict)

    def create(self, name: str = "blog", owner: str = "postgres") -> None:
        """Make and fill the database, with properties that do not follow by themselves."""
        self.name = name
        database = identifier(name)
        self.server.psql("postgres", f"CREATE DATABASE {database} OWNER {owner}")
        self.server.psql(name, CONTENT, user=owner)
        self.server.psql(
            "postgres",
            f"ALTER DATABASE {database} SET search_path TO public, \"odd \"\"schema\"",
            f"ALTER DATABASE {database} SET work_mem TO '5MB'",
            f"ALTER ROLE reader IN DATABASE {database} SET statement_timeout TO '7s'",
            f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC",
            f"GRANT CONNECT ON DATABASE {database} TO reader, hammer, {owner}",
            f"GRANT TEMPORARY ON DATABASE {database} TO reader WITH GRANT OPTION",
            f"ALTER DATABASE {database} CONNECTION LIMIT 40",
            f"COMMENT ON DATABASE {database} IS 'The blog''s own'",
        )  # fmt: skip

    def make_roles(self) -> None:
        """Roles of the tests: a reader, one for clients that hammer, and an owner that is no superuser."""
        for role in ("reader", "hammer", "keeper"):
            self.server.psql("postgres", f"DROP ROLE IF EXISTS {role}", f"CREATE ROLE {role} LOGIN")
        self.server.psql(
            "postgres", "ALTER ROLE keeper CREATEDB PASSWORD 'se cret'", "GRANT pg_signal_backend TO keeper"
        )

    def drop(self, names: list[str]) -> None:
        """Remove databases with all that would keep them."""
        for name in names:
            prepared = self.server.psql(
                "postgres", f"SELECT gid FROM pg_prepared_xacts WHERE database = {literal(name)}"
            ).splitlines()
            for gid in prepared:
                self.server.psql(name, f"ROLLBACK PREPARED {literal(gid)}")
            self.server.psql(
                "postgres",
                f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = {literal(name)}",
                f"UPDATE pg_database SET datistemplate = false WHERE datname = {literal(name)}",
                f"DROP DATABASE {identifier(name)} WITH (FORCE)",
            )

    def damage(self) -> None:
        """A migration that went wrong, and damaged rows."""
        self.server.psql(self.name, DAMAGE)

    @property
    def all_options(self) -> dict[str, Any]:
        """The module's options."""
        return {"name": self.name, "jobs": 2, "keep_previous": 1, **self.server.options, **self.options}

    def component(self, transaction: str = FIRST, **secrets: str) -> Database:
        """The component in a transaction."""
        return Database(self.make_context(transaction, **secrets))

    def capture(self, label: str = "point", **secrets: str) -> PointEntry:
        """A restore point as the store would hand it out."""
        into = self.directory / label
        into.mkdir(mode=0o700)
        facts = self.component("capture", **secrets).capture(self.all_options, into)
        return PointEntry(label, into, json.loads(json.dumps(facts)), checksums(into))

    def dump(self, label: str, form: str, *words: str, database: str | None = None) -> Path:
        """A dump as an operator would make it, belonging to whoever runs the tests, closed to others."""
        target = self.directory / label
        box = self.server.base / label
        self.server.run(
            "pg_dump", f"--format={form}", "-f", str(box), "-h", str(self.server.sockets), "-p", str(self.server.port),
            "-U", "postgres", "-d", database or self.name, *words,
        )  # fmt: skip
        shutil.move(box, target)
        for path in [target, *(target.iterdir() if target.is_dir() else [])]:
            shutil.chown(path, os.geteuid())
            path.chmod(0o700)
        return target

    def checksum(self, source: Path) -> str:
        """What sha256sum says, in the words of the documentation."""
        command = "sha256sum ." if source.is_file() else "cd . && sha256sum * | sha256sum"
        done = subprocess.run(
            ["sh", "-c", command.replace(".", '"$1"'), "sh", str(source)],
            check=True, capture_output=True, text=True, env={"PATH": os.defpath, "LC_ALL": "C"},
        )  # fmt: skip
        return "sha256:" + done.stdout.split()[0]

    def plan(self, point: PointEntry | None, transaction: str = FIRST, **options: Any) -> Plan:
        """A plan, as it comes back from the journal."""
        plan = self.component(transaction).plan({**self.all_options, **options}, point)
        return Plan.from_json(json.loads(json.dumps(plan.to_json())))

    def roll_back(self, point: PointEntry, transaction: str = FIRST, **options: Any) -> Plan:
        """Plan, prepare and switch."""
        plan = self.plan(point, transaction, **options)
        component = self.component(transaction)
        component.prepare(plan)
        component.switch(plan)
        return plan

    # -- looking, by psql alone ------------------------------------------------------------------------------------

    def query(self, command: str, database: str | None = None) -> str:
        """Ask the database, or another one."""
        return self.server.psql(database or self.name, command)

    def oid(self, name: str | None = None) -> str:
        """The OID of a database, empty when there is none."""
        return self.query(f"SELECT oid FROM pg_database WHERE datname = {literal(name or self.name)}", "postgres")

    def databases(self) -> list[str]:
        """The names of all databases of the test."""
        rows = self.query(
            "SELECT datname FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1') ORDER BY 1",
            "postgres",
        )
        return rows.splitlines()

    def content(self, name: str | None = None) -> dict[str, str]:
        """Every table's rows and the matviews', hashed by a query of the tests' own, and the schema as pg_dump has it."""
        name = name or self.name
        tables = self.query(
            "SELECT json_agg(t) FROM (SELECT format('%I.%I', schemaname, tablename) AS t FROM pg_tables"
            " WHERE schemaname !~ '^(pg_|information_schema)'"
            " UNION ALL SELECT format('%I.%I', schemaname, matviewname) FROM pg_matviews WHERE ispopulated) q",
            name,
        )
        hashes = " UNION ALL ".join(
            f"SELECT {literal(table)} AS t, count(*) || md5(string_agg(r::text, '|' ORDER BY r::text)) AS h FROM {table} r"
            for table in json.loads(tables or "[]")
        )
        found = json.loads(self.query(f"SELECT json_object_agg(t, h) FROM ({hashes}) q", name)) if hashes else {}
        found["large objects"] = self.query(
            "SELECT string_agg(lo_get(oid)::text, ',') FROM pg_largeobject_metadata", name
        )
        return {**found, "schema": self.schema(name)}

    def schema(self, name: str) -> str:
        """The schema as pg_dump prints it, without the lines that differ by chance."""
        said = self.server.run(
            "pg_dump", "-s", "-h", str(self.server.sockets), "-p", str(self.server.port), "-U", "postgres",
            "-d", "dbname='" + name.replace("\\", "\\\\").replace("'", "\\'") + "'",
        )  # fmt: skip
        lines = [line for line in said.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]
        # The first restore rewrites `IN` on a varchar to an equal form.
        return "\n".join(line for line in lines if "ARRAY[" not in line)

    def properties(self, name: str | None = None) -> str:
        """Everything that PostgreSQL keeps beside a database's content, its OID and name apart."""
        where = f"WHERE d.datname = {literal(name or self.name)}"
        return self.query(
            "SELECT pg_get_userbyid(datdba), encoding, datcollate, datctype, datconnlimit, dattablespace,"
            " (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(datacl) a),"
            " (SELECT string_agg(setrole || setconfig::text, ',' ORDER BY setrole) FROM pg_db_role_setting"
            "  WHERE setdatabase = d.oid), shobj_description(d.oid, 'pg_database')"
            f" FROM pg_database d {where}",
            "postgres",
        )


def identifier(name: str) -> str:
    """A name in double quotes, for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in single quotes, for SQL."""
    return "'" + text.replace("'", "''") + "'"


def checksums(directory: Path) -> dict[str, str]:
    """SHA-256 of every file below a directory, by relative path."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
