# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a manager may say while a service soaks, for managers that can't run here. The other ways to fail have real ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import Pending
from ansible_collections.lastgood.rollback.plugins.module_utils._services import control
from ansible_collections.lastgood.rollback.plugins.module_utils._services.managers.base import RUNNING, ServiceStatus
from ansible_collections.lastgood.rollback.plugins.module_utils._services.start import ServiceStart


class ScriptedManager:
    """A manager that says one thing after the other, and then the last one for ever."""

    def __init__(self, *statuses: ServiceStatus) -> None:
        self.statuses = self._in_turn(statuses)

    @staticmethod
    def _in_turn(statuses: tuple[ServiceStatus, ...]) -> Iterator[ServiceStatus]:
        yield from statuses
        while True:
            yield statuses[-1]

    def status(self, name: str) -> ServiceStatus:
        return next(self.statuses)

    def start(self, name: str) -> None:
        raise AssertionError("it runs already")

    def stop(self, name: str) -> None:
        raise NotImplementedError

    def kill(self, name: str) -> None:
        raise NotImplementedError

    def log(self, name: str) -> str:
        return ""

    def accounts_for(self, name: str, pid: int) -> bool:
        return False


def running(restarts: int, process: str = "one") -> ServiceStatus:
    return ServiceStatus(RUNNING, pid=1, process=process, restarts=restarts, detail="active (running)")


@pytest.mark.parametrize(
    ("afterwards", "held"), [(running(0), True), (running(1), False), (running(0, "another"), False)]
)
def test_a_restart_that_its_manager_counts_during_the_soak_is_a_failure(afterwards: ServiceStatus, held: bool) -> None:
    (service,) = control.parse([{"name": "core", "manager": "systemd", "soak": 0.1, "timeout": 20}])
    starting = ServiceStart(
        service, ScriptedManager(running(0), running(0), afterwards), CommandRunner(), lenient=False
    )
    starting.run_to_ready(Pending("Waiting for", "services", 1))
    if held:
        starting.soak()
        return
    with pytest.raises(LastGoodError, match="was ready, and was restarted within"):
        starting.soak()
