# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For tests: playbooks share the modules that Ansible has built, compiled, in the directory named by LASTGOOD_BUILT_MODULES.

Each playbook would build them anew, and each call of a module compile them anew: a third of a rollback's processor time.
What runs is the same code. A Python of another version than the controller's goes by the sources, as without this.
For the same reason filters are loaded once, and Ansible looks less often for the end of a task.
"""

from __future__ import annotations

import marshal
import os
import zipfile
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import filter_loader

DOCUMENTATION = """
name: built_modules
type: notification
short_description: Modules that are built and compiled once for many playbooks
description: Where Ansible keeps built modules for the time of a playbook becomes a link to a directory that stays.
"""

#: PEP 552: by hash, unchecked; and no hash, since nobody looks.
_HEAD = MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)

_FILTERS = [path.stem for path in (Path(__file__).resolve().parents[2] / "plugins" / "filter").glob("*.yml")]
#: Seconds between looks for the end of a task. A thousandth, as Ansible has it, costs processor time that the hosts of a test
#: could use: they are on the same machine.
_POLL_S = 0.005

_write = zipfile.ZipFile.writestr


def _write_compiled(self: zipfile.ZipFile, member: zipfile.ZipInfo, source: bytes | str, *words: Any) -> None:
    """Beside each source what Python makes of it: an archive is looked through for that first."""
    _write(self, member, source, *words)
    if member.filename.endswith(".py"):
        code = compile(source, member.filename, "exec", dont_inherit=True)
        _write(self, f"{member.filename}c", _HEAD + marshal.dumps(code))


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Makes the link; a file appears in it whole or not at all."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "built_modules"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        constants.DEFAULT_INTERNAL_POLL_INTERVAL = _POLL_S
        zipfile.ZipFile.writestr = _write_compiled  # type: ignore[method-assign, assignment]
        (Path(constants.DEFAULT_LOCAL_TMP) / "ansiballz_cache").symlink_to(os.environ["LASTGOOD_BUILT_MODULES"])

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Load the collection's filters here: each task has a process of its own, which would compile them anew."""
        for name in _FILTERS:
            filter_loader.get(f"lastgood.rollback.{name}")
