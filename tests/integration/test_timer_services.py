# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timer's own undo, and what it does to services: one with a pid file, one of supervisor, and one that was broken before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import COMPONENTS
from ansible_collections.lastgood.rollback.plugins.module_utils._engine import timer, undo_cli
from ansible_collections.lastgood.rollback.plugins.module_utils._runners.services import _journal_services
from ansible_collections.lastgood.rollback.plugins.module_utils._services import control
from engine_component import KINDS
from engine_host import Host
from integration import test_processes, test_services
from integration.test_processes import Daemon
from integration.test_services import Supervised, alive

RUN = CommandRunner()

# Their fixtures are these tests' as well.
daemon, supervised = test_processes.daemon, test_services.supervised


class Site:
    """A switched host, whose services were stopped and started again on the new state, and whose controller falls silent."""

    def __init__(self, base: Path, specs: list[control.Service]) -> None:
        self.host = Host(base)
        self.host.until("prepare")
        self.records = self.host.records()
        _journal_services(self.records, specs, control.inspect(specs, RUN))
        self.specs = specs

    def switch(self, *again: control.Service) -> dict[str, int]:
        """Stop, switch, start; returns the processes that run on the new state."""
        control.stop(self.specs, RUN)
        self.host.transaction().switch()
        return {entry.name: entry.pid for entry in control.start(list(again), RUN)}

    def fall_silent(self) -> int:
        """What the waiting process does from then on; its status."""
        timer.set_deadline(self.records.directory, 0)
        with pytest.raises(SystemExit) as ended:
            undo_cli.main(str(self.records.directory), ["--wait"])
        assert isinstance(ended.value.code, int)
        return ended.value.code

    def happened(self) -> list[tuple[str, Any]]:
        """What the journal says of services and of what they run on, in order."""
        return [
            (entry["event"], sorted(entry["facts"]["services"]) if entry["event"] in ("stopped", "started") else None)
            for entry in self.records.journal.entries()
            if entry["event"] in ("stopped", "undone", "started")
        ]


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, component in KINDS.items():
        monkeypatch.setitem(COMPONENTS, kind, component)


def test_it_stops_what_runs_on_the_new_state_and_starts_it_on_the_old(
    tmp_path: Path, daemon: Daemon, supervised: Supervised
) -> None:
    supervised.run(web="good", spare="good,autostart=false")
    (core,), (web,) = daemon.spec(), control.parse([supervised.spec("web")])
    (spare,) = control.parse([supervised.spec("spare")])
    control.start([core, web], RUN)
    site = Site(tmp_path / "site", [core, web, spare])
    on_new = site.switch(core, web)
    assert site.fall_silent() == 0
    assert site.host.words == {"old"}
    assert not alive(on_new["core"]) and not alive(on_new["web"])
    assert daemon.answer() == f"status ok pid {daemon.pid}"
    assert supervised.answer("web") == f"status ok pid {supervised.info('web')[0]}"
    assert supervised.info("spare")[1] == "STOPPED", "it did not run before"
    assert site.happened() == [("stopped", ["core", "web"]), ("undone", None), ("started", ["core", "web"])]


def test_it_does_not_wait_for_what_was_broken_before(
    tmp_path: Path, supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow the machine is: what crashes is watched until it does.
    monkeypatch.setattr(control, "_YOUNG", 300)
    supervised.run(web="good", ill="ill", brief="brief,startsecs=0,autorestart=true")
    specs = control.parse(
        [supervised.spec("web"), supervised.spec("ill", timeout=3), supervised.spec("brief", ready={}, soak=3)]
    )
    control.start(specs[:1], RUN)
    supervised.wait_for("ill", "RUNNING")
    supervised.wait_for("brief", "RUNNING")
    site = Site(tmp_path / "site", specs)
    remembered = {entry["name"]: (entry["ran_before"], entry["ready_before"]) for entry in site.records.services()}
    assert remembered == {"web": (True, True), "ill": (True, False), "brief": (True, False)}
    site.switch()
    assert site.fall_silent() == 0, (site.records.directory.parent.parent / "rollback.log").read_text()
    assert [supervised.info(name)[1] for name in ("web", "ill")] == ["RUNNING", "RUNNING"]
    assert site.host.words == {"old"}
