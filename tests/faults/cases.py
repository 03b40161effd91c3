# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cases there are, each a fault at a step of a rollback, and which of them are left."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

from faults.kinds import FAULTS, Fault
from faults.steps import Scenario, Step, distinct

Recordings = Mapping[Scenario, Sequence[Step]]
#: From how many cases the next one is chosen: mending one damage and doing another takes longer than many a case.
_ALIKE = 12


@dataclass(frozen=True)
class Case:
    """A fault at a step of a scenario."""

    scenario: Scenario
    step: Step
    fault: Fault

    @property
    def key(self) -> tuple[str, str]:
        """What makes it another case than the others."""
        return self.fault.name, self.step.label


def all_cases(recordings: Recordings) -> Iterator[Case]:
    """Every pair of a distinct step and a fault that can hurt it; hosts that do alike take turns.

    What several scenarios have in common is taken from the first.
    """
    known: set[str] = set()
    for scenario, steps in recordings.items():
        alike = {label: same for label, same in distinct(steps).items() if label not in known}
        known |= alike.keys()
        for number, same in enumerate(alike.values()):
            for turn, fault in enumerate(FAULTS):
                candidates = [step for step in same if fault.hits(step)]
                if candidates:
                    yield Case(scenario, candidates[(number + turn) % len(candidates)], fault)


def spread(cases: Sequence[Case]) -> list[Case]:
    """Each fault once, at steps that lie as far apart as can be: from the first fault early to the last one late."""
    chosen = []
    for number, fault in enumerate(FAULTS):
        mine = [case for case in cases if case.fault is fault]
        chosen.append(mine[(2 * number + 1) * len(mine) // (2 * len(FAULTS))])
    return chosen


class Left:
    """The cases that are left, in their order, for all labs that take from them.

    A run that a fault has happened to comes by other steps when it undoes, finishes or is recovered: what is left there
    happens to it as well.

    :param alone: the keys of those that nothing else may happen to, nor they to another's run.
    """

    def __init__(self, cases: Sequence[Case], recordings: Recordings, alone: Collection[tuple[str, str]]) -> None:
        self._cases = {case.key: case for case in cases}
        self._later: set[tuple[str, str]] = set()
        self.alone = alone
        self._steps: dict[tuple[str, str], Step] = {}
        for step in (step for steps in recordings.values() for step in steps):
            self._steps.setdefault((step.host, step.name), step)
        self._lock = Lock()

    def next(self, harm: str) -> Case | None:
        """The next one; of the first few, one that what is broken already will do for."""
        with self._lock:
            first = list(self._cases.values())[:_ALIKE]
            chosen = next((case for case in first if case.scenario.harm == harm), first[0] if first else None)
            return self._cases.pop(chosen.key) if chosen else None

    def put_off(self, case: Case) -> bool:
        """Leave one for the end, whose step was not reached: a young lab has nothing old to remove. False the second time."""
        with self._lock:
            if case.key in self._later:
                return False
            self._later.add(case.key)
            self._cases[case.key] = case
            return True

    def wanted(self, struck: Collection[Case]) -> dict[str, dict[str, int]]:
        """The steps that something can still happen at after what has, in the form of `FaultStack.ask_to_hold`."""
        found: dict[str, dict[str, int]] = {}
        with self._lock:
            for (host, name), step in self._steps.items():
                if self._at(step, struck):
                    found.setdefault(host, {})[name] = 0
        return found

    def take(self, host: str, name: str, struck: Collection[Case], alone: bool = False) -> Case | None:
        """One for a step that is held.

        :param alone: by a module whose controller has gone already: ending another one is not what such a case is about.
        """
        with self._lock:
            return self._cases.pop(case.key) if (case := self._at(self._steps[host, name], struck, alone)) else None

    def _at(self, step: Step, struck: Collection[Case], alone: bool = False) -> Case | None:
        """What is left at a step; what ends the controller comes last, and once.

        Only one fault that has to be mended happens to a playbook: mending two would depend on each other. And what prevents
        a rollback could do nothing to one that has failed already: to its undo it can.
        """
        broken = any(case.fault.mend for case in struck)
        silenced = alone or any(case.fault.silences for case in struck)
        for fault in reversed(FAULTS):
            if (broken and fault.mend) or (silenced and fault.silences) or not fault.hits(step):
                continue
            known = self._cases.get((fault.name, step.label))
            if known and known.key not in self.alone and not (fault.prevents and known.scenario.succeeds):
                return Case(known.scenario, step, fault)
        return None
