# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The command that sends later what waits now: this play's inventory, and nothing that is secret."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import constants
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.commands import inventory_options

_ROOT = Path(__file__).absolute().parents[3]
_PLAYBOOK = _ROOT / "playbooks" / "notify_retry.yml"
_KEPT = ("PATH", "HOME", "TZ", "ANSIBLE_HOME", "ANSIBLE_INVENTORY", "ANSIBLE_VAULT_PASSWORD_FILE")


def sending_command(spool: Path, options: Mapping[str, Any]) -> list[str]:
    """Run ``notify_retry`` as this play was run.

    :param options: Ansible's command line: ``inventory``, ``vault_password_files``, ``vault_ids``, ``extra_vars``. Of the
        last only whole files are taken over: what else was said on the command line may be a secret.
    """
    words = [sys.executable, "-m", "ansible", "playbook", str(_PLAYBOOK)]
    return [*words, *inventory_options(options), "-e", f"notify_spool={spool}"]


def asks_somebody(options: Mapping[str, Any]) -> bool:
    """Whether a password was asked for that nobody will be there to type."""
    prompted = any(str(identity).rpartition("@")[2].startswith("prompt") for identity in options.get("vault_ids") or ())
    return bool(options.get("ask_vault_pass") or prompted)


def sending_environment() -> dict[str, str]:
    """What that command needs of this process's environment."""
    found = {name: os.environ[name] for name in _KEPT if name in os.environ}
    if constants.CONFIG_FILE:
        found["ANSIBLE_CONFIG"] = str(constants.CONFIG_FILE)
    collections = [str(path) for path in constants.config.get_config_value("COLLECTIONS_PATHS")]
    return {**found, "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join(collections), "LC_ALL": "C.UTF-8"}
