# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The open transaction is the lock: who holds a stack or a thing on this host, and how one appears.

No lock files and no ages: what is open holds, whatever has become of whoever opened it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._errors import LockHeld
from ansible_collections.lastgood.rollback.plugins.module_utils._files import ensure_private_directory, fsync_directory
from ansible_collections.lastgood.rollback.plugins.module_utils._records import Header, Records, all_records

_PARTIAL = ".begin-"


def refuse_if_held(state_dir: Path, transaction_id: str, stack: str | None, things: Sequence[str]) -> None:
    """Refuse when an open transaction other than this one holds the stack or one of the things.

    :raises LockHeld: naming who holds it, since when, and the id to recover.
    """
    for other in all_records(state_dir):
        if other.id == transaction_id or other.outcome is not None:
            continue
        header = other.header()
        if header is None:
            continue
        held = {thing for plan in other.plans().values() for thing in plan.things} & set(things)
        if header.stack == stack or held:
            raise LockHeld(_held_by(header, f"stack {stack}" if header.stack == stack else ", ".join(sorted(held))))


def _held_by(header: Header, what: str) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(header.created))
    return (
        f"{what} is held by transaction {header.id}, begun {since} by {header.operator} and still open on "
        f"{header.host}. Wait for it; if nobody runs it any more: ansible-playbook recover.yml -e rollback_id={header.id}"
    )


def appear(directory: Path, write_first: Callable[[Records], None]) -> None:
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
    """Wait for the exclusive lock on a file, and hold it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
