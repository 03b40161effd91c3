# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All projects and their database come back together, and talk to each other."""

from __future__ import annotations

from collections.abc import Callable

from lab_stack import Stack, looking
from testinfra.host import Host


def test_every_project_reaches_core_and_the_database(stack: Stack, on: Callable[[str], Host]) -> None:
    for host in stack.lab.applications:
        assert on(host.name).run("curl --silent --fail %s/workflow/", stack.lab.core_url).succeeded
        assert on(host.name).socket("tcp://0.0.0.0:22").is_listening
    for host, project in looking.deployed(stack.lab):
        assert looking.health(host, project) == (200, [])


def test_services_started_after_what_they_need(stack: Stack, times: dict[str, dict[str, int]]) -> None:
    core = [when["started"] for name, when in times.items() if name.endswith(" blog-core")]
    others = [when["started"] for name, when in times.items() if not name.endswith(" blog-core")]
    assert max(core) < min(others)
