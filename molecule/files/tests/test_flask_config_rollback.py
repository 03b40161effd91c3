# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application's own loader reads its configuration, and the application starts with it."""

from __future__ import annotations

from collections.abc import Callable

from testinfra.host import Host

PATH = "/srv/blog-images"


def test_the_applications_own_loader_reads_it(on: Callable[[str], Host]) -> None:
    loading = "import config; print(config.load(environment={}).database_name)"
    words = f"cd {PATH} && sudo -u blog .venv/bin/python -c %s"
    assert on("lab-app2").check_output(words, loading) == "blog"


def test_the_application_compiles_and_its_routes_import(on: Callable[[str], Host]) -> None:
    words = "sudo -u blog .venv/bin/python -m py_compile config.py && sudo -u blog .venv/bin/python -c 'import app'"
    assert on("lab-app2").run(f"cd {PATH} && {words}").succeeded
