# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A DROP DATABASE that a crash has interrupted leaves a database that can only be dropped again: one of ours, or the live one.

Whatever else is asked of it ends the session that asks.
"""

from __future__ import annotations

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import FinishedRollback
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database.reversal import DatabaseReversal
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import DatabaseError, Server
from support.database_site import FIRST, SECOND, Site, literal


def half_drop(site: Site, name: str) -> None:
    """Leave a database as a DROP DATABASE does that is interrupted; its limit says so, and its files may be gone."""
    site.query(f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = {literal(name)}", "postgres")


def test_finish_drops_what_an_interrupted_drop_has_left(site: Site) -> None:
    site.create()
    point = site.capture()
    plans = []
    for transaction in (FIRST, SECOND):
        site.damage()
        plans.append(site.roll_back(point, transaction))
    previous = site.component(FIRST).result(plans[0], {})["previous_database"]
    half_drop(site, previous)
    site.component(SECOND).finish(plans[1])
    assert site.databases() == ["blog", site.component(SECOND).result(plans[1], {})["previous_database"]]


def test_undo_drops_what_its_own_interrupted_drop_has_left(site: Site) -> None:
    site.create()
    point = site.capture()
    site.damage()
    before, oid = site.content(), site.oid()
    plan = site.plan(point)
    component = site.component()
    component.prepare(plan)
    half_drop(site, component.result(plan, {})["incoming_database"])
    component.undo(plan)
    assert (site.databases(), site.oid(), site.content()) == (["blog"], oid, before)


def test_a_live_database_that_was_half_dropped_comes_back_and_goes_again(site: Site) -> None:
    site.create()
    point = site.capture()
    good, properties, oid = site.content(), site.properties(), site.oid()
    half_drop(site, "blog")
    plan = site.roll_back(point)
    assert any("can't be read" in warning for warning in plan.warnings)
    assert site.content() == good
    assert site.properties() == properties
    component = site.component()
    component.undo(plan)
    assert site.oid() == oid
    assert site.query("SELECT datconnlimit FROM pg_database WHERE datname = 'blog'", "postgres") == "-2"


def test_what_was_retained_and_half_dropped_is_not_brought_back(site: Site) -> None:
    site.create()
    point = site.capture()
    site.damage()
    plan = site.roll_back(point)
    content, databases = site.content(), site.databases()
    half_drop(site, site.component().result(plan, {})["previous_database"])
    finished = FinishedRollback(FIRST, plan, site.make_context(FIRST).workspace)
    with pytest.raises(Refused, match=r"_previous, which .* put aside, is what a DROP DATABASE has left"):
        DatabaseReversal(site.make_context(SECOND)).plan_reversal(finished)
    assert (site.content(), site.databases()) == (content, databases)


def test_every_statement_of_a_session_that_has_ended_is_told_with_its_cause(site: Site) -> None:
    site.create()
    with Server.from_options(site.all_options).connect("blog") as session:
        site.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'blog' AND pid <> pg_backend_pid()"
        )
        with pytest.raises(DatabaseError, match="Counting failed: "):
            session.value("SELECT 1", attempt="Counting")
        with pytest.raises(DatabaseError, match="Counting again failed: connection already closed"):
            session.value("SELECT 1", attempt="Counting again")
