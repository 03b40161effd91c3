# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The catalogue: the variables that describe a stack, read, checked and frozen. No I/O.

All mistakes are found at once. What comes out can be relied on: every group and host is in the inventory, paths are
absolute, ``requires`` has no cycle.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import keys
from .fields import Kind, Mistakes, described, nearest, read_fields

STACK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


class CatalogueError(ValueError):
    """The catalogue is wrong; nothing was looked at or changed on any host.

    :param mistakes: all of them, each with its place.
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        super().__init__("\n".join([f"The catalogue has {count}:", *(f"  - {mistake}" for mistake in self.mistakes)]))


@dataclass(frozen=True)
class Database:
    """A PostgreSQL database and the one host that acts on it.

    :param options: connection options, ``jobs`` and ``bin_dir``, as the modules take them; may hold a password.
    :param migrations: how its schema is taken back by the project's own command; may hold a password.
    :param accept: words of ``pg_restore``'s option of this name that always hold for it, such as ``owner_code``.
    """

    name: str
    host: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    migrations: Mapping[str, Any] = field(default_factory=dict, repr=False)
    accept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Project:
    """A deployed checkout with what belongs to it.

    :param hosts: the members of its group, in inventory order.
    :param components: what the catalogue has of its components, by the keys that their kinds bring.
    :param services: as the module ``service_restart`` takes them.
    :param checks: ``compile``, ``imports``, ``commands``, ``http``; a key that was not given is missing.
    :param requires: names of the projects that have to run before it.
    :param git_timeout: seconds that git, and each filter that it runs, gets; None for as long as ``git_reset`` gives it.
    """

    name: str
    group: str
    hosts: tuple[str, ...]
    path: str
    owner: str | None = None
    components: Mapping[str, Any] = field(default_factory=dict)
    services: tuple[Mapping[str, Any], ...] = ()
    checks: Mapping[str, Any] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    test_environment: Mapping[str, Any] = field(default_factory=dict, repr=False)
    git_timeout: int | None = None

    @property
    def packages(self) -> str | None:
        """Its Python environment, or None."""
        return self.components.get("packages")

    @property
    def health(self) -> dict[str, Any]:
        """The project as the module ``health_info`` takes it."""
        return {
            "name": self.name,
            "path": self.path,
            "python": f"{self.packages}/bin/python" if self.packages else None,
            "http": [dict(request) for request in self.checks.get("http", ())],
            "imports": list(self.checks.get("imports", ())),
            "commands": [list(command) for command in self.checks.get("commands", ())],
        }


@dataclass(frozen=True)
class Stack:
    """The databases and projects that are rolled back together."""

    name: str
    databases: Mapping[str, Database]
    projects: Mapping[str, Project]
    hooks: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def hosts(self) -> tuple[str, ...]:
        """All hosts that hold a part of the stack, databases' first, each once."""
        names = [database.host for database in self.databases.values()]
        names += [host for project in self.projects.values() for host in project.hosts]
        return tuple(dict.fromkeys(names))

    @property
    def depths(self) -> dict[str, int]:
        """Project → its wave: 0 requires nothing, every other comes one after the last that it requires."""
        found: dict[str, int] = {}

        def depth(name: str) -> int:
            if name not in found:
                found[name] = max((depth(required) + 1 for required in self.projects[name].requires), default=0)
            return found[name]

        return {name: depth(name) for name in self.projects}

    @property
    def waves(self) -> tuple[tuple[str, ...], ...]:
        """Projects in the order of starting, one tuple a wave; stopping goes the other way round."""
        depths = self.depths
        return tuple(
            tuple(name for name in self.projects if depths[name] == wave)
            for wave in range(max(depths.values(), default=-1) + 1)
        )

    def dependants(self, name: str) -> tuple[str, ...]:
        """The projects that need this one, directly or through others, in catalogue order."""
        dependants = {name}
        for wave in self.waves:
            dependants |= {other for other in wave if dependants & set(self.projects[other].requires)}
        return tuple(other for other in self.projects if other in dependants and other != name)


def parse_catalogue(
    raw: Mapping[str, Any], groups: Mapping[str, Sequence[str]], component_keys: Mapping[str, Kind]
) -> Stack:
    """Read ``rollback_stack``, ``rollback_databases``, ``rollback_projects`` and ``rollback_hooks``.

    :param raw: these variables by their names; ``rollback_stack`` must be there.
    :param groups: Ansible's ``groups``, with ``all``.
    :param component_keys: what a project may have of its components, and what these values must be.
    :raises CatalogueError: with every mistake that was found.
    """
    mistakes = Mistakes()
    top = read_fields("catalogue", raw, keys.CATALOGUE_KEYS, mistakes, required=["rollback_stack"])
    name = str(top.get("rollback_stack", ""))
    if name and not STACK_NAME.fullmatch(name):
        mistakes.add("rollback_stack", f"must be at most 40 letters, digits, - and _, not {described(name)}")
    databases = {
        str(key): _database(str(key), value, groups, mistakes)
        for key, value in top.get("rollback_databases", {}).items()
    }
    projects = {
        str(key): _project(str(key), value, groups, component_keys, mistakes)
        for key, value in top.get("rollback_projects", {}).items()
    }
    hooks = _hooks(top.get("rollback_hooks", {}), groups, mistakes)
    if not databases and not projects and not mistakes.found:
        mistakes.add("catalogue", "describes nothing: rollback_databases and rollback_projects are both empty")
    for sentence in (*_wrong_requires(projects), *_cycles(projects), *_shared_paths(projects)):
        mistakes.found.append(sentence)
    if mistakes.found:
        raise CatalogueError(mistakes.found)
    return Stack(name=name, databases=databases, projects=projects, hooks=hooks)


def _hooks(raw: Any, groups: Mapping[str, Sequence[str]], mistakes: Mistakes) -> Mapping[str, Any]:
    hooks = read_fields("rollback_hooks", raw, keys.HOOK_KEYS, mistakes)
    for when, entries in hooks.items():
        for index, entry in enumerate(entries):
            where = f"rollback_hooks.{when}[{index}]"
            values = read_fields(where, entry, keys.HOOK_ENTRY_KEYS, mistakes, required=["name", "host", "command"])
            host, hosts = values.get("host"), groups.get("all", ())
            if host and host not in hosts:
                mistakes.add(f"{where}.host", f"{host!r} is not a host of this inventory{nearest(host, hosts)}")
            if "after" in values and when != "around_switch":
                mistakes.add(f"{where}.after", "belongs to hooks around_switch only")
    return hooks


def _database(name: str, raw: Any, groups: Mapping[str, Sequence[str]], mistakes: Mistakes) -> Database:
    where = f"rollback_databases.{name}"
    values = read_fields(where, raw, keys.DATABASE_KEYS, mistakes, required=["host"])
    host = str(values.pop("host", ""))
    hosts = groups.get("all", ())
    if host and host not in hosts:
        mistakes.add(f"{where}.host", f"{host!r} is not a host of this inventory{nearest(host, hosts)}")
    migrations = values.pop("migrations", None)
    if migrations is not None:
        place = f"{where}.migrations"
        migrations = read_fields(place, migrations, keys.MIGRATION_KEYS, mistakes, required=["command", "chdir"])
    accept = tuple(values.pop("accept", ()))
    return Database(name=name, host=host, options=values, migrations=migrations or {}, accept=accept)


def _project(
    name: str, raw: Any, groups: Mapping[str, Sequence[str]], component_keys: Mapping[str, Kind], mistakes: Mistakes
) -> Project:
    where = f"rollback_projects.{name}"
    values = read_fields(where, raw, {**keys.PROJECT_KEYS, **component_keys}, mistakes, required=["group", "path"])
    group = str(values.get("group", ""))
    if group and group not in groups:
        mistakes.add(f"{where}.group", f"{group!r} is not a group of this inventory{nearest(group, groups)}")
    elif group and not groups[group]:
        mistakes.add(f"{where}.group", f"{group!r} has no host in this inventory")
    _read_services(where, values.get("services", ()), mistakes)
    checks = read_fields(f"{where}.checks", values.get("checks", {}), keys.CHECK_KEYS, mistakes)
    for index, request in enumerate(checks.get("http", ())):
        read_fields(f"{where}.checks.http[{index}]", request, keys.HTTP_KEYS, mistakes, required=["url"])
    path = posixpath.normpath(values["path"]) if "path" in values else ""
    return Project(
        name=name,
        group=group,
        hosts=tuple(groups.get(group, ())),
        path=path,
        owner=values.get("owner"),
        components={key: values[key] for key in component_keys if key in values},
        services=tuple(values.get("services", ())),
        checks=checks,
        requires=tuple(values.get("requires", ())),
        test_environment=values.get("test_environment", {}),
        git_timeout=values.get("git_timeout"),
    )


def _read_services(where: str, services: Sequence[Any], mistakes: Mistakes) -> None:
    """Also whether what they require is there: else their order would be lost without a word."""
    read = [
        read_fields(f"{where}.services[{index}]", service, keys.SERVICE_KEYS, mistakes, required=["name"])
        for index, service in enumerate(services)
    ]
    names = [service.get("name", "") for service in read]
    for index, service in enumerate(read):
        place = f"{where}.services[{index}]"
        read_fields(f"{place}.ready", service.get("ready", {}), keys.READY_KEYS, mistakes)
        for required in service.get("requires", ()):
            if required not in names:
                said = f"{required!r} is not a service of this project{nearest(required, names)}"
                mistakes.add(f"{place}.requires", f"{said}; other projects belong into the project's own requires")


def _wrong_requires(projects: Mapping[str, Project]) -> Iterator[str]:
    for project in projects.values():
        for required in project.requires:
            if required not in projects:
                where = f"rollback_projects.{project.name}.requires"
                yield f"{where}: {required!r} is not a project of the catalogue{nearest(required, projects)}"


def _cycles(projects: Mapping[str, Project]) -> Iterator[str]:
    """Each circle once, from its first project in catalogue order."""
    done: set[str] = set()

    def walk(name: str, visited: tuple[str, ...]) -> Iterator[str]:
        if name in visited:
            cycle = (*visited[visited.index(name) :], name)
            yield f"rollback_projects: {' requires '.join(cycle)}: a circle has no order to start in"
            return
        if name in done or name not in projects:
            return
        for required in projects[name].requires:
            yield from walk(required, (*visited, name))
        done.add(name)

    for name in projects:
        yield from walk(name, ())


def _shared_paths(projects: Mapping[str, Project]) -> Iterator[str]:
    """Two projects may have one path only on different hosts."""
    owners: dict[tuple[str, str], str] = {}
    reported: set[tuple[str, str]] = set()
    for project in projects.values():
        for host in project.hosts if project.path else ():
            owner = owners.setdefault((host, project.path), project.name)
            if owner != project.name and (owner, project.name) not in reported:
                reported.add((owner, project.name))
                yield f"rollback_projects.{project.name}.path: {project.path} on {host} is {owner}'s already"
