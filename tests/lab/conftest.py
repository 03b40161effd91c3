# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab, with a restore point, and as it was at that before each test."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from lab_stack import Stack, lab_is_up

# Of the lab itself: the stack has made them importable.
import harm  # isort: skip
import snapshots  # isort: skip
import machines  # isort: skip
import reach  # isort: skip


@pytest.fixture(scope="session")
def captured() -> Iterator[Stack]:
    """The lab with a restore point; one that is up already is used as it is."""
    with lab_is_up() as stack:
        snapshots.wait_until_healthy(stack.lab)
        status, said = stack.play("capture", restore_point_name=f"test-{time.time_ns()}")
        assert status == 0, said
        stack.good = stack.snapshot()
        yield stack


@pytest.fixture
def broken(captured: Stack) -> Iterator[Stack]:
    """The same after the disaster; put back at the end, whatever the test did."""
    harm.strike(captured.lab)
    yield captured
    for host in captured.lab.hosts:
        if host.name not in captured.podman.running():
            machines.power_on(captured.podman, host)
        machines.join(captured.podman, host)
        reach.wait_for(captured.lab, host)
    status, said = captured.play("recover")
    assert status == 0, said
    if snapshots.differences(captured.good, captured.snapshot()):
        process = captured.rollback()
        said, _none = process.communicate()
        assert process.returncode == 0, said
