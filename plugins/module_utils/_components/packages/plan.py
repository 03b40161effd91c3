# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Planning the rollback of an environment: the present set, the wanted one, and what forbids it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, me, user_by_name
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.loaded import owner_along
from ansible_collections.lastgood.rollback.plugins.module_utils._base.paths import resolve
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from ..context import PointEntry
from ..plan import Plan
from .capture import IMPORT_TIMEOUT
from .environment import Environment, Interpreter, failed_imports, inspect_environment, inspect_interpreter
from .install import find_installer
from .link import EnvironmentPaths, LivePath, inspect_live, may_write, side_id
from .target import Target, from_point, from_requirements, with_origins

#: Bytes: an empty environment, and what has to stay free.
_EMPTY_ENVIRONMENT = 4 * 1024**2
_MARGIN = 64 * 1024**2


def absolute(path: Any) -> Path:
    """An absolute path in its simplest form; its last component may be a link and is not followed."""
    return Path(os.path.abspath(os.fspath(path)))


def environment_owner(path: Path, name: str | None) -> User:
    """Who an environment belongs to: the named user, else the owner of what is there, else of the directory around it.

    :raises Refused: when that is somebody else and we are not root.
    """
    owner = user_by_name(name) if name else owner_along(path)
    if os.geteuid() not in (0, owner.uid):
        raise Refused(f"{path} belongs to {owner.name}, and this runs as {me().name}: become {owner.name} or root.")
    return owner


class Planner:
    """Makes one plan. Reads, and starts interpreters as the environment's owner; changes nothing."""

    def __init__(
        self, transaction: str, run: CommandRunner, options: Mapping[str, Any], point: PointEntry | None
    ) -> None:
        self.options = options
        self.point = point
        self.path = absolute(options["path"])
        self.paths = EnvironmentPaths(self.path, side_id(transaction, self.path))
        self.owner = environment_owner(self.path, options.get("owner"))
        self.run = run.as_user(self.owner)
        self.before = inspect_live(self.path)
        self.warnings: list[str] = []

    def plan(self) -> Plan:
        """Put it all together.

        :raises Refused: whenever it can be known now that it would not work.
        """
        self._require_usable_path()
        present = self._present()
        base = self._base(present)
        target = self._target(base, present)
        changed = self._differs(present, base, target)
        installer: JsonObject = {}
        if changed:
            installer = self._installer(base, present, target)
            self._require_disk(target)
        installed = with_origins(present.packages, present.origins) if present else {}
        now = self._public(installed, present.interpreter.version if present else "", self.before)
        wanted = with_origins(target.packages, target.origins or {})
        then = self._public(wanted, base.version, LivePath("link", target=self.paths.target)) if changed else now
        return Plan(
            kind="packages",
            name=str(self.path),
            things=(f"environment:{self.path.parent.resolve() / self.path.name}",),
            changed=changed,
            before=now,
            after=then,
            discards=_discards(now["packages"], then["packages"]),
            facts={
                "path": str(self.path),
                "id": self.paths.id,
                "owner": self.owner.uid,
                "before": self.before.to_json(),
                "packages": target.packages,
                "origins": target.origins,
                "wheels": [wheel.to_json() for wheel in target.wheels],
                "lock": target.lock,
                "python": base.to_json(),
                "installer": installer,
                "system_site": target.system_site,
                "prompt": target.prompt,
                "imports": target.imports,
                "from_index": target.from_index,
            },
            disk_bytes=_disk_bytes(target) if changed else 0,
            warnings=tuple(self.warnings),
        )

    def _require_usable_path(self) -> None:
        """Refuse what is no environment, and what can't be renamed."""
        path, parent = self.path, self.path.parent
        resolve(parent).require({self.owner.uid}, f"replacing {path.name} there for {self.owner.name}")
        if self.before.kind == "other" or not _looks_like_environment(path):
            raise Refused(
                f"{path} is not a Python environment (no pyvenv.cfg, no bin/python): name the environment itself."
            )
        if os.path.ismount(path):
            raise Refused(f"{path} is a mount point and can't be replaced: name an environment below it.")
        if not may_write(parent, self.owner) and not (os.geteuid() == 0 and parent.stat().st_uid == 0):
            raise Refused(
                f"{parent} can't be written by {self.owner.name}, so {path.name} can't be replaced there: give that"
                " user the right to write it, or let root own it and run this as root."
            )
        base = self.paths.base
        if os.path.lexists(base) and (base.is_symlink() or not base.is_dir() or base.stat().st_uid != self.owner.uid):
            raise Refused(f"{base} is in the way: it has to be a directory of {self.owner.name}. Move it away.")

    def _present(self) -> Environment | None:
        """The present environment; nothing when it is missing or broken, which is a reason for a rollback."""
        if self.before.kind == "missing":
            self.warnings.append(f"{self.path} does not exist: there is nothing to compare with, and nothing to keep.")
            return None
        try:
            return inspect_environment(self.run, self.path)
        except CommandFailed as error:
            self.warnings.append(f"{self.path} is broken, what is installed is not known. {error.message}")
            return None

    def _base(self, present: Environment | None) -> Interpreter:
        """The interpreter that the new environment is made with."""
        captured = Interpreter(**self.point.facts["python"]) if self.point else None
        known = captured or (present.interpreter if present else None)
        chosen = self.options.get("python") or (known.executable if known else None)
        if not chosen:
            raise Refused(f"{self.path} does not work, so it can't be told what it was made with: set 'python'.")
        try:
            found = inspect_interpreter(self.run, Path(chosen))
        except CommandFailed as error:
            raise Refused(
                f"The interpreter {chosen}, which {self.path} was made with, does not work here for {self.owner.name}: "
                f"{error.message}. Install it, or name the same version with 'python'."
            ) from error
        if captured is None:
            return found
        pairs = [
            (getattr(captured, key), getattr(found, key)) for key in ("implementation", "series", "abi", "platform")
        ]
        differing = [f"{wanted} was captured, {there} is there" for wanted, there in pairs if wanted != there]
        if differing:
            raise Refused(
                f"The interpreter {chosen} can't run what was captured for {self.path}: {'; '.join(differing)}."
            )
        if captured.version != found.version:
            self.warnings.append(f"{chosen} is {found.version} by now; it was {captured.version} when it was captured.")
        return found

    def _target(self, base: Interpreter, present: Environment | None) -> Target:
        target = (
            from_point(self.point, self.options, self.path) if self.point else from_requirements(self.options, base)
        )
        self.warnings.extend(target.warnings)
        if self.point:
            return target
        # A file of requirements says nothing of these: they stay what they are.
        return replace(
            target,
            system_site=present.system_site if present else False,
            prompt=(present.prompt if present else "") or self.path.name,
        )

    def _differs(self, present: Environment | None, base: Interpreter, target: Target) -> bool:
        if present is None or present.duplicates or present.damaged:
            return True
        keys = ("implementation", "series", "abi", "platform")
        if any(getattr(present.interpreter, key) != getattr(base, key) for key in keys):
            return True
        if present.packages != target.packages or present.system_site != target.system_site:
            return True
        if target.origins is not None and present.origins != target.origins:
            return True
        failed = failed_imports(self.run, self.path, target.imports, IMPORT_TIMEOUT)
        for name, why in failed.items():
            self.warnings.append(f"In {self.path}, importing {name} fails now: {why}")
        return bool(failed)

    def _installer(self, base: Interpreter, present: Environment | None, target: Target) -> JsonObject:
        staged = {wheel.name: wheel.file for wheel in target.wheels}
        live = present.interpreter if present else None
        choice = str(self.options.get("installer") or "auto")
        found = find_installer(self.run, choice, base, live, self.path / "bin" / "python", staged)
        if found is None:
            uv = "uv is neither on PATH, nor beside the running interpreter, nor in the owner's home"
            pip = f"pip is neither in the wheels, nor in {base.executable}, nor in the environment"
            missing = {"uv": uv, "pip": pip, "auto": f"{uv}; {pip}"}[choice]
            raise Refused(
                f"{self.owner.name} has no tool to build an environment for {self.path} with: {missing}. Install one, or"
                " let 'installer' be auto."
            )
        if not base.makes_environments and found.kind != "uv":
            raise Refused(
                f"{base.executable} has no module venv, and there is no uv: install its package python3-venv."
            )
        return found.to_json()

    def _require_disk(self, target: Target) -> None:
        needed, free = _disk_bytes(target), shutil.disk_usage(self.path.parent).free
        if free < needed + _MARGIN:
            raise Refused(
                f"The new environment for {self.path} needs about {needed // 1024**2} MiB; {free // 1024**2} MiB are"
                f" free, and {_MARGIN // 1024**2} MiB of them must stay: make room where {self.path.parent} is."
            )

    def _public(self, packages: Mapping[str, str], python: str, live: LivePath) -> JsonObject:
        return {
            "path": str(self.path),
            "environment": live.target if live.kind == "link" else live.kind,
            "python": python,
            "packages": dict(sorted(packages.items())),
        }


def _looks_like_environment(path: Path) -> bool:
    """True also for what is missing, dangling or empty: nothing of anybody's is moved then."""
    if not path.is_dir():
        return True
    entries = {entry.name for entry in path.iterdir()}
    return not entries or "pyvenv.cfg" in entries or os.path.lexists(path / "bin" / "python")


def _disk_bytes(target: Target) -> int:
    """Copies of the wheels, what they unpack to, and as much again for byte code."""
    return _EMPTY_ENVIRONMENT + sum(wheel.bytes + 2 * wheel.unpacked_bytes for wheel in target.wheels)


def _discards(now: Mapping[str, str], then: Mapping[str, str]) -> JsonObject:
    lost = [f"{name}=={version}" for name, version in now.items() if then.get(name) != version]
    return {"packages": lost} if lost else {}
