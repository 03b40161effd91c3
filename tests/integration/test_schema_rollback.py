# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook schema_rollback: the schema of a running stack's database goes back, what people wrote stays."""

from __future__ import annotations

import pytest
from integration.rollback_stack import FAILING, RollbackStack

#: A migration that loses the order of the sections and adds a column that the older schema has no place for.
MIGRATION = """
BEGIN;
ALTER TABLE post_section DROP COLUMN position;
ALTER TABLE post_section ADD COLUMN rank text NOT NULL DEFAULT 'unsorted';
UPDATE alembic_version SET version_num = '0007_section_ranks';
COMMIT;
"""
WRITTEN = "INSERT INTO post (title, slug, summary, status) VALUES ('Of today', 'of-today', 'New.', 'published')"
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
    stack, titles, before = healthy, healthy.site.psql(TITLES), healthy.site.look()
    assert before["columns"] != stack.good["columns"]

    looked = stack.play("schema_rollback", "--check", "--diff", rollback_point="last_good")
    assert looked.status == 0, looked.said
    assert looked.outcome == "planned"
    assert "rank" in looked.words
    assert stack.site.look() == before

    ended = stack.play("schema_rollback", rollback_point="last_good")
    assert ended.status == 0, ended.said
    assert ended.outcome == "rolled_back"
    assert stack.site.look()["columns"] == stack.good["columns"]
    assert stack.site.psql(TITLES) == titles
    assert stack.site.psql(POSITIONS) == positions
    kept = stack.site.psql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'lastgood_kept%'")
    assert kept
    assert kept in ended.words
    assert set(stack.health().values()) == {200}


def test_the_newer_schema_is_there_again_when_checks_fail_afterwards(migrated: RollbackStack) -> None:
    before = migrated.site.look()
    ended = migrated.play(
        "schema_rollback", rollback_point="last_good", demo_acceptance=FAILING, rollback_check_timeout=5
    )
    assert ended.status == 2, ended.said
    assert ended.outcome == "undone"
    assert migrated.site.look() == before
    assert migrated.traces()["open"] == []
