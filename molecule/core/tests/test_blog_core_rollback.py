# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What depends on core is stopped before it and started after it, on every host."""

from __future__ import annotations

from typing import Any

CORE = "lab-app1 blog-core"


def test_dependants_stopped_before_core_and_started_after_it(
    remembered: dict[str, Any], times: dict[str, dict[str, int]]
) -> None:
    core = times[CORE]
    dependants = {name: when for name, when in times.items() if name != CORE}
    assert len(dependants) == 5
    assert core["stopped"] > remembered["times"][CORE]["started"], "core was never stopped"
    for name, when in dependants.items():
        assert remembered["times"][name]["started"] < when["stopped"] < core["stopped"], name
        assert core["started"] < when["started"], name


def test_core_is_the_commit_that_was_captured(remembered: dict[str, Any], now: dict[str, str]) -> None:
    assert remembered["broken"][f"{CORE} commit"] != remembered["good"][f"{CORE} commit"]
    assert now[f"{CORE} commit"] == remembered["good"][f"{CORE} commit"]
