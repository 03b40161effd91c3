# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading what ``systemctl show`` prints: real outputs, one for each situation, in systemctl_show.txt."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._services.managers.base import ServiceStatus
from ansible_collections.lastgood.rollback.plugins.module_utils._services.managers.systemd import (
    PROPERTIES,
    parse_properties,
    read_properties,
    unit,
)


def shown() -> dict[str, str]:
    """The recorded outputs, by situation."""
    text = (Path(__file__).parent / "systemctl_show.txt").read_text(encoding="utf-8")
    sections = text.split("== ")[1:]
    return {name: output for name, _newline, output in (section.partition("\n") for section in sections)}


def status(situation: str) -> ServiceStatus:
    return read_properties(parse_properties(shown()[situation]))


@pytest.mark.parametrize(
    ("situation", "state", "has_pid", "restarts"),
    [
        ("running", "running", True, 0),
        ("edited", "running", True, 0),
        ("exited", "running", False, 0),
        ("reloading", "running", True, 0),
        ("starting", "starting", True, 0),
        ("waits for its restart", "starting", False, 0),
        ("does not stop", "stopping", True, 0),
        ("failed", "failed", False, 0),
        ("crashed too often", "failed", False, 5),
        ("condition", "down", False, 0),
        ("queued", "down", False, 0),
        # A target has neither a main process nor a count of restarts.
        ("target", "running", False, 0),
    ],
)
def test_states(situation: str, state: str, has_pid: bool, restarts: int) -> None:
    seen = status(situation)
    assert (seen.state, seen.pid > 0, seen.restarts, seen.problem) == (state, has_pid, restarts, "")


def test_a_state_of_a_systemd_newer_than_this_is_not_taken_for_health() -> None:
    found = parse_properties(shown()["running"])
    assert read_properties({**found, "ActiveState": "dreaming"}).state == "failed"


@pytest.mark.parametrize(
    ("situation", "problem"),
    [
        ("missing", "there is no such unit"),
        ("masked", "the unit is masked"),
        ("bad", "the unit file has an error"),
    ],
)
def test_what_can_not_be_managed_says_why(situation: str, problem: str) -> None:
    assert status(situation).problem == problem


def test_an_order_that_waits_in_the_queue_is_seen() -> None:
    assert [name for name in shown() if status(name).queued] == ["reloading", "starting", "does not stop", "queued"]


def test_the_detail_is_for_people() -> None:
    assert status("failed").detail == "failed (failed), result exit-code"
    assert status("condition").detail == "inactive (dead), a condition of the unit does not hold"
    assert status("queued").detail == "inactive (dead)", "nobody has looked at its conditions yet"


def test_everything_that_is_asked_for_was_answered() -> None:
    assert set(parse_properties(shown()["running"])) == set(PROPERTIES)


def test_values_may_hold_an_equals_sign_and_be_empty() -> None:
    assert parse_properties("Environment=A=1\nJob=\nnoise\n") == {"Environment": "A=1", "Job": ""}


@pytest.mark.parametrize(
    ("name", "full"),
    [("core", "core.service"), ("core.service", "core.service"), ("c.socket", "c.socket"), ("a.b@1", "a.b@1.service")],
)
def test_unit_names(name: str, full: str) -> None:
    assert unit(name) == full
