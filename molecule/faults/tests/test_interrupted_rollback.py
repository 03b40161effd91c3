# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollback whose controller was killed while services were stopped has been taken back: all is as it was before it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lab_stack import STATE_DIR, Stack
from testinfra.host import Host


def test_it_was_interrupted_in_the_middle(remembered: dict[str, Any], stack: Stack) -> None:
    left = remembered["interrupted"]
    assert set(left["open"]) == {host.name for host in stack.lab.hosts}
    assert len({tuple(ids) for ids in left["open"].values()}) == 1 == len(left["open"]["lab-db"])
    assert all(left["timers"][host.name] for host in stack.lab.applications), "a timer was not armed"
    assert "inactive" in left["services"], "no service was stopped"


def test_every_host_tells_the_same_end_of_it(
    remembered: dict[str, Any], stack: Stack, on: Callable[[str], Host]
) -> None:
    (transaction,) = remembered["interrupted"]["open"]["lab-db"]
    for host in stack.lab.hosts:
        outcome = on(host.name).file(f"{STATE_DIR}/transactions/{transaction}/outcome.json")
        assert json.loads(outcome.content_string)["outcome"] == "undone"


def test_no_service_stays_stopped(remembered: dict[str, Any], now: dict[str, str]) -> None:
    services = {name: state for name, state in now.items() if name.endswith(" service")}
    assert services and set(services.values()) == {"active"}
    assert services == {name: state for name, state in remembered["broken"].items() if name in services}
