# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of a transaction, without Ansible: its own state directory, and a pair of files to switch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import component_class
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import Header, Records
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.transaction import Transaction
from engine_component import make_pair, plan_pair, words

ID = "20261123T143000Z-blog-7f3a"
OK_CHECK = {"name": "health", "ok": True}


class Host:
    """One host, with what the controller would call on it. The first of ``hosts`` holds the decision."""

    def __init__(self, base: Path, name: str = "web1", hosts: Sequence[str] = ("web1",)) -> None:
        self.name = name
        self.hosts = tuple(hosts)
        self.state_dir = base / name / "state"
        self.path = base / name / "pair"
        if not self.path.exists():
            make_pair(self.path)

    def transaction(self, transaction_id: str = ID) -> Transaction:
        """As a new module call sees it: nothing is remembered from the last one."""
        return Transaction(self.state_dir, transaction_id, component_class)

    def records(self, transaction_id: str = ID) -> Records:
        return self.transaction(transaction_id).records

    def header(self, transaction_id: str = ID, stack: str = "blog", confirm_timeout: int = 600) -> Header:
        return Header(
            id=transaction_id,
            stack=stack,
            host=self.name,
            hosts=self.hosts,
            decision_host=self.hosts[0],
            operator="night shift",
            created=time.time(),
            python=sys.executable,
            confirm_timeout=confirm_timeout,
        )

    def begin(self, transaction_id: str = ID, stack: str = "blog", confirm_timeout: int = 600) -> bool:
        return self.transaction(transaction_id).begin(self.header(transaction_id, stack, confirm_timeout))

    def prepare(self, transaction_id: str = ID, passwords: dict[str, str] | None = None) -> None:
        self.transaction(transaction_id).prepare(plan_pair(self.path), passwords or {})

    def until(self, phase: str) -> Transaction:
        """Go forward until a phase is over: begin, prepare, switch, promise or keep."""
        steps: dict[str, Callable[[], object]] = {
            "begin": self.begin,
            "prepare": self.prepare,
            "switch": lambda: self.transaction().switch(),
            "promise": lambda: self.transaction().promise([OK_CHECK]),
            "keep": lambda: self.transaction().decide("keep", self.hosts, "night shift"),
        }
        for name, step in steps.items():
            step()
            if name == phase:
                return self.transaction()
        raise ValueError(phase)

    @property
    def state(self) -> str:
        return self.records().state().value

    @property
    def words(self) -> set[str]:
        return words(self.path)
