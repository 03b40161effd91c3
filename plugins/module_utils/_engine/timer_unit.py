# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The dead man's timer as a unit of systemd, so that it outlives a reboot.

The unit is persistent and enabled while the timer is armed. At boot it starts after PostgreSQL and before the services
of the plan, which wait until it says that it is ready: a boot without a promise undoes before anything runs. Files are
written and removed here directly: at a promise there is no time to reload systemd, and nothing that a reload would do.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import DEFAULT_PATH, CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import fsync_directory, write_atomic
from ansible_collections.lastgood.rollback.plugins.module_utils._services.managers.systemd import unit

UNITS = Path("/etc/systemd/system")
#: There only where systemd is the machine's manager.
BOOTED = Path("/run/systemd/system")
#: Ordering alone: what is not there is passed over.
_DATABASES = ("postgresql.service", *(f"postgresql-{version}.service" for version in range(13, 19)))
_SUPERVISORS = ("supervisor.service", "supervisord.service")
_START_TIMEOUT_S = 30

_UNIT = """\
# Written by lastgood.rollback; removed when the transaction is promised or has ended.
[Unit]
Description=Undo of {id} when its controller falls silent, or at a boot
ConditionPathExists={directory}/deadline
RequiresMountsFor={quoted}
After={after}
Before={before}

[Service]
Type=notify
ExecStart={command} --wait
Environment={path}
TimeoutStartSec=infinity
# After it was killed; not after it has given up.
Restart=on-abnormal
RestartSec=2
KillMode={kill_mode}
StandardOutput=append:{directory}/timer.log
StandardError=append:{directory}/timer.log

[Install]
WantedBy=multi-user.target
"""


def start(directory: Path, services: Sequence[Mapping[str, Any]]) -> bool:
    """Write and enable the unit, and start it; false where there is no systemd, or no right to, or it refuses.

    :param directory: of the transaction; ``undo`` is in it.
    :param services: of the plan, as the catalogue describes them.
    """
    if os.geteuid() != 0 or not BOOTED.is_dir():
        return False
    file, link = _paths(directory)
    try:
        write_atomic(file, _text(directory, services).encode(), mode=0o644)
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(file)
        fsync_directory(link.parent)
        argv = ["systemctl", "--no-ask-password", "--no-block", "start", file.name]
        CommandRunner().run(argv, f"Starting {file.name}", timeout=_START_TIMEOUT_S)
    except (OSError, CommandFailed):
        remove(directory)
        return False
    return True


def remove(directory: Path) -> None:
    """Disable and remove the unit; its process ends by itself. Does nothing where there is none."""
    for path in reversed(_paths(directory)):
        with suppress(OSError):
            path.unlink()


def name(directory: Path) -> str:
    """The unit's name: of the transaction, and of its state directory, since a machine may be several hosts."""
    digest = hashlib.sha256(str(directory).encode()).hexdigest()[:8]
    return f"lastgood-{directory.name}-{digest}.service"


def ready() -> None:
    """Let those start that wait for this unit at boot; does nothing outside of systemd, and when it was said before."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1", f"\0{address[1:]}" if address.startswith("@") else address)


def _paths(directory: Path) -> tuple[Path, Path]:
    file = UNITS / name(directory)
    return file, UNITS / "multi-user.target.wants" / file.name


def _text(directory: Path, services: Sequence[Mapping[str, Any]]) -> str:
    path = os.environ.get("PATH") or DEFAULT_PATH
    return _UNIT.format(
        id=directory.name,
        directory=str(directory).replace("%", "%%"),
        quoted=_quoted(str(directory)),
        after=" ".join(("local-fs.target", "network.target", *_DATABASES, *_SUPERVISORS)),
        before=" ".join(_units(services)),
        # What it starts has to outlive it where nothing else manages that; else nothing of it may.
        kill_mode="process" if any(one.get("manager") == "process" for one in services) else "control-group",
        command=" ".join(_quoted(word).replace("$", "$$") for word in (sys.executable, str(directory / "undo"))),
        path=_quoted(f"PATH={path}"),
    )


def _units(services: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The system's units among them; supervisor's programs need their manager running to be inspected at all."""
    for service in services:
        if service.get("manager") in (None, "systemd") and service.get("scope") in (None, "system"):
            yield unit(str(service["name"]))


def _quoted(word: str) -> str:
    """One word of a unit file, whatever is in it; in a command line, a dollar sign has to be doubled besides."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
