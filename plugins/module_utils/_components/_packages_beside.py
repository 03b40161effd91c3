# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What stands beside an environment while a new one is built: made for its owner, filled, and taken away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._identity import User, acting_as
from ansible_collections.lastgood.rollback.plugins.module_utils._tools.environment_link import Place
from ansible_collections.lastgood.rollback.plugins.module_utils._tools.wheelhouse import Wheel, stage


def make_base(place: Place, owner: User) -> None:
    """Make the directory beside, the owner's; called with the rights of whoever may write the parent."""
    if not place.base.is_dir():
        place.base.mkdir(mode=0o755)
        if os.geteuid() == 0:
            os.chown(place.base, owner.uid, owner.gid, follow_symlinks=False)
    ignore = place.base / ".gitignore"
    if not ignore.exists():
        with acting_as(owner):
            ignore.write_text("*\n", encoding="ascii")  # a checkout around it stays clean


def fill_staging(place: Place, owner: User, facts: Mapping[str, Any]) -> None:
    """Copy the verified wheels and the lock file to where the owner's tool reads them.

    :raises LastGoodError: when they can't be copied.
    """
    try:
        with acting_as(owner):
            for directory in (place.staging, place.staging / "wheels", place.staging / "tmp"):
                directory.mkdir(mode=0o700)
            (place.staging / "requirements.txt").write_text(facts["lock"], encoding="utf-8")
        stage([Wheel(**raw) for raw in facts["wheels"]], place.staging / "wheels", owner)
    except OSError as error:
        raise LastGoodError(
            f"Copying the wheels for {place.path} to {place.staging} failed: {error.strerror}."
        ) from error


def remove(path: Path) -> None:
    """Remove a file, a link or a directory; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_build(place: Place) -> None:
    """Remove what a build left, finished or not."""
    for leftover in (place.staging, place.side):
        remove(leftover)


def remove_base(place: Place) -> None:
    """Leave no trace, unless somebody else keeps something there."""
    if place.base.is_dir() and {entry.name for entry in place.base.iterdir()} <= {".gitignore"}:
        shutil.rmtree(place.base)
