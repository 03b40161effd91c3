# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module pg_restore as a transaction of its own, started as Ansible starts it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from support.database_site import Site


def call(site: Site, module: str, *, check: bool = False, **options: Any) -> dict[str, Any]:
    """Run a module to its end; its result."""
    arguments = {"state_dir": str(site.directory / "lastgood"), "_ansible_check_mode": check, "_ansible_diff": True}
    done = subprocess.run(
        [sys.executable, "-m", f"ansible_collections.lastgood.rollback.plugins.modules.{module}"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, **options}}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.fixture
def captured(site: Site) -> Site:
    """A damaged database with a restore point in a store."""
    site.create()
    site.options = dict(site.server.options)
    result = call(site, "restore_point", name="p1", stack="blog", databases=[{"name": "blog", **site.options}])
    assert result.get("changed"), result
    return site


def restore(site: Site, *, check: bool = False, **options: Any) -> dict[str, Any]:
    """Call pg_restore."""
    return call(site, "pg_restore", check=check, name="blog", **{**site.options, **options})


def test_database_rollback(captured: Site) -> None:
    good, oid = captured.content(), captured.oid()
    captured.damage()
    damaged = captured.content()

    checked = restore(captured, check=True, restore_point="p1")
    assert checked["changed"]
    assert checked["discards"]["rows"]["public.post"] == {"now": 301, "then": 300, "differs": True}
    assert (captured.oid(), captured.content(), captured.databases()) == (oid, damaged, ["blog"])

    done = restore(captured, restore_point="p1")
    assert done["outcome"] == "rolled_back", done
    assert done.keys() == checked.keys()
    assert captured.content() == good
    assert captured.oid(done["previous_database"]) == oid
    assert captured.content(done["previous_database"]) == damaged
    assert done["kept"] == {"database blog as it was": done["previous_database"]}

    again = restore(captured, restore_point="p1")
    assert (again["changed"], again["outcome"]) == (False, "nothing_to_do")
    assert again.keys() == done.keys()
    assert captured.databases() == ["blog", done["previous_database"]]


def test_a_failure_in_prepare_leaves_nothing_behind(captured: Site) -> None:
    captured.damage()
    oid, damaged = captured.oid(), captured.content()
    source = captured.dump("dump", "custom")
    content = bytearray(source.read_bytes())
    # Within the rows: the header is still good, and so is the checksum, of a file that was written damaged.
    for place in range(len(content) // 2, len(content) // 2 + 200):
        content[place] ^= 255
    source.write_bytes(content)
    result = restore(captured, source=str(source), checksum=captured.checksum(source))
    assert result["failed"]
    assert result["outcome"] == "undone"
    assert str(source) in result["msg"]
    assert (captured.oid(), captured.content(), captured.databases()) == (oid, damaged, ["blog"])


def test_a_damaged_restore_point_is_refused_untouched(captured: Site) -> None:
    captured.damage()
    oid = captured.oid()
    archive = next((captured.directory / "lastgood/restore_points/p1").rglob("toc.dat"))
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    result = restore(captured, restore_point="p1")
    assert result["failed"]
    assert result["outcome"] == "refused"
    assert (captured.oid(), captured.databases()) == (oid, ["blog"])
    assert not (captured.directory / "lastgood/transactions").exists()


def test_neither_point_nor_source_is_a_usage_error(captured: Site) -> None:
    result = restore(captured)
    assert result["failed"]
    assert "restore_point, source" in result["msg"]
    assert captured.databases() == ["blog"]


def test_single_tables_are_checked_rolled_back_and_found_as_they_should_be(captured: Site) -> None:
    tables = {"scope": "tables", "tables": ["post_section", "public.visit"], "restore_point": "p1"}
    good = captured.content()
    captured.query("UPDATE post_section SET body = 'lost' WHERE id % 3 = 0; DELETE FROM visit")
    damaged = captured.content()

    checked = restore(captured, check=True, **tables)
    assert checked["discards"]["rows"]["public.visit"] == {"now": 0, "then": 50, "differs": True}
    assert checked["predicted_downtime"]["ms"] > 0
    assert (captured.content(), captured.databases()) == (damaged, ["blog"])

    done = restore(captured, **tables)
    assert done["outcome"] == "rolled_back", done
    assert done.keys() == checked.keys()
    assert captured.content() == good
    kept = captured.query('SELECT count(*) FROM lastgood_previous."public.post_section"', done["previous_database"])
    assert kept == "900"

    assert not restore(captured, check=True, **tables)["changed"]
    again = restore(captured, **tables)
    assert (again["changed"], again["outcome"]) == (False, "nothing_to_do")


def test_tables_that_can_not_be_exchanged_are_all_as_they_were(captured: Site) -> None:
    captured.query("DELETE FROM visit; UPDATE post_section SET body = 'lost'")
    captured.query("ALTER TABLE post_section ADD CONSTRAINT strict CHECK (body = 'lost')")
    damaged = captured.content()
    done = restore(captured, scope="tables", tables=["visit", "post_section"], restore_point="p1")
    assert done["failed"]
    assert done["outcome"] == "undone"
    assert "Filling table public.post_section failed" in done["msg"]
    assert (captured.content(), captured.databases()) == (damaged, ["blog"])
