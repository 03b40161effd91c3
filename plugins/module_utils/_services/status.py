# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Asking a service's manager how the service is; ordering anything is not in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import user_by_name
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused

from .managers.base import RUNNING, STARTING
from .managers.pid_file import PidFile
from .managers.supervisor import Supervisor
from .managers.systemd import Systemctl

_CONFIGS = ("/etc/supervisor/supervisord.conf", "/etc/supervisord.conf")


def manager_of(service: Mapping[str, Any], run: CommandRunner) -> Systemctl | Supervisor | PidFile:
    """A connection to a service's manager that only asks.

    :param service: its options, of which only those that say which service it is are read.
    :raises Refused: when there is no way to it.
    """
    manager, scope, user, config, pid_file = (
        str(service.get(option) or "") for option in ("manager", "scope", "user", "config", "pid_file")
    )
    if manager == "supervisor":
        return Supervisor(Path(config or default_config()))
    if manager == "process":
        return PidFile(Path(pid_file), run.as_user(user_by_name(user)) if user else run)
    if scope == "user":
        return Systemctl.of_user(run, user_by_name(user) if user else None)
    return Systemctl(run)


def default_config() -> str:
    """Where supervisor's configuration is, if nobody says.

    :raises Refused: when it is in none of the usual places.
    """
    found = next((path for path in _CONFIGS if Path(path).exists()), None)
    if found is None:
        raise Refused(f"there is no supervisor configuration at {' or '.join(_CONFIGS)}: set 'config'.")
    return found


def runs(service: Mapping[str, Any], run: CommandRunner) -> bool:
    """Whether a service runs or is on its way to; nothing is asked of it.

    :raises Refused: when there is no way to its manager.
    """
    return manager_of(service, run).status(str(service.get("name") or "")).state in (RUNNING, STARTING)
