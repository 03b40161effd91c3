# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Content, owner and mode of each file are back, and the application reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from testinfra.host import Host

PATH = "/srv/blog-publishing"
NAMES = [f"lab-app2 blog-publishing {what}" for what in ("settings", "owner and mode of settings")]


def test_content_owner_and_mode_are_back(remembered: dict[str, Any], now: dict[str, str]) -> None:
    for name in NAMES:
        assert now[name] == remembered["good"][name] != remembered["broken"][name]


def test_the_configuration_loads(on: Callable[[str], Host]) -> None:
    loading = "import config; print(config.load(environment={}).database_name)"
    words = f"cd {PATH} && sudo -u blog .venv/bin/python -c %s"
    assert on("lab-app2").check_output(words, loading) == "blog"


def test_nothing_is_left_beside_the_files(on: Callable[[str], Host]) -> None:
    words = f"cd {PATH} && ls -A && sudo -u blog git status --porcelain"
    assert "lastgood" not in on("lab-app2").check_output(words)
