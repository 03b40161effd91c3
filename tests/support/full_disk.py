# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run as a program in a mount namespace of its own: a small disk fills while something is rolled back on it.

It prints, as JSON, what was said and whether everything was as before in the end; the tests judge that.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context, PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.files.component import Files
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.journal import Journal
from support.environments import BAD, GOOD, Site, change, frozen, make_environment

FILES = 20
FILE_BYTES = 64 * 1024
#: The last file is larger than all others and what is written about them, so that it is the one that finds no room.
LAST_BYTES = 4 * 1024**2


def small_disk(at: Path, size: str) -> Path:
    """Mount a new, small file system; it is gone with the namespace."""
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)], check=True)
    return at


def fill(disk: Path, leave: int) -> None:
    """What somebody else writes there meanwhile: all but some bytes."""
    facts = os.statvfs(disk)
    with (disk / "filler").open("wb") as filler:
        filler.write(bytes(facts.f_bavail * facts.f_frsize - leave))


def context(state: Path) -> Context:
    """As the engine lends it."""
    workspace = state / "workspace"
    workspace.mkdir(parents=True, exist_ok=True)
    journal = Journal(state.parent / "journal.jsonl", state.parent / "log")
    return Context("20260101T000000Z-test-0000", workspace, CommandRunner(), journal.change, journal.note)


def digests(directory: Path) -> dict[str, str]:
    """Every file below, our filler aside."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file() and path.name != "filler")
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def captured(app: Path, point: Path, component: Files) -> tuple[list[Path], PointEntry]:
    """Many files, captured when they were good, and changed since."""
    app.mkdir()
    point.mkdir()
    paths = [app / f"{number:02d}.conf" for number in range(FILES)]
    for path in paths:
        path.write_bytes(b"good" * ((LAST_BYTES if path == paths[-1] else FILE_BYTES) // 4))
    facts = json.loads(json.dumps(component.capture({"paths": [str(path) for path in paths]}, point)))
    for path in paths:
        path.write_bytes(b"bad")
    return paths, PointEntry("good", point, facts)


def files_staged(base: Path) -> dict[str, Any]:
    """The disk of the files is full at the last of them."""
    disk = small_disk(base / "disk", "32m")
    component = Files(context(disk / "state"))
    paths, point = captured(disk / "app", base / "point", component)
    before = digests(disk / "app")
    plan = component.plan({}, point)
    fill(disk, leave=FILES * FILE_BYTES + LAST_BYTES // 2)
    said = failure(lambda: component.prepare(plan))
    staged = len(list(paths[0].parent.glob(".*/*.conf")))
    component.undo(plan)
    return {"said": said, "last": str(paths[-1]), "done": staged, "as_before": digests(disk / "app") == before}


def files_switched(base: Path) -> dict[str, Any]:
    """The last file is changed after all were prepared, and the disk of the state directory has no room to keep that."""
    disk = small_disk(base / "disk", "1m")
    component = Files(context(disk / "state"))
    paths, point = captured(base / "app", base / "point", component)
    plan = component.plan({}, point)
    component.prepare(plan)
    paths[-1].write_bytes(b"changed at the last moment" * 100_000)
    before = digests(base / "app")
    fill(disk, leave=FILE_BYTES)
    said = failure(lambda: component.switch(plan))
    switched = sum(path.read_bytes().startswith(b"good") for path in paths)
    component.undo(plan)
    now = digests(base / "app")
    return {
        "said": said,
        "last": str(paths[-1]),
        "done": switched,
        "as_before": now == {path: digest for path, digest in before.items() if "lastgood" not in path},
    }


def packages(base: Path) -> dict[str, Any]:
    """The disk of the environment is full while the new one is built."""
    disk = small_disk(base / "disk", "100m")
    site = Site(disk, context(disk / "state"))
    make_environment(site.path, *GOOD)
    point = site.capture()
    change(site.path, "install", "--no-deps", *BAD)
    before, installed = digests(disk / "app"), frozen(site.path)
    said = {}
    for installer in ("uv", "pip"):
        plan = site.plan(point, installer=installer)
        fill(disk, leave=1024 * 1024)
        said[installer] = failure(lambda plan=plan: site.component.prepare(plan))  # type: ignore[misc]
        site.component.undo(plan)
        (disk / "filler").unlink()
    as_before = digests(disk / "app") == before and frozen(site.path) == installed and not site.base.exists()
    return {"said": said, "as_before": as_before}


def failure(work: Any) -> str:
    """What a failure says; empty when there was none."""
    try:
        work()
    except LastGoodError as error:
        return error.message
    return ""


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    print(
        json.dumps(
            {"files_staged": files_staged, "files_switched": files_switched, "packages": packages}[sys.argv[1]](
                Path(sys.argv[2])
            )
        )
    )
