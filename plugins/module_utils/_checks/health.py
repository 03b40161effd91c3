# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Checks of a project: endpoints, imports, critical tests. Each yields a result, none raises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.loaded import owner_along
from ansible_collections.lastgood.rollback.plugins.module_utils._base.masking import hidden, mask_secrets, secrets_in
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import Pending
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._base.web import ask
from ansible_collections.lastgood.rollback.plugins.module_utils._services import control

_PARALLEL_CHECKS = 4
#: How the result of a service begins that is down on purpose, as far as its manager knows.
STOPPED = "is stopped"

Check = tuple[str, Callable[[], "tuple[bool, str]"]]


def check_projects(projects: list[JsonObject], run: CommandRunner, timeout_s: float) -> list[JsonObject]:
    """Run all checks of all projects, a few at a time.

    :returns: for each ``{"name", "ok", "detail", "ms"}``, in the projects' order.
    """
    checks = [check for project in projects for check in _checks_of(project, run, timeout_s)]
    pending = Pending("Waiting for", "checks", len(checks))
    with ThreadPoolExecutor(max_workers=_PARALLEL_CHECKS) as pool:
        return list(pool.map(lambda check: _timed(check, pending), checks))


def _timed(check: Check, pending: Pending) -> JsonObject:
    name, work = check
    pending.add(name)
    began = time.monotonic()
    ok, detail = work()
    pending.done(name)
    return {"name": name, "ok": ok, "detail": detail, "ms": round((time.monotonic() - began) * 1000)}


def _checks_of(project: Mapping[str, Any], run: CommandRunner, timeout_s: float) -> Iterator[Check]:
    name, path = project["name"], Path(project["path"])
    for request in project["http"]:
        yield f"{name}: {request['url']}", partial(_check_http, request, timeout_s)
    for service in control.parse(project.get("services") or ()):
        yield f"{name}: service {service.name}", partial(_check_service, service, run)
    python = project["python"] or "python3"
    commands = [[python, "-c", f"import {module}"] for module in project["imports"]]
    labels = [f"{name}: import {module}" for module in project["imports"]]
    for command in project["commands"]:
        commands.append([python, *command[1:]] if command[0] == "python" else list(command))
        labels.append(f"{name}: {' '.join(hidden(command))}")
    for label, command in zip(labels, commands):
        yield label, partial(_check_command, command, path, run, timeout_s)


def _check_service(service: control.Service, run: CommandRunner) -> tuple[bool, str]:
    """Whether a service runs, and answers as its description asks; asked once."""
    try:
        [status] = control.inspect([service], run)
        missing = service.ready.missing(run) if status.running and not status.ready else ""
    except LastGoodError as error:
        return False, error.message
    if not status.running:
        return False, f"{STOPPED} ({status.manager}: {status.detail or status.state})"
    if not status.ready:
        return False, f"is {status.state}, but not ready: {missing or status.detail}"
    return True, "runs and is ready"


def _check_http(request: Mapping[str, Any], timeout_s: float) -> tuple[bool, str]:
    try:
        answer = ask(request["url"], timeout_s, follow=True)
    except (OSError, HTTPException, ValueError) as error:
        return False, f"no answer: {error}"
    wanted = request.get("contains")
    if answer.status != request["status"]:
        redirect = f"it points to another host, {answer.leads_to}, which was not asked: " if answer.leads_to else ""
        return False, f"{answer.status} instead of {request['status']}: {redirect}{_excerpt(answer.body)}"
    if wanted and wanted.encode() not in answer.body:
        return False, f"{answer.status}, but without {wanted!r}: {_excerpt(answer.body)}"
    return True, str(answer.status)


def _check_command(command: list[str], path: Path, run: CommandRunner, timeout_s: float) -> tuple[bool, str]:
    environment = {"PYTHONDONTWRITEBYTECODE": "1"}
    try:
        runner = run.as_user(owner_along(path)).with_env(environment)
        # How many checks are awaited, and which, is shown for all together.
        runner.run_named(command, f"Checking {path}", cwd=path, timeout=timeout_s, meanwhile=lambda: None)
    except LastGoodError as error:
        return False, mask_secrets(error.message, secrets_in(command))
    return True, "ended with 0"


def _excerpt(body: bytes) -> str:
    return " ".join(body.decode("utf-8", errors="replace").split())[:200]
