# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading what ``systemctl show`` prints: outputs as systemd 247 to 257 give them, one for each situation."""

from __future__ import annotations

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._tools.systemctl import (
    parse_properties,
    read_properties,
    unit,
)

COMMON = "Id=blog-core.service\nResult={result}\nLoadState={load}\nActiveState={active}\nSubState={sub}\n"


def shown(
    active: str, sub: str, more: str = "MainPID=0\nNRestarts=0\n", load: str = "loaded", result: str = "success"
) -> str:
    return COMMON.format(active=active, sub=sub, load=load, result=result) + more


@pytest.mark.parametrize(
    ("text", "state", "pid", "restarts"),
    [
        (shown("active", "running", "MainPID=1\nNRestarts=0\n"), "running", 1, 0),
        (shown("active", "exited"), "running", 0, 0),
        (shown("reloading", "reload", "MainPID=1\nNRestarts=2\n"), "running", 1, 2),
        (shown("activating", "start", "MainPID=1\nNRestarts=0\nJob=1234\n"), "starting", 1, 0),
        (shown("activating", "auto-restart", "MainPID=0\nNRestarts=3\n", result="exit-code"), "starting", 0, 3),
        (shown("deactivating", "stop-sigterm", "MainPID=1\nNRestarts=0\n"), "stopping", 1, 0),
        (shown("failed", "failed", result="start-limit-hit"), "failed", 0, 0),
        (shown("inactive", "dead"), "down", 0, 0),
        # A target has neither a main process nor a count of restarts.
        (shown("active", "active", ""), "running", 0, 0),
        # A state of a systemd newer than this code is not taken for health.
        (shown("dreaming", "deep"), "failed", 0, 0),
    ],
)
def test_states(text: str, state: str, pid: int, restarts: int) -> None:
    look = read_properties(parse_properties(text))
    assert (look.state, look.pid, look.restarts, look.problem) == (state, pid, restarts, "")


@pytest.mark.parametrize(
    ("load", "problem"),
    [
        ("not-found", "there is no such unit"),
        ("masked", "the unit is masked"),
        ("bad-setting", "the unit file has an error"),
        ("error", "the unit file can't be read"),
    ],
)
def test_what_can_not_be_managed_says_why(load: str, problem: str) -> None:
    assert read_properties(parse_properties(shown("inactive", "dead", load=load))).problem == problem


def test_an_order_that_waits_in_the_queue_is_seen() -> None:
    assert read_properties(parse_properties(shown("inactive", "dead", "MainPID=0\nJob=77\n"))).queued
    assert not read_properties(parse_properties(shown("inactive", "dead", "MainPID=0\nJob=0\n"))).queued


def test_the_detail_is_for_people() -> None:
    failed = read_properties(parse_properties(shown("failed", "failed", result="exit-code")))
    assert failed.detail == "failed (failed), result exit-code"
    unmet = read_properties(parse_properties(shown("inactive", "dead", "ConditionResult=no\n")))
    assert unmet.detail == "inactive (dead), a condition of the unit does not hold"


def test_values_may_hold_an_equals_sign_and_be_empty() -> None:
    assert parse_properties("Environment=A=1\nJob=\nnoise\n") == {"Environment": "A=1", "Job": ""}


@pytest.mark.parametrize(
    ("name", "full"),
    [("core", "core.service"), ("core.service", "core.service"), ("c.socket", "c.socket"), ("a.b@1", "a.b@1.service")],
)
def test_unit_names(name: str, full: str) -> None:
    assert unit(name) == full
