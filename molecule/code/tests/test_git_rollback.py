# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The branch and its tree are those of the commit, and the commits that were given up are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from testinfra.host import Host

NAME = "lab-app2 blog-structuring"
GIT = "sudo -u blog git -C /srv/blog-structuring"


def test_the_branch_stands_at_the_commit_with_a_clean_tree(
    remembered: dict[str, Any], on: Callable[[str], Host]
) -> None:
    host = on("lab-app2")
    assert host.check_output(f"{GIT} rev-parse HEAD") == remembered["good"][f"{NAME} commit"]
    assert host.check_output(f"{GIT} symbolic-ref --short HEAD") == "main"
    assert host.check_output(f"{GIT} status --porcelain --untracked-files=no") == ""


def test_the_commit_that_broke_it_is_kept_by_a_branch(remembered: dict[str, Any], on: Callable[[str], Host]) -> None:
    commit = remembered["broken"][f"{NAME} commit"]
    kept = on("lab-app2").check_output(f"{GIT} for-each-ref --contains {commit} --format='%(refname)'")
    assert "refs/heads/lastgood/" in kept


def test_a_deployment_can_see_that_the_commit_is_held_back(on: Callable[[str], Host]) -> None:
    transaction = on("lab-app2").check_output(f"{GIT} config --local lastgood.hold")
    assert on("lab-app2").file("/srv/blog-structuring/.git/lastgood-hold").content_string.startswith(f"{transaction}\n")


def test_the_application_compiles(on: Callable[[str], Host]) -> None:
    words = "cd /srv/blog-structuring && sudo -u blog .venv/bin/python -m py_compile app.py config.py"
    assert on("lab-app2").run(words).succeeded
