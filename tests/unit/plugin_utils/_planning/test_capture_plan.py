# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each host captures: its own, once, and nothing of the others."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.lastgood.rollback.plugins.filter.filters import FilterModule

GROUPS = {"all": ["db1", "web1", "web2", "other"], "core": ["web1"], "stages": ["web1", "web2"]}
CATALOGUE: dict[str, Any] = {
    "rollback_stack": "blog",
    "rollback_databases": {
        "blog": {"host": "db1", "login_user": "postgres", "login_password": "hunter2", "jobs": 4},
        "shop": {"host": "web1"},
    },
    "rollback_projects": {
        "core": {
            "group": "core",
            "path": "/srv/core",
            "packages": "/srv/venv",
            "files": [".env", "/etc/shared.conf"],
            "checks": {"imports": ["flask"], "commands": [["true"]]},
        },
        "stage": {
            "group": "stages",
            "path": "/srv/stage",
            "packages": "/srv/venv",
            "files": ["/etc/shared.conf"],
            "checks": {"imports": ["flask", "mistune"]},
        },
    },
}
EMPTY: dict[str, Any] = {"databases": [], "checkouts": [], "files": [], "packages": [], "projects": []}
CASES: dict[str, dict[str, Any]] = {
    "other": EMPTY,
    "db1": {
        **EMPTY,
        "databases": [{"name": "blog", "login_user": "postgres", "login_password": "hunter2", "jobs": 4}],
    },
    "web1": {
        "databases": [{"name": "shop"}],
        "checkouts": [{"path": "/srv/core"}, {"path": "/srv/stage"}],
        "files": ["/srv/core/.env", "/etc/shared.conf"],
        "packages": [{"path": "/srv/venv", "imports": ["flask", "mistune"]}],
        "projects": ["core", "stage"],
    },
    "web2": {
        "databases": [],
        "checkouts": [{"path": "/srv/stage"}],
        "files": ["/etc/shared.conf"],
        "packages": [{"path": "/srv/venv", "imports": ["flask", "mistune"]}],
        "projects": ["stage"],
    },
}


@pytest.mark.parametrize(("host", "expected"), CASES.items(), ids=CASES.keys())
def test_a_host_captures_its_own(host: str, expected: dict[str, Any]) -> None:
    plan = FilterModule().filters()["capture_plan"](CATALOGUE, host, GROUPS)
    names = [project["name"] for project in plan["projects"]]
    checked = plan.pop("checked")
    assert [{name: value for name, value in project.items() if name != "services"} for project in checked] == plan[
        "projects"
    ]
    assert {**plan, "projects": names} == {**expected, "hosts": ["db1", "web1", "web2"]}


def test_a_project_is_checked_with_the_python_of_its_environment() -> None:
    plan = FilterModule().filters()["capture_plan"](CATALOGUE, "web1", GROUPS)
    assert plan["projects"][0] == {
        "name": "core",
        "path": "/srv/core",
        "python": "/srv/venv/bin/python",
        "http": [],
        "imports": ["flask"],
        "commands": [["true"]],
    }


def test_mistakes_of_the_catalogue_come_out_as_one_error() -> None:
    wrong = {**CATALOGUE, "rollback_databases": {"blog": {}, "shop": {"host": "web9"}}}
    with pytest.raises(AnsibleFilterError, match=r"(?s)2 mistakes.*has no 'host'.*'web9' is not a host"):
        FilterModule().filters()["capture_plan"](wrong, "web1", GROUPS)
