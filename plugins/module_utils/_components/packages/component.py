# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The component ``packages``: the installed set of a Python environment.

A new environment is built beside from verified wheels and tried there; the switch flips the link at the live path. See
``_tools/environment_link.py`` for the names beside, and for how a plain directory is adopted. Scripts in an adopted
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

from ..base import Component, Plan, PointEntry, State
from . import link
from .capture import IMPORT_TIMEOUT, capture, failures
from .environment import Environment, Interpreter, failed_imports, inspect_environment
from .install import Build, Installer
from .link import Live, Place
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
        """The digest of the installed set, and what stands at the path."""
        path = absolute(options["path"])
        run = self.context.run.as_user(environment_owner(path, options.get("owner")))
        environment = inspect_environment(run, path)
        return {
            "packages": hashlib.sha256(dump_json([environment.packages, environment.origins])).hexdigest(),
            "python": environment.interpreter.version,
            "live": link.look(path).to_json(),
        }

    def plan(self, options: Mapping[str, Any], point: PointEntry | None) -> Plan:
        """Compare the present set with the wanted one; refuse whatever can be known not to work."""
        return Planner(self.context.transaction, self.context.run, options, point).plan()

    def prepare(self, plan: Plan) -> JsonObject:
        """Build the environment beside, compare its set, and try the imports in it."""
        place, owner = Place.of(plan.facts), plan_owner(plan)
        run = self.context.run.as_user(owner)
        started = time.monotonic()
        with self.context.change(f"Build the environment {place.side} beside {place.path}", side=str(place.side)):
            if not self._is_built(plan):
                self._build(plan)
        return {
            "environment": str(place.side),
            "installer": Installer(**plan.facts["installer"]).words,
            "python": inspect_environment(run, place.side).interpreter.version,
            "imports": list(plan.facts["imports"]),
            "build_ms": round((time.monotonic() - started) * 1000),
        }

    def switch(self, plan: Plan) -> None:
        """Flip the link. One rename, or one exchange."""
        place, before = Place.of(plan.facts), Live(**plan.facts["before"])
        what = f"Let {place.path} lead to {place.target}"
        with self.context.change(what, before=before.to_json()), place.rights(plan_owner(plan)):
            if before.kind == "directory":
                link.adopt(place)
            else:
                link.put_link(place, place.target)

    def undo(self, plan: Plan) -> None:
        """Put back what stood at the path, then remove what was built."""
        place, before = Place.of(plan.facts), Live(**plan.facts["before"])
        state = self.state(plan)
        if state is State.FOREIGN:
            raise StateConflict(
                f"{place.path} is neither what it was ({_words(before)}) nor what it was switched to ({place.target}),"
                f" but {_words(link.look(place.path))}: it was changed since. Decide which one is wanted."
            )
        owner = plan_owner(plan)
        if state in (State.SWITCHED, State.PARTIAL):
            with self.context.change(f"Put {place.path} back to {_words(before)}"), place.rights(owner):
                put_back(place, before)
        with self.context.change(f"Remove what was built beside {place.path}"):
            with acting_as(owner):
                for left in (place.link, place.previous):
                    if left.is_symlink():  # what was put aside is back; a directory of that name is none of ours
                        left.unlink()
                remove_build(place)
            with place.rights(owner):
                if not place.entries():
                    remove_base(place, owner)

    def finish(self, plan: Plan) -> None:
        """Keep what was replaced now; environments that were replaced earlier go."""
        place, before = Place.of(plan.facts), Live(**plan.facts["before"])
        kept = {place.side, place.previous, place.path.parent / before.target if before.target else place.side}
        old = [str(entry) for entry in place.entries() if entry not in kept]
        if old:
            change = self.context.change(f"Remove older environments beside {place.path}", old=old)
            with change, acting_as(plan_owner(plan)):
                problems = remove_older(place, kept)
            if problems:
                self.context.note(f"Older environments could not be removed: {'; '.join(problems)}.")

    def state(self, plan: Plan) -> State:
        """Look at the live path and at the names beside it."""
        place, before = Place.of(plan.facts), Live(**plan.facts["before"])
        with place.rights(plan_owner(plan)):
            live = link.look(place.path)
            if live.kind == "link" and live.target == place.target:
                return State.SWITCHED
            if live.is_same(before):
                beside = (place.side, place.staging, place.link, place.previous)
                return State.PREPARED if any(os.path.lexists(name) for name in beside) else State.UNTOUCHED
            halfway = live.kind == "missing" and link.look(place.previous).is_same(before)
            return State.PARTIAL if halfway else State.FOREIGN

    def kept(self, plan: Plan) -> JsonObject:
        """Where the replaced environment is; nothing while it is the live one."""
        place, before = Place.of(plan.facts), Live(**plan.facts["before"])
        if self.state(plan) is not State.SWITCHED or before.kind not in ("directory", "link"):
            return {}
        aside = place.previous if before.kind == "directory" else place.path.parent / before.target
        return {"environment": str(aside)}

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
        place = Place.of(plan.facts)
        if not is_whole(place):
            return False
        try:
            found = inspect_environment(self.context.run.as_user(plan_owner(plan)), place.side)
        except CommandFailed:
            return False
        return not _differing(found, plan.facts)

    def _build(self, plan: Plan) -> None:
        """Build it whole; what is not whole is removed at once, since a full disk needs the room for the journal."""
        place, owner = Place.of(plan.facts), plan_owner(plan)
        with place.rights(owner):
            make_base(place, owner)
        with acting_as(owner):
            remove_build(place)
        try:
            self._install(place, owner, plan.facts)
        except BaseException:
            with acting_as(owner):
                remove_build(place)
            raise

    def _install(self, place: Place, owner: User, facts: JsonObject) -> None:
        run = self.context.run.as_user(owner)
        fill_staging(place, owner, facts)
        Build(
            target=place.side,
            staging=place.staging,
            interpreter=Interpreter(**facts["python"]),
            installer=Installer(**facts["installer"]),
            system_site=facts["system_site"],
            prompt=facts["prompt"],
            from_index=facts["from_index"],
        ).run(run)
        _verify(inspect_environment(run, place.side), facts)
        failed = failed_imports(run, place.side, facts["imports"], IMPORT_TIMEOUT)
        if failed:
            raise VerificationFailed(f"In the environment that was built for {place.path}, {failures(failed)}")
        # Now, not in the downtime: a link must never lead to files that a power cut can still empty.
        run.run(["sync", "-f", str(place.side)], f"Writing {place.side} to disk", check=False)
        with acting_as(owner):
            write_marker(place, self.context.transaction)
            remove(place.staging)


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


def put_back(place: Place, before: Live) -> None:
    """Let what stood at the path before stand there again. Can be repeated after a kill."""
    if before.kind == "directory":
        link.give_back(place, before)
    elif before.kind == "link":
        link.put_link(place, before.target)
    else:
        place.path.unlink()


def _words(live: Live) -> str:
    if live.kind == "link":
        return f"a link to {live.target}"
    return {"directory": f"the directory with inode {live.inode}", "missing": "nothing"}.get(live.kind, "another file")
