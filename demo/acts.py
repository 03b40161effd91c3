# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the demo, and its two acts."""

from __future__ import annotations

import place as places
import stack
from client import health
from commands import DemoError
from console import say, step, title
from disaster import strike as let_it_happen
from place import Place


def up(posts: int) -> int:
    """Build the stack; what an earlier run left behind is removed first."""
    title("A stack of six projects")
    _clean()
    stack.show(stack.build(posts))
    return 0


def strike(_: int) -> int:
    """Break the stack, show it, and remember how it is now."""
    place = _there()
    title("A bad day")
    let_it_happen(place)
    answers = health(place)
    stack.show(place, answers)
    if any(answer.status == 200 for answer in answers.values()):
        raise DemoError("The disaster should have hit every service, and did not.")
    return 0


def status(_: int) -> int:
    """Show the services; the status tells whether all are healthy."""
    place = _there()
    answers = health(place)
    stack.show(place, answers)
    return 0 if all(answer.status == 200 for answer in answers.values()) else 1


def down(_: int) -> int:
    """Remove the stack."""
    if not _clean():
        say("There is no demo to remove.")
    return 0


def _clean() -> bool:
    place = places.load()
    if place is None:
        return False
    stack.take_away(place)
    step(f"Ended the demo's processes and removed {place.directory}")
    return True


def _there() -> Place:
    place = places.load()
    if place is None:
        raise DemoError("No demo is there: `make demo-up` builds one.")
    return place


def capture(_):
    return 0


def rollback(_):
    return 0


def everything(posts):
    up(posts)
    strike(0)
    return 0


def undo(_):
    return 0
