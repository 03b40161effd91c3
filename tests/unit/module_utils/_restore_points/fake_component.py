# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A component whose live thing is a directory of plain files, for the paths that real ones take only by accident."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import Component
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.capture import (
    ComponentRequest,
    Request,
    capture,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.writable_store import (
    WritableRestorePoints,
)


class Tree(Component):
    """Captures the files of ``path``; ``during`` says what befalls it meanwhile."""

    kind = "tree"
    order = 0

    @classmethod
    def entry_name(cls, options: Mapping[str, Any]) -> str:
        return str(options["path"])

    def fingerprint(self, options: Mapping[str, Any]) -> dict[str, Any]:
        files = sorted(path for path in Path(options["path"]).rglob("*") if path.is_file())
        return {path.name: path.read_text() for path in files}

    def capture(self, options: Mapping[str, Any], into: Path) -> dict[str, Any]:
        shutil.copytree(options["path"], into, dirs_exist_ok=True, symlinks=True)
        during = options.get("during")
        if during == "write":
            (Path(options["path"]) / "new").write_text("written meanwhile")
        elif during == "fail":
            raise OSError(28, "No space left on device", str(into))
        elif during == "wait":
            (Path(options["path"]).parent / "waiting").write_text("")
            time.sleep(600)
        self.context.note("copied a tree")
        return {"files": sorted(self.fingerprint(options))}

    def plan(self, options: Mapping[str, Any], point: object) -> Plan:
        raise NotImplementedError

    def prepare(self, plan: Plan) -> dict[str, Any]:
        raise NotImplementedError

    def switch(self, plan: Plan) -> None:
        raise NotImplementedError

    def undo(self, plan: Plan) -> None:
        raise NotImplementedError

    def finish(self, plan: Plan) -> None:
        raise NotImplementedError

    def state(self, plan: Plan) -> State:
        raise NotImplementedError

    def kept(self, plan: Plan) -> dict[str, Any]:
        raise NotImplementedError

    def result(self, plan: Plan, evidence: Mapping[str, Any]) -> dict[str, Any]:
        raise NotImplementedError


def request(name: str, *components: dict[str, Any], stack: str = "blog") -> Request:
    """A request for trees."""
    return Request(name, stack, "web1", [ComponentRequest(Tree, options) for options in components])


if __name__ == "__main__":  # a capture in a process of its own, to be killed
    state_dir, name, options = sys.argv[1:]
    store = WritableRestorePoints(Path(state_dir))
    with store.lock(f"restore point {name} is being captured"):
        capture(store, request(name, json.loads(options)))
