# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue: what is right comes out frozen, what is wrong is reported all at once."""

from __future__ import annotations

import ast
import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.login_options import DATABASE_OPTIONS
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.catalogue import CatalogueError
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.fields import one_of
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.keys import (
    DATABASE_KEYS,
    HTTP_KEYS,
    MIGRATION_KEYS,
    READY_KEYS,
    SERVICE_KEYS,
)
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.kinds.files import file_paths
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.stack import read_stack

GROUPS = {
    "all": ["db1", "web1", "web2"],
    "core": ["web1"],
    "planning": ["web1", "web2"],
    "nobody": [],
}
GOOD: dict[str, Any] = {
    "rollback_stack": "blog",
    "rollback_databases": {"blog": {"host": "db1", "login_unix_socket": "/run/postgresql", "jobs": 4}},
    "rollback_projects": {
        "planning": {"group": "planning", "requires": ["core"], "path": "/srv/planning/"},
        "core": {
            "group": "core",
            "path": "/srv/core",
            "packages": "/srv/core/.venv",
            "files": [".env", "/etc/core.conf"],
            "services": [{"name": "core", "ready": {"http": "http://127.0.0.1:5000/"}}],
            "checks": {"commands": [["python", "-m", "pytest"]], "http": [{"url": "http://127.0.0.1:5000/"}]},
        },
    },
    "rollback_hooks": {"before_stop": [{"name": "Drain", "host": "web1", "command": ["drain", "web1"]}]},
}


def changed(*path: str, to: Any) -> dict[str, Any]:
    """GOOD with one value set."""
    raw = copy.deepcopy(GOOD)
    place: Any = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return raw


def without(*path: str) -> dict[str, Any]:
    """GOOD with one key taken out."""
    raw = copy.deepcopy(GOOD)
    place: Any = raw
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return raw


def test_what_a_database_accepts_is_no_option_of_its_connection() -> None:
    stack = read_stack(changed("rollback_databases", "blog", "accept", to=["owner_code"]), GROUPS)
    assert (stack.databases["blog"].accept, "accept" in stack.databases["blog"].options) == (("owner_code",), False)


def test_a_right_catalogue_comes_out_complete() -> None:
    stack = read_stack(GOOD, GROUPS)
    assert stack.name == "blog"
    assert stack.databases["blog"].host == "db1"
    assert stack.databases["blog"].options == {"login_unix_socket": "/run/postgresql", "jobs": 4}
    core = stack.projects["core"]
    assert (core.hosts, core.path, core.packages) == (("web1",), "/srv/core", "/srv/core/.venv")
    assert file_paths(core) == ("/srv/core/.env", "/etc/core.conf")
    assert core.services[0]["name"] == "core"
    assert stack.projects["planning"].path == "/srv/planning"
    assert stack.hosts == ("db1", "web1", "web2")
    assert stack.hooks == {"before_stop": [{"name": "Drain", "host": "web1", "command": ["drain", "web1"]}]}


@pytest.mark.parametrize(
    ("requires", "waves"),
    [
        ({"a": [], "b": []}, (("a", "b"),)),
        ({"a": ["b"], "b": []}, (("b",), ("a",))),
        ({"d": ["b", "c"], "b": ["a"], "c": [], "a": []}, (("c", "a"), ("b",), ("d",))),
        ({"a": ["b", "c"], "b": ["c"], "c": []}, (("c",), ("b",), ("a",))),
        ({}, ()),
    ],
)
def test_waves_come_from_what_is_required(requires: dict[str, list[str]], waves: tuple[tuple[str, ...], ...]) -> None:
    projects = {name: {"group": "core", "path": f"/srv/{name}", "requires": of} for name, of in requires.items()}
    stack = read_stack({**GOOD, "rollback_projects": projects}, GROUPS)
    assert stack.waves == waves
    assert stack.depths == {name: depth for depth, wave in enumerate(waves) for name in wave}


def test_dependants_are_found_through_others() -> None:
    requires = {"shop": [], "core": [], "stage": ["core"], "page": ["stage"]}
    projects = {name: {"group": "core", "path": f"/srv/{name}", "requires": of} for name, of in requires.items()}
    stack = read_stack({**GOOD, "rollback_projects": projects}, GROUPS)
    assert stack.dependants("core") == ("stage", "page")
    assert stack.dependants("page") == ()


def options_of(root: Path, module: str, *path: str) -> dict[str, Any]:
    """The options that a module documents."""
    tree = ast.parse((root / "plugins" / "modules" / f"{module}.py").read_text())
    assigned = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}  # type: ignore[attr-defined]
    place: dict[str, Any] = yaml.safe_load(ast.literal_eval(assigned["DOCUMENTATION"]))["options"]
    for name in path:
        place = place[name]["suboptions"]
    return place


def test_the_keys_of_the_catalogue_are_the_options_of_the_modules(root: Path) -> None:
    assert set(SERVICE_KEYS) == set(options_of(root, "service_restart", "services"))
    assert set(READY_KEYS) == set(options_of(root, "service_restart", "services", "ready"))
    assert set(DATABASE_KEYS) - {"host", "migrations", "accept"} == set(DATABASE_OPTIONS) - {"name"}
    options = options_of(root, "pg_restore")
    own = {name for name in options if name.startswith("migration_")} - {*DATABASE_KEYS}
    assert {f"migration_{key}" for key in MIGRATION_KEYS} == own
    assert set(HTTP_KEYS) == set(options_of(root, "health_info", "projects", "http"))


def test_the_words_of_the_catalogue_are_the_choices_of_the_modules(root: Path) -> None:
    services = options_of(root, "service_restart", "services")
    known = [(DATABASE_KEYS[name], option) for name, option in DATABASE_OPTIONS.items() if name in DATABASE_KEYS]
    known += [(SERVICE_KEYS[name], option) for name, option in services.items()]
    choosing = [(kind, option["choices"]) for kind, option in known if "choices" in option]
    assert len(choosing) == 3
    assert [kind.description for kind, _choices in choosing] == [
        one_of(*choices).description for _kind, choices in choosing
    ]


MISTAKES = {
    "no stack": (without("rollback_stack"), "catalogue: has no 'rollback_stack'"),
    "stack is not a name": (changed("rollback_stack", to="my blog"), "rollback_stack: must be at most 40 letters"),
    "stack is a list": (changed("rollback_stack", to=["blog"]), "catalogue.rollback_stack: must be a text"),
    "databases are a list": (
        changed("rollback_databases", to=["blog"]),
        "catalogue.rollback_databases: must be a mapping, not ['blog']",
    ),
    "database without a host": (
        without("rollback_databases", "blog", "host"),
        "rollback_databases.blog: has no 'host'",
    ),
    "database is a text": (
        changed("rollback_databases", "blog", to="db1"),
        "rollback_databases.blog: must be a mapping, not 'db1'",
    ),
    "migrations without a command": (
        changed("rollback_databases", "blog", "migrations", to={"chdir": "/srv/blog-core"}),
        "rollback_databases.blog.migrations: has no 'command'",
    ),
    "migrations by a shell's line": (
        changed(
            "rollback_databases", "blog", "migrations", to={"command": "flask db downgrade", "chdir": "/srv/blog-core"}
        ),
        "rollback_databases.blog.migrations.command: must be a list of texts",
    ),
    "host not in the inventory": (
        changed("rollback_databases", "blog", "host", to="db2"),
        "rollback_databases.blog.host: 'db2' is not a host of this inventory; did you mean 'db1'?",
    ),
    "host is a list": (
        changed("rollback_databases", "blog", "host", to=["db1", "web1"]),
        "rollback_databases.blog.host: must be a text, not ['db1', 'web1']",
    ),
    "jobs is a text": (
        changed("rollback_databases", "blog", "jobs", to="4"),
        "rollback_databases.blog.jobs: must be a whole number of at least 1, not '4'",
    ),
    "jobs is a flag": (
        changed("rollback_databases", "blog", "jobs", to=True),
        "rollback_databases.blog.jobs: must be a whole number of at least 1, not True",
    ),
    "unknown database key": (
        changed("rollback_databases", "blog", "login_prot", to=5432),
        "rollback_databases.blog: does not know 'login_prot'; did you mean 'login_port'?",
    ),
    "unknown group": (
        changed("rollback_projects", "core", "group", to="cor"),
        "rollback_projects.core.group: 'cor' is not a group of this inventory; did you mean 'core'?",
    ),
    "group without hosts": (
        changed("rollback_projects", "core", "group", to="nobody"),
        "rollback_projects.core.group: 'nobody' has no host in this inventory",
    ),
    "project without a group": (
        without("rollback_projects", "core", "group"),
        "rollback_projects.core: has no 'group'",
    ),
    "project without a path": (without("rollback_projects", "core", "path"), "rollback_projects.core: has no 'path'"),
    "path is empty in YAML": (
        changed("rollback_projects", "core", "path", to=None),
        "rollback_projects.core: has no 'path'",
    ),
    "relative path": (
        changed("rollback_projects", "core", "path", to="srv/core"),
        "rollback_projects.core.path: must be an absolute path without '..', not 'srv/core'",
    ),
    "path that climbs": (
        changed("rollback_projects", "core", "path", to="/srv/../etc"),
        "rollback_projects.core.path: must be an absolute path without '..', not '/srv/../etc'",
    ),
    "file that climbs": (
        changed("rollback_projects", "core", "files", to=["../.env"]),
        "rollback_projects.core.files: must be a list of paths without '..', not ['../.env']",
    ),
    "files is a text": (
        changed("rollback_projects", "core", "files", to=".env"),
        "rollback_projects.core.files: must be a list of paths without '..', not '.env'",
    ),
    "relative environment": (
        changed("rollback_projects", "core", "packages", to=".venv"),
        "rollback_projects.core.packages: must be an absolute path",
    ),
    "unknown project key": (
        changed("rollback_projects", "core", "service", to=[]),
        "rollback_projects.core: does not know 'service'; did you mean 'services'?",
    ),
    "unknown required project": (
        changed("rollback_projects", "planning", "requires", to=["cores"]),
        "rollback_projects.planning.requires: 'cores' is not a project of the catalogue; did you mean 'core'?",
    ),
    "a service that requires what is not there": (
        changed(
            "rollback_projects", "core", "services", to=[{"name": "core"}, {"name": "worker", "requires": ["cor"]}]
        ),
        "rollback_projects.core.services[1].requires: 'cor' is not a service of this project; did you mean 'core'?; other "
        "projects belong into the project's own requires",
    ),
    "a service that requires another project's": (
        changed("rollback_projects", "planning", "services", to=[{"name": "planning", "requires": ["core"]}]),
        "rollback_projects.planning.services[0].requires: 'core' is not a service of this project (known: planning)",
    ),
    "requires is a text": (
        changed("rollback_projects", "planning", "requires", to="core"),
        "rollback_projects.planning.requires: must be a list of texts, not 'core'",
    ),
    "circle of two": (
        changed("rollback_projects", "core", "requires", to=["planning"]),
        "rollback_projects: planning requires core requires planning: a circle",
    ),
    "circle of one": (
        changed("rollback_projects", "core", "requires", to=["core"]),
        "rollback_projects: core requires core: a circle",
    ),
    "service without a name": (
        changed("rollback_projects", "core", "services", to=[{"manager": "systemd"}]),
        "rollback_projects.core.services[0]: has no 'name'",
    ),
    "service is a text": (
        changed("rollback_projects", "core", "services", to=["core"]),
        "rollback_projects.core.services: must be a list of mappings, not ['core']",
    ),
    "unknown service key": (
        changed("rollback_projects", "core", "services", to=[{"name": "core", "redy": {}}]),
        "rollback_projects.core.services[0]: does not know 'redy'; did you mean 'ready'?",
    ),
    "unknown manager": (
        changed("rollback_projects", "core", "services", to=[{"name": "core", "manager": "upstart"}]),
        "rollback_projects.core.services[0].manager: must be systemd, supervisor or process, not 'upstart'",
    ),
    "unknown way to be ready": (
        changed("rollback_projects", "core", "services", to=[{"name": "core", "ready": {"htpp": "http://x/"}}]),
        "rollback_projects.core.services[0].ready: does not know 'htpp'; did you mean 'http'?",
    ),
    "command as a text": (
        changed("rollback_projects", "core", "checks", to={"commands": ["python -m pytest"]}),
        "rollback_projects.core.checks.commands: must be a list of argument lists",
    ),
    "unknown check": (
        changed("rollback_projects", "core", "checks", to={"import": ["app"]}),
        "rollback_projects.core.checks: does not know 'import'; did you mean 'imports'?",
    ),
    "request without an address": (
        changed("rollback_projects", "core", "checks", to={"http": [{"status": 200}]}),
        "rollback_projects.core.checks.http[0]: has no 'url'",
    ),
    "unknown hook": (
        changed("rollback_hooks", to={"before_stopp": []}),
        "rollback_hooks: does not know 'before_stopp'; did you mean 'before_stop'?",
    ),
    "hook on an unknown host": (
        changed("rollback_hooks", to={"after_start": [{"name": "Open", "host": "web3", "command": ["open"]}]}),
        "rollback_hooks.after_start[0].host: 'web3' is not a host of this inventory; did you mean 'web2'?",
    ),
    "hook with an end where there is none": (
        changed(
            "rollback_hooks", to={"after_start": [{"name": "A", "host": "web1", "command": ["a"], "after": ["b"]}]}
        ),
        "rollback_hooks.after_start[0].after: belongs to hooks around_switch only",
    ),
    "one path on one host twice": (
        changed("rollback_projects", "core", "path", to="/srv/planning"),
        "rollback_projects.core.path: /srv/planning on web1 is planning's already",
    ),
    "describes nothing": ({"rollback_stack": "blog"}, "catalogue: describes nothing"),
}


@pytest.mark.parametrize(("raw", "sentence"), MISTAKES.values(), ids=MISTAKES.keys())
def test_each_mistake_is_named_with_its_place(raw: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        read_stack(raw, GROUPS)
    assert len(caught.value.mistakes) == 1, caught.value.mistakes
    assert caught.value.mistakes[0].startswith(sentence)
    assert caught.value.mistakes[0] in str(caught.value)


def test_all_mistakes_are_reported_together() -> None:
    raw = changed("rollback_databases", "blog", "host", to="db2")
    raw["rollback_projects"]["core"].update(group="cor", path="srv", requires=["planning"], files=".env")
    raw["rollback_projects"]["planning"]["colour"] = "red"
    with pytest.raises(CatalogueError) as caught:
        read_stack(raw, GROUPS)
    assert len(caught.value.mistakes) == 6
    assert "6 mistakes" in str(caught.value)


def test_one_path_on_different_hosts_is_allowed() -> None:
    raw = changed("rollback_projects", "core", "path", to="/srv/planning")
    stack = read_stack(raw, {**GROUPS, "planning": ["web2"]})
    assert stack.projects["core"].path == stack.projects["planning"].path


@pytest.mark.parametrize("key", ["login_password", "connect_params", "migrations"])
def test_secrets_are_never_in_a_message(key: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        read_stack(changed("rollback_databases", "blog", key, to=["hunter2"]), GROUPS)
    assert "hunter2" not in str(caught.value)
    stack = read_stack(changed("rollback_databases", "blog", "login_password", to="hunter2"), GROUPS)
    assert "hunter2" not in repr(stack)
