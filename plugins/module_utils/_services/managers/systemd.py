# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) systemd units, of the system or of a user, through ``systemctl``: properties are read, never prose."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, me
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, Refused

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
_TIMEOUT = 30
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
        self._scope = ["--user"] if user else ["--system"]
        self._run = run
        if user:
            runtime = Path(f"/run/user/{user.uid}")
            if not (runtime / "systemd").is_dir():
                raise Refused(
                    f"User {user.name} has no running systemd manager ({runtime}/systemd is missing):"
                    f" 'loginctl enable-linger {user.name}' gives it one that outlives sessions."
                )
            bus = {"XDG_RUNTIME_DIR": str(runtime), "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus"}
            self._run = run.as_user(user).with_env(bus)

    @classmethod
    def of_user(cls, run: CommandRunner, user: User | None) -> Systemctl:
        """The manager of an account; of our own for ``None``."""
        return cls(run, user or run.user or me())

    def status(self, name: str) -> ServiceStatus:
        """See Manager."""
        words = [f"--property={','.join(PROPERTIES)}", "--", unit(name)]
        return read_properties(parse_properties(self._ask(f"Looking at {name}", "show", *words)))

    def start(self, name: str) -> None:
        """See Manager. Unit files that were put back are read first."""
        shown = self._ask(f"Looking at {name}", "show", "--property=NeedDaemonReload", "--", unit(name))
        if parse_properties(shown).get("NeedDaemonReload") == "yes":
            self._ask("Reading the unit files again", "daemon-reload")
        # A unit that crashed too often is refused a start until its failures are forgotten.
        self._call(f"Forgetting failures of {name}", "reset-failed", "--", unit(name), check=False)
        self._ask(f"Starting {name}", "start", "--no-block", "--", unit(name))

    def stop(self, name: str) -> None:
        """See Manager."""
        self._ask(f"Stopping {name}", "stop", "--no-block", "--", unit(name))

    def kill(self, name: str) -> None:
        """See Manager. All processes of the unit."""
        self._call(f"Killing {name}", "kill", "--signal=SIGKILL", "--", unit(name), check=False)
        # A container's control groups of version 1 don't tell that they are empty: systemd may miss the end of a process
        # that it never met, and then waits for it as long as the unit allows. At a reload it looks at all of them again.
        self._call("Reading the unit files again", "daemon-reload", check=False)

    def log(self, name: str) -> str:
        """See Manager. From the journal."""
        option = "--user-unit" if self._scope == ["--user"] else "--unit"
        argv = ["journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=10", f"{option}={unit(name)}"]
        try:
            return self._run.run(argv, f"Reading the journal of {name}", timeout=_TIMEOUT).stdout.strip()
        except CommandFailed:
            return ""

    def accounts_for(self, name: str, pid: int) -> bool:
        """See Manager. By control group: each unit has one of its own."""
        try:
            groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").split("\n")
        except OSError:
            return False
        units = {os.path.basename(group.rpartition(":")[2]) for group in groups if group}
        return any(found.endswith((".service", ".socket")) and found != unit(name) for found in units)

    def _ask(self, attempt: str, *words: str) -> str:
        return self._call(attempt, *words, check=True)

    def _call(self, attempt: str, *words: str, check: bool) -> str:
        argv = ["systemctl", *self._scope, "--no-ask-password", "--no-pager", *words]
        return self._run.run(argv, attempt, check=check, timeout=_TIMEOUT).stdout


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
