# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Arming the dead man's timer: the undo without Ansible, the deadline, and a persistent unit where systemd runs.

The unit is enabled while the timer is armed. At boot it starts after PostgreSQL and before the services of the plan, which
wait until it says that it is ready: a boot without a promise undoes before anything runs. Files are written and removed
directly: at a promise there is no time to reload systemd, and nothing that a reload would do.
"""

from __future__ import annotations

import io
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import DEFAULT_PATH
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import fsync_directory, write_atomic
from ansible_collections.lastgood.rollback.plugins.module_utils._services.managers.systemd import unit

from . import timer
from .host_transaction import HostTransaction

_COLLECTION = Path("ansible_collections/lastgood/rollback/plugins/module_utils")
#: There only where systemd is the machine's manager.
BOOTED = Path("/run/systemd/system")
#: Ordering alone: what is not there is passed over.
_DATABASES = ("postgresql.service", *(f"postgresql-{version}.service" for version in range(13, 19)))
_SUPERVISORS = ("supervisor.service", "supervisord.service")

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


def arm(transaction: HostTransaction, state_ids: Mapping[str, str] = MappingProxyType({})) -> None:
    """Start the dead man's timer; from now on silence means undo. Does nothing after the promise.

    :param state_ids: the ids of all hosts' state directories, by host.
    """
    records = transaction.records
    directory = records.directory
    with transaction.locked():
        header = transaction.require_open("arm")
        if records.promise is not None:
            return
        records.reserve()
        armed = timer.deadline(directory) is not None
        if not any((directory / name).exists() for name in ("undo", "payload.zip")):
            write_atomic(directory / "payload.zip", _packed())
        timer.write_undo(directory)
        timer.set_deadline(directory, header.confirm_timeout)
        if not timer.is_waiting(directory):
            _write_unit(directory, header.planned_services)
        timer.start(directory)
        if not armed:
            what = f"Undoes by itself after {header.confirm_timeout} s without a call"
            records.journal.write("armed", what, state_ids=dict(state_ids))


def _packed() -> bytes:
    """The running module's own payload where there is one, else the same files from the source tree."""
    if zipfile.is_zipfile(sys.path[0]):
        return Path(sys.path[0]).read_bytes()
    source = Path(__file__).parents[1]
    if not source.is_dir():
        raise Refused(f"The undo can't be written: {source} is no directory to take the code from.")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        files = {_COLLECTION / file.relative_to(source): file for file in sorted(source.rglob("*.py"))}
        for package in sorted({parent for file in files for parent in file.parents} - {Path()}):
            archive.writestr(str(package / "__init__.py"), "")
        for name, file in files.items():
            archive.write(file, str(name))
    return packed.getvalue()


def _write_unit(directory: Path, services: Sequence[Mapping[str, Any]]) -> None:
    """Write and enable the unit, where systemd runs and we may.

    :param services: of the plan: after a reboot they wait until the undo is done.
    """
    if os.geteuid() != 0 or not BOOTED.is_dir():
        return
    file, link = timer.unit_files(directory)
    try:
        write_atomic(file, _text(directory, services).encode(), mode=0o644)
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(file)
        fsync_directory(link.parent)
    except OSError:
        timer.remove_unit(directory)


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
