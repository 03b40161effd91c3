# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that runs one phase of a component of a database and kills itself, or is killed, on the way.

Called with one JSON argument: ``phase``, ``plan`` (its kind names the component), ``transaction``, ``workspace``, and
``die``: at which line that the journal would get (counted from 0) it ends itself with SIGKILL; with ``victim`` that process
in place of itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import component_class


class Countdown:
    """Ends the process at the line it was told."""

    def __init__(self, die: int, victim: int) -> None:
        self.left = die
        self.victim = victim

    def line(self) -> None:
        """One line of the journal is about to be written."""
        if self.left == 0:
            os.kill(self.victim, signal.SIGKILL)
        self.left -= 1

    @contextmanager
    def change(self, _what: str, **_facts: Any) -> Iterator[None]:
        """Two lines: before and after."""
        self.line()
        yield
        self.line()


def main() -> None:
    """Run the phase; tell the parent that it begins."""
    order = json.loads(sys.argv[1])
    countdown = Countdown(order["die"], order.get("victim") or os.getpid())
    context = Context(
        transaction=order["transaction"],
        workspace=Path(order["workspace"]),
        run=CommandRunner(),
        change=countdown.change,
        note=lambda _what: None,
    )
    plan = Plan.from_json(order["plan"])
    print("begun", flush=True)
    getattr(component_class(plan.kind)(context), order["phase"])(plan)


if __name__ == "__main__":
    main()
