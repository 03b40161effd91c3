# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of the protocol's model, done by the real engine on one host; answers are the model's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    InDoubt,
    LastGoodError,
    Refused,
    StateConflict,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.arming import arm
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.transaction import Transaction

OK_CHECK = {"name": "health", "ok": True}


def word_of(word: str) -> str:
    """What the engine calls a host's state: a tombstone is all that it calls undone by; what is back, it looks at."""
    return "undone" if word == "undoing" else word


class EngineHost(Protocol):
    """What a trace needs of a host."""

    hosts: tuple[str, ...]
    databases: str  # the kind of its components that goes back first

    def begin(self) -> bool:
        """Begin the trace's transaction."""

    def prepare(self) -> None:
        """Prepare its components."""

    def transaction(self) -> Transaction:
        """As a new module call sees it."""


def call(host: EngineHost, action: str, shows: str, known: Sequence[str]) -> str:
    """Do one call.

    :param shows: the decision that is asked for or shown.
    :param known: hosts that the caller knows to have promised (to decide) or ended (to finish).
    """
    transaction = host.transaction()
    try:
        if action == "begin":
            host.begin()
        elif action == "prepare":
            host.prepare()
        elif action == "stop":
            arm(transaction)
        elif action == "switch":
            transaction.switch()
        elif action == "promise":
            transaction.promise([OK_CHECK])
        elif action == "undo":
            transaction.undo(shows or None, "told to")
        elif action == "undo_databases":
            transaction.undo(shows or None, "told to", [host.databases])
        elif action == "hold":
            transaction.keep_as_is(shows or None, "the database refuses")
        elif action == "decide":
            return transaction.decide(shows, known, "controller")
        elif action == "finish":
            transaction.finish(shows or None, known)
    except InDoubt:
        return "waits"
    except (Refused, StateConflict):
        return "refused"
    except LastGoodError:
        return "failed"
    return "ok"


def snapshot(host: EngineHost) -> dict[str, Any]:
    """The host's word, what stands there as decided, and whether it has ended; as transaction_info, synced first."""
    records = host.transaction().records
    if not records.directory.is_dir():
        return {"word": "absent", "record": "", "ended": False}
    records.sync()
    return {"word": records.state().value, "record": records.decision or "", "ended": records.outcome is not None}
