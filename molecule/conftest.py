# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the acceptance tests of all scenarios have in common; they run after a playbook has rolled the hosts back."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import testinfra
from lab_stack import Stack, layout, looking
from testinfra.host import Host

sys.path.append(str(Path(__file__).resolve().parent / "shared"))

import damage
from containers import Podman


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The lab's hosts."""
    lab = layout.load()
    assert lab is not None, "no lab is up"
    return Stack(lab, Podman(lab.directory))


@pytest.fixture(scope="session")
def on(stack: Stack) -> Callable[[str], Host]:
    """A host by its name, as root."""
    options = f"-F none -o UserKnownHostsFile={shlex.quote(str(stack.lab.known_hosts))} -o StrictHostKeyChecking=yes"

    def host(name: str) -> Host:
        address = stack.lab.host(name).address
        words = {"ssh_identity_file": str(stack.lab.key), "ssh_extra_args": options, "sudo": True}
        return testinfra.get_host(f"ssh://{layout.LOGIN}@{address}", **words)

    return host


@pytest.fixture(scope="session")
def remembered(stack: Stack) -> dict[str, Any]:
    """How everything was when it was captured (``good``) and when it was broken (``broken``, with ``times``)."""
    text = (stack.lab.directory / damage.REMEMBERED).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    assert found["part"] == os.environ["LAB_HARM"], "another scenario's damage"
    assert found["good"] != found["broken"], "nothing was broken"
    return found


@pytest.fixture(scope="session")
def now(stack: Stack) -> looking.Snapshot:
    """How everything is now, read without the collection."""
    return stack.look()


@pytest.fixture(scope="session")
def times(stack: Stack) -> dict[str, dict[str, int]]:
    """When the services stopped and started."""
    return damage.times(stack.lab)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What must hold after every scenario stands in shared/test_after_all.py, and is run last."""
    items.sort(key=lambda item: item.path.parent.name == "shared")
