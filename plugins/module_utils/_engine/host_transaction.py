# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) One transaction on one host: its records, who may work on it now, and the timer that a call moves on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    Damaged,
    Refused,
    Unreadable,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import show_progress

from . import timer
from .lock import flock
from .records import Header, Records

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class HostTransaction:
    """A transaction that this host may know, for calls that need none of its components.

    :param state_dir: holds ``transactions`` and ``restore_points``.
    :param transaction_id: of a transaction that may or may not have begun here.
    :raises Refused: for an id that is not one.
    """

    def __init__(self, state_dir: Path, transaction_id: str) -> None:
        if not _ID.fullmatch(transaction_id):
            raise Refused(f"{transaction_id!r} is not a transaction's id: use letters, digits, '.', '_' and '-'.")
        self.state_dir = state_dir.absolute()  # the timer's process works elsewhere
        self.records = Records(self.state_dir / "transactions" / transaction_id)
        #: What was wrong with the timer and has been put right, in sentences.
        self.warnings: list[str] = []

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do here but to be acknowledged: all is back, or it has ended."""
        return self.records.outcome is not None or (self.records.tombstoned and self.records.undo_finished)

    def _journal(self, event: str, what: str, **facts: Any) -> None:
        self.records.journal.write(event, what, **facts)

    @contextmanager
    def _failure_journalled(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            with suppress(Damaged):  # the failure itself matters more than that it could not be written down
                self._journal("failed", f"{what}: {error}")
            raise

    # -- guards --------------------------------------------------------------------------------------------------

    def require_known(self, attempt: str) -> Header:
        """
        :raises Refused: where it never began.
        """
        header = self.records.header()
        if header is None:
            raise Refused(f"Can't {attempt}: transaction {self.records.id} never began on this host.")
        return header

    def require_open(self, attempt: str) -> Header:
        """
        :raises Refused: where it never began, was undone or has ended.
        """
        header = self.require_known(attempt)
        if self.records.outcome is not None:
            raise Refused(f"Can't {attempt}: transaction {header.id} has ended ({self.records.outcome['outcome']}).")
        if self.records.tombstoned:
            raise Refused(f"Can't {attempt}: transaction {header.id} was undone on this host.")
        return header

    @contextmanager
    def locked(self, *, touch: bool = True) -> Iterator[None]:
        """Serialise module, timer and operator on this host for the time of a call.

        :param touch: whether this is a call of the controller, which moves an armed deadline on.
        """
        if not self.records.directory.is_dir():
            raise Refused(f"Transaction {self.records.id} is not known on this host.")
        show_progress(f"Waiting for whoever else is at work on {self.records.id} here")
        with flock(self.records.directory / "lock"):
            show_progress(f"At work on {self.records.id}")
            self.records.sync()
            if not touch:
                yield
                return
            self._touch()
            try:
                yield
            finally:
                self._touch()

    def _touch(self) -> None:
        """Move an armed deadline on, and see that a process waits for it."""
        directory = self.records.directory
        with suppress(OSError):  # a full disk; the deadline that was set before still counts
            try:
                timer.touch(directory)
            except Unreadable as error:
                header = self.require_known("set the deadline anew")
                timer.set_deadline(directory, header.confirm_timeout)
                self._warn(f"{error.message} The dead man's timer has been given a new deadline.")
            if timer.deadline(directory) is not None and self.records.is_armed and not timer.is_waiting(directory):
                timer.start(directory)
                self._warn(
                    f"The dead man's timer of {self.records.id} did not run any more: it was killed, or could not undo "
                    f"({directory / 'timer.log'} says why). It has been started again."
                )

    def _warn(self, what: str) -> None:
        self.warnings.append(what)
        self._journal("failed", what)
