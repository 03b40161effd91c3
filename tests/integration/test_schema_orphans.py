# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How rows without a parent are looked for, when all rows have just come and nothing else has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database.connection import open_server
from ansible_collections.lastgood.rollback.plugins.module_utils._components.schema.build import keep_orphans
from ansible_collections.lastgood.rollback.plugins.module_utils._components.schema.kept_rows import KeptRows
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.foreign_keys import keys_touching
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session, sql
from support.database_site import FIRST
from support.schema_site import SchemaSite

TABLES = """
CREATE TABLE parent (id int CONSTRAINT own PRIMARY KEY, body text) WITH (autovacuum_enabled = off);
CREATE TABLE child (n int, parent_id int CONSTRAINT up REFERENCES parent) WITH (autovacuum_enabled = off);
INSERT INTO parent SELECT g, repeat('x', 80) FROM generate_series(1, 50000) g;
INSERT INTO child SELECT g, g FROM generate_series(1, 4000) g;
"""


def test_without_index_and_statistics_no_row_is_compared_with_every_other_one(
    schema_site: SchemaSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It happens while writes stand still."""
    site = schema_site
    site.query("CREATE DATABASE blog", "postgres")
    site.query(TABLES)
    with open_server(site.make_context(FIRST), site.all_options).connect("blog") as session:
        keys = keys_touching(session, [session.value("SELECT 'public.child'::regclass::oid::bigint")])
        site.query("ALTER TABLE child DROP CONSTRAINT up; ALTER TABLE parent DROP CONSTRAINT own")
        mapped = {
            "keys": [{**key, "proven": False} for key in keys],
            "moves": [],
            "returning": [{"schema": "public", "name": name, "columns": []} for name in ("child", "parent")],
        }
        asked: list[Any] = []
        with monkeypatch.context() as patched:
            patched.setattr(Session, "value", lambda _self, statement, *_args, **_words: asked.append(statement) or 0)
            keep_orphans(session, mapped, KeptRows("lastgood_kept_test"), {})
        (statement,) = asked
        plan = json.dumps(session.rows(sql.SQL("EXPLAIN {}").format(statement)))
    assert "Hash Anti Join" in plan
    assert "Nested Loop" not in plan
