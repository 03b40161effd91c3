# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What a restore point says of itself: the manifest, and the record that it is good.

Both are sealed: their SHA-256 stands beside them and is compared before a byte of them is parsed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import ChecksumMismatch, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import dump_json, write_atomic
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

#: Raised when an older collection could not read what this one writes.
SCHEMA = 1
MANIFEST = "manifest.json"
GOOD = "good.json"
SEAL = ".sha256"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
#: Stands for the newest good restore point, so no restore point may be called so.
LAST_GOOD = "last_good"


def require_name(name: str) -> str:
    """The name of a restore point, when it is one.

    :raises Refused: for anything that could leave the store's directory, or be mistaken for ``last_good``.
    """
    if not _NAME.fullmatch(name) or name == LAST_GOOD:
        raise Refused(
            f"{name!r} can't be the name of a restore point: use at most 100 letters, digits, '.', '_' and '-', "
            f"beginning with a letter or digit, and not {LAST_GOOD!r}."
        )
    return name


@dataclass(frozen=True)
class Artefact:
    """One file of a component: its size and SHA-256 (64 hexadecimal digits)."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class CapturedComponent:
    """A component's entry.

    :param name: its name within its kind; ``kind:name`` is its key.
    :param directory: the directory below the restore point that holds its artefacts.
    :param facts: what `Component.capture` returned.
    :param artefacts: path below ``directory`` → size and checksum; every file there is listed.
    """

    kind: str
    name: str
    directory: str
    facts: JsonObject
    artefacts: Mapping[str, Artefact]

    @property
    def key(self) -> str:
        """The same key as a plan's: ``code:/srv/blog-core``."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True)
class Manifest:
    """One host's part of a restore point.

    :param id: random; two restore points never share it, even under one name.
    :param created: UTC, ISO 8601 with microseconds, so that the text sorts by time.
    :param consistent: false when something moved while it was captured; then it can never be good.
    :param moved: sentences that name what moved.
    :param notes: what the components said while they were captured.
    """

    id: str
    name: str
    stack: str
    host: str
    created: str
    collection: str
    components: tuple[CapturedComponent, ...]
    consistent: bool = True
    moved: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """``kind:name`` of each component, sorted."""
        return tuple(sorted(component.key for component in self.components))

    @property
    def bytes(self) -> int:
        """Size of all artefacts."""
        return sum(artefact.bytes for component in self.components for artefact in component.artefacts.values())

    def component(self, key: str) -> CapturedComponent | None:
        """The entry of this key, if it has one."""
        return next((component for component in self.components if component.key == key), None)

    def to_json(self) -> JsonObject:
        """A plain JSON object; `from_json` is its inverse."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Manifest:
        """Read a manifest back.

        :raises Refused: for a newer schema, a missing key, or a path that leads out of the restore point.
        """
        schema = raw.get("schema")
        if not isinstance(schema, int) or schema > SCHEMA:
            raise Refused(
                f"its manifest has schema {schema!r}, and this version of lastgood.rollback reads up to {SCHEMA}: "
                "update the collection on the controller, or name a restore point that is older."
            )
        try:
            known = {key: value for key, value in raw.items() if key not in ("schema", "components", "moved", "notes")}
            return cls(
                **known,
                components=tuple(_component(entry) for entry in raw["components"]),
                moved=tuple(raw["moved"]),
                notes=tuple(raw["notes"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise Refused(f"its manifest is not one ({error.__class__.__name__}: {error}).") from error


@dataclass(frozen=True)
class Good:
    """Written once, when the checks passed on all hosts.

    :param id: this host's manifest id.
    :param digest: `stack_digest` of ``hosts``: the identity of the restore point as a whole.
    :param hosts: host → SHA-256 of its manifest.
    :param components: host → the keys that it was good for.
    :param checks: the results that this rests on, each with ``name`` and ``ok``.
    :param at: UTC, ISO 8601.
    """

    id: str
    digest: str
    hosts: Mapping[str, str]
    components: Mapping[str, list[str]]
    checks: tuple[JsonObject, ...]
    at: str

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Good:
        """Read it back.

        :raises Refused: when it is not one.
        """
        try:
            return cls(**{**raw, "checks": tuple(raw["checks"])})
        except (KeyError, TypeError) as error:
            raise Refused(f"its {GOOD} is not one ({error.__class__.__name__}: {error}).") from error


def stack_digest(hosts: Mapping[str, str]) -> str:
    """One SHA-256 for the manifests of all hosts, whatever order they come in."""
    return hashlib.sha256(dump_json(dict(hosts))).hexdigest()


def seal(path: Path, value: JsonObject) -> str:
    """Write a JSON file with its checksum beside it, durably; returns the checksum.

    The checksum comes first: a crash between the two leaves no file that would pass for one.
    """
    content = dump_json(value)
    digest = hashlib.sha256(content).hexdigest()
    write_atomic(path.with_name(path.name + SEAL), f"{digest}  {path.name}\n".encode())
    write_atomic(path, content)
    return digest


def read_sealed(path: Path) -> tuple[JsonObject, str]:
    """Read what `seal` wrote: the value and its checksum. Nothing is parsed before the checksum holds.

    :raises ChecksumMismatch: when one of both files is missing or not what it was.
    """
    try:
        content = path.read_bytes()
        words = path.with_name(path.name + SEAL).read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ChecksumMismatch(f"{path} can't be read with its checksum ({error}).") from error
    digest = hashlib.sha256(content).hexdigest()
    if not words or words[0] != digest:
        raise ChecksumMismatch(f"{path} has the SHA-256 {digest}, not the one beside it: it was damaged or replaced.")
    try:
        value = json.loads(content)
    except ValueError as error:
        raise ChecksumMismatch(f"{path} is not JSON ({error}): it was replaced.") from error
    if not isinstance(value, dict):
        raise ChecksumMismatch(f"{path} does not hold a mapping: it was replaced.")
    return value, digest


def _component(raw: Mapping[str, Any]) -> CapturedComponent:
    directory = _inner_path(raw["directory"])
    if len(PurePosixPath(directory).parts) != 1:
        raise ValueError(f"{directory!r} is not a directory of the restore point")
    artefacts = {_inner_path(path): _artefact(path, entry) for path, entry in raw["artefacts"].items()}
    return CapturedComponent(**{**raw, "artefacts": artefacts})


def _artefact(path: str, raw: Mapping[str, Any]) -> Artefact:
    artefact = Artefact(bytes=raw["bytes"], sha256=raw["sha256"])
    if not isinstance(artefact.bytes, int) or not _DIGEST.fullmatch(artefact.sha256):
        raise ValueError(f"{path!r} has no size and checksum")
    return artefact


def _inner_path(path: str) -> str:
    """A path that stays inside: relative, normal, without '..'."""
    pure = PurePosixPath(path)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or str(pure) != path or "\0" in path:
        raise ValueError(f"{path!r} leads out of the restore point")
    return path
