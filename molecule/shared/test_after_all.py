# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds after each scenario: the stack is as it was captured, everybody is served, and nothing is left beside.

With LAB_WANTED=broken it is as it was before the rollback, which had to be taken back.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from lab_stack import STATE_DIR, Stack, looking
from testinfra.host import Host

WANTED = os.environ.get("LAB_WANTED", "good")


def test_all_is_as_it_has_to_be(remembered: dict[str, Any], now: looking.Snapshot) -> None:
    # What people wrote since, where the scenario has to leave it alone.
    newer = [name for name in os.environ.get("LAB_NEWER", "").split(",") if name]
    assert looking.differences(remembered[WANTED], now) == newer
    assert all(now[name] == remembered["broken"][name] for name in newer)


def test_every_service_runs_and_is_as_healthy_as_it_has_to_be(
    remembered: dict[str, Any], stack: Stack, on: Callable[[str], Host]
) -> None:
    # Where it has to be good, all are healthy: it was captured only then.
    answers = remembered["answers"] if WANTED == "broken" else {}
    for host, project in looking.deployed(stack.lab):
        service = on(host.name).service(project.name)
        assert service.is_running and service.is_enabled
        name = f"{host.name} {project.name}"
        assert list(looking.health(host, project)) == answers.get(name, [200, []]), name


def test_no_lock_side_database_worktree_or_timer_is_left(stack: Stack) -> None:
    stack.nothing_is_left()


def test_what_a_host_keeps_is_for_root_only(stack: Stack, on: Callable[[str], Host]) -> None:
    for host in stack.lab.hosts:
        directory = on(host.name).file(STATE_DIR)
        assert (directory.user, directory.mode) == ("root", 0o700)
