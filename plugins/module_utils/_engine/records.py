# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The durable facts of one transaction on one host: a header, write-once records, and the journal.

What state a host is in is never stored; it is read off these files, so that a crash cannot make two of them disagree.
The names of the states are those of the protocol's model (tests/model).
"""

from __future__ import annotations

import enum
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import (
    create_once,
    dump_json,
    ensure_private_directory,
    fsync_directory,
    write_atomic,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.shape import Shape, require, require_json
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import PLAN_SHAPE, Plan

from .journal import Journal

KEEP = "keep"
UNDO = "undo"
RECOVER = "ansible-playbook lastgood.rollback.recover -e rollback_id="
#: The word for a host whose records can't be read: it is none of the protocol's states, and nothing follows from it.
DAMAGED = "damaged"
#: How a transaction ends on a host.
UNDONE = "undone"
ENDS = frozenset({"rolled_back", "undone_as_asked", UNDONE})

#: Enough for the journal of an undo on a disk that has filled up.
_RESERVED_BYTES = 256 * 1024
_DECISION = {"decision": frozenset({KEEP, UNDO}), "by?": str}
_TOMBSTONE = {"reason?": str}
_PROMISE = {"checks": [{str: object}]}
_OUTCOME = {"outcome": ENDS, "at?": float}
_SECRETS = {str: {str: object}}
_SERVICE_OPTIONS = {str: {str: object}}
_HEADER = {
    "id": str,
    "stack": str,
    "host": str,
    "hosts": [str],
    "decision_host": str,
    "operator": str,
    "created": float,
    "python": str,
    "confirm_timeout?": int,
    "plan?": {str: object},
    "chained?": bool,
    "services?": (None, [str]),
}
#: The services in a transaction's plan.
_PLAN_WAVES = {"parts?": {str: {"waves?": [[{"name": str, "manager?": (None, str)}]]}}}
#: What distinguishes a service from others, and how to order the timer around it; what else is known of it may be secret.
_SERVICE_NAME = ("name", "manager", "scope")
_SERVICE = {"manager": str, "name": str, "options": {str: object}, "ran_before": bool, "ready_before": bool}


class HostState(enum.Enum):
    """How far a host is in a transaction."""

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
    :param chained: the journal is a chain, as `Records.write_header` begins it; old releases had none.
    :param services: keys of the services whose options `Records.write_header` kept apart; None where they are in the plan
        and the journal, as old releases left them.
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
    chained: bool = False
    services: tuple[str, ...] | None = None

    @property
    def kept_as(self) -> str:
        """The outcome of this transaction when it is kept."""
        return "undone_as_asked" if self.plan.get("undoes") else "rolled_back"

    @property
    def stack_hosts(self) -> list[str]:
        """The hosts that its stack has by the plan; a rehearsal says nothing about them."""
        is_known = self.plan and not self.plan.get("rehearse")
        return list(self.plan.get("stack_hosts") or self.hosts) if is_known else []

    @property
    def planned_services(self) -> list[JsonObject]:
        """This host's services, in the order of the plan; see `shown_plan` for what is raised."""
        return [service for wave in self._waves().get(self.host, ()) for service in wave]

    def shown_plan(self) -> JsonObject:
        """The plan without the words of commands, which older releases left in it.

        :raises Unreadable: for a plan of another shape.
        """
        names = {host: [[service_name(one) for one in wave] for wave in waves] for host, waves in self._waves().items()}
        parts = {host: {**self.plan["parts"][host], "waves": waves} for host, waves in names.items()}
        return {**self.plan, "parts": parts} if parts else self.plan

    def _waves(self) -> dict[str, list[list[JsonObject]]]:
        """Host → its services, wave by wave."""
        parts = require(self.plan, _PLAN_WAVES, f"{self.id}/header.json, plan").get("parts", {})
        return {host: part.get("waves", []) for host, part in parts.items()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Header:
        """Read a header back; what a newer version wrote besides is passed over."""
        known = {each.name for each in fields(cls)}
        services = raw.get("services")
        lists = {"hosts": tuple(raw["hosts"]), "services": None if services is None else tuple(services)}
        # Older releases called the parts of a plan "of".
        plan = {"parts" if name == "of" else name: value for name, value in raw.get("plan", {}).items()}
        return cls(**{name: value for name, value in {**raw, **lists, "plan": plan}.items() if name in known})


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

        :raises Unreadable: when it can't be read, or is gone.
        """
        raw = self._read("header.json", _HEADER)
        if raw is not None:
            return Header.from_json(raw)
        if self.directory.is_dir() and not ((self.directory / "tombstone").exists() and not self._journalled("begun")):
            raise Unreadable(f"{self.directory / 'header.json'} is gone.")
        return None

    def write_header(self, header: Header, services: Sequence[Mapping[str, Any]] = ()) -> None:
        """Begin: the header is the transaction's first durable fact, and the journal's chain hangs on it.

        :param services: options of this host's services, see `write_services`.
        """
        if services:
            self.write_services(services)
        keys = [service_key(service) for service in services]
        write_atomic(self.directory / "header.json", dump_json({**asdict(header), "chained": True, "services": keys}))
        self.journal.start()

    @property
    def tombstoned(self) -> bool:
        """True once this host has undone, or was asked never to switch."""
        if (self.directory / "tombstone").exists():
            return True
        ended = self.outcome
        return self.undo_finished if ended is None else ended["outcome"] == UNDONE

    @property
    def undo_finished(self) -> bool:
        """True once everything of this transaction on this host was seen to be as it was before."""
        return bool(self._journalled("undone"))

    @property
    def is_armed(self) -> bool:
        """True while the dead man's timer has to run."""
        return bool(self._journalled("armed")) and self.promise is None and self.outcome is None and not self.tombstoned

    @property
    def reason(self) -> str | None:
        """Why this host has undone; None before."""
        raw = self._read("tombstone", _TOMBSTONE)
        return None if raw is None else raw.get("reason")

    @property
    def state_ids(self) -> dict[str, str]:
        """The ids of the state directories of all hosts, by host, as they were when the timer was armed."""
        found: dict[str, str] = {}
        for entry in self._journalled("armed"):
            shape = {"state_ids?": {str: str}}
            found.update(require(entry.get("facts", {}), shape, self.place(entry)).get("state_ids", {}))
        return found

    def write_tombstone(self, reason: str) -> None:
        """From now on this host neither switches nor promises."""
        create_once(self.directory / "tombstone", dump_json({"reason": reason}))

    @property
    def promise(self) -> JsonObject | None:
        """What this host promised (never to undo alone), with the checks that it was based on."""
        promise = self._read("promise", _PROMISE)
        return {"checks": []} if promise is None and self._journalled("promised") else promise

    def write_promise(self, checks: list[JsonObject]) -> None:
        """Promise, durably."""
        create_once(self.directory / "promise", dump_json({"checks": checks}))

    @property
    def decision(self) -> str | None:
        """``keep`` or ``undo`` once it was decided here; only ever set on the decision host."""
        raw = self._read("decision", _DECISION)
        journalled = [
            require(entry.get("facts"), _DECISION, self.place(entry)) for entry in self._journalled("decided")
        ]
        decisions = {one["decision"] for one in [*filter(None, [raw]), *journalled]}
        if len(decisions) > 1:
            raise Unreadable(f"{self.directory / 'decision'} says another decision than the journal.")
        return decisions.pop() if decisions else None

    def decide(self, decision: str, by: str) -> str:
        """Compare and set: the first decision is kept; returns it."""
        create_once(self.directory / "decision", dump_json({"decision": decision, "by": by}))
        recorded = self.decision
        if recorded is None:
            raise FileNotFoundError(self.directory / "decision")
        return recorded

    @property
    def outcome(self) -> JsonObject | None:
        """How it ended; None while the transaction is open and so holds its locks."""
        outcome = self._read("outcome.json", _OUTCOME)
        if outcome is not None and outcome["outcome"] != UNDONE and (self.directory / "tombstone").exists():
            raise Unreadable(f"{self.directory / 'outcome.json'} says {outcome['outcome']} beside a tombstone.")
        return outcome

    def close(self, outcome: str, **facts: Any) -> None:
        """End the transaction; this is what unlocks."""
        create_once(self.directory / "outcome.json", dump_json({"outcome": outcome, **facts}))

    def secrets(self) -> dict[str, dict[str, Any]]:
        """Passwords by component key, kept only until the promise, for the undo that nobody is there to type for."""
        return self._read("secrets.json", _SECRETS) or {}

    def write_secrets(self, key: str, secrets: Mapping[str, Any]) -> None:
        """Keep a component's passwords (0600) until the promise."""
        write_atomic(self.directory / "secrets.json", dump_json({**self.secrets(), key: dict(secrets)}))

    def forget_secrets(self) -> None:
        """Remove what `write_secrets` kept."""
        (self.directory / "secrets.json").unlink(missing_ok=True)

    def write_services(self, services: Sequence[Mapping[str, Any]]) -> None:
        """Keep how services are started and asked whether they are ready (0600), for whoever starts them again.

        Words of these commands may be secret: they are kept here alone, and only until the transaction ends.
        """
        known = self._read("services.json", _SERVICE_OPTIONS) or {}
        new = {service_key(service): dict(service) for service in services}
        write_atomic(self.directory / "services.json", dump_json({**new, **known}))

    def service_options(self) -> dict[str, JsonObject]:
        """What `write_services` kept, by key; of an older release's transaction, what its plan says. Nothing once it has ended.

        :raises Unreadable: when it is gone.
        """
        if self.outcome is not None:
            return {}
        kept: dict[str, JsonObject] = self._read("services.json", _SERVICE_OPTIONS) or {}
        header = self.header()
        if header is None:
            return kept
        if header.services is None:
            kept = {**{service_key(service): service for service in header.planned_services}, **kept}
        self._require_options(header.services or (), kept)
        return kept

    def _require_options(self, keys: Iterable[str], kept: Mapping[str, Any]) -> None:
        missing = sorted(set(keys) - kept.keys())
        if missing:
            raise Unreadable(
                f"{self.directory / 'services.json'} is gone, or tells nothing of {', '.join(missing)}: how to start them is not "
                "known."
            )

    def forget_services(self) -> None:
        """Remove what `write_services` kept."""
        (self.directory / "services.json").unlink(missing_ok=True)

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
        for entry in self._journalled("intent", "prepare"):
            plan = self._plan(entry["facts"].get("plan"), f"{self.place(entry)}, facts.plan")
            plans.setdefault(plan.key, plan)
        return plans

    def keep_plan(self, number: int, plan: Plan) -> None:
        """A second copy, for the inspection of a host whose journal can't be read any more."""
        ensure_private_directory(self.directory / "plans")
        write_atomic(self.directory / "plans" / f"{number}.json", dump_json(plan.to_json()))

    def kept_plans(self) -> dict[int, Plan]:
        """What `keep_plan` kept, by number, as far as it can be read."""
        kept = {}
        for path in sorted((self.directory / "plans").glob("*.json")):
            with suppress(Unreadable, OSError, ValueError):
                kept[int(path.stem)] = self._plan(self._read(f"plans/{path.name}", {str: object}), str(path))
        return kept

    @staticmethod
    def _plan(raw: Any, place: str) -> Plan:
        """
        :raises Unreadable: for what is no plan.
        """
        return Plan.from_json(require(raw, PLAN_SHAPE, place))

    def evidence(self) -> dict[str, JsonObject]:
        """What each finished prepare found, by component key."""
        shape = {"component": str, "evidence": {str: object}}
        entries = self._journalled("done", "prepare")
        found = [require(entry["facts"], shape, self.place(entry)) for entry in entries]
        return {facts["component"]: facts["evidence"] for facts in found}

    def switch_begun(self) -> set[str]:
        """Keys of the components whose switch may have touched the live system."""
        return self._components(self._journalled(phase="switch"))

    def switched(self) -> set[str]:
        """Keys of the components whose switch came to its end."""
        return self._components(self._journalled("switched"))

    def _components(self, entries: list[JsonObject]) -> set[str]:
        shape = {"component": str}
        return {require(entry.get("facts"), shape, self.place(entry))["component"] for entry in entries}

    def _journalled(self, event: str | None = None, phase: str | None = None) -> list[JsonObject]:
        """The journal's records of one event, of one phase, or of both."""
        return [
            entry
            for entry in self.journal.entries()
            if event in (None, entry["event"]) and phase in (None, entry.get("facts", {}).get("phase"))
        ]

    def place(self, entry: JsonObject) -> str:
        """Where a record stands, for a message."""
        return f"{self.journal.path}, {entry['event']} ({entry['what']})"

    def services(self) -> list[JsonObject]:
        """The services that this transaction stopped: whether they ran before and, until it has ended, their options.

        :raises Unreadable: also when the options of one are gone.
        """
        found: dict[str, JsonObject] = {}
        for entry in self._journalled("services"):
            facts = require(entry.get("facts"), {"services": [_SERVICE]}, self.place(entry))
            for service in facts["services"]:
                found.setdefault(service_key(service), service)
        if not found or self.outcome is not None:
            return list(found.values())
        kept = self.service_options()
        # Older releases wrote all options into the journal.
        self._require_options((key for key, service in found.items() if "command" not in service["options"]), kept)
        return [{**service, "options": kept.get(key) or service["options"]} for key, service in found.items()]

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

    def phase(self) -> str:
        """The phase that this host is in, or that was interrupted here."""
        state = self.state()
        if state is HostState.UNDONE:
            return "undo"
        if state is HostState.PROMISED:
            return "decide"
        if state is HostState.SWITCHED:
            started = self._journalled("started")
            return "verify" if started or not self.services() else "start"
        if self.switch_begun():
            return "switch"
        return "stop" if self.services() else "prepare"

    def _read(self, name: str, shape: Shape) -> JsonObject | None:
        """
        :raises Unreadable: for what is not of this shape.
        """
        try:
            raw = (self.directory / name).read_bytes()
        except FileNotFoundError:
            return None
        value: JsonObject = require_json(raw, shape, str(self.directory / name))
        return value


def service_key(service: Mapping[str, Any]) -> str:
    """Distinguishes a service from those of the same name under another manager."""
    return f"{service.get('manager') or 'systemd'}:{service['name']}"


def service_name(service: Mapping[str, Any]) -> JsonObject:
    """Which service it is, and nothing that may be secret."""
    return {name: service[name] for name in _SERVICE_NAME if service.get(name)}


def identity_of(state_dir: Path, *, make: bool = False) -> str | None:
    """The random id of a state directory, which distinguishes it from any other on a host of the same name.

    :param make: give it one, where it has none.
    :raises Unreadable: when it is none.
    """
    path = state_dir / "id"
    if make:
        create_once(path, f"{secrets.token_hex(16)}\n".encode())
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
    if not re.fullmatch("[0-9a-f]{32}", text):
        raise Unreadable(f"{path} holds no id.")
    return text


def all_records(state_dir: Path) -> list[Records]:
    """The transactions of this host, oldest first; directories that are still being made are left out."""
    directory = state_dir / "transactions"
    try:
        entries = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir() and entry.name[0] != ".")
    except FileNotFoundError:
        return []
    return [Records(directory / name) for name in entries]
