# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One stage project is rolled back, and only that project is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from testinfra.host import Host

STAGE = "blog-writing"


def test_only_that_project_was_stopped(remembered: dict[str, Any], times: dict[str, dict[str, int]]) -> None:
    changed = {name.split()[1] for name, when in times.items() if when != remembered["times"][name]}
    assert changed == {STAGE}


def test_only_that_project_was_changed(remembered: dict[str, Any], now: dict[str, str]) -> None:
    broken = remembered["broken"]
    assert {name.split()[1] for name in now if now[name] != broken[name]} == {STAGE}


def test_its_own_routes_import(on: Callable[[str], Host]) -> None:
    words = f"cd /srv/{STAGE} && sudo -u blog .venv/bin/python -c 'import app'"
    assert on("lab-app2").run(words).succeeded
