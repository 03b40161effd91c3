# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The environment that was live before a rollback goes live again: it was kept whole, and nothing is built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    CommandFailed,
    Refused,
    StateConflict,
    VerificationFailed,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import write_atomic
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from ..base import FinishedRollback
from ..plan import Plan, State
from .component import Packages, plan_owner, restore_before
from .environment import inspect_environment
from .link import EnvironmentPaths, LivePath

#: In the workspace: that the environment was inspected and works where it is.
TRIED_FILE = "tried"


class PackagesReversal(Packages):
    """The same flip of the same names as the rollback's, the other way round.

    The facts name the rollback's own paths: ``before`` is what was there before it, and ``to`` says whether that is to
    come (``before``), or what the rollback had built (``side``), when its undo is itself undone.
    """

    def plan_reversal(self, finished: FinishedRollback) -> Plan:
        """Look at both environments; refuse when the one that is to come is gone."""
        facts = {**finished.plan.facts, "to": "side" if finished.plan.facts.get("to") == "before" else "before"}
        plan = replace(
            finished.plan,
            facts=facts,
            before=finished.plan.after,
            after=finished.plan.before,
            disk_bytes=0,
            warnings=(),
            undoes=finished.transaction,
        )
        returning = _returning(plan)
        if returning is None:
            raise Refused(
                f"{plan.name}: there was no environment before {finished.transaction}: nothing can come back."
            )
        if not returning.is_dir():
            raise Refused(f"{plan.name}: the environment of before, {returning}, is gone: it can't be taken back.")
        now = self._packages(plan, Path(facts["path"]))
        lost = [f"{name}=={version}" for name, version in now.items() if plan.after["packages"].get(name) != version]
        return replace(plan, discards={"packages": lost} if lost else {})

    def prepare(self, plan: Plan) -> JsonObject:
        """Nothing is built; what was put aside is tried where it is."""
        returning = _returning(plan)
        found = self._packages(plan, returning) if returning else {}
        if found != plan.after["packages"]:
            differing = ", ".join(sorted({name for name, _version in found.items() ^ plan.after["packages"].items()}))
            raise VerificationFailed(
                f"{returning} is no longer what was put aside; these packages differ: {differing}."
            )
        write_atomic(self.context.workspace / TRIED_FILE, b"")
        return {"environment": str(returning), "imports": [], "build_ms": 0}

    def switch(self, plan: Plan) -> None:
        """One rename, or one exchange."""
        self._flip(plan, to=plan.facts["to"])

    def undo(self, plan: Plan) -> None:
        """The same the other way round; nothing was built, so nothing is removed."""
        state = self.state(plan)
        if state is State.FOREIGN:
            raise StateConflict(
                f"{plan.name} leads neither to the environment of before nor to the other: look at it by hand."
            )
        if state in (State.SWITCHED, State.PARTIAL):
            self._flip(plan, to="before" if plan.facts["to"] == "side" else "side")
        (self.context.workspace / TRIED_FILE).unlink(missing_ok=True)

    def state(self, plan: Plan) -> State:
        """What the rollback itself finds, read the other way round."""
        found = super().state(plan)
        if found in (State.FOREIGN, State.PARTIAL):
            return found
        if (found is State.SWITCHED) is (plan.facts["to"] == "side"):
            return State.SWITCHED
        return State.PREPARED if (self.context.workspace / TRIED_FILE).exists() else State.UNTOUCHED

    def kept(self, plan: Plan) -> JsonObject:
        """The environment that is not live."""
        if self.state(plan) is not State.SWITCHED:
            return {}
        paths, before = EnvironmentPaths.of(plan.facts), LivePath(**plan.facts["before"])
        return {"environment": str(paths.side if plan.facts["to"] == "before" else paths.kept(before))}

    def _flip(self, plan: Plan, to: str) -> None:
        if to == "side":
            super().switch(plan)
            return
        paths, before = EnvironmentPaths.of(plan.facts), LivePath(**plan.facts["before"])
        with self.context.change(f"Put {paths.path} back to what was before"), paths.rights(plan_owner(plan)):
            restore_before(paths, before)

    def _packages(self, plan: Plan, path: Path) -> dict[str, Any]:
        """The set of an environment; none for one that does not run, as when it was planned for."""
        try:
            return inspect_environment(self.context.run.as_user(plan_owner(plan)), path).packages
        except CommandFailed:
            return {}


def _returning(plan: Plan) -> Path | None:
    """Where the environment that is to come is now."""
    paths = EnvironmentPaths.of(plan.facts)
    return paths.side if plan.facts["to"] == "side" else paths.kept(LivePath(**plan.facts["before"]))
