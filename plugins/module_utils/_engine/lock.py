# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The open transaction is the lock: who holds a stack or a component on this host, and how one begins.

No lock files and no ages: what is open holds, whatever has become of whoever opened it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, LockHeld, Unreadable
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import (
    ensure_private_directory,
    fsync_directory,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._services import status

from .records import RECOVER, Header, Records, all_records

_PARTIAL = ".begin-"
#: Seconds between looks at a lock that another process holds, and for how long that one may be stopped.
_RETRY_S = 0.05
_STOPPED_S = 5.0


def refuse_if_held(
    state_dir: Path,
    transaction_id: str,
    stack: str | None,
    lock_keys: Sequence[str] = (),
    keys: Sequence[str] = (),
    services: Sequence[str] = (),
) -> None:
    """Refuse when an open transaction other than this one holds the stack, or what one of these keys names.

    :param lock_keys: see `Plan.things`.
    :param keys: components as a restore point calls them (``kind:name``), for whoever knows no more of them than that.
    :param services: keys of services (``manager:name``) that a transaction may have stopped, or be about to.
    :raises LockHeld: naming who holds it, since when, how far that is, and the command that goes on.
    """
    for other in all_records(state_dir):
        if other.id == transaction_id or other.outcome is not None:
            continue
        header = other.header()
        if header is None:
            continue
        plans = list(other.plans().values()) if lock_keys or keys else []
        held = {key for plan in plans for key in plan.things} & set(lock_keys)
        held |= {plan.entry for plan in plans} & set(keys)
        if services:
            held |= {f"{one['manager']}:{one['name']}" for one in other.services()} & set(services)
        if header.stack == stack or held:
            what = f"stack {stack}" if header.stack == stack else ", ".join(sorted(held))
            raise LockHeld(_held_by(other, header, what))


def down(records: Records) -> list[str]:
    """Services that ran before this transaction and do not run now, found by inspection; one that can't be inspected counts."""
    found = []
    for service in records.services():
        if service["ran_before"] and not _runs(service):
            found.append(str(service["name"]))
    return found


def _runs(service: JsonObject) -> bool:
    try:
        return status.runs(service["options"], CommandRunner())
    except (LastGoodError, OSError):
        return False


def _situation(records: Records) -> str:
    """How far it is and what is down; of a journal that can't be read nothing is concluded."""
    try:
        left = ", ".join(down(records))
        return f"in its phase {records.phase()}{f'; down because of it: {left}' if left else ''}"
    except Unreadable:
        return "with records that can't be read"


def _held_by(records: Records, header: Header, what: str) -> str:
    """Who holds this, since when, how far that one is, what is down because of it, and the command that goes on."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(header.created))
    return (
        f"{what} is held by transaction {header.id}, begun {since} by {header.operator} and still open on "
        f"{header.host}, {_situation(records)}. "
        f"Wait for it; if nobody runs it any more: {RECOVER}{header.id}"
    )


def create_with_first_record(directory: Path, write_first: Callable[[Records], None]) -> None:
    """Make a transaction's directory: it appears with its first record in it, or not at all. Needs the host's lock."""
    for leftover in directory.parent.glob(f"{_PARTIAL}*"):  # of a call that was killed: nobody else is here now
        shutil.rmtree(leftover)
    partial = Path(tempfile.mkdtemp(dir=directory.parent, prefix=_PARTIAL))
    try:
        write_first(Records(partial))
        partial.rename(directory)
    except BaseException:
        shutil.rmtree(partial)
        raise
    fsync_directory(directory.parent)


@contextmanager
def host_lock(state_dir: Path) -> Iterator[None]:
    """Serialises the taking of locks on a host; held for an instant, never across a phase."""
    ensure_private_directory(state_dir / "transactions")
    with flock(state_dir / "transactions" / ".lock"):
        yield


@contextmanager
def flock(path: Path) -> Iterator[None]:
    """Wait for the exclusive lock on a file, and hold it.

    :raises LastGoodError: when whoever holds it was stopped: it would be waited for without end.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for_lock(handle, path)
        _write_holder(handle)
        yield
    finally:
        os.close(handle)


def _wait_for_lock(handle: int, path: Path) -> None:
    stopped_since: float | None = None
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        holder = os.pread(handle, 20, 0).strip().decode("ascii", "replace")
        stopped_since = (stopped_since or time.monotonic()) if _is_stopped(holder) else None
        if stopped_since is not None and time.monotonic() - stopped_since > _STOPPED_S:
            raise LastGoodError(
                f"{path} is held by process {holder}, which was stopped (state T), so that nobody can go on. Let it go on "
                f"(kill -CONT {holder}) or end it (kill -KILL {holder}), then try again."
            )
        time.sleep(_RETRY_S)


def _write_holder(handle: int) -> None:
    """Say who holds it."""
    mine = f"{os.getpid()}\n".encode()
    with suppress(OSError):  # a full disk: only a name is missing
        if os.pread(handle, 20, 0) != mine:
            os.pwrite(handle, mine, 0)
            os.ftruncate(handle, len(mine))


def _is_stopped(process: str) -> bool:
    """Whether a signal or a debugger has stopped a process; false for none."""
    try:
        stat = Path("/proc", str(int(process)), "stat").read_text(encoding="ascii", errors="replace")
    except (OSError, ValueError):
        return False
    return stat.rpartition(")")[2].split()[0] in ("T", "t")
