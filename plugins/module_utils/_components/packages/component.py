# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The component ``packages``: the installed set of a Python environment.

A new environment is built beside from verified wheels and tried there; the switch flips the link at the live path. See
``link.py`` for the names beside, and for how a plain directory is adopted. Scripts in an adopted
directory go on naming ``<path>/bin/python`` in their first line: they run again when the directory is put back.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, acting_as, user_by_uid
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    CommandFailed,
    StateConflict,
    VerificationFailed,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import dump_json
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from ..base import Component
from ..context import PointEntry
from ..plan import Plan, State
from . import link
from .capture import IMPORT_TIMEOUT, capture, failed_imports_text
from .environment import Environment, Interpreter, failed_imports, inspect_environment
from .install import Build, Installer
from .link import EnvironmentPaths, LivePath
from .plan import Planner, absolute, environment_owner
from .staging import fill_staging, is_whole, make_base, remove, remove_base, remove_build, remove_older, write_marker


class Packages(Component):
    """Puts an environment back to an exact set of packages."""

    kind = "packages"
    order = 20

    @classmethod
    def entry_name(cls, options: Mapping[str, Any]) -> str:
        """The environment's absolute path; a link is not followed."""
        return str(absolute(options["path"]))

    def capture(self, options: Mapping[str, Any], into: Path) -> JsonObject:
        """Pack what is installed into wheels, with a lock file. Needs no network.

        :raises Refused: for what can't be packed exactly, damaged installations for one; each is named.
        """
        path = absolute(options["path"])
        owner = environment_owner(path, options.get("owner"))
        return capture(self.context.run.as_user(owner), path, owner, list(options.get("imports") or []), into)

    def fingerprint(self, options: Mapping[str, Any]) -> JsonObject:
        """The digest of the installed set, and what is at the path."""
        path = absolute(options["path"])
        run = self.context.run.as_user(environment_owner(path, options.get("owner")))
        environment = inspect_environment(run, path)
        return {
            "packages": hashlib.sha256(dump_json([environment.packages, environment.origins])).hexdigest(),
            "python": environment.interpreter.version,
            "live": link.inspect_live(path).to_json(),
        }

    def plan(self, options: Mapping[str, Any], point: PointEntry | None) -> Plan:
        """Compare the present set with the wanted one; refuse whatever can be known not to work."""
        return Planner(self.context.transaction, self.context.run, options, point).plan()

    @classmethod
    def is_reversible(cls, plan: Plan) -> bool:
        """Only where an environment is there to come back."""
        before = LivePath(**plan.facts["before"])
        returning = EnvironmentPaths.of(plan.facts).kept(before)
        return returning is not None and (before.kind == "directory" or returning.is_dir())

    @classmethod
    def kept_instead(cls, plan: Plan) -> str:
        """See `Component.kept_instead`."""
        return "nothing, since there is no environment now"

    def prepare(self, plan: Plan) -> JsonObject:
        """Build the environment beside, compare its set, and try the imports in it."""
        paths, owner = EnvironmentPaths.of(plan.facts), plan_owner(plan)
        run = self.context.run.as_user(owner)
        started = time.monotonic()
        with self.context.change(f"Build the environment {paths.side} beside {paths.path}", side=str(paths.side)):
            if not self._is_built(plan):
                self._build(plan)
        return {
            "environment": str(paths.side),
            "installer": Installer(**plan.facts["installer"]).description,
            "python": inspect_environment(run, paths.side).interpreter.version,
            "imports": list(plan.facts["imports"]),
            "build_ms": round((time.monotonic() - started) * 1000),
        }

    def switch(self, plan: Plan) -> None:
        """Flip the link. One rename, or one exchange."""
        paths, before = EnvironmentPaths.of(plan.facts), LivePath(**plan.facts["before"])
        what = f"Let {paths.path} lead to {paths.target}"
        with self.context.change(what, before=before.to_json()), paths.rights(plan_owner(plan)):
            if before.kind == "directory":
                link.adopt(paths)
            else:
                link.put_link(paths, paths.target)

    def undo(self, plan: Plan) -> None:
        """Put back what was at the path, then remove what was built."""
        paths, before = EnvironmentPaths.of(plan.facts), LivePath(**plan.facts["before"])
        state = self.state(plan)
        if state is State.FOREIGN:
            raise StateConflict(
                f"{paths.path} is neither what it was ({_describe(before)}) nor what it was switched to ({paths.target}),"
                f" but {_describe(link.inspect_live(paths.path))}: it was changed since. Decide which one is wanted."
            )
        owner = plan_owner(plan)
        if state in (State.SWITCHED, State.PARTIAL):
            with self.context.change(f"Put {paths.path} back to {_describe(before)}"), paths.rights(owner):
                restore_before(paths, before)
        with self.context.change(f"Remove what was built beside {paths.path}"):
            with acting_as(owner):
                for left in (paths.link, paths.previous):
                    if left.is_symlink():  # what was replaced is back; a directory of that name is none of ours
                        left.unlink()
                remove_build(paths)
            with paths.rights(owner):
                if not paths.entries():
                    remove_base(paths, owner)

    def finish(self, plan: Plan) -> None:
        """Keep what was replaced now; environments that were replaced earlier go."""
        paths, before = EnvironmentPaths.of(plan.facts), LivePath(**plan.facts["before"])
        kept = {paths.side, paths.previous, paths.path.parent / before.target if before.target else paths.side}
        old = [str(entry) for entry in paths.entries() if entry not in kept]
        if old:
            change = self.context.change(f"Remove older environments beside {paths.path}", old=old)
            with change, acting_as(plan_owner(plan)):
                problems = remove_older(paths, kept)
            if problems:
                self.context.note(f"Older environments could not be removed: {'; '.join(problems)}.")

    def state(self, plan: Plan) -> State:
        """Inspect the live path and the names beside it."""
        paths, before = EnvironmentPaths.of(plan.facts), LivePath(**plan.facts["before"])
        with paths.rights(plan_owner(plan)):
            live = link.inspect_live(paths.path)
            if live.kind == "link" and live.target == paths.target:
                return State.SWITCHED
            if live.is_same(before):
                built = (paths.side, paths.staging, paths.link, paths.previous)
                return State.PREPARED if any(os.path.lexists(name) for name in built) else State.UNTOUCHED
            halfway = live.kind == "missing" and link.inspect_live(paths.previous).is_same(before)
            return State.PARTIAL if halfway else State.FOREIGN

    def kept(self, plan: Plan) -> JsonObject:
        """Where the replaced environment is; nothing while it is the live one."""
        paths, before = EnvironmentPaths.of(plan.facts), LivePath(**plan.facts["before"])
        if self.state(plan) is not State.SWITCHED or before.kind not in ("directory", "link"):
            return {}
        replaced = paths.previous if before.kind == "directory" else paths.path.parent / before.target
        return {"environment": str(replaced)}

    def result(self, plan: Plan, evidence: Mapping[str, Any]) -> JsonObject:
        """``added`` and ``removed`` as ``name==version``, ``changed_packages`` with both versions."""
        old, new = plan.before["packages"], plan.after["packages"]
        both = sorted(set(old) & set(new))
        return {
            "added": [f"{name}=={new[name]}" for name in sorted(set(new) - set(old))],
            "removed": [f"{name}=={old[name]}" for name in sorted(set(old) - set(new))],
            "changed_packages": [
                {"name": name, "before": old[name], "after": new[name]} for name in both if old[name] != new[name]
            ],
            "environment": evidence.get("environment", ""),
            "installer": evidence.get("installer", ""),
        }

    def _is_built(self, plan: Plan) -> bool:
        """Whether an earlier call finished: the marker is written last, and the set is looked at again."""
        paths = EnvironmentPaths.of(plan.facts)
        if not is_whole(paths):
            return False
        try:
            found = inspect_environment(self.context.run.as_user(plan_owner(plan)), paths.side)
        except CommandFailed:
            return False
        return not _differing(found, plan.facts)

    def _build(self, plan: Plan) -> None:
        """Build it whole; what is not whole is removed at once, since a full disk needs the room for the journal."""
        paths, owner = EnvironmentPaths.of(plan.facts), plan_owner(plan)
        with paths.rights(owner):
            make_base(paths, owner)
        with acting_as(owner):
            remove_build(paths)
        try:
            self._install(paths, owner, plan.facts)
        except BaseException:
            with acting_as(owner):
                remove_build(paths)
            raise

    def _install(self, paths: EnvironmentPaths, owner: User, facts: JsonObject) -> None:
        run = self.context.run.as_user(owner)
        fill_staging(paths, owner, facts)
        Build(
            target=paths.side,
            staging=paths.staging,
            interpreter=Interpreter(**facts["python"]),
            installer=Installer(**facts["installer"]),
            system_site=facts["system_site"],
            prompt=facts["prompt"],
            from_index=facts["from_index"],
        ).run(run)
        _verify(inspect_environment(run, paths.side), facts)
        failed = failed_imports(run, paths.side, facts["imports"], IMPORT_TIMEOUT)
        if failed:
            raise VerificationFailed(
                f"In the environment that was built for {paths.path}, {failed_imports_text(failed)}"
            )
        # Now, not in the downtime: a link must never lead to files that a power cut can still empty.
        run.run(["sync", "-f", str(paths.side)], f"Writing {paths.side} to disk", check=False)
        with acting_as(owner):
            write_marker(paths, self.context.transaction)
            remove(paths.staging)


def plan_owner(plan: Plan) -> User:
    """Who the environment belongs to."""
    return user_by_uid(plan.facts["owner"])


def _verify(found: Environment, facts: Mapping[str, Any]) -> None:
    differing = {*_differing(found, facts), *found.duplicates, *found.damaged}
    if differing:
        names = ", ".join(sorted(differing))
        raise VerificationFailed(f"The environment {found.path} was built, but its set is not the wanted one: {names}.")


def _differing(found: Environment, facts: Mapping[str, Any]) -> set[str]:
    """Names of the packages that are not the wanted ones."""
    pairs = [(found.packages, facts["packages"])]
    if facts.get("origins") is not None:
        pairs.append((found.origins, facts["origins"]))
    return {name for there, wanted in pairs for name, _value in set(there.items()) ^ set(wanted.items())}


def restore_before(paths: EnvironmentPaths, before: LivePath) -> None:
    """Put back what was at the path before. Can be repeated after a kill."""
    if before.kind == "directory":
        link.restore_directory(paths, before)
    elif before.kind == "link":
        link.put_link(paths, before.target)
    else:
        paths.path.unlink()


def _describe(live: LivePath) -> str:
    if live.kind == "link":
        return f"a link to {live.target}"
    return {"directory": f"the directory with inode {live.inode}", "missing": "nothing"}.get(live.kind, "another file")
