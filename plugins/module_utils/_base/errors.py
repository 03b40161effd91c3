# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Everything that can go wrong, as types: the runner turns them into one clear failure."""

from __future__ import annotations

import errno
from collections.abc import Sequence

_FULL = (errno.ENOSPC, errno.EDQUOT)


class LastGoodError(Exception):
    """Something failed; whatever was begun has to be undone.

    :param message: names the object, the attempt and the cause, and says what to do next.
    """

    outcome = "undone"

    @property
    def message(self) -> str:
        """The text for a person."""
        return str(self.args[0]) if self.args else self.__class__.__name__


class Refused(LastGoodError):
    """A precondition does not hold. Raised before anything of the live system is touched."""

    outcome = "refused"


class LockHeld(Refused):
    """Another open transaction holds the stack or one of its things."""


class UndoIncomplete(LastGoodError):
    """Something is left to do by hand, and the message says what."""

    outcome = "undo_incomplete"


class StateConflict(UndoIncomplete):
    """Reality is neither what was before nor what was switched to: somebody else changed it meanwhile."""


class Damaged(LastGoodError):
    """A record of a transaction can't be written, so nothing can be promised on this host."""

    outcome = "undo_incomplete"


class Unreadable(Damaged):
    """What is read is not what was written: cut off, changed, gone, or of another type. Nothing is concluded from it."""

    outcome = "in_doubt"


class InDoubt(LastGoodError):
    """This host has promised, and the decision can't be read: it must wait."""

    outcome = "in_doubt"


class ChecksumMismatch(Refused):
    """A file is not what it was when it was captured. It has not been opened by any tool."""


class VerificationFailed(LastGoodError):
    """A check of restored content did not hold."""


class CommandFailed(LastGoodError):
    """A program ended with a status other than zero, or could not be started.

    :param attempt: what it was meant to do, for the message.
    :param argv: the argument list (never holds a secret).
    :param rc: exit status, 127 when the program could not be started, negative for a signal.
    """

    def __init__(self, attempt: str, argv: Sequence[str], rc: int, stdout: str = "", stderr: str = "") -> None:
        self.attempt = attempt
        self.argv = list(argv)
        self.rc = rc
        self.stdout = stdout
        self.stderr = stderr
        said = (stderr.strip() or stdout.strip() or "it said nothing").splitlines()
        super().__init__(f"{attempt} failed: {self.argv[0]} ended with {rc}: {' | '.join(said[-5:])}")


def os_error_message(error: OSError) -> str:
    """What the operating system refused, where it says so, and what to do about a disk that is full."""
    where = f"{error.filename}: " if error.filename else ""
    advice = ": make room on this host, then try again" if error.errno in _FULL else ""
    return f"{where}{error.strerror or error}{advice}."
