# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) From a catalogue and what the hosts hold to a plan for all of them. Pure: no I/O, no clock.

The plan is one value that every host computes alike, that the gate compares with who is there, and that each host
keeps in its transaction for recovery. It holds no secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import service_name
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.catalogue import Database, Project, Stack
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.fields import nearest

from .kinds import registry
from .kinds.code import code_refusals

LAST_GOOD = "last_good"


class PlanRefused(ValueError):
    """It can be known now that this can't work.

    :param reasons: all of them.
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("\n".join(self.reasons))


@dataclass(frozen=True)
class Request:
    """What the operator asked for.

    :param id: of the transaction to be.
    :param point: a restore point's name, or ``last_good``; None when no restore point is involved.
    :param kinds: the components to put back.
    :param only: names of projects; empty for all.
    :param decision_host: overrides the choice; None to choose.
    :param source: the file that one database is restored from, in place of a restore point: ``path``, ``checksum`` and
        ``allow_unverified``, as ``pg_restore`` takes them; None for none.
    :param database: which one that is, or has the tables; None when there is only one.
    :param tables: of a database, to go back in these only.
    :param code: how code goes back other than as a whole to the restore point: see `code_options`.
    :param rehearse: whether everything is taken away again before the switch.
    """

    id: str
    point: str | None
    kinds: tuple[str, ...]
    only: tuple[str, ...] = ()
    decision_host: str | None = None
    source: Mapping[str, Any] | None = None
    database: str | None = None
    tables: tuple[str, ...] = ()
    code: Mapping[str, Any] | None = None
    rehearse: bool = False

    @property
    def does_without_point(self) -> bool:
        """Whether something else than a restore point is gone back to."""
        return self.source is not None or (self.code is not None and self.point is None)


def parse_kinds(words: Sequence[str]) -> tuple[str, ...]:
    """``all``, or kinds.

    :raises PlanRefused: for anything else.
    """
    if not words:
        raise PlanRefused(
            [f"rollback_components must be all, or a list of {', '.join(registry.CHOICES)}; not an empty one."]
        )
    if list(words) == ["all"]:
        return registry.ALL
    wrong = [str(word) for word in words if word not in registry.CHOICES]
    if wrong:
        hints = "; ".join(
            f"{word!r} is none of {', '.join(registry.CHOICES)}{nearest(str(word), registry.CHOICES)}" for word in wrong
        )
        raise PlanRefused([f"rollback_components: {hints}."])
    scopes = [kind for kind in registry.SCOPES if kind in words]
    if len(scopes) > 1:
        raise PlanRefused([f"rollback_components: choose one of {' and '.join(scopes)}: each goes back in a database."])
    return tuple(kind for kind in registry.CHOICES if kind in words)


def make_plan(stack: Stack, request: Request) -> dict[str, Any]:
    """Compute who does what.

    :returns: JSON: ``id``, ``stack``, ``point`` (None until `with_point`), ``source``, ``code``, ``kinds``, ``scope`` and
        ``tables`` of its databases, ``decision_host``, ``hosts``, ``stack_hosts`` (also those that do not take part),
        ``rehearse``, ``waves`` (their number), ``schema_only`` (database → host, of those that stay but must fit the code)
        and ``parts`` (host → ``databases``, ``projects``, ``waves`` of services, names of ``checked`` projects, ``keys`` of a
        restore point). The hosts remember it, and it is shown: what may be secret, the words of commands of services and
        checks and the requests of checks, stays in the catalogue.
    :raises PlanRefused: with all reasons.
    """
    unknown = [name for name in request.only if name not in stack.projects]
    if unknown:
        hints = "; ".join(
            f"{name!r} is not a project of {stack.name}{nearest(name, stack.projects)}" for name in unknown
        )
        raise PlanRefused([f"rollback_only: {hints}."])
    if request.code is not None:
        refusals = code_refusals(
            request.code, point=request.point, kinds=request.kinds, only=request.only, projects=list(stack.projects)
        )
        if refusals:
            raise PlanRefused(refusals)
    databases = _databases(stack, request)
    chosen = [project for project in stack.projects.values() if not request.only or project.name in request.only]
    rolled = chosen if set(request.kinds) - set(registry.SCOPES) else []
    if not databases and not any(_keys(project, request.kinds) for project in rolled):
        raise PlanRefused([f"{stack.name} has no {' or '.join(request.kinds)} to roll back."])
    stopped = _stopped(stack, rolled, everything=bool(databases))
    parts = _parts(stack, databases, rolled, stopped, request.kinds)
    if request.does_without_point:
        parts = {host: {**part, "keys": []} for host, part in parts.items()}
    decision_host = request.decision_host or stack.hosts[0]
    if decision_host not in parts:
        parts = {**parts, decision_host: _nothing(len(stack.waves))}
    schema_only = {}
    asked = set(request.kinds)
    if asked & set(registry.FITS_SCHEMA) and not asked & set(registry.IN_EVERY_DATABASE) and request.code is None:
        schema_only = {database.name: database.host for database in stack.databases.values()}
    return {
        "id": request.id,
        "stack": stack.name,
        "wanted_point": request.point,
        "point": None,
        "source": dict(request.source) if request.source is not None else None,
        "code": dict(request.code) if request.code is not None else None,
        "kinds": list(request.kinds),
        "scope": next((kind for kind in registry.SCOPES if kind in request.kinds), None),
        "tables": list(request.tables),
        "only": list(request.only),
        "decision_host": decision_host,
        "hosts": sorted(parts),
        "stack_hosts": list(stack.hosts),
        "rehearse": request.rehearse,
        "waves": len(stack.waves),
        "schema_only": schema_only,
        "parts": parts,
    }


def with_point(plan: Mapping[str, Any], points: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The plan with the restore point that it goes back to.

    :param points: host → what it registered, with ``__rollback_points`` of ``restore_point_info`` where it was asked.
    :raises PlanRefused: when there is none to go back to; that is a failure, never a success without effect.
    """
    pointless = plan.get("code") and plan["wanted_point"] is None
    if plan.get("source") or plan.get("undoes") or pointless:
        return dict(plan)
    needs = {host: part["keys"] for host, part in plan["parts"].items() if part["keys"]}
    found = {
        host: registered["__rollback_points"]["restore_points"] for host, registered in points.items() if host in needs
    }
    return {**plan, "point": choose_point(plan["wanted_point"], needs, found)}


def passwords(databases: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, str]]:
    """What the module ``transaction`` may need after the promise: component key → its passwords."""
    found = {}
    for name in names:
        password = (databases.get(name) or {}).get("login_password")
        if password:
            found.update({f"{kind}:{name}": {"login_password": str(password)} for kind in registry.DATABASE_KINDS})
    return found


def _databases(stack: Stack, request: Request) -> list[Database]:
    """Those that the request goes back in."""
    if request.source is not None:
        return [_restored_from_file(stack, request)]
    if set(registry.IN_TABLES) & set(request.kinds):
        if not request.tables:
            raise PlanRefused(["Which tables? Name them: -e rollback_tables=public.post,public.post_section"])
        return [_the_database(stack, request)]
    return list(stack.databases.values()) if set(registry.IN_EVERY_DATABASE) & set(request.kinds) else []


def _restored_from_file(stack: Stack, request: Request) -> Database:
    """The one database that a file is restored into; a file holds one, so it is named, or the only one."""
    if request.point is not None:
        raise PlanRefused(
            [f"Both a restore point ({request.point}) and a file are named to go back to: name one of them."]
        )
    if request.kinds != (registry.DATABASE,):
        raise PlanRefused(
            [
                f"A file holds a database, but {', '.join(request.kinds)} are asked for: run lastgood.rollback.database_rollback."
            ]
        )
    return _the_database(stack, request)


def _the_database(stack: Stack, request: Request) -> Database:
    """The one that is named, or the only one."""
    if request.database is not None and request.database not in stack.databases:
        hint = nearest(request.database, stack.databases)
        raise PlanRefused([f"rollback_database: {request.database!r} is not a database of {stack.name}{hint}."])
    if request.database is None and len(stack.databases) != 1:
        known = ", ".join(stack.databases) or "none"
        raise PlanRefused([f"{stack.name} has these databases: {known}. Name the one with -e rollback_database=…."])
    return stack.databases[request.database or next(iter(stack.databases))]


def _keys(project: Project, kinds: Sequence[str]) -> list[str]:
    """The entries of a restore point that putting this project back needs."""
    entries = [(kind.name, kind.entry(project)) for kind in registry.PROJECT_KINDS if kind.name in kinds]
    return [f"{kind}:{name}" for kind, name in entries if name]


def _stopped(stack: Stack, rolled: Sequence[Project], *, everything: bool) -> set[str]:
    """Names of the projects whose services stop: those put back, all that need them, and all users of a database."""
    if everything:
        return set(stack.projects)
    names = {project.name for project in rolled}
    return names | {needing for name in names for needing in stack.dependants(name)}


def _nothing(waves: int) -> dict[str, Any]:
    return {"databases": [], "projects": [], "checked": [], "waves": [[] for _depth in range(waves)], "keys": []}


def _parts(
    stack: Stack, databases: Sequence[Any], rolled: Sequence[Project], stopped: set[str], kinds: Sequence[str]
) -> dict[str, dict[str, Any]]:
    depths = stack.depths
    parts: dict[str, dict[str, Any]] = {}

    def part(host: str) -> dict[str, Any]:
        return parts.setdefault(host, _nothing(len(stack.waves)))

    for database in databases:
        part(database.host)["databases"].append(database.name)
        part(database.host)["keys"].append(f"{registry.DATABASE}:{database.name}")
    for name in sorted(stopped, key=lambda name: (depths[name], name)):
        project = stack.projects[name]
        for host in project.hosts:
            part(host)["waves"][depths[name]].extend(service_name(service) for service in project.services)
            part(host)["checked"].append(project.name)
    for project in rolled:
        for host in project.hosts:
            part(host)["projects"].append(_rolled(project, kinds))
            part(host)["keys"] = sorted({*part(host)["keys"], *_keys(project, kinds)})
    return parts


def _rolled(project: Project, kinds: Sequence[str]) -> dict[str, Any]:
    """What the component modules need of a project; a kind that is not asked for is null or empty."""
    return {
        "name": project.name,
        "path": project.path,
        "git_timeout": project.git_timeout,
        **{kind.name: kind.value(project) if kind.name in kinds else kind.nothing for kind in registry.PROJECT_KINDS},
        "environment": project.packages,
        "compile": list(project.checks.get("compile", ())),
        "imports": list(project.checks.get("imports", ())),
    }


def choose_point(
    name: str, needs: Mapping[str, Sequence[str]], points: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """The restore point to go back to: one name, good, whole and the same on every host that is needed.

    :param needs: host → keys (``kind:name``) of the entries that it must hold.
    :returns: ``{"name", "created", "digest"}``.
    :raises PlanRefused: with what each candidate lacks on each host.
    """
    silent = sorted(host for host in needs if host not in points)
    if silent:
        raise PlanRefused([f"{host} did not say which restore points it has." for host in silent])
    by_name: dict[str, dict[str, Mapping[str, Any]]] = {}
    for host in needs:
        for point in points[host]:
            by_name.setdefault(point["name"], {})[host] = point
    if name != LAST_GOOD and name not in by_name:
        there = ", ".join(sorted(by_name)) or "none at all"
        raise PlanRefused([f"Restore point {name!r} does not exist on any host of the plan. There: {there}."])
    candidates = (
        [name] if name != LAST_GOOD else sorted(by_name, key=lambda each: _created(by_name[each]), reverse=True)
    )
    lacking = []
    for candidate in candidates:
        lacks = _lacks(candidate, by_name[candidate], needs)
        if not lacks:
            found = next(iter(by_name[candidate].values()))
            return {"name": candidate, "created": found["created"], "digest": found["good_digest"]}
        lacking += lacks
    if not candidates:
        raise PlanRefused(
            [
                f"There is no restore point on {', '.join(sorted(needs))}: first run ansible-playbook lastgood.rollback.capture"
            ]
        )
    raise PlanRefused([*lacking, "Nothing was touched. Choose another restore point, or capture one."])


def _created(found: Mapping[str, Mapping[str, Any]]) -> str:
    return max(str(point["created"] or "") for point in found.values())


def _lacks(name: str, found: Mapping[str, Mapping[str, Any]], needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Why this restore point can't be used; empty when it can."""
    lacks = []
    digests = {point["good_digest"] for point in found.values()}
    for host, keys in sorted(needs.items()):
        point = found.get(host)
        if point is None:
            lacks.append(f"{name}: {host} has no such restore point; was the host added later?")
            continue
        if point["findings"]:
            lacks.append(f"{name}: damaged on {host}: {'; '.join(point['findings'])}.")
        elif not point["good"]:
            lacks.append(f"{name}: never marked good on {host}: its checks did not pass on all hosts.")
        elif point["good_hosts"].get(host) != point["manifest_sha256"]:
            lacks.append(f"{name}: on {host} it is not the one that was marked good.")
        missing = sorted(set(keys) - set(point["components"]))
        if missing:
            lacks.append(f"{name}: {host} captured no {', '.join(missing)}.")
    if not lacks and len(digests) != 1:
        lacks.append(f"{name}: the hosts hold different restore points of this name.")
    return lacks
