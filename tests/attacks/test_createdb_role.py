# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role with CREATEDB: it may make databases under any name, and write any comment on them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import FinishedRollback
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database.reversal import DatabaseReversal
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import State
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import SideNames
from support.database_site import FIRST, SECOND, THIRD, Site, identifier, literal


@pytest.fixture
def crowded(site: Site) -> Iterator[Site]:
    """A database to roll back, on a server where ``maker`` may make databases and nothing else."""
    site.server.psql("postgres", "CREATE ROLE maker LOGIN CREATEDB")
    site.create()
    yield site
    made = "SELECT datname FROM pg_database WHERE datdba = 'maker'::regrole"
    for name in site.query(made, "postgres").splitlines():
        site.query(f"DROP DATABASE {identifier(name)}", "postgres")
    site.query("DROP ROLE maker", "postgres")


def forge(site: Site, transaction: str, role: str, **mark: Any) -> str:
    """The attack: a database under the name that anybody can compute, with a comment as ours have it."""
    name = str(getattr(SideNames.of(transaction, site.name), role))
    comment = {"lastgood": transaction, "role": role, "name": site.name, "of": None, "ready": True, "comment": None}
    text = literal(json.dumps({**comment, "at": time.time() + 86_400, **mark}))
    database = identifier(name)
    site.server.psql(
        "postgres", f"CREATE DATABASE {database}", f"COMMENT ON DATABASE {database} IS {text}", user="maker"
    )
    return name


def test_a_forged_mark_does_not_drop_what_was_promised_to_be_kept(crowded: Site) -> None:
    point = crowded.capture()
    crowded.damage()
    plan = crowded.roll_back(point, FIRST)
    crowded.component(FIRST).finish(plan)
    kept = SideNames.of(FIRST, "blog").previous
    oid = crowded.oid(kept)
    forged = [forge(crowded, transaction, "previous") for transaction in (SECOND, THIRD)]
    crowded.component(FIRST).finish(plan)  # as a recovery does
    assert crowded.oid(kept) == oid
    assert all(crowded.oid(name) for name in forged)


def test_a_mark_in_the_database_of_somebody_else_stops_no_rollback(crowded: Site) -> None:
    point = crowded.capture()
    crowded.damage()
    forge(crowded, SECOND, "incoming", of=int(crowded.oid()))
    crowded.roll_back(point, FIRST)
    assert crowded.query("SELECT count(*) FROM post_section WHERE body = 'lost'") == "0"


def test_a_database_under_the_name_of_ours_is_neither_dropped_nor_switched_to(crowded: Site) -> None:
    point = crowded.capture()
    crowded.damage()
    live, plan = crowded.oid(), crowded.plan(point)
    name = forge(crowded, FIRST, "incoming", of=int(live))
    theirs, component = crowded.oid(name), crowded.component()
    assert component.state(plan) is State.FOREIGN
    for phase in (component.prepare, component.switch, component.undo):
        with pytest.raises(LastGoodError, match=name):
            phase(plan)
    assert (crowded.oid(), crowded.oid(name)) == (live, theirs)


def test_an_unmarked_database_under_the_name_of_ours_is_not_dropped(crowded: Site) -> None:
    point = crowded.capture()
    crowded.damage()
    plan = crowded.plan(point)
    name = SideNames.of(FIRST, "blog").incoming
    crowded.server.psql("postgres", f"CREATE DATABASE {name}", user="maker")
    theirs = crowded.oid(name)
    with pytest.raises(LastGoodError, match=name):
        crowded.component().undo(plan)
    assert crowded.oid(name) == theirs


def test_what_comes_back_is_the_database_that_was_retained(crowded: Site) -> None:
    point = crowded.capture()
    crowded.damage()
    plan = crowded.roll_back(point, FIRST)
    previous = SideNames.of(FIRST, "blog").previous
    crowded.query(f"ALTER DATABASE {previous} RENAME TO moved", "postgres")
    forge(crowded, FIRST, "previous", of=int(crowded.oid()))
    live = crowded.oid()
    finished = FinishedRollback(FIRST, plan, crowded.make_context(FIRST).workspace)
    with pytest.raises(LastGoodError, match=previous):
        DatabaseReversal(crowded.make_context(SECOND)).plan_reversal(finished)
    with pytest.raises(LastGoodError, match=previous):
        crowded.component(FIRST).undo(plan)
    assert crowded.oid() == live


@pytest.mark.parametrize("change", ["owner", "comment", "name"])
def test_what_does_not_agree_with_our_record_in_every_part_stays(crowded: Site, change: str) -> None:
    point = crowded.capture()
    crowded.damage()
    crowded.component(FIRST).finish(crowded.roll_back(point, FIRST))
    kept = SideNames.of(FIRST, "blog").previous
    oid = crowded.oid(kept)
    statement = {
        "owner": f"ALTER DATABASE {kept} OWNER TO keeper",
        "comment": f"COMMENT ON DATABASE {kept} IS NULL",
        "name": f"ALTER DATABASE {kept} RENAME TO kept_by_hand",
    }[change]
    crowded.query(statement, "postgres")
    crowded.damage()
    crowded.component(SECOND).finish(crowded.roll_back(point, SECOND))
    assert crowded.query(f"SELECT count(*) FROM pg_database WHERE oid = {oid}", "postgres") == "1"


def test_after_another_timeline_began_nothing_is_dropped(crowded: Site) -> None:
    point = crowded.capture()
    crowded.damage()
    crowded.component(FIRST).finish(crowded.roll_back(point, FIRST))
    kept = SideNames.of(FIRST, "blog").previous
    new_timeline(crowded)
    crowded.damage()
    plan = crowded.roll_back(point, SECOND)
    crowded.component(SECOND).finish(plan)
    assert crowded.oid(kept)
    log = (crowded.directory / "state" / "rollback.log").read_text()
    assert f"Database {kept} stays: the server has begun a new timeline" in log


def new_timeline(site: Site) -> None:
    """What a restored or promoted server does: recover, and go on under another timeline."""
    site.server.stop("fast")
    (site.server.data / "recovery.signal").touch()
    with (site.server.data / "postgresql.auto.conf").open("a") as settings:
        settings.write("restore_command = 'false'\n")
    try:
        site.server.start()
        deadline = time.monotonic() + 30
        while site.query("SELECT pg_is_in_recovery()", "postgres") != "f":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        site.query("ALTER SYSTEM RESET restore_command", "postgres")


def test_databases_that_we_have_no_record_of_are_named_and_stay(crowded: Site) -> None:
    point = crowded.capture()
    crowded.damage()
    crowded.component(FIRST).finish(crowded.roll_back(point, FIRST))
    kept = SideNames.of(FIRST, "blog").previous
    subprocess.run(["rm", "-r", str(crowded.directory / "state" / "databases")], check=True)
    crowded.damage()
    crowded.component(SECOND).finish(crowded.roll_back(point, SECOND))
    assert crowded.oid(kept)
    assert f"Database {kept} stays" in (crowded.directory / "state" / "rollback.log").read_text()
