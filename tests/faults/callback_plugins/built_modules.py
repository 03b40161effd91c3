# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For the fault matrix: playbooks share the modules that Ansible has built, in the directory named by LASTGOOD_BUILT_MODULES.

Each playbook would build them anew, for a sixth of the processor time of a rollback.
"""

from __future__ import annotations

import os
from pathlib import Path

from ansible import constants
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: built_modules
type: notification
short_description: Modules that are built once for many playbooks
description: Where Ansible keeps built modules for the time of a playbook becomes a link to a directory that stays.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Makes the link; a file appears in it whole or not at all."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "built_modules"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        (Path(constants.DEFAULT_LOCAL_TMP) / "ansiballz_cache").symlink_to(os.environ["LASTGOOD_BUILT_MODULES"])
