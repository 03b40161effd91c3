# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed set is exactly that of the restore point, and imports work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from testinfra.host import Host

NAME = "lab-app2 blog-writing packages"
PYTHON = "/srv/blog-writing/.venv/bin/python"


def test_the_set_is_exactly_that_of_the_restore_point(remembered: dict[str, Any], now: dict[str, str]) -> None:
    assert now[NAME] == remembered["good"][NAME] != remembered["broken"][NAME]


def test_imports_work(on: Callable[[str], Host]) -> None:
    words = f"{PYTHON} -c 'import flask, gunicorn, mistune, psycopg2; mistune.create_markdown'"
    assert on("lab-app2").run(words).succeeded


def test_pip_finds_nothing_broken(on: Callable[[str], Host]) -> None:
    assert on("lab-app2").run(f"{PYTHON} -m pip check").succeeded
