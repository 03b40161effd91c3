# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) systemd units, of the system or of a user, through ``systemctl``: properties are read, never prose."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, me
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused

from .base import DOWN, FAILED, RUNNING, STARTING, STOPPING, ServiceStatus, process_start

PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "MainPID",
    "NRestarts",
    "Result",
    "Job",
    "NeedDaemonReload",
    "ConditionResult",
    "ConditionTimestampMonotonic",
)
#: Seconds for one call; orders are given with --no-block, so that none of them waits for a service.
TIMEOUT = 30
_STATES = {
    "active": RUNNING,
    "reloading": RUNNING,
    "refreshing": RUNNING,
    "activating": STARTING,
    "deactivating": STOPPING,
    "failed": FAILED,
    "maintenance": FAILED,
    "inactive": DOWN,
}
_PROBLEMS = {
    "not-found": "there is no such unit",
    "masked": "the unit is masked",
    "error": "the unit file can't be read",
    "bad-setting": "the unit file has an error",
}


class Systemctl:
    """systemd, for units of one scope.

    :param user: the account whose own manager runs the units; nothing for the system's.
    :raises Refused: when that account has no running manager.
    """

    def __init__(self, run: CommandRunner, user: User | None = None) -> None:
        self.scope = ["--user"] if user else ["--system"]
        self.run = run
        if user:
            runtime = Path(f"/run/user/{user.uid}")
            if not (runtime / "systemd").is_dir():
                raise Refused(
                    f"User {user.name} has no running systemd manager ({runtime}/systemd is missing):"
                    f" 'loginctl enable-linger {user.name}' gives it one that outlives sessions."
                )
            bus = {"XDG_RUNTIME_DIR": str(runtime), "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus"}
            self.run = run.as_user(user).with_env(bus)

    @classmethod
    def of_user(cls, run: CommandRunner, user: User | None) -> Systemctl:
        """The manager of an account; of our own for ``None``."""
        return cls(run, user or run.user or me())

    def status(self, name: str) -> ServiceStatus:
        """What it knows of a unit."""
        words = [f"--property={','.join(PROPERTIES)}", "--", unit(name)]
        return read_properties(parse_properties(self.call(f"Looking at {name}", "show", *words)))

    def call(self, attempt: str, *words: str, check: bool = True) -> str:
        """What ``systemctl`` prints.

        :raises CommandFailed: when it refuses, with check.
        """
        argv = ["systemctl", *self.scope, "--no-ask-password", "--no-pager", *words]
        return self.run.run(argv, attempt, check=check, timeout=TIMEOUT).stdout


def unit(name: str) -> str:
    """The unit's full name: ``blog-core`` means ``blog-core.service``."""
    suffixes = (".service", ".socket", ".target", ".timer", ".path", ".mount", ".slice", ".scope")
    return name if name.endswith(suffixes) else f"{name}.service"


def parse_properties(text: str) -> dict[str, str]:
    """The lines ``Key=Value`` of ``systemctl show``."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value for key, sign, value in pairs if sign}


def read_properties(found: Mapping[str, str]) -> ServiceStatus:
    """The status from a unit's properties."""
    load, active, sub = (found.get(key, "") for key in ("LoadState", "ActiveState", "SubState"))
    pid = int(found.get("MainPID") or 0)
    restarts = found.get("NRestarts", "")
    words = f"{active} ({sub})"
    if found.get("Result", "success") not in ("success", ""):
        words += f", result {found['Result']}"
    # Conditions that were never evaluated are "no" as well.
    evaluated = found.get("ConditionTimestampMonotonic", "0") != "0"
    if found.get("ConditionResult") == "no" and evaluated and active == "inactive":
        words += ", a condition of the unit does not hold"
    return ServiceStatus(
        state=_STATES.get(active, FAILED),
        pid=pid,
        process=f"{pid}:{process_start(pid)}" if pid else "",
        restarts=int(restarts) if restarts.isdigit() else 0,
        queued=found.get("Job", "") not in ("", "0"),
        detail=words,
        problem=_PROBLEMS.get(load, ""),
    )
