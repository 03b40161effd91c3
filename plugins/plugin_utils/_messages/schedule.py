# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Seeing to it that messages which wait are sent later: a timer of systemd on the controller, while any wait.

The units are files and not transient ones, so that they outlive a reboot; what was due meanwhile is sent then. The timer
runs the playbook ``notify_retry`` with the inventory of the rollback, and goes away with the last message.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import write_atomic

_BOOTED = Path("/run/systemd/system")
_SYSTEM_UNITS = Path("/etc/systemd/system")
_LINGERING = Path("/var/lib/systemd/linger")
_COMMAND_TIMEOUT_S = 30
#: Moments in one timer; the rest is found by those that come every hour.
_MOST_MOMENTS = 10

_SERVICE = """\
# Written by lastgood.rollback; removed when no message waits any more.
[Unit]
Description=Send the messages of rollbacks that wait in {spool}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
WorkingDirectory={directory}
{environment}
ExecStart={command}
TimeoutStartSec=15min
"""
_TIMER = """\
# Written by lastgood.rollback; removed when no message waits any more.
[Unit]
Description=Messages of rollbacks that wait in {spool}

[Timer]
{moments}
# What could not be sent at its time is tried again.
OnCalendar=hourly
AccuracySec=1min
Persistent=true

[Install]
WantedBy=timers.target
"""


@dataclass(frozen=True)
class Schedule:
    """The timer of one spool.

    :param spool: the directory of the messages.
    :param command: sends what is due; no secret in it.
    :param environment: what the command needs besides.
    :param booted: is there where systemd is the machine's manager.
    """

    spool: Path
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    booted: Path = _BOOTED

    @property
    def name(self) -> str:
        """Of both units, without their kind."""
        return f"lastgood-messages-{hashlib.sha256(str(self.spool).encode()).hexdigest()[:8]}"

    def keep(self, due: Sequence[float]) -> str:
        """Let the timer wait for these moments (epoch seconds), or take it away when there are none.

        :returns: why nothing is scheduled; empty when all is well.
        """
        units = _SYSTEM_UNITS if os.geteuid() == 0 else _user_units()
        try:
            if not due:
                self._remove(units)
                return ""
            reason = self._impossible()
            if not reason:
                self._write(units, due)
        except (OSError, subprocess.SubprocessError) as error:
            return f"systemd does not take the timer: {_words(error)}"
        return reason

    def texts(self, due: Sequence[float]) -> dict[str, str]:
        """The files, by name."""
        moments = [time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at)) for at in sorted(due)[:_MOST_MOMENTS]]
        spool = str(self.spool).replace("%", "%%")
        environment = [f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(self.environment.items())]
        return {
            f"{self.name}.service": _SERVICE.format(
                spool=spool,
                directory=str(Path.cwd()).replace("%", "%%"),
                environment="\n".join(environment),
                command=" ".join(_quoted(word).replace("$", "$$") for word in self.command),
            ),
            f"{self.name}.timer": _TIMER.format(
                spool=spool, moments="\n".join(f"OnCalendar={moment}" for moment in dict.fromkeys(moments))
            ),
        }

    def _impossible(self) -> str:
        if not self.booted.is_dir():
            return "there is no systemd here"
        if os.geteuid() != 0 and not (_LINGERING / getpass.getuser()).exists():
            return f"timers of {getpass.getuser()} end with the session: loginctl enable-linger {getpass.getuser()}"
        return ""

    def _write(self, units: Path, due: Sequence[float]) -> None:
        units.mkdir(parents=True, exist_ok=True)
        for name, text in self.texts(due).items():
            write_atomic(units / name, text.encode(), 0o644)
        _systemctl("daemon-reload")
        _systemctl("enable", f"{self.name}.timer")
        _systemctl("restart", f"{self.name}.timer")

    def _remove(self, units: Path) -> None:
        if (units / f"{self.name}.timer").exists():
            _systemctl("disable", "--now", f"{self.name}.timer")
            for name in self.texts([]):
                (units / name).unlink(missing_ok=True)
            _systemctl("daemon-reload")


def _user_units() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def _systemctl(*words: str) -> None:
    scope = [] if os.geteuid() == 0 else ["--user"]
    environment = {"XDG_RUNTIME_DIR": f"/run/user/{os.geteuid()}", **os.environ}
    subprocess.run(
        ["systemctl", *scope, "--no-ask-password", "--quiet", *words],
        check=True,
        capture_output=True,
        text=True,
        timeout=_COMMAND_TIMEOUT_S,
        env=environment,
    )


def _words(error: OSError | subprocess.SubprocessError) -> str:
    said = getattr(error, "stderr", None) or getattr(error, "strerror", None) or error.__class__.__name__
    return " ".join(str(said).split())


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
