# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Making a restore point: look, copy, look again.

What is live may move while it is copied. So every component is described before and after; where the two differ, the
restore point is kept, but says what moved and can never become good.
"""

from __future__ import annotations

import contextlib
import platform
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._base.version import COLLECTION_VERSION
from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import Component
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import all_records

from .context import capture_context
from .manifest import MANIFEST, CapturedComponent, Manifest, seal
from .store import RestorePoint
from .writable_store import WritableRestorePoints, list_artefacts

#: Programs whose version tells, years later, what a capture was made with.
TOOLS = ("git", "pg_dump")


@dataclass(frozen=True)
class ComponentRequest:
    """One component that is to be captured.

    :param component: its class.
    :param options: as its module takes them.
    :param passwords: for its context; they reach nothing else.
    """

    component: type[Component]
    options: Mapping[str, Any]
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The name of its entry."""
        return self.component.entry_name(self.options)

    @property
    def key(self) -> str:
        """``kind:name``."""
        return f"{self.component.kind}:{self.name}"

    @property
    def lock_keys(self) -> list[str]:
        """See `Component.capture_lock_keys`."""
        return self.component.capture_lock_keys(self.options)


@dataclass(frozen=True)
class Request:
    """What a restore point is to be made of.

    :param host: this host's name in the inventory.
    """

    name: str
    stack: str
    host: str
    components: Sequence[ComponentRequest]

    @property
    def keys(self) -> tuple[str, ...]:
        """``kind:name`` of each component, sorted."""
        return tuple(sorted(wanted.key for wanted in self.components))


def refuse_impossible(request: Request) -> None:
    """What can be known without a look at anything.

    :raises Refused: for no component at all, or one that is named twice.
    """
    keys = request.keys
    if not keys:
        raise Refused(f"Restore point {request.name!r} would be empty: name databases, checkouts, files or packages.")
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise Refused(f"Restore point {request.name!r} names {', '.join(twice)} more than once.")


def survey(request: Request, workspace: Path) -> dict[str, JsonObject]:
    """The fingerprint of every component, by key. Changes nothing; ``workspace`` need not exist.

    :raises LastGoodError: when one of them can't be read.
    """
    return {
        wanted.key: wanted.component(capture_context(request.name, workspace, [], wanted.passwords)).fingerprint(
            wanted.options
        )
        for wanted in sorted(request.components, key=lambda wanted: wanted.component.captured_last)
    }


def capture(store: WritableRestorePoints, request: Request) -> RestorePoint:
    """Make the restore point; the store's lock is held, and the name is free.

    :raises LastGoodError: when a component can't be captured; then nothing is left of it.
    """
    with store.building(request.name) as directory, _scratch(directory) as scratch:
        notes: list[str] = []
        transactions = _transactions(store, request.stack)
        before = survey(request, scratch)
        components = tuple(
            _capture_component(request, wanted, directory / f"{wanted.component.kind}-{number}", scratch, notes)
            for number, wanted in enumerate(
                sorted(request.components, key=lambda wanted: wanted.component.captured_last)
            )
        )
        moved = what_moved(before, survey(request, scratch))
        begun = sorted(_transactions(store, request.stack) - transactions)
        moved += [f"transaction {name} began while the stack was captured" for name in begun]
        manifest = Manifest(
            id=secrets.token_hex(16),
            name=request.name,
            stack=request.stack,
            host=request.host,
            created=utc_now(),
            collection=COLLECTION_VERSION,
            components=components,
            consistent=not moved,
            moved=tuple(moved),
            tools=_tool_versions(),
            platform=_platform(),
            notes=tuple(notes),
        )
        seal(directory / MANIFEST, manifest.to_json())
    return store.open(request.name)


def what_moved(before: Mapping[str, JsonObject], after: Mapping[str, JsonObject]) -> list[str]:
    """Sentences that name what differs between two surveys of the same components; empty when nothing does."""
    moved = []
    for key, was in before.items():
        now = after[key]
        changed = sorted(name for name in {*was, *now} if was.get(name) != now.get(name))
        if changed:
            moved.append(f"{key} changed while it was captured: {', '.join(changed)}")
    return moved


def utc_now() -> str:
    """ISO 8601 with microseconds, always of the same length."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def epoch(text: str) -> float:
    """Seconds since the epoch of what `utc_now` wrote."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()


def _transactions(store: WritableRestorePoints, stack: str) -> set[str]:
    """Ids of the transactions that ever began here for a stack."""
    headers = [records.header() for records in all_records(store.state_dir)]
    return {header.id for header in headers if header is not None and header.stack == stack}


def _capture_component(
    request: Request, wanted: ComponentRequest, into: Path, scratch: Path, notes: list[str]
) -> CapturedComponent:
    into.mkdir(mode=0o700)
    context = capture_context(request.name, scratch, notes, wanted.passwords)
    facts = wanted.component(context).capture(wanted.options, into)
    return CapturedComponent(
        kind=wanted.component.kind,
        name=wanted.name,
        directory=into.name,
        facts=facts,
        artefacts=list_artefacts(into),
    )


@contextmanager
def _scratch(directory: Path) -> Iterator[Path]:
    """A workspace that is gone before the restore point appears."""
    scratch = directory / ".scratch"
    scratch.mkdir(mode=0o700)
    yield scratch
    shutil.rmtree(scratch)


def _tool_versions() -> dict[str, str]:
    """The first line that each program says of itself; those that are not there are left out."""
    versions = {}
    for name in TOOLS:
        with contextlib.suppress(CommandFailed):
            said = CommandRunner().run([name, "--version"], f"Asking {name} for its version").stdout
            versions[name] = said.partition("\n")[0]
    return versions


def _platform() -> dict[str, str]:
    return {
        "node": platform.node(),
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
