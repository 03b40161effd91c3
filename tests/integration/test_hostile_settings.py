# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database or a role sets changes nothing of a rollback: not what is read, kept, put back, taken back, or said."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import Component
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database.component import Database
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan
from ansible_collections.lastgood.rollback.plugins.module_utils._components.schema.component import Schema
from ansible_collections.lastgood.rollback.plugins.module_utils._components.tables.component import Tables
from integration.test_database_crash import order
from support.database_site import FIRST, Site
from support.hostile_settings import Hostility, Setting, culprits, impose, lift
from support.postgres_server import PostgresServer, running_server, wait_until
from support.tables_site import quiet

#: Values whose text depends on settings, definitions that hold such texts, and names that shadow what is built in.
CONTENT = r"""
CREATE ACCESS METHOD other_heap TYPE TABLE HANDLER heap_tableam_handler;
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT ''hostile'' || 1/0';
CREATE FUNCTION hostile.count("any") RETURNS bigint LANGUAGE internal AS 'int8inc';
CREATE TABLE hostile.pg_class (oid oid, relname text);
CREATE TABLE hostile.pg_settings (name text, setting text);
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE value (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, written timestamptz DEFAULT '2026-01-01 12:00+02',
    day date DEFAULT '2026-02-01', took interval DEFAULT '1 day -02:03:04', price money DEFAULT '1.5', raw bytea,
    parts text[], score float8, doc xml, body text DEFAULT E'back\\slash ''quoted''', feeling mood, "Order" int);
CREATE TABLE part (id serial PRIMARY KEY, value_id int REFERENCES value ON DELETE CASCADE, at timestamptz)
    PARTITION BY RANGE (id);
CREATE TABLE part_one PARTITION OF part FOR VALUES FROM (1) TO (50);
CREATE TABLE part_rest PARTITION OF part DEFAULT;
CREATE TABLE log (at timestamptz, what text) PARTITION BY RANGE (at);
CREATE TABLE log_old PARTITION OF log FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2026-01-01 00:00+01');
CREATE TABLE log_new PARTITION OF log FOR VALUES FROM ('2026-01-01 00:00+01') TO ('2030-01-01 00:00+00');
CREATE TABLE dropped_later (n int);
CREATE VIEW late AS SELECT id, price FROM value WHERE written > '2026-01-05 00:00+01' AND took <> interval '3 days';
CREATE MATERIALIZED VIEW counts AS SELECT count(*) AS n FROM value;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.body := NEW.body || '!'; RETURN NEW; END $$;
CREATE TRIGGER touching BEFORE INSERT ON value FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER copying BEFORE INSERT ON value FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE value ENABLE REPLICA TRIGGER copying;
INSERT INTO value (written, day, took, price, raw, parts, score, doc, feeling, "Order")
    SELECT timestamptz '2026-01-01 00:00+00' + g * interval '1 hour', date '2026-02-01' + g, g * interval '1 day -2 min',
    (g / 4.0)::numeric::money, decode(md5(g::text), 'hex'), ARRAY['NULL', NULL, g::text], g / 3.0::float8,
    format('<a>%s</a>', g)::xml, 'good', g FROM generate_series(1, 60) g;
INSERT INTO part (value_id, at) SELECT g, timestamptz '2026-01-01 00:00+00' + g * interval '1 hour' FROM generate_series(1, 60) g;
INSERT INTO log SELECT timestamptz '2025-12-20 00:00+00' + g * interval '1 day', E'tab\there' FROM generate_series(1, 30) g;
INSERT INTO dropped_later VALUES (1);
SELECT lo_from_bytea(4711, '\x00ff41');
REFRESH MATERIALIZED VIEW counts;
"""
ROWS_LOST = [
    "UPDATE value SET price = price * 2, parts = NULL WHERE id % 2 = 0",
    "DELETE FROM part WHERE id > 40",
    "UPDATE log SET at = at + interval '1 hour'",
]
MIGRATED = [
    "ALTER TABLE value ADD COLUMN slug text DEFAULT 'x'",
    "ALTER TABLE value ALTER COLUMN score TYPE numeric",
    "DROP VIEW late",
    "DROP TABLE dropped_later",
]
SCOPES: dict[str, tuple[type[Component], dict[str, Any], list[str]]] = {
    "database": (Database, {}, [*ROWS_LOST, *MIGRATED]),
    "tables": (Tables, {"tables": ["value", "part", "log"]}, ROWS_LOST),
    "schema": (Schema, {}, MIGRATED),
}
EVERYTHING = bool(os.environ.get("LASTGOOD_ALL_SETTINGS"))


@dataclass
class Lab:
    """A server with a database that is copied for each try, and what comes of a rollback when nobody sets anything."""

    server: PostgresServer
    directory: Path
    tries: int = 0
    usual: dict[str, Any] = field(default_factory=dict)

    def outcome(self, scope: str, place: str, settings: Sequence[Setting]) -> Any:
        """Capture, roll back and undo under these settings; damage, and look by psql, without them."""
        self.tries += 1
        kind, options, damage = SCOPES[scope]
        directory = self.directory / str(self.tries)
        directory.mkdir()
        site = Site(self.server, quiet(directory), directory, name="lab", options={"login_user": "boss", **options})
        component = kind(site.make_context(f"20260101T000000Z-test-{self.tries:04x}"))
        self.server.psql("postgres", "CREATE DATABASE lab TEMPLATE good")
        try:
            impose(self.server, place, settings)
            point = site.capture()
            lift(self.server, place)
            site.server.psql("lab", *damage)
            impose(self.server, place, settings)
            plan = Plan.from_json(json.loads(json.dumps(component.plan(site.all_options, point).to_json())))
            evidence = component.prepare(plan)
            component.switch(plan)
            lift(self.server, place)
            switched = site.content()
            impose(self.server, place, settings)
            kept = component.kept(plan)
            component.undo(plan)
            lift(self.server, place)
            found = _comparable(point, plan, evidence, list(kept.values())), switched, site.content()
            return json.loads(re.sub(r"lastgood_kept_\w{8}", "lastgood_kept", json.dumps(found)))
        finally:
            lift(self.server, "ROLE boss")
            site.drop([name for name in site.databases() if name != "good"])
            shutil.rmtree(directory)

    def difference(self, scope: str, place: str, settings: Sequence[Setting]) -> str:
        """Where the outcome is not the usual one; empty when it is."""
        try:
            found = self.outcome(scope, place, settings)
        except LastGoodError as error:
            return f"{scope} by {place}: {error}"
        same = found == self.usual[scope]
        return "" if same else f"{scope} by {place}: {_first_difference(self.usual[scope], found)}"


def _comparable(point: PointEntry, plan: Plan, evidence: Any, kept: Any) -> Any:
    """All that was found and said, without sizes, times, and names that are others each time."""
    facts = json.loads(json.dumps(point.facts))
    for key in ("oid", "system", "properties"):
        del facts[key]
    del facts["inside"]["bytes"]
    said = {key: value for key, value in evidence["verification"].items() if not key.endswith(("_ms", "_per_second"))}
    counts = [entry for entry in kept if isinstance(entry, dict)]
    return facts, plan.changed, plan.before, plan.after, plan.discards, said, evidence["not_restored"], counts


def _first_difference(usual: Any, found: Any) -> str:
    if isinstance(usual, dict) and isinstance(found, dict) and usual.keys() == found.keys():
        return next(f"{key}: {_first_difference(usual[key], found[key])}" for key in usual if usual[key] != found[key])
    if isinstance(usual, (list, tuple)) and isinstance(found, (list, tuple)) and len(usual) == len(found):
        return next(_first_difference(*pair) for pair in zip(usual, found) if pair[0] != pair[1])
    return f"{found!r} instead of {usual!r}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_server({"log_min_messages": "panic", "log_min_error_statement": "panic"}) as server:
        tablespace = server.base / "elsewhere"
        tablespace.mkdir()
        shutil.chown(tablespace, server.account)
        server.psql(
            "postgres", "CREATE ROLE boss SUPERUSER LOGIN", "CREATE ROLE stranger",
            f"CREATE TABLESPACE elsewhere LOCATION '{tablespace}'", "CREATE DATABASE good",
        )  # fmt: skip
        server.psql("good", CONTENT, "VACUUM ANALYZE")
        lab = Lab(server, tmp_path_factory.mktemp("lab"))
        lab.usual = {scope: lab.outcome(scope, "ROLE boss", []) for scope in SCOPES}
        yield lab


#: Whoever waits for a table that a client has written to.
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'value'::regclass"


@pytest.mark.parametrize("scope", ["tables", "schema"])
def test_a_row_that_is_committed_while_the_switch_waits_for_its_lock_is_not_lost(
    lab: Lab, scope: str, tmp_path: Path
) -> None:
    kind, options, damage = SCOPES[scope]
    site = Site(lab.server, quiet(tmp_path), tmp_path, name="lab", options={"login_user": "boss", **options})
    component = kind(site.make_context(FIRST))
    lab.server.psql("postgres", "CREATE DATABASE lab TEMPLATE good")
    where = {"host": str(lab.server.sockets), "port": lab.server.port, "user": "boss", "dbname": "lab"}
    client = psycopg2.connect(**where)
    try:
        point = site.capture()
        site.server.psql("lab", *damage)
        impose(lab.server, "DATABASE lab", [("default_transaction_isolation", "repeatable read")])
        plan = component.plan(site.all_options, point)
        component.prepare(plan)
        client.cursor().execute("INSERT INTO value (score) VALUES (4711)")
        with order(site, plan, "switch", -1) as switching:
            wait_until(lambda: site.query(WAITING) == "1")
            client.commit()
            assert switching.wait(60) == 0
        if scope == "tables":
            component.undo(plan)
        assert site.query("SELECT count(*) FROM value WHERE score = 4711") == "1"
    finally:
        client.close()
        site.drop([name for name in site.databases() if name != "good"])


def known(lab: Lab, settings: dict[str, str]) -> list[tuple[str, str]]:
    """Those that this version of the server has."""
    names = lab.server.psql("postgres", "SELECT string_agg(name, ' ') FROM pg_settings").split()
    return [(name, value) for name, value in settings.items() if name in names]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_query_does_not_ask_for_more_memory_than_any_machine_has(lab: Lab, scope: str) -> None:
    most = {"work_mem": "2147483647", "recursive_worktable_factor": "1000000"}
    assert lab.difference(scope, "DATABASE lab", known(lab, most)) == ""


def test_the_last_look_before_a_rename_waits_for_no_helper(lab: Lab) -> None:
    # One parameter, which was given another name.
    always = known(lab, {"force_parallel_mode": "regress", "debug_parallel_query": "regress"})
    assert len(always) == 1
    assert lab.difference("schema", "DATABASE lab", always) == ""


@pytest.mark.parametrize("place", ["DATABASE lab", "ROLE boss"])
def test_no_parameter_of_a_database_or_role_changes_a_rollback(
    lab: Lab, place: str, record_property: pytest.RecordProperty
) -> None:
    hostility = Hostility.of(lab.server)
    tried, found = set(), []
    for number in range(hostility.rounds if EVERYTHING else 1):
        settings = hostility.round(number)
        for scope in SCOPES:
            found += culprits(lambda batch, scope=scope: lab.difference(scope, place, batch), settings)
        tried |= set(settings)
    said = f"{place}: {len(hostility.values)} parameters, {len(tried)} values; not settable: {hostility.refused}"
    record_property("hostile settings", said)
    print(said)
    assert found == []
    assert len(hostility.values) > 150
