# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The undo of one transaction on one host, without Ansible: for the timer, and for an operator.

It stops what runs on the new state, takes everything back, and starts what ran before. It leaves the transaction open,
so that recovery can write down the decision for all hosts.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    Damaged,
    InDoubt,
    LastGoodError,
    Refused,
    UndoIncomplete,
    Unreadable,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import write_atomic
from ansible_collections.lastgood.rollback.plugins.module_utils._base.text import visible
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import component_class
from ansible_collections.lastgood.rollback.plugins.module_utils._services import control

from . import timer
from .inspection import with_actual_state
from .records import Records
from .service_log import log_services
from .transaction import Transaction

_LONGEST_NAP_S = 2.0


def main(directory: str, arguments: Sequence[str]) -> None:
    """Entry point of ``<transaction>/undo [--wait]``; ends the process with 0 when everything is back."""
    records = Records(Path(directory))
    if "--wait" in arguments:
        with timer.only_one(records.directory, tries=10) as is_only:
            if is_only:
                write_atomic(records.directory / "timer.pid", f"{os.getpid()}\n".encode())
            while is_only and _wait(records):
                _undo_by_timer(records)
        _ready()
        raise SystemExit(0)
    try:
        undo_on_this_host(records, "asked by hand on this host")
    except LastGoodError as error:
        _failed(records, error)
        raise SystemExit(1) from error
    sys.stdout.write(
        f"Transaction {records.id} is undone on this host; run ansible-playbook lastgood.rollback.recover for the others.\n"
    )
    raise SystemExit(0)


def _undo_by_timer(records: Records) -> None:
    """What fails for a passing reason, such as a database that is down, is tried again after the same time.

    :raises SystemExit: when it is done, or only a person can go on.
    """
    try:
        undo_on_this_host(records, "the controller fell silent", if_silent=True)
    except (UndoIncomplete, InDoubt, Refused, Unreadable) as error:
        _failed(records, error)
        raise SystemExit(1) from error
    except (LastGoodError, OSError) as error:
        _failed(records, error)
        timer.touch(records.directory)
        return
    if records.undo_finished:
        _ready()
        raise SystemExit(0)


def _failed(records: Records, error: LastGoodError | OSError) -> None:
    sys.stderr.write(f"{visible(str(error))}\n")
    what = f"Undo without the controller: {error}"
    with suppress(Damaged):
        try:
            records.journal.write("failed", what)
        except Unreadable:
            records.journal.write_log("failed", what)


def _wait(records: Records) -> bool:
    """Wait for the deadline; false when there is no longer anything to wait for.

    A call that is being served is no silence, however long it takes: the undo waits for its end, and looks again.
    """
    while True:
        left = None if _is_disarmed(records) else _seconds_left(records)
        if left is None:
            return False
        if left <= 0:
            return True
        _ready()
        time.sleep(min(max(left, 0.2), _LONGEST_NAP_S))


def _is_disarmed(records: Records) -> bool:
    """Whether there is nothing more to do alone; what can't be read is reported when the deadline has passed."""
    try:
        return records.outcome is not None or records.promise is not None or not records.directory.is_dir()
    except Unreadable:
        return False


def _seconds_left(records: Records) -> float | None:
    """Until the deadline; one that can't be read is said, and set anew."""
    try:
        return timer.seconds_left(records.directory)
    except Unreadable as error:
        _failed(records, error)
        header = records.header()
        timer.set_deadline(records.directory, header.confirm_timeout if header else 0)
        return timer.seconds_left(records.directory)


def undo_on_this_host(records: Records, reason: str, *, if_silent: bool = False) -> None:
    """Undo on this host, now. Refused after a promise.

    :param if_silent: only when no call has come meanwhile.
    :raises LastGoodError: with what is left to do; the services of the old state are started all the same when nothing
        had been switched or everything is back.
    """
    transaction = Transaction(records.directory.parent.parent, records.id, component_class)
    try:
        transaction.undo(
            None,
            reason,
            stop=lambda: stop_running(records),
            start=lambda: start_stopped(records),
            if_silent=if_silent,
        )
    except Unreadable as error:
        raise with_actual_state(transaction.components, error) from error


def stop_running(records: Records) -> None:
    """Stop the services of this transaction that run on the switched state."""
    control.stop(
        _specs(records.services()),
        CommandRunner(),
        lambda stopped: log_services(records, "stopped", control.stop_times(stopped)),
    )


def start_stopped(records: Records) -> list[JsonObject]:
    """Start the services that this transaction stopped and that ran before."""
    # What is about to be started may be waiting for us, at a boot.
    _ready()
    stopped = [service for service in records.services() if service["ran_before"]]
    broken = [service for service in stopped if not service["ready_before"]]
    lenient = {service.key for service in _specs(broken)} if records.tombstoned else set()
    started = control.start(_specs(stopped), CommandRunner(), lenient)
    log_services(records, "started", {entry.name: entry.ready_at for entry in started})
    return [entry.to_json() for entry in started]


def _specs(services: Sequence[JsonObject]) -> list[control.Service]:
    return control.parse([service["options"] for service in services])


def _ready() -> None:
    """Let those start that wait for our unit at boot; does nothing outside of systemd, and when it was said before."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1", f"\0{address[1:]}" if address.startswith("@") else address)
