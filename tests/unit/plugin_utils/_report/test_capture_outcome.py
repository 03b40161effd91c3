# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a capture ended, from what each host registered: whether it is good, and the rows that people read."""

from __future__ import annotations

from typing import Any

from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.capture_outcome import capture_outcome

CHECK = {"name": "core: http://127.0.0.1:5000/api/health", "ok": True, "detail": "200"}


def host(**more: Any) -> dict[str, Any]:
    """What a host registered whose part is good."""
    captured = {"components": ["code:/srv/core", "files:files"], "bytes": 1_200_000}
    found = {"captured": captured, "health": {"checks": [CHECK]}, "marked": {"good": {"at": "now"}, "removed": ["old"]}}
    return {f"__restore_point_{name}": value for name, value in {**found, **more}.items()}


def test_good_on_all_hosts_says_how_to_go_back() -> None:
    told = capture_outcome({"app1": host(), "db1": host()}, "monday", "blog")
    assert (told["good"], told["tone"]) == (True, "good")
    assert told["rows"] == [
        ["Restore point", "monday"],
        ["app1", "code:/srv/core (1.2 MB in all)"],
        ["", "files:files"],
        ["db1", "code:/srv/core (1.2 MB in all)"],
        ["", "files:files"],
        ["Checks", "2 of 2 held"],
        ["Removed", "older ones: old"],
        ["To go back", "ansible-playbook lastgood.rollback.multi_rollback -e rollback_point=monday"],
    ]


def test_a_failure_is_told_once_with_the_check_and_what_to_do() -> None:
    failure = {"failure": {"msg": "these checks failed"}, "marked": {}}
    broken = host(**failure, health={"checks": [{**CHECK, "ok": False, "detail": "500"}]})
    told = capture_outcome({"app1": host(**failure), "db1": broken}, "monday", "blog")
    assert (told["good"], told["tone"]) == (False, "bad")
    assert ["Cause", "these checks failed"] in told["rows"]
    assert ["", "FAILED on db1: core: http://127.0.0.1:5000/api/health: 500"] in told["rows"]
    assert told["rows"][-1][0] == "Next"


def test_a_host_that_is_gone_is_named() -> None:
    told = capture_outcome({"app1": host(failure={"msg": ""}, marked={}), "db1": {}}, "monday", "blog")
    assert told["tone"] == "bad"
    assert ["Cause", "db1 can't be reached."] in told["rows"]


def test_good_needs_every_host() -> None:
    assert not capture_outcome({"app1": host(), "db1": host(marked={})}, "monday", "blog")["good"]


def test_check_mode_plans() -> None:
    told = capture_outcome({"app1": host(marked={}, health={})}, "monday", "blog")
    assert (told["good"], told["tone"], told["title"]) == (False, "good", "Planned: nothing was captured")


def test_nothing_at_all_is_no_success() -> None:
    assert not capture_outcome({}, "none", "blog")["good"]
