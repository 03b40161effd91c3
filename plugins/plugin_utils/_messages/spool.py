# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Messages that wait to be delivered, as files; what is not delivered stays, and is tried again.

``<spool>/<id>.<kind>.<digest of the recipient>.json`` is one message; delivered ones are kept below ``<spool>/sent``.
To cancel a message is to delete its file. No file holds a password or the address of a webhook.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import create_once, dump_json, write_atomic

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 60, 3600


@dataclass(frozen=True)
class Message:
    """One message to one recipient.

    :param name: of its file, without ``.json``.
    :param transaction: the id of the rollback it is about.
    :param kind: ``notice``, ``status`` or ``postmortem``.
    :param channel: ``mail`` or ``webhook``.
    :param to: a mail address, or the name of a webhook in the configuration.
    :param subject: on one line.
    :param text: plain text.
    :param html: for mails; empty without.
    :param attachments: files, read when it is delivered: a post-mortem may have been written on until then.
    :param facts: for generic webhooks.
    :param due: seconds since the epoch before which it is not sent.
    :param attempts: how often it could not be delivered, and ``error`` why not the last time.
    """

    name: str
    transaction: str
    kind: str
    channel: str
    to: str
    subject: str
    text: str
    html: str = ""
    attachments: tuple[str, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)
    due: float = 0.0
    attempts: int = 0
    error: str = ""

    def failed(self, error: str, now: float) -> Message:
        """The same, to be tried again: after a minute, then ever later, at most after an hour; never given up."""
        pause = min(_FIRST_PAUSE_S * 2**self.attempts, _LONGEST_PAUSE_S)
        return replace(self, attempts=self.attempts + 1, error=error, due=now + pause)


class Spool:
    """The directory of the messages; it is made when it is missing, for its owner alone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sent = directory / "sent"
        self.sent.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One sender at a time: nobody gets a message twice because two of them found it due."""
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def add(self, message: Message) -> bool:
        """Take a message in, unless it is there or was sent: what is added twice is sent once."""
        if (self.sent / f"{message.name}.json").exists():
            return False
        return create_once(self.directory / f"{message.name}.json", dump_json(asdict(message)))

    def update(self, message: Message) -> None:
        """Write down that it could not be delivered."""
        write_atomic(self.directory / f"{message.name}.json", dump_json(asdict(message)))

    def done(self, message: Message) -> None:
        """It was delivered."""
        (self.directory / f"{message.name}.json").replace(self.sent / f"{message.name}.json")

    def waiting(self) -> list[Message]:
        """All that are not delivered yet, oldest first; what can't be read is passed over and stays."""
        return _read(self.directory)

    def delivered(self) -> list[Message]:
        """All that were."""
        return _read(self.sent)

    def cancel(self, transaction: str, kinds: tuple[str, ...]) -> list[Message]:
        """Delete what waits of this transaction."""
        found = [each for each in self.waiting() if each.transaction == transaction and each.kind in kinds]
        for message in found:
            (self.directory / f"{message.name}.json").unlink(missing_ok=True)
        return found


def _read(directory: Path) -> list[Message]:
    found = []
    for path in sorted(directory.glob("*.json")):
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            found.append(Message(**{**raw, "attachments": tuple(raw["attachments"])}))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found
