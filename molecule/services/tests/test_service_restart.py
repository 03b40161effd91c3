# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One service that crashes again and again, and one that does not end when it is asked to: both are stopped, and run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lab_stack import Stack, looking
from testinfra.host import Host

ROLLED_BACK = ("blog-planning", "blog-structuring")
HOST = "lab-app2"


def asked(host: Host, unit: str, name: str) -> int:
    return int(host.check_output("systemctl show --property=%s --value %s", name, unit))


def test_only_these_two_were_stopped(remembered: dict[str, Any], times: dict[str, dict[str, int]]) -> None:
    assert {name.split()[1] for name, when in times.items() if when != remembered["times"][name]} == set(ROLLED_BACK)


def test_nothing_started_before_all_had_stopped(times: dict[str, dict[str, int]], on: Callable[[str], Host]) -> None:
    stopped = [times[f"{HOST} {name}"]["stopped"] for name in ROLLED_BACK]
    begun = [asked(on(HOST), name, "ExecMainStartTimestampMonotonic") for name in ROLLED_BACK]
    assert max(stopped) < min(begun)


def test_they_started_at_the_same_time(times: dict[str, dict[str, int]], on: Callable[[str], Host]) -> None:
    begun = [asked(on(HOST), name, "ExecMainStartTimestampMonotonic") for name in ROLLED_BACK]
    ready = [times[f"{HOST} {name}"]["started"] for name in ROLLED_BACK]
    assert max(begun) < min(ready), "one waited for the other"


def test_no_process_of_before_is_left(on: Callable[[str], Host]) -> None:
    host = on(HOST)
    assert host.process.filter(comm="sleep", user="blog") == []
    for process in host.process.filter(user="blog"):
        assert "/system.slice/blog-" in host.file(f"/proc/{process.pid}/cgroup").content_string


def test_every_service_goes_on_running(stack: Stack, on: Callable[[str], Host]) -> None:
    def running() -> list[tuple[int, int]]:
        units = [(on(host.name), project.name) for host, project in looking.deployed(stack.lab)]
        return [(asked(host, unit, "MainPID"), asked(host, unit, "NRestarts")) for host, unit in units]

    before = running()
    time.sleep(3)  # a crash loop goes round within a second
    assert running() == before
    assert {restarts for _pid, restarts in before} == {0}
