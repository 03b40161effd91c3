# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The mark that a reset of ours began, and the locks of git that it lets us tell from those of others."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import acting_as
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import write_atomic
from ansible_collections.lastgood.rollback.plugins.module_utils._base.processes import pids_with_open_file
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from ..context import Context
from . import checks
from .checkout import Checkout


class ResetMarker:
    """A file in the workspace. Its time of modification is when the first reset began, and stays that."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._file = context.workspace / "switching.json"

    def read(self) -> JsonObject | None:
        """Whether a reset of ours was begun, and (``done``) whether it was ended."""
        try:
            marker: JsonObject = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return None
        return marker

    def set(self, *, done: bool) -> None:
        """Write it, before a reset begins and after it has ended."""
        began = self._began_ns() or None
        write_atomic(self._file, json.dumps({"done": done}).encode())
        if began is not None:
            os.utime(self._file, ns=(began, began))

    def remove(self) -> None:
        """Nothing happens when there is none."""
        self._file.unlink(missing_ok=True)

    def remove_own_locks(self, checkout: Checkout) -> None:
        """Locks that appeared after our reset began, with none of our programs left, are those of a killed one.

        :raises LastGoodError: when one is older, or in use.
        """
        layout = checkout.git.layout()
        began_ns = self._began_ns()
        for lock in checks.lock_files(layout, checkout.before.branch):
            try:
                # Not its time of modification: our own carry, just before their rename, that of the recorded index.
                made_ns = lock.lstat().st_ctime_ns
            except FileNotFoundError:
                continue
            if made_ns < began_ns:
                raise LastGoodError(f"{lock} is older than this rollback: find out whose it is, remove it, try again.")
            if pids_with_open_file(lock):
                raise LastGoodError(
                    f"{lock} is in use by the processes {pids_with_open_file(lock)}: wait for them, try again."
                )
            with self._context.change(f"Remove {lock}, left by a reset that was killed"), acting_as(checkout.owner):
                lock.unlink()
        remove_own_ref_locks(checkout)

    def _began_ns(self) -> int:
        try:
            return self._file.stat().st_mtime_ns
        except FileNotFoundError:
            return 0


def remove_own_ref_locks(checkout: Checkout) -> None:
    """The names of these refs are ours alone, and so are their locks."""
    for name in checkout.side_refs:
        with acting_as(checkout.owner):
            (Path(checkout.facts["common_dir"]) / f"{name}.lock").unlink(missing_ok=True)
