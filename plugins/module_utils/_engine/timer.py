# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The dead man's timer: if the controller falls silent, the host undoes its part by itself.

The deadline is kept in a file and counts in boot time, which no clock change moves. Every call of the transaction moves
it on; the waiting process only reads it. It undoes nothing once the host has promised or the transaction has ended.
Where systemd runs and we are root the process belongs to a persistent unit, else it is detached from everything.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import dump_json, write_atomic
from ansible_collections.lastgood.rollback.plugins.module_utils._base.shape import require_json

UNITS = Path("/etc/systemd/system")
_DEADLINE = {"boottime": float, "timeout": float, "boot": str}
#: Seconds until a timer that was started has to wait.
_START_S = 30.0
_SYSTEMCTL_S = 30
_UNDO = """#!{python}
# Takes this transaction back on this host, without Ansible: run it as the user that owns this file.
import sys
sys.path[:0] = [{payload!r}, *{path!r}]
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.undo_cli import main
main({directory!r}, sys.argv[1:])
"""


def start(directory: Path) -> None:
    """Leave a process that waits for the deadline, where none does.

    :raises LastGoodError: when it can't be seen to wait.
    """
    write_undo(directory)
    if is_waiting(directory):
        return
    (directory / "timer.pid").unlink(missing_ok=True)
    if not _start_unit(directory):  # two at the same instant: the later one ends at once
        _start_waiting(directory)
    _await_waiting(directory)


def is_waiting(directory: Path) -> bool:
    """Whether a process waits for the deadline."""
    with only_one(directory) as alone:
        return not alone


def _await_waiting(directory: Path) -> None:
    """Services are stopped after this: only a timer that is seen to wait will start them again.

    :raises LastGoodError: when none does.
    """
    began = time.monotonic()
    while not ((directory / "timer.pid").exists() or is_waiting(directory)):
        if time.monotonic() - began > _START_S:
            raise LastGoodError(
                f"The dead man's timer does not run {_START_S:.0f} s after it was started: without it nobody would undo if the "
                f"controller fell silent. {directory / 'timer.log'} says why."
            )
        time.sleep(0.05)


@contextmanager
def only_one(directory: Path, tries: int = 1) -> Iterator[bool]:
    """Held by the waiting process for its whole life; yields false when another one waits already.

    :param tries: somebody may only be asking whether one waits; that is over in an instant.
    """
    with (directory / "timer.lock").open("a", encoding="ascii") as lock:
        yield any(_taken(lock, wait_s=0.1 if attempt else 0.0) for attempt in range(tries))


def _taken(lock: IO[str], wait_s: float) -> bool:
    time.sleep(wait_s)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_undo(directory: Path) -> None:
    """Put ``undo`` beside the code that it needs, which is there from arming on.

    One that is there stays: it names what its own payload holds, and an earlier release may have written both.
    """
    if (directory / "undo").exists():
        return
    payload = directory / "payload.zip"
    # psycopg2 may be in an environment of its own that the interpreter alone would not look into
    path = [entry for entry in sys.path if entry.endswith("-packages")]
    text = _UNDO.format(python=sys.executable, payload=str(payload), path=path, directory=str(directory))
    write_atomic(directory / "undo", text.encode(), mode=0o700)


def set_deadline(directory: Path, timeout_s: int) -> None:
    """Silence may last so many seconds from now."""
    value = {"boottime": time.clock_gettime(time.CLOCK_BOOTTIME) + timeout_s, "timeout": timeout_s, "boot": _boot()}
    write_atomic(directory / "deadline", dump_json(value))


def touch(directory: Path) -> None:
    """A call came: move an armed deadline on; does nothing where none is armed."""
    current = deadline(directory)
    if current is not None:
        set_deadline(directory, int(current["timeout"]))


def disarm(directory: Path) -> None:
    """From now on nobody here undoes alone."""
    (directory / "deadline").unlink(missing_ok=True)
    remove_unit(directory)


def deadline(directory: Path) -> dict[str, float | str] | None:
    """The armed deadline; None when there is none.

    :raises Unreadable: when it can't be understood.
    """
    path = directory / "deadline"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    value: dict[str, float | str] = require_json(content, _DEADLINE, str(path))
    return value


def seconds_left(directory: Path) -> float | None:
    """Until the deadline; 0 after a reboot, which ended every promise-less transaction; None when disarmed."""
    current = deadline(directory)
    if current is None:
        return None
    if current["boot"] != _boot():
        return 0.0
    return max(0.0, float(current["boottime"]) - time.clock_gettime(time.CLOCK_BOOTTIME))


def _boot() -> str:
    """What differs from boot to boot; the kernel's own id stays the same when a container is started again."""
    kernel = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    try:
        first = Path("/proc/1/stat").read_text(encoding="ascii", errors="replace")
    except OSError:  # hidden from other users than root
        return kernel
    return f"{kernel} {first.rpartition(')')[2].split()[19]}"  # when the first process started


def _start_waiting(directory: Path) -> None:
    """A process of its own session: it outlives the module, the connection and the controller."""
    with (directory / "timer.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(directory / "undo"), "--wait"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
        )
    # Not waited for on purpose: it belongs to the host from here on.
    process.returncode = 0


def _start_unit(directory: Path) -> bool:
    """Start its unit; false where there is none, or systemd refuses."""
    file, _link = unit_files(directory)
    if not file.exists():
        return False
    try:
        argv = ["systemctl", "--no-ask-password", "--no-block", "start", file.name]
        CommandRunner().run(argv, f"Starting {file.name}", timeout=_SYSTEMCTL_S)
    except (OSError, CommandFailed):
        remove_unit(directory)
        return False
    return True


def remove_unit(directory: Path) -> None:
    """Disable and remove its unit; its process ends by itself. Does nothing where there is none."""
    for path in reversed(unit_files(directory)):
        with suppress(OSError):
            path.unlink()


def unit_files(directory: Path) -> tuple[Path, Path]:
    """Its unit and the link that enables it, named by the transaction and its state directory: a machine may be several hosts."""
    digest = hashlib.sha256(str(directory).encode()).hexdigest()[:8]
    file = UNITS / f"lastgood-{directory.name}-{digest}.service"
    return file, UNITS / "multi-user.target.wants" / file.name
