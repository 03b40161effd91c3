# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one rule of deciding, held against every state that the model of the protocol can reach, whoever answers."""

from __future__ import annotations

from itertools import combinations

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.decision import (
    requested_decision,
    resolved_decision,
)
from model.actors import World, recover
from model.explore import explore
from model.model import DAMAGED, PROMISED, REPLACED, Disk, is_doubtful, stands

#: What the model's recovery ends with, for each decision.
OUTCOMES = {"keep": {"rolled_back"}, "undo": {"undone", "undo_incomplete"}, None: {"in_doubt"}}


def resolved(disks: tuple[Disk, ...], answering: frozenset[int]) -> str | None:
    """What the product makes of what these hosts tell."""
    return resolved_decision(
        stands(disks[0]) or None if 0 in answering else None,
        [str(index) for index in range(len(disks))],
        [str(index) for index in answering if disks[index].word == PROMISED],
        decision_host_read=0 in answering,
    )


#: Each disk that is reachable at all is reachable with few recoveries: what differs is how one gets there.
WORLDS = {
    "two hosts": World(hosts=2, recoveries=1),
    "three hosts": World(hosts=3, recoveries=1),
    "killed calls": World(hosts=2, recoveries=0, kills=True),
    "lost records": World(hosts=2, recoveries=0, losses=(DAMAGED, REPLACED)),
}


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_the_rule_is_that_of_the_model(world: World) -> None:
    found = set()
    everyone = range(world.hosts)
    subsets = [frozenset(some) for size in range(world.hosts + 1) for some in combinations(everyone, size)]
    for disks in explore(world).disks:
        for answering in subsets:
            if any(is_doubtful(disks[index]) for index in answering):
                continue  # in the model it is as good as silent
            decision = resolved(disks, answering)
            found.add(decision)
            _after, outcome, _steps = recover(disks, answering, world.database)
            assert outcome in OUTCOMES[decision], (disks, answering)
    assert found == {"keep", "undo", None}


def test_a_host_that_is_lost_has_not_promised() -> None:
    """Rule `LOST_HAS_NOT_PROMISED` of the model: the rest can't know."""
    assert requested_decision(["a", "b"], ["a", "b"]) == "keep"
    assert requested_decision(["a"], ["a"], lost=["b"]) == "undo"
    assert requested_decision(["a", "b"], ["a"]) == "undo"
