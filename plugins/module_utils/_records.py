# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The durable facts of one transaction on one host: a header, write-once records, and the journal.

What state a host is in is never stored; it is read off these files, so that a crash cannot make two of them disagree.
The names of the states are those of the protocol's model (tests/model).
"""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._components._base import Plan
from ansible_collections.lastgood.rollback.plugins.module_utils._errors import Damaged
from ansible_collections.lastgood.rollback.plugins.module_utils._files import (
    create_once,
    dump_json,
    fsync_directory,
    write_atomic,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._journal import Journal
from ansible_collections.lastgood.rollback.plugins.module_utils._types import JsonObject

KEEP = "keep"
UNDO = "undo"

#: Enough for the journal of an undo on a disk that has filled up.
_RESERVED_BYTES = 256 * 1024
#: How the log tells what happened to services, and to those that have no time in it.
_LOGGED = {"stopped": ("Stopped", "already down"), "started": ("Started, and ready", "no more ready than before")}


class HostState(enum.Enum):
    """Where a host stands in a transaction."""

    OPEN = "open"
    PREPARED = "prepared"
    SWITCHED = "switched"
    PROMISED = "promised"
    UNDONE = "undone"
    FINISHED = "finished"


@dataclass(frozen=True)
class Header:
    """Written once when a transaction begins on a host.

    :param id: e.g. ``20261123T143000Z-blog-7f3a``.
    :param stack: the stack it holds while it is open.
    :param host: this host's name in the inventory.
    :param hosts: all hosts of the plan.
    :param decision_host: the one of them that keeps the decision.
    :param operator: who asked for it.
    :param created: seconds since the epoch.
    :param python: the interpreter that runs the self-contained undo.
    :param confirm_timeout: seconds without a call after which the dead man's timer undoes.
    :param plan: what the controller planned for all hosts; recovery goes by it.
    """

    id: str
    stack: str
    host: str
    hosts: tuple[str, ...]
    decision_host: str
    operator: str
    created: float
    python: str
    confirm_timeout: int = 600
    plan: JsonObject = field(default_factory=dict)

    @property
    def kept_as(self) -> str:
        """The outcome of this transaction when it is kept."""
        return "undone_as_asked" if self.plan.get("undoes") else "rolled_back"

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Header:
        """Read a header back; what a newer version wrote besides is passed over."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in {**raw, "hosts": tuple(raw["hosts"])}.items() if name in known})


class Records:
    """Reads and writes the files of one transaction's directory.

    :param directory: ``<state dir>/transactions/<id>``; need not exist yet.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.journal = Journal(directory / "journal.jsonl", directory.parent.parent / "rollback.log")

    @property
    def id(self) -> str:
        """The transaction's id."""
        return self.directory.name

    def sync(self) -> None:
        """Make durable what a call wrote that was killed before it could: what is answered must survive a power cut."""
        if self.journal.path.exists():
            with self.journal.path.open("rb") as stream:
                os.fsync(stream.fileno())
        fsync_directory(self.directory)
        fsync_directory(self.directory.parent)

    def header(self) -> Header | None:
        """The header; None where only a tombstone was written, before the transaction ever began here.

        :raises Damaged: when it can't be read.
        """
        raw = self._read("header.json")
        try:
            return None if raw is None else Header.from_json(raw)
        except (KeyError, TypeError) as error:
            raise self._damaged("header.json", error) from error

    def write_header(self, header: Header) -> None:
        """Begin: the header is the transaction's first durable fact."""
        write_atomic(self.directory / "header.json", dump_json(asdict(header)))

    @property
    def tombstoned(self) -> bool:
        """True once this host has undone, or was told that it must never switch."""
        return (self.directory / "tombstone").exists()

    @property
    def is_back(self) -> bool:
        """True once everything of this transaction on this host was seen to be as it was before."""
        return any(entry["event"] == "undone" for entry in self.journal.entries())

    def write_tombstone(self, reason: str) -> None:
        """From now on this host neither switches nor promises."""
        create_once(self.directory / "tombstone", dump_json({"reason": reason}))

    @property
    def promise(self) -> JsonObject | None:
        """What this host promised (never to undo alone), with the checks that it was based on."""
        return self._read("promise")

    def write_promise(self, checks: list[JsonObject]) -> None:
        """Promise, durably."""
        create_once(self.directory / "promise", dump_json({"checks": checks}))

    @property
    def decision(self) -> str | None:
        """``keep`` or ``undo`` once it was decided here; only ever set on the decision host."""
        raw = self._read("decision")
        return None if raw is None else str(raw["decision"])

    def decide(self, wish: str, by: str) -> str:
        """Compare and set: the first decision stands; returns the one that stands."""
        create_once(self.directory / "decision", dump_json({"decision": wish, "by": by}))
        decision = self.decision
        if decision is None:
            raise FileNotFoundError(self.directory / "decision")
        return decision

    @property
    def outcome(self) -> JsonObject | None:
        """How it ended; None while the transaction is open and so holds its locks."""
        return self._read("outcome.json")

    def close(self, outcome: str, **facts: Any) -> None:
        """End the transaction; this is what unlocks."""
        create_once(self.directory / "outcome.json", dump_json({"outcome": outcome, **facts}))

    def secrets(self) -> dict[str, dict[str, Any]]:
        """Passwords by component key, kept only until the promise, for the undo that nobody is there to type for."""
        return self._read("secrets.json") or {}

    def write_secrets(self, key: str, secrets: Mapping[str, Any]) -> None:
        """Keep a component's passwords (0600) until the promise."""
        write_atomic(self.directory / "secrets.json", dump_json({**self.secrets(), key: dict(secrets)}))

    def forget_secrets(self) -> None:
        """Remove what `write_secrets` kept."""
        (self.directory / "secrets.json").unlink(missing_ok=True)

    def reserve(self) -> None:
        """Take the room that an undo will need for its records, while there is some."""
        if not (self.directory / "reserve").exists():
            write_atomic(self.directory / "reserve", b"\0" * _RESERVED_BYTES)

    def release_reserve(self) -> None:
        """Give back what `reserve` took: now is when it is needed, or never."""
        (self.directory / "reserve").unlink(missing_ok=True)

    def plans(self) -> dict[str, Plan]:
        """All plans that were journalled before their prepare, by component key, in order."""
        plans: dict[str, Plan] = {}
        for entry in self.journal.entries():
            facts = entry.get("facts", {})
            if facts.get("phase") == "prepare" and entry["event"] == "intent":
                plan = Plan.from_json(facts["plan"])
                plans.setdefault(plan.key, plan)
        return plans

    def evidence(self) -> dict[str, JsonObject]:
        """What each finished prepare found, by component key."""
        return {
            entry["facts"]["component"]: entry["facts"]["evidence"]
            for entry in self.journal.entries()
            if entry.get("facts", {}).get("phase") == "prepare" and entry["event"] == "done"
        }

    def switch_begun(self) -> set[str]:
        """Keys of the components whose switch may have touched the live system."""
        return {
            entry["facts"]["component"]
            for entry in self.journal.entries()
            if entry.get("facts", {}).get("phase") == "switch"
        }

    def switched(self) -> set[str]:
        """Keys of the components whose switch came to its end."""
        return {entry["facts"]["component"] for entry in self.journal.entries() if entry["event"] == "switched"}

    def services(self) -> list[JsonObject]:
        """The services that this transaction stopped: their options and whether they ran before."""
        found: dict[str, JsonObject] = {}
        for entry in self.journal.entries():
            if entry["event"] == "services":
                for service in entry["facts"]["services"]:
                    found.setdefault(f"{service['manager']}:{service['name']}", service)
        return list(found.values())

    def log_services(self, event: str, times: Mapping[str, float | None]) -> None:
        """Journal that services were stopped or started; downtime is computed from these.

        :param times: when each stopped, or was ready (epoch seconds); None where it was down already, or is no more ready than
            before.
        """
        known = {name: at for name, at in times.items() if at is not None}
        others = sorted(times.keys() - known.keys())
        if times:
            words, exception = _LOGGED[event]
            told = f"{words}: {', '.join(known) or 'none'}" + (f"; {exception}: {', '.join(others)}" if others else "")
            self.journal.write(event, told, services=known, others=others)

    def started_again(self) -> set[str]:
        """Names of the services that were started since everything is back: they run on nothing that was taken back."""
        found: set[str] = set()
        back = False
        for entry in self.journal.entries():
            back = back or entry["event"] == "undone"
            if back and entry["event"] == "started":
                found.update(entry["facts"]["services"], entry["facts"]["others"])
        return found

    def state(self) -> HostState:
        """The host's state by the protocol's names."""
        if self.outcome is not None:
            return HostState.UNDONE if self.tombstoned else HostState.FINISHED
        if self.tombstoned:
            return HostState.UNDONE
        if self.promise is not None:
            return HostState.PROMISED
        plans = self.plans().keys()
        if plans and plans <= self.switched():
            return HostState.SWITCHED
        if plans and plans <= self.evidence().keys():
            return HostState.PREPARED
        return HostState.OPEN

    def _read(self, name: str) -> JsonObject | None:
        try:
            raw = (self.directory / name).read_bytes()
        except FileNotFoundError:
            return None
        try:
            value: JsonObject = json.loads(raw)
        except ValueError as error:
            raise self._damaged(name, error) from error
        return value

    def _damaged(self, name: str, error: Exception) -> Damaged:
        return Damaged(
            f"{self.directory / name} can't be understood ({error}): the transaction {self.id} can't be gone on with. "
            "Look at its things by hand, then move its directory out of the way."
        )


def all_records(state_dir: Path) -> list[Records]:
    """The transactions of this host, oldest first; directories that are still being made are left out."""
    directory = state_dir / "transactions"
    try:
        entries = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir() and entry.name[0] != ".")
    except FileNotFoundError:
        return []
    return [Records(directory / name) for name in entries]
