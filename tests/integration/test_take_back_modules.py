# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A finished rollback taken back on one host: the module transaction with a file that it put aside."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from integration.test_transaction_modules import BEGIN, DECIDED, ID, Site

BACK = "20261124T090000Z-blog-0b0b"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Rolled back and finished, with words in the file that differ from the backup's."""
    site = Site(tmp_path)
    site.until("finish")
    assert site.live.read_text() == "MODE=good\n"
    return site


def step(site: Site, state: str, *, transaction: str = BACK, **options: Any) -> dict[str, Any]:
    result = site.module("transaction", id=transaction, state=state, **options)
    assert not result["failed"], result
    return result


def take_back(site: Site, what: str = ID, transaction: str = BACK) -> None:
    for state, options in (
        ("begin", BEGIN),
        ("prepare", {"undoes": what}),
        ("switch", {}),
        ("promise", {}),
        ("decide", DECIDED),
        ("finish", {"decision": "keep"}),
    ):
        step(site, state, transaction=transaction, **options)


def test_what_was_put_aside_comes_back_with_its_mode(site: Site) -> None:
    take_back(site)
    assert site.live.read_text() == "MODE=broken\n"


def test_taking_back_can_itself_be_taken_back(site: Site) -> None:
    take_back(site)
    take_back(site, BACK, "20261124T100000Z-blog-0c0c")
    assert site.live.read_text() == "MODE=good\n"


def test_it_is_foretold_in_check_mode(site: Site) -> None:
    before = site.snapshot()
    foretold = site.module("transaction", check=True, id=BACK, state="prepare", undoes=ID)
    assert site.snapshot() == before
    step(site, "begin", **BEGIN)
    done = step(site, "prepare", undoes=ID)
    (planned,), (prepared,) = foretold["prepared"], done["prepared"]
    assert {**planned, "kept": {}} == {**prepared, "kept": {}}
    assert planned["discards"] == {"files": [{"path": str(site.live), "becomes": "replaced", "settings": ["MODE"]}]}
    assert (done["state"], done["changed"]) == ("prepared", True)


def test_prepared_twice_is_prepared_once(site: Site) -> None:
    step(site, "begin", **BEGIN)
    step(site, "prepare", undoes=ID)
    assert step(site, "prepare", undoes=ID)["changed"] is False


@pytest.mark.parametrize("last", ["prepare", "switch"])
def test_it_is_undone_like_any_other(site: Site, last: str) -> None:
    step(site, "begin", **BEGIN)
    step(site, "prepare", undoes=ID)
    if last == "switch":
        step(site, "switch")
        assert site.live.read_text() == "MODE=broken\n"
    step(site, "recover")
    assert site.live.read_text() == "MODE=good\n"
    take_back(site, transaction="20261124T110000Z-blog-0d0d")
    assert site.live.read_text() == "MODE=broken\n"


def deployed(site: Site) -> None:
    site.live.write_text("MODE=newer\n")


def pruned(site: Site) -> None:
    shutil.rmtree(site.state_dir / "transactions" / ID / "workspace")


def copy_damaged(site: Site) -> None:
    for copy in (site.state_dir / "transactions" / ID / "workspace").rglob("0.before*"):
        copy.write_text("MODE=brokem\n")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (deployed, "is not as 20261123T143000Z-blog-7f3a left it (foreign)"),
        (pruned, "was removed when its time was over"),
        (copy_damaged, "it was damaged or replaced"),
    ],
)
def test_it_is_refused_and_nothing_is_touched(site: Site, harm: Any, said: str) -> None:
    harm(site)
    before = site.live.read_bytes()
    for check in (True, False):
        if not check:
            step(site, "begin", **BEGIN)
        refused = site.module("transaction", check=check, id=BACK, state="prepare", undoes=ID)
        assert (refused["failed"], refused["outcome"]) == (True, "refused")
        assert said in refused["msg"]
        assert str(site.live) in refused["msg"]
    assert site.live.read_bytes() == before


@pytest.mark.parametrize(
    ("last", "said"),
    [("promise", "has not ended; first: ansible-playbook lastgood.rollback.recover"), ("undo", "ended as undone")],
)
def test_only_what_was_kept_and_has_ended_can_be_taken_back(tmp_path: Path, last: str, said: str) -> None:
    site = Site(tmp_path)
    site.until("switch" if last == "undo" else last)
    if last == "undo":
        site.step("undo")
        site.step("finish")
    refused = site.module("transaction", check=True, id=BACK, state="prepare", undoes=ID)
    assert (refused["failed"], refused["outcome"]) == (True, "refused")
    assert said in refused["msg"]
