# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) How a restore point is described to people: one formatter for results, diffs and the list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .manifest import CapturedComponent
from .store import RestorePoint


def describe(point: RestorePoint) -> JsonObject:
    """A restore point without the private facts of its components."""
    manifest, good = point.manifest, point.good
    return {
        "name": manifest.name,
        "id": manifest.id,
        "created": manifest.created,
        "stack": manifest.stack,
        "host": manifest.host,
        "collection": manifest.collection,
        "components": list(manifest.keys),
        "contents": [_contents(component) for component in manifest.components],
        "databases": {
            component.name: _database(component.facts)
            for component in manifest.components
            if component.kind == "database"
        },
        "bytes": manifest.bytes,
        "manifest_sha256": point.sha256,
        "consistent": manifest.consistent,
        "moved": list(manifest.moved),
        "good": good is not None,
        "good_digest": good.digest if good else None,
        "good_hosts": dict(good.hosts) if good else {},
        "good_components": dict(good.components) if good else {},
        "checks": list(good.checks) if good else [],
        "tools": dict(manifest.tools),
        "platform": dict(manifest.platform),
        "notes": list(manifest.notes),
    }


def nothing(name: str) -> JsonObject:
    """The same keys for one that is not there, or can't be read."""
    empty: Mapping[str, Any] = {
        "components": [],
        "contents": [],
        "databases": {},
        "bytes": 0,
        "consistent": False,
        "moved": [],
        "good": False,
        "good_hosts": {},
        "good_components": {},
        "checks": [],
        "tools": {},
        "platform": {},
        "notes": [],
    }
    unknown = ("id", "created", "stack", "host", "collection", "manifest_sha256", "good_digest")
    return {"name": name, **dict.fromkeys(unknown), **empty}


def _database(facts: Mapping[str, Any]) -> JsonObject:
    """What the plan of a rollback compares with the live database."""
    return {
        "schema_fingerprint": facts["schema"],
        "migration_head": facts["inside"]["migration"],
        "tables": {name: table["rows"] for name, table in facts["tables"].items()},
    }


def _contents(component: CapturedComponent) -> JsonObject:
    return {
        "kind": component.kind,
        "name": component.name,
        "directory": component.directory,
        "files": len(component.artefacts),
        "bytes": sum(artefact.bytes for artefact in component.artefacts.values()),
    }
