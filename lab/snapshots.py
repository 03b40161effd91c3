# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stack is, read without the collection: over SSH by psql, git, sha256sum, pip's records and systemctl."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from deployment import psql
from layout import Host, Lab, LabError
from place import Project
from reach import attempt, ssh

#: What is read, by the name of the thing; equal values mean an equal thing.
Snapshot = dict[str, str]

TABLES = ("alembic_version", "post", "post_development", "post_section")
SETTINGS = (".env", "assistant_config.env")
_COLUMNS = (
    "SELECT table_name, column_name, data_type, character_maximum_length FROM information_schema.columns"
    " WHERE table_schema = 'public' ORDER BY 1, 2;"
)
_FREEZE = "import importlib.metadata as m; print(*sorted(f'{d.name}=={d.version}' for d in m.distributions()))"
# What tells where the next thing begins.
_MARK = "---"
_PROJECT = """\
echo {mark}; cd {path} && sudo -u {owner} git rev-parse HEAD && sudo -u {owner} git diff HEAD | sha256sum
sha256sum {settings} | sha256sum
stat -c '%U %a' {settings} | tr '\\n' ' '; echo
.venv/bin/python -c "{freeze}"
systemctl is-active {name}
"""
_NAMES = ("commit", "changes", "settings", "owner and mode of settings", "packages", "service")


def snapshot(lab: Lab) -> Snapshot:
    """Everything that a rollback has to put back, and the states of the services."""
    with ThreadPoolExecutor() as workers:
        database = workers.submit(_database_snapshot, lab)
        hosts = list(workers.map(lambda host: _host_snapshot(lab, host), lab.applications))
        return {name: value for part in (database.result(), *hosts) for name, value in part.items()}


def _database_snapshot(lab: Lab) -> Snapshot:
    names = [*(f"table {table}" for table in TABLES), "columns"]
    sql = [f"SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY t::text)) FROM {table} t;" for table in TABLES]
    told = psql(lab, f"\n\\echo {_MARK}\n".join([*sql, _COLUMNS])).split(f"{_MARK}\n")
    return {name: value.strip() for name, value in zip(names, told, strict=True)}


def _host_snapshot(lab: Lab, host: Host) -> Snapshot:
    found: Snapshot = {}
    projects = [lab.project(key) for key in host.projects]
    fixed = {"mark": _MARK, "owner": "blog", "settings": " ".join(SETTINGS), "freeze": _FREEZE}
    command = "".join(_PROJECT.format(name=one.name, path=one.path, **fixed) for one in projects)
    told = ssh(lab, host, f"{command}true").split(f"{_MARK}\n")[1:]
    for project, part in zip(projects, told, strict=True):
        lines = part.splitlines()
        if len(lines) != len(_NAMES):
            raise LabError(f"{host.name}: {project.name} can't be read: {lines}")
        found.update((f"{host.name} {project.name} {name}", line) for name, line in zip(_NAMES, lines, strict=True))
    return found


def state(lab: Lab, host: Host, unit: str) -> str:
    """What systemctl calls the unit's state: active, activating, failed, inactive …"""
    return attempt(lab, host, f"systemctl is-active {unit}").stdout.decode().strip()


def health(host: Host, project: Project) -> tuple[int, list[str]]:
    """The HTTP status of a project's health report (0: no answer), and which of its checks fail."""
    try:
        with urllib.request.urlopen(f"http://{host.address}:{project.port}/api/health", timeout=10) as answer:
            return answer.status, []
    except urllib.error.HTTPError as error:
        return error.code, list(json.load(error).get("failing", [])) if error.code == 503 else []
    except OSError:
        return 0, []


def healths(lab: Lab) -> dict[str, int]:
    """The HTTP status of every project on every host."""
    return {f"{host.name} {project.name}": health(host, project)[0] for host, project in deployed(lab)}


def deployed(lab: Lab) -> Iterator[tuple[Host, Project]]:
    """Every project on every host that has it."""
    for host in lab.applications:
        for key in host.projects:
            yield host, lab.project(key)


def wait_until_healthy(lab: Lab, seconds: float = 120) -> None:
    """Ask until every project is healthy.

    :raises LabError: when the time is over.
    """
    deadline = time.monotonic() + seconds
    while set(found := healths(lab).values()) != {200}:
        if time.monotonic() > deadline:
            raise LabError(f"Not every service became healthy: {healths(lab)}")
        time.sleep(0.5 if found else 0)


def rows(lab: Lab) -> Iterator[tuple[str, str, str, str, str]]:
    """Host, project, unit's state, HTTP status and failing checks, for people."""
    for host, project in deployed(lab):
        status, failing = health(host, project)
        yield host.name, project.name, state(lab, host, project.name) or "no answer", str(status), ", ".join(failing)


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """The names of the things that are not the same."""
    return [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
