# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A component's part of a rollback, and the states in which it can be found. JSON all the way down."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject


class State(enum.Enum):
    """What inspecting reality finds, compared with a plan."""

    UNTOUCHED = "untouched"  #: as before the transaction; nothing of it was built
    PREPARED = "prepared"  #: live as before; what prepare built is there, whole or in part
    PARTIAL = "partial"  #: in the middle of a switch or an undo: either can be run to its end
    SWITCHED = "switched"  #: live is what the plan wanted
    FOREIGN = "foreign"  #: live is neither: somebody else changed it since


#: Of plans of releases that did not write it down: the kind of the entry, where it is not the plan's own.
_ENTRY_KINDS = {"tables": "database", "schema": "database", "migrations": "database"}


@dataclass(frozen=True)
class Plan:
    """One component's part of a rollback, computed without changing anything. JSON all the way down.

    :param kind: the component's kind: ``database``, ``code``, ``files``, ``packages``.
    :param name: what a person calls it: a database's name, a path.
    :param things: lock keys of what it touches, e.g. ``database:<system id>:<oid>``, ``checkout:<real path>``.
    :param changed: false when reality already is what is wanted: then nothing is prepared or switched.
    :param before: the public description of what is live, for results, diff and report.
    :param after: the same for what is wanted. Same keys as ``before``.
    :param discards: what people would lose sight of: commits, rows per table, packages, files. JSON for the report.
    :param facts: private to the component: all that prepare, switch, undo, finish and state need. Never a secret.
    :param downtime: ``{"ms": predicted, "grows_with": "nothing"}``.
    :param disk_bytes: predicted additional disk use while prepared.
    :param warnings: sentences for the operator.
    :param undoes: the finished transaction that this plan takes back, where it comes from `Component.plan_reversal`.
    :param order: the position in the switch; the undo goes the other way round. None in journals of older releases.
    :param can_go_back: whether this rollback can be undone as a whole once it has finished. None as above.
    :param kept_instead: where it can't: what stays of what is replaced, in words.
    :param entry_kind: the kind of its entry in a restore point. None in journals of older releases.
    """

    kind: str
    name: str
    things: tuple[str, ...]
    changed: bool
    before: JsonObject
    after: JsonObject
    discards: JsonObject = field(default_factory=dict)
    facts: JsonObject = field(default_factory=dict)
    downtime: JsonObject = field(default_factory=lambda: {"ms": 0, "grows_with": "nothing"})
    disk_bytes: int = 0
    warnings: tuple[str, ...] = ()
    undoes: str | None = None
    order: int | None = None
    can_go_back: bool | None = None
    kept_instead: str = ""
    entry_kind: str | None = None

    @property
    def key(self) -> str:
        """Names the component within a transaction: ``code:/srv/blog-core``."""
        return f"{self.kind}:{self.name}"

    @property
    def entry(self) -> str:
        """What a restore point calls it: all ways to go back in a database are about one and the same."""
        return f"{self.entry_kind or _ENTRY_KINDS.get(self.kind, self.kind)}:{self.name}"

    def to_json(self) -> JsonObject:
        """A plain JSON object; `from_json` is its inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Plan:
        """Read a plan back from a journal, where it was found to be of `PLAN_SHAPE`."""
        known = {name: raw[name] for name in cls.__dataclass_fields__ if name in raw}
        return cls(**{**known, "things": tuple(raw["things"]), "warnings": tuple(raw["warnings"])})


#: What a plan must look like when it is read back.
PLAN_SHAPE = {
    "kind": str,
    "name": str,
    "things": [str],
    "changed": bool,
    "before": {str: object},
    "after": {str: object},
    "discards": {str: object},
    "facts": {str: object},
    "downtime": {str: object},
    "disk_bytes": float,
    "warnings": [str],
    "undoes?": (None, str),
    "order?": (None, float),
    "can_go_back?": (None, bool),
    "kept_instead?": str,
    "entry_kind?": (None, str),
}
