# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What lies beside an environment while a new one is built: made for its owner, filled, and taken away."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, acting_as
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import dump_json, write_atomic

from .link import EnvironmentPaths, side_id
from .wheelhouse import Wheel, stage

_MARKER = ".lastgood.json"


def make_base(paths: EnvironmentPaths, owner: User) -> None:
    """Make the directory beside, the owner's; called with the rights of whoever may write the parent."""
    if not paths.base.is_dir():
        paths.base.mkdir(mode=0o755)
        if os.geteuid() == 0:
            os.chown(paths.base, owner.uid, owner.gid, follow_symlinks=False)
    ignore = paths.base / ".gitignore"
    if not ignore.exists():
        with acting_as(owner):
            ignore.write_bytes(b"*\n")  # a checkout around it stays clean


def fill_staging(paths: EnvironmentPaths, owner: User, facts: Mapping[str, Any]) -> None:
    """Copy the verified wheels and the lock file to where the owner's tool reads them.

    :raises LastGoodError: when they can't be copied.
    """
    try:
        with acting_as(owner):
            for directory in (paths.staging, paths.staging / "wheels", paths.staging / "tmp"):
                directory.mkdir(mode=0o700)
            (paths.staging / "requirements.txt").write_text(facts["lock"], encoding="utf-8")
        stage([Wheel(**raw) for raw in facts["wheels"]], paths.staging / "wheels", owner)
    except OSError as error:
        raise LastGoodError(
            f"Copying the wheels for {paths.path} to {paths.staging} failed: {error.strerror}."
        ) from error


def remove(path: Path) -> None:
    """Remove a file, a link or a directory; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_build(paths: EnvironmentPaths) -> None:
    """Remove what a build left, finished or not."""
    for leftover in (paths.staging, paths.side):
        remove(leftover)


def remove_base(paths: EnvironmentPaths, owner: User) -> None:
    """Leave no trace, unless somebody else keeps something there. Called with the rights of whoever may write the parent."""
    if paths.base.is_dir() and {entry.name for entry in paths.base.iterdir()} <= {".gitignore"}:
        with acting_as(owner):
            (paths.base / ".gitignore").unlink(missing_ok=True)
        paths.base.rmdir()


def remove_older(paths: EnvironmentPaths, kept: Collection[Path]) -> list[str]:
    """Remove the environments that earlier rollbacks left beside; which could not be removed, and why.

    Called with the rights of the owner, whose directory it is: nobody else's things can be moved there to be removed.
    A name alone makes nothing ours: it has to be what we leave under such a name.
    """
    problems = []
    for entry in paths.entries():
        if entry in kept or not _is_ours(paths, entry):
            continue
        try:
            remove(entry)
        except OSError as error:
            problems.append(f"{entry}: {error.strerror}")
    return problems


def write_marker(paths: EnvironmentPaths, transaction: str) -> None:
    """Last of all: the environment is whole, and it is this transaction's."""
    write_atomic(paths.side / _MARKER, dump_json({"transaction": transaction}), 0o644)


def is_whole(paths: EnvironmentPaths) -> bool:
    """Whether an earlier call has finished building."""
    return (paths.side / _MARKER).is_file()


def _is_ours(paths: EnvironmentPaths, entry: Path) -> bool:
    """Whether it is what a rollback leaves under this name."""
    kind = entry.name.rpartition("-")[0]
    try:
        if kind == "link":
            return entry.is_symlink()
        if entry.is_symlink() or not entry.is_dir():
            return False
        if kind == "staging":
            return (entry / "requirements.txt").is_file() or not any(entry.iterdir())
        if kind == "previous":
            return (entry / "pyvenv.cfg").is_file() or os.path.lexists(entry / "bin" / "python")
        marker = json.loads((entry / _MARKER).read_bytes())
        return side_id(str(marker["transaction"]), paths.path) == entry.name
    except (OSError, ValueError, KeyError, TypeError):
        return False
