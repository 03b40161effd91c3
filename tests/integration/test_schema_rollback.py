# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook schema_rollback: the schema of a running stack's database goes back, what people wrote stays."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.migrations_site import ADDRESS, ENV, INI, version
from support.rollback_stack import CORE, FAILING, RollbackStack

#: A migration that loses the order of the sections and adds a column that the older schema has no place for.
MIGRATION = """
BEGIN;
ALTER TABLE post_section DROP COLUMN position;
ALTER TABLE post_section ADD COLUMN rank text NOT NULL DEFAULT 'unsorted';
UPDATE alembic_version SET version_num = '0007_section_ranks';
COMMIT;
"""
WRITTEN = "INSERT INTO post (title, slug, summary, status) VALUES ('Of today', 'of-today', 'New.', 'published')"
#: A row that only the newer schema has a place for; nothing refers to it.
UNFIT = (
    "ALTER TABLE post ALTER title DROP NOT NULL;"
    " INSERT INTO post (title, slug, summary, status) VALUES (NULL, 'untitled', 'None.', 'published')"
)
TITLES = "SELECT count(*), md5(string_agg(id || title, ',' ORDER BY id)) FROM post"
POSITIONS = "SELECT md5(string_agg(id || ' ' || position, ',' ORDER BY id)) FROM post_section"


@pytest.fixture
def migrated(healthy: RollbackStack) -> RollbackStack:
    """The stack after a migration, and with a post that was written since."""
    healthy.site.psql(MIGRATION)
    healthy.site.psql(WRITTEN)
    return healthy


def test_schema_rollback(healthy: RollbackStack) -> None:
    positions = healthy.site.psql(POSITIONS)
    healthy.site.psql(MIGRATION)
    healthy.site.psql(WRITTEN)
    titles = healthy.site.psql(TITLES)
    healthy.site.psql(UNFIT)
    stack, before = healthy, healthy.site.snapshot()
    assert before["columns"] != stack.good["columns"]

    planned = stack.play("schema_rollback", "--check", "--diff", rollback_point="last_good")
    assert planned.status == 0, planned.said
    assert planned.outcome == "planned"
    assert "rank" in planned.words
    assert "rows of public.post don't fit the older schema and would leave it: NULL in title: 1" in planned.words
    assert "migrations: then 0006_section_positions, now 0007_section_ranks" in planned.words
    assert stack.site.snapshot() == before

    refused = stack.play("schema_rollback", rollback_point="last_good")
    assert (refused.status, refused.outcome) == (2, "undone"), refused.said
    assert "-e rollback_accept=rows_set_aside -e rollback_max_rows_set_aside=1" in refused.words
    assert stack.site.snapshot() == before

    accepted = {"rollback_accept": "rows_set_aside", "rollback_max_rows_set_aside": "1"}
    ended = stack.play("schema_rollback", rollback_point="last_good", **accepted)
    assert ended.status == 0, ended.said
    assert ended.outcome == "rolled_back"
    assert "Rolled back without 1 of " in ended.words
    assert "everything is at the restore point" not in ended.words
    assert "1 of public.post" in ended.words
    assert "lastgood.rollback.undo_rollback" in ended.words
    assert stack.site.snapshot()["columns"] == stack.good["columns"]
    assert stack.site.psql(TITLES) == titles
    assert stack.site.psql(POSITIONS) == positions
    kept = stack.site.psql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'lastgood_kept%'")
    assert kept
    assert kept in ended.words
    assert set(stack.health().values()) == {200}


@pytest.mark.at_length
def test_the_newer_schema_is_there_again_when_checks_fail_afterwards(migrated: RollbackStack) -> None:
    """The flow is that of every rollback, which `test_rollback_faults` takes back; how a schema is, `test_schema` shows."""
    before = migrated.site.snapshot()
    ended = migrated.play(
        "schema_rollback", rollback_point="last_good", demo_acceptance=FAILING, rollback_check_timeout=5
    )
    assert ended.status == 2, ended.said
    assert ended.outcome == "undone"
    assert migrated.site.snapshot() == before
    assert migrated.traces()["open"] == []


#: The same by Alembic, as a commit of the project: what it takes away its downgrade can give back.
BEFORE, AFTER = "0006_section_positions", "0007_section_ranks"
UPGRADE = "op.execute('ALTER TABLE post_section ALTER position TYPE text'); op.execute('{} position TO rank')"
DOWNGRADE = """
op.execute('{} rank TO position')
op.execute('ALTER TABLE post_section ALTER position TYPE int USING position::int')
"""
RENAME = "ALTER TABLE post_section RENAME"
PASSWORD = "hunter2hunter2"
MIGRATIONS = {
    "rollback_databases": {
        "blog": {
            "host": "demo_db",
            "login_unix_socket": "{{ demo_facts.socket_dir }}",
            "login_user": "postgres",
            "bin_dir": "{{ demo_facts.postgres_bin }}",
            "migrations": {
                "command": [".venv/bin/python", "-m", "alembic", "downgrade", "{revision}"],
                "chdir": "{{ demo_facts.projects.blog_core.path }}",
                "environment": {
                    "DATABASE_URL": f"postgresql+psycopg2://blog:{PASSWORD}@/{{database}}?host={{host}}",
                    "PYTHONPATH": "{{ demo_facts.directory }}/libraries",
                },
            },
        }
    }
}
BOTH = {
    "rollback_point": "last_good",
    "rollback_components": ["schema", "code"],
    "rollback_only": CORE,
    "rollback_method": "migrations",
    **MIGRATIONS,
}


def with_alembic(place: Path) -> Path:
    """Where an account that can't reach the tests' own environment finds Alembic."""
    for name in ("alembic", "mako", "sqlalchemy", "typing_extensions"):
        found = Path(str(importlib.import_module(name).__file__))
        if found.name == "__init__.py":
            shutil.copytree(found.parent, place / name, dirs_exist_ok=True)
        else:
            shutil.copy(found, place)
    return place


@pytest.fixture
def deployed(healthy: RollbackStack) -> Iterator[RollbackStack]:
    """The stack after a commit with a migration, which the older code does not have, and with a post that was written since."""
    path = healthy.path(CORE)
    files = {
        "alembic.ini": INI,
        "migrations/env.py": ENV.replace(ADDRESS, 'os.environ["DATABASE_URL"]'),
        f"migrations/versions/{BEFORE}.py": version(BEFORE, None, "pass", "pass"),
        f"migrations/versions/{AFTER}.py": version(AFTER, BEFORE, UPGRADE.format(RENAME), DOWNGRADE.format(RENAME)),
    }
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text, encoding="utf-8")
    if os.geteuid() == 0:
        for made in [path / "alembic.ini", path / "migrations", *(path / "migrations").rglob("*")]:
            shutil.chown(made, healthy.site.facts["user"]["uid"], healthy.site.facts["user"]["gid"])
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    healthy.site.git(CORE, "add", *files)
    healthy.site.git(CORE, *who, "commit", "--quiet", "-m", "Sort sections by rank")
    libraries = with_alembic(healthy.site.directory / "libraries")
    url = f"postgresql+psycopg2://blog@/blog?host={healthy.site.facts['socket_dir']}"
    upgrade = [".venv/bin/python", "-m", "alembic", "upgrade", "head"]
    healthy.site.as_owner(["env", "-C", str(path), f"PYTHONPATH={libraries}", f"DATABASE_URL={url}", *upgrade])
    healthy.site.psql(WRITTEN)
    yield healthy


def test_migrations_are_taken_back_together_with_the_code_that_holds_them(deployed: RollbackStack) -> None:
    stack, site = deployed, deployed.site
    titles, ranks = site.psql(TITLES), site.psql(POSITIONS.replace("position", "rank"))
    ended = stack.play("schema_rollback", **BOTH)
    assert (ended.status, ended.outcome) == (0, "rolled_back"), ended.said
    now = site.snapshot()
    assert now["columns"] == stack.good["columns"]
    assert now["blog_core head"] == stack.good["blog_core head"]
    assert not (stack.path(CORE) / "migrations" / "env.py").exists()
    assert site.psql("SELECT version_num FROM alembic_version") == BEFORE
    assert (site.psql(TITLES), site.psql(POSITIONS)) == (titles, ranks)
    assert set(stack.health().values()) == {200}
    written = [
        path for top in (site.directory / "state", site.base / "logs") for path in top.rglob("*") if path.is_file()
    ]
    assert any(path.name == "journal.jsonl" for path in written) and any(path.suffix == ".html" for path in written)
    assert [path for path in written if PASSWORD.encode() in path.read_bytes()] == []
    assert PASSWORD not in ended.said
