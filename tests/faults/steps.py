# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a rollback, as the journals of a real one tell them, and the runs that they are taken from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from faults.on_hosts.lab_hold import name_of

_CHECKOUT = re.compile(r"/srv/[\w-]+|\bblog-(core|writing)\b")


@dataclass(frozen=True)
class Step:
    """One line of one host's journal.

    :param name: see `name_of`; a host may have several of the same name, told apart by ``occurrence`` (from 1).
    :param component: the kind that it belongs to; empty for what the engine or a service does.
    :param before_start: services of the host are started, and checked, later on.
    """

    host: str
    name: str
    occurrence: int
    component: str
    before_start: bool

    @property
    def label(self) -> str:
        """What several projects and hosts do alike."""
        role = "database" if self.host == "lab-db" else "application"
        return f"{role} host, {_CHECKOUT.sub('…', self.name)}"


@dataclass(frozen=True, eq=False)
class Scenario:
    """A playbook whose journals give the steps.

    :param values: extra variables; see `FaultStack.values`.
    :param succeeds: how it ends when nothing happens to it.
    :param harm: what is broken before, and is whole again after a success; see `FaultStack.damage`.
    """

    name: str
    playbook: str
    values: Mapping[str, Any] = field(default_factory=dict)
    succeeds: bool = True
    harm: str = "everything"


LAST_GOOD = {"rollback_point": "last_good"}
ALL = {**LAST_GOOD, "rollback_components": "all"}

#: Whoever adds a kind of component adds a line here: its steps, there and back, are then in the matrix.
_THERE = (
    Scenario("rollback", "multi_rollback", ALL),
    Scenario(
        "tables",
        "partial_rollback",
        {**LAST_GOOD, "rollback_tables": "public.post_section", "rollback_accept": "no_undo"},
        harm="rows",
    ),
    Scenario("schema", "schema_rollback", LAST_GOOD, harm="columns"),
    Scenario("migrations", "schema_rollback", {**LAST_GOOD, "rollback_method": "migrations"}, harm="columns"),
)


def _undone(there: Scenario) -> Scenario:
    """The same, but for a check that fails in the end."""
    values = {**there.values, "rollback_projects": "unhealthy"}
    return replace(there, name=f"undo of {there.name}", values=values, succeeds=False)


SCENARIOS = tuple(scenario for there in _THERE for scenario in (there, _undone(there)))


def steps_of(journals: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Step]:
    """The steps that hosts wrote down, in each host's own order."""
    for host, entries in journals.items():
        seen: Counter[str] = Counter()
        component = ""
        last_start = max((at for at, entry in enumerate(entries) if entry["event"] == "started"), default=-1)
        for at, entry in enumerate(entries):
            facts = entry.get("facts", {})
            component = str(facts.get("component", component)).partition(":")[0]
            name = name_of(entry)
            seen[name] += 1
            yield Step(host, name, seen[name], component, at < last_start)
            # The lines of a component stand between the engine's announcement and its end, both with its name.
            if "component" in facts and entry["event"] != "intent":
                component = ""


def distinct(steps: Sequence[Step]) -> dict[str, list[Step]]:
    """The steps that are alike, by label."""
    found: dict[str, list[Step]] = {}
    for step in steps:
        found.setdefault(step.label, []).append(step)
    return found
