# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let many playbooks build each module once; see the callback plugin of the same name."""

from __future__ import annotations

import os
from pathlib import Path

CALLBACK_PLUGINS = Path(__file__).resolve().with_name("callback_plugins")


def share_built_modules(directory: Path) -> None:
    """For all playbooks that are started from now on with this process's environment.

    :param directory: where the modules are kept; it must not outlive a change of their sources.
    """
    os.environ["ANSIBLE_CALLBACK_PLUGINS"] = str(CALLBACK_PLUGINS)
    os.environ["ANSIBLE_CALLBACKS_ENABLED"] = "built_modules"
    os.environ["LASTGOOD_BUILT_MODULES"] = str(directory)
