# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small real component for the tests of the engine: two files that are switched one after the other.

It keeps everything in files, so that what it says is found by looking, and a kill between the two files is a real
half-switched state. Registered under the kind ``pair`` in place of a real component, and ``late`` for a second one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, StateConflict
from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import Component
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context, PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State

NAMES = ("one", "two")


class Pair(Component):
    """The files ``one`` and ``two`` of a directory, each holding a word; the options name the directory and the new word.

    What prepare builds stands in ``<name>.new``, what the switch replaced in ``<name>.old``; the undo keeps what it takes
    back as ``<name>.rejected``, which was written to where there is a ``<name>.written``. Files named ``fail-<phase>`` beside
    them make that phase fail, as a tool would; with ``forget-undo`` the undo does nothing, and says nothing.
    """

    kind = "pair"
    order = 10

    @classmethod
    def entry_name(cls, options: Mapping[str, Any]) -> str:
        return str(options["path"])

    def capture(self, options: Mapping[str, Any], into: Path) -> dict[str, Any]:
        raise NotImplementedError

    def fingerprint(self, options: Mapping[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def plan(self, options: Mapping[str, Any], point: PointEntry | None) -> Plan:
        old, new = (Path(options["path"]) / "one").read_text(), str(options["to"])
        return Plan(
            kind=self.kind,
            name=str(options["path"]),
            things=(f"pair:{options['path']}",),
            changed=old != new,
            before={"word": old},
            after={"word": new},
        )

    def prepare(self, plan: Plan) -> dict[str, Any]:
        self._may_fail(plan, "prepare")
        for name in NAMES:
            with self.context.change(f"Build {name}.new", file=name):
                _file(plan, f"{name}.new").write_text(plan.after["word"])
        (self.context.workspace / "evidence").write_text("built")
        return {"built": list(NAMES)}

    def switch(self, plan: Plan) -> None:
        for name in NAMES:
            live, new, old = (_file(plan, f"{name}{suffix}") for suffix in ("", ".new", ".old"))
            if new.exists():
                with self.context.change(f"Flip {name}", file=name):
                    if not old.exists():
                        old.hardlink_to(live)
                    new.replace(live)
            self._may_fail(plan, "switch")

    def undo(self, plan: Plan) -> None:
        if self.state(plan) is State.FOREIGN:
            raise StateConflict(f"{plan.key} was changed by somebody else.")
        self._may_fail(plan, "undo")
        if _file(plan, "forget-undo").exists():
            return
        for name in reversed(NAMES):
            live, new, old = (_file(plan, f"{name}{suffix}") for suffix in ("", ".new", ".old"))
            with self.context.change(f"Take back {name}", file=name):
                if old.exists():
                    if live.read_text() == plan.after["word"]:
                        _file(plan, f"{name}.rejected").write_text(live.read_text())
                    old.replace(live)  # nothing at all when both are names of one file: hence the unlink
                    old.unlink(missing_ok=True)
                new.unlink(missing_ok=True)

    def count_written(self, plan: Plan) -> dict[str, Any]:
        self._may_fail(plan, "count")
        _file(plan, "counted").touch()
        return {name: 1 for name in NAMES if _file(plan, f"{name}.written").exists()}

    def discard_rejected(self, plan: Plan) -> None:
        self._may_fail(plan, "let-go")

    def finish(self, plan: Plan) -> None:
        self._may_fail(plan, "finish")
        for name in NAMES:
            _file(plan, f"{name}.new").unlink(missing_ok=True)

    def state(self, plan: Plan) -> State:
        self._may_fail(plan, "state")
        live = [_file(plan, name).read_text() for name in NAMES]
        beside = [name for name in NAMES if _file(plan, f"{name}.new").exists()]
        replaced = [name for name in NAMES if _file(plan, f"{name}.old").exists()]
        if set(live) == {plan.after["word"]}:
            return State.SWITCHED
        if set(live) == {plan.before["word"]}:
            return State.PREPARED if beside or replaced else State.UNTOUCHED
        return State.PARTIAL if set(live) == {plan.before["word"], plan.after["word"]} else State.FOREIGN

    def kept(self, plan: Plan) -> dict[str, Any]:
        return {name: str(_file(plan, f"{name}.old")) for name in NAMES if _file(plan, f"{name}.old").exists()}

    def result(self, plan: Plan, evidence: Mapping[str, Any]) -> dict[str, Any]:
        return {"built": evidence.get("built", [])}

    def _may_fail(self, plan: Plan, phase: str) -> None:
        wait = _file(plan, f"wait-{phase}")
        if wait.exists():
            _file(plan, f"waits-{phase}").touch()
        while wait.exists():
            time.sleep(0.01)
        if _file(plan, f"fail-{phase}").exists():
            raise CommandFailed(f"The {phase} of {plan.name}", ["pair"], 1, stderr="told to fail")


class Late(Pair):
    """A second kind: it is switched after `Pair` and undone before it."""

    kind = "late"
    order = 20


def _file(plan: Plan, name: str) -> Path:
    return Path(plan.name) / name


def make_pair(path: Path, word: str = "old") -> Path:
    """Both files with one word in them."""
    path.mkdir(parents=True)
    for name in NAMES:
        (path / name).write_text(word)
    return path


def words(path: Path) -> set[str]:
    """What really stands in the two files."""
    return {(path / name).read_text() for name in NAMES}


def plan_pair(path: Path, to: str = "new", kind: type[Pair] = Pair) -> Plan:
    """The plan to bring both files to another word."""
    return kind(_NO_CONTEXT).plan({"path": str(path), "to": to}, None)


_NO_CONTEXT: Context = None  # type: ignore[assignment]  # a plan changes nothing, so it needs no context
KINDS: dict[str, Callable[[], type[Component]]] = {"pair": lambda: Pair, "late": lambda: Late}
