# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What forbids to begin anything with a stack: an open transaction, a host that the inventory lacks."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.open_transactions import (
    missing_refusal,
    open_refusal,
)
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.capture_outcome import capture_outcome
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.outcome import summarize

CREATED = 1_795_444_200.0
RECOVER = "ansible-playbook lastgood.rollback.recover -e rollback_id=1-blog"


def reported(**facts: Any) -> dict[str, Any]:
    """An open transaction as transaction_info tells it."""
    return {
        "id": "1-blog", "stack": "blog", "outcome": None, "phase": "switch", "down": ["core"], "operator": "night shift",
        "created": CREATED, **facts,
    }  # fmt: skip


TOMBSTONE = {"stack": None, "operator": None, "created": None, "phase": "undo", "down": []}


def opened(name: str = "__rollback_open", **hosts: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {host: {name: {"transactions": transactions}} for host, transactions in hosts.items()}


def test_an_open_transaction_is_told_with_all_that_matters_and_what_goes_on() -> None:
    said = open_refusal(opened(web1=[reported()], db1=[reported(phase="prepare", down=[])]), "blog")
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(CREATED))
    assert said == (
        f"Transaction 1-blog of blog is still open, begun {since} by night shift: switch on web1, prepare on db1. "
        f"Down because of it: core on web1. Wait if somebody runs it; if nobody runs it any more: {RECOVER}"
    )


@pytest.mark.parametrize(
    "hosts",
    [
        {"web1": {}},
        {"web1": {"__rollback_open": {"skipped": True}}},
        opened(web1=[]),
        opened(web1=[reported(stack="shop")]),
        opened(web1=[reported(outcome="rolled_back")]),
        opened(web1=[reported(**TOMBSTONE)]),
    ],
)
def test_what_does_not_hold_the_stack_is_no_reason_to_refuse(hosts: dict[str, Any]) -> None:
    assert open_refusal(hosts, "blog") == ""


def test_a_host_that_has_only_a_tombstone_is_told_with_the_others() -> None:
    said = open_refusal(opened(web1=[reported(**TOMBSTONE)], db1=[reported()]), "blog")
    assert "by night shift: undo on web1, switch on db1." in said


def test_every_open_transaction_is_told_the_oldest_first() -> None:
    said = open_refusal(opened(web1=[reported(id="2-blog")], db1=[reported()]), "blog")
    assert said.index("Transaction 1-blog") < said.index("Transaction 2-blog")


def test_a_rollback_that_met_an_open_one_says_so_in_its_title_and_what_to_do_next() -> None:
    hosts: dict[str, Any] = opened(web1=[reported()])
    hosts["web1"]["__rollback_failure"] = {"msg": open_refusal(hosts, "blog")}
    ended = summarize({"stack": "blog"}, hosts, check=False)
    assert ended["outcome"] == "refused"
    assert ended["title"] == "REFUSED: 1-blog is still open; nothing was touched by this run"
    assert ended["rows"][-1][0] == "Next" and ended["rows"][-1][1].endswith(RECOVER)


def test_a_capture_that_met_an_open_rollback_says_what_to_do_next() -> None:
    hosts: dict[str, Any] = opened("__restore_point_open", web1=[reported()])
    hosts["web1"]["__restore_point_failure"] = {"msg": open_refusal(hosts, "blog")}
    ended = capture_outcome(hosts, "monday", "blog")
    assert not ended["good"]
    assert ended["rows"][-1][0] == "Next" and ended["rows"][-1][1].endswith(RECOVER)


def point(name: str, *hosts: str, **facts: Any) -> dict[str, Any]:
    """A restore point as restore_point_info tells it."""
    return {"name": name, "stack": "blog", "good": True, "good_hosts": dict.fromkeys(hosts, "5ha"), **facts}


def knows(*points: dict[str, Any], last: list[str] | None = None, stack: str = "blog") -> dict[str, Any]:
    return {
        "web1": {
            "__rollback_open": {"transactions": [], "last_hosts": {stack: last} if last else {}},
            "__rollback_points": {"restore_points": list(points)},
        }
    }


HERE = ["web1", "db1"]


@pytest.mark.parametrize(
    ("found", "wanted", "said"),
    [
        (knows(last=["web1", "web2", "db1"]), "", "web2 (known from the stack's last transaction)"),
        (knows(point("tuesday", "web1", "web2")), "", "web2 (known from restore point tuesday)"),
        (
            knows(point("tuesday", "web1"), point("monday", "web1", "web3")),
            "monday",
            "web3 (known from restore point monday)",
        ),
        (
            knows(point("bad", "web1", good=False), point("monday", "web3")),
            "",
            "web3 (known from restore point monday)",
        ),
    ],
)
def test_a_host_that_belonged_to_the_stack_and_is_missing_is_named(
    found: dict[str, Any], wanted: str, said: str
) -> None:
    sentence = missing_refusal(found, "blog", HERE, (), wanted)
    missing = said.partition(" ")[0]
    assert sentence.startswith(f"Not a host of blog in this inventory: {said}. It would stay as it is")
    assert sentence.endswith(f"-e rollback_accept_missing_hosts={missing}")
    assert missing_refusal(found, "blog", HERE, (missing,), wanted) == ""


@pytest.mark.parametrize(
    "found",
    [
        knows(),
        {"web1": {"__rollback_open": {"skipped": True}, "__rollback_points": {"skipped": True}}},
        knows(last=HERE),
        knows(last=["web2"], stack="shop"),
        knows(point("tuesday", "web1"), point("monday", "web1", "web3")),
        knows(point("other", "web3", stack="shop")),
        knows(point("never good", "web3", good=False)),
    ],
)
def test_a_host_that_never_belonged_to_it_or_left_it_long_ago_is_not_missed(found: dict[str, Any]) -> None:
    assert missing_refusal(found, "blog", HERE, ()) == ""
