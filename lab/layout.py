# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts there are, what stands on each of them, and where the lab keeps its files."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parent.parent
# The demo's projects, and the code that gives them a history.
sys.path.append(str(CLONE / "demo"))

from place import CORE, STAGES, Project  # noqa: E402

MADE_BY = "the lab of lastgood.rollback"
DATABASE_HOST = "lab-db"
#: Who logs in (and may become root), and who owns the projects.
LOGIN, OWNER = "deploy", "blog"
FIRST_PORT = 5000


class LabError(Exception):
    """Something of the lab did not work; the message says what, and what was tried."""


@dataclass(frozen=True)
class Host:
    """One machine: ``projects`` are the keys of those that are deployed there."""

    name: str
    address: str
    projects: tuple[str, ...]


@dataclass(frozen=True)
class Lab:
    """All that must be known of a running lab; written to facts.json before the first host is started."""

    directory: Path
    hosts: tuple[Host, ...]
    projects: tuple[Project, ...]
    posts: int
    password: str
    made_by: str = field(default=MADE_BY)

    @property
    def key(self) -> Path:
        """The private key that opens every host."""
        return self.directory / "ssh" / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The hosts' own keys."""
        return self.directory / "ssh" / "known_hosts"

    @property
    def applications(self) -> tuple[Host, ...]:
        """All hosts but the database's."""
        return tuple(host for host in self.hosts if host.name != DATABASE_HOST)

    def host(self, name: str) -> Host:
        """The host of this name.

        :raises LabError: when there is none.
        """
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"There is no host {name}; there are {', '.join(each.name for each in self.hosts)}.")

    def project(self, key: str) -> Project:
        """The project of this key."""
        return next(project for project in self.projects if project.key == key)

    def hosts_of(self, key: str) -> list[Host]:
        """The hosts that this project is deployed on."""
        return [host for host in self.hosts if key in host.projects]

    @property
    def core_url(self) -> str:
        """Where the other hosts find core."""
        return f"http://{self.hosts_of(CORE)[0].name}:{self.project(CORE).port}"

    def write(self) -> None:
        """Tell the inventory, and a later call of the lab, all about it."""
        facts = asdict(self)
        facts["projects"] = {project.key: {**asdict(project), "url": project.url} for project in self.projects}
        facts["hosts"] = {host.name: asdict(host) for host in self.hosts}
        facts.update(key=self.key, known_hosts=self.known_hosts, core_url=self.core_url, owner=OWNER)
        _write(self.directory / "facts.json", facts)
        _write(self.directory / "inventory.json", self._inventory())

    def _inventory(self) -> dict[str, Any]:
        variables = {host.name: {"ansible_host": host.address} for host in self.hosts}
        groups: dict[str, Any] = {"blog_database": {"hosts": [DATABASE_HOST]}}
        for project in self.projects:
            groups[project.key] = {"hosts": [host.name for host in self.hosts_of(project.key)]}
        return {**groups, "_meta": {"hostvars": variables}}


def lab_directory() -> Path:
    """LASTGOOD_LAB_DIR, else .cache/lab in the clone."""
    return Path(os.environ.get("LASTGOOD_LAB_DIR") or CLONE / ".cache" / "lab").absolute()


def load(directory: Path | None = None) -> Lab | None:
    """The lab that is up, or was when its machine went down; nothing when there is none.

    :param directory: another lab's than the usual one.
    :raises LabError: when its facts can't be read.
    """
    file = (directory or lab_directory()) / "facts.json"
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise LabError(f"{file} can't be understood: {error}") from error
    return Lab(
        directory=Path(facts["directory"]),
        hosts=tuple(Host(host["name"], host["address"], tuple(host["projects"])) for host in facts["hosts"].values()),
        projects=tuple(Project(key, one["name"], one["port"], one["path"]) for key, one in facts["projects"].items()),
        posts=facts["posts"],
        password=facts["password"],
    )


def all_projects() -> tuple[Project, ...]:
    """The demo's six, each with its own port and directory."""
    names = {CORE: "blog-core", **{f"blog_{stage}": f"blog-{stage}" for stage in STAGES}}
    return tuple(
        Project(key, name, FIRST_PORT + number, f"/srv/{name}") for number, (key, name) in enumerate(names.items())
    )


def spread(count: int) -> list[tuple[str, ...]]:
    """Which projects each of so many application hosts has: core on the first, the stages on the others in turn.

    With few hosts a host has several stages; with many, a stage stands on several hosts.
    """
    if count < 1:
        raise LabError("LAB_HOSTS must be 1 or more.")
    if count == 1:
        return [(CORE, *(f"blog_{stage}" for stage in STAGES))]
    others = count - 1
    found: list[list[str]] = [[] for _host in range(others)]
    for number in range(max(others, len(STAGES))):
        found[number % others].append(f"blog_{STAGES[number % len(STAGES)]}")
    return [(CORE,), *(tuple(keys) for keys in found)]


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(value, indent=2, default=str) + "\n", encoding="utf-8")
