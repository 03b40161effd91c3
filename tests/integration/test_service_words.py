# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A secret among the words that start a service, or ask whether it is ready: shown and kept nowhere, and there for an undo."""

from __future__ import annotations

import copy
import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import dump_json, write_atomic
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import COMPONENTS
from ansible_collections.lastgood.rollback.plugins.module_utils._engine import undo_cli
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import Header, Records
from ansible_collections.lastgood.rollback.plugins.module_utils._services import control
from ansible_collections.lastgood.rollback.plugins.modules import service_restart, transaction_info
from engine_component import KINDS
from engine_host import Host
from integration.test_recover import until_journalled
from integration.test_services import alive
from support.small_stack import WANTED, SmallStack

STARTING, ASKING = "a-word-that-starts-it", "a-word-that-asks-it"


class Worker:
    """A process that is ready only when both commands got their words whole.

    :param base: where its files are.
    """

    def __init__(self, base: Path) -> None:
        self.pid, self.started, self.ill = base / "worker.pid", base / "started", base / "ill"
        start = f'echo "$2" >> {self.started}; sleep 86400 >/dev/null 2>&1 & echo $! > {self.pid}'
        ask = f'test ! -e {self.ill} -a "$(tail -n 1 {self.started}) $2" = "{STARTING[:-1]}"t" {ASKING[:-1]}"t'
        self.options: dict[str, Any] = {
            "name": "worker",
            "manager": "process",
            "pid_file": str(self.pid),
            "command": ["sh", "-c", start, "worker", "--token", STARTING],
            "ready": {"command": ["sh", "-c", f'{ask} || {{ echo "not with $2"; false; }}', "ask", "--token", ASKING]},
            "soak": 0,
            "timeout": 20,
        }

    def start(self) -> None:
        """As somebody does who has nothing to do with a rollback."""
        subprocess.run(self.options["command"], check=True)

    def end(self) -> None:
        if self.runs():
            os.kill(int(self.pid.read_text()), signal.SIGKILL)

    def runs(self) -> bool:
        """Whether its process is there."""
        return self.pid.exists() and alive(int(self.pid.read_text()))

    def starts(self) -> int:
        """How often it was started."""
        return len(self.started.read_text().splitlines())


class Site(SmallStack):
    """Two hosts; on the first runs the worker. A rollback waits after its switch when it is asked to."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.worker = Worker(base)
        self.variables["rollback_projects"]["app1"]["services"] = [self.worker.options]
        self.worker.start()
        self.said = ""

    def damage(self) -> None:
        """Change both settings files, so that an undo of their rollback is healthy as well."""
        for number in (1, 2):
            self.settings(number).write_text("MODE=good as well\n")

    def played(self, playbook: str, *, ends_well: bool = True, **values: Any) -> str:
        """What a play says at its loudest."""
        done = self.play(playbook, "-vvv", **values)
        assert (done.returncode == 0) is ends_well, done.stdout + done.stderr
        self.said += done.stdout + done.stderr
        return " ".join(done.stdout.split())

    def interrupt(self, **values: Any) -> Path:
        """Kill a rollback when its switch is over; the directory of its transaction on the first host."""
        gate, reached = self.base / "gate", self.base / "reached"
        for pipe in (gate, reached):
            pipe.unlink(missing_ok=True)
            os.mkfifo(pipe)
        wait = {"name": "wait", "host": "web1", "command": ["true"]}
        wait["after"] = ["sh", "-c", f"echo > {reached}; cat {gate}"]
        self.damage()
        self.variables["rollback_hooks"] = {"around_switch": [wait]}
        play = self.start("multi_rollback", **WANTED, **values)
        reached.read_text()
        self.kill(play)
        said, complaints = play.communicate()
        self.said += said + complaints
        self.variables["rollback_hooks"] = {}
        until_journalled(self, "web2", "switched")
        assert not self.worker.runs()
        return until_journalled(self, "web1", "switched")

    def kept(self) -> list[Path]:
        """The files in which one of the words stands, of all that hosts and controller keep."""
        files = [path for part in ("state", "logs") for path in (self.base / part).rglob("*") if path.is_file()]
        assert {"header.json", "journal.jsonl", "rollback.log"} <= {path.name for path in files}
        words = [word.encode() for word in (STARTING, ASKING)]
        return [path for path in files if any(word in path.read_bytes() for word in words)]

    def shown(self) -> list[str]:
        """The lines in which one of the words was shown."""
        return [line for line in self.said.splitlines() if STARTING in line or ASKING in line]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("words"))
    try:
        yield site
    finally:
        site.worker.end()


def test_they_are_in_nothing_that_a_rollback_and_its_undo_keep_or_show(site: Site) -> None:
    worker = site.worker
    site.damage()
    before = worker.starts()
    site.played("multi_rollback", **WANTED)
    assert (worker.runs(), worker.starts()) == (True, before + 1)
    last = site.reports()[-1].stem

    projects = copy.deepcopy(site.variables["rollback_projects"])
    del projects["app1"]["services"]
    refusal = f"{last} stopped worker on web1, and the catalogue has no such service there any more"
    assert refusal in site.played("undo_rollback", ends_well=False, rollback_id=last, rollback_projects=projects)

    site.played("undo_rollback", rollback_id=last)
    assert (worker.runs(), worker.starts()) == (True, before + 2)
    site.played("check")
    assert site.kept() == []
    assert site.shown() == []


def test_they_are_in_nothing_that_a_failed_rollback_keeps_or_shows(site: Site) -> None:
    """Not even where the command that asks prints its own words."""
    worker = site.worker
    before = worker.starts()
    site.damage()
    worker.ill.touch()
    projects = copy.deepcopy(site.variables["rollback_projects"])
    projects["app1"]["services"][0]["timeout"] = 2
    said = site.played("multi_rollback", ends_well=False, **WANTED, rollback_projects=projects)
    assert "not with ********" in said
    worker.ill.unlink()
    assert (worker.runs(), worker.starts()) == (True, before + 2), "once on what was rolled back, and once undone"
    assert site.kept() == []
    assert site.shown() == []


@pytest.mark.at_length  # the timer does, by the same function
def test_recovery_starts_the_service_again(site: Site) -> None:
    directory = site.interrupt()
    [kept] = site.kept()
    assert kept == directory / "services.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    before = site.worker.starts()
    site.variables["rollback_projects"]["app1"]["services"] = []
    site.played("recover")
    site.variables["rollback_projects"]["app1"]["services"] = [site.worker.options]
    assert (site.worker.runs(), site.worker.starts()) == (True, before + 1)
    assert site.kept() == []
    assert site.shown() == []


def test_the_timer_starts_the_service_again(site: Site) -> None:
    """As does whoever runs the same program by hand."""
    before = site.worker.starts()
    directory = site.interrupt()
    (directory / "deadline").write_text(
        json.dumps({**json.loads((directory / "deadline").read_text()), "boottime": 0.0})
    )
    while not (site.worker.runs() and site.worker.starts() == before + 1):
        assert "failed" not in (directory / "timer.log").read_text()
        time.sleep(0.1)
    site.played("recover")
    assert site.worker.runs()
    assert site.kept() == []
    assert site.shown() == []


# -- transactions of older releases, which kept them in the plan and the journal


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(tmp_path)
    try:
        yield worker
    finally:
        worker.end()


def write_header_as_before(records: Records, header: Header, services: object = ()) -> None:
    """How an older release began a transaction."""
    raw = {name: value for name, value in asdict(header).items() if name != "services"}
    write_atomic(records.directory / "header.json", dump_json({**raw, "chained": True}))
    records.journal.start()


@pytest.mark.parametrize("stopped", [True, False], ids=["journalled", "only planned"])
def test_what_an_older_release_kept_starts_the_service_and_is_not_shown(
    tmp_path: Path,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stopped: bool,
) -> None:
    for kind, component in KINDS.items():
        monkeypatch.setitem(COMPONENTS, kind, component)
    monkeypatch.setattr(Records, "write_header", write_header_as_before)
    host = Host(tmp_path / "site")
    plan = {"of": {"web1": {"waves": [[worker.options]]}}}
    host.transaction().begin(replace(host.header(), plan=plan))
    host.prepare()
    records = host.records()
    [spec] = control.parse([worker.options])
    worker.start()
    if stopped:
        before = {"manager": "process", "name": "worker", "ran_before": True, "ready_before": True}
        records.journal.write("services", "Ran before: worker", services=[{**before, "options": spec.options()}])
        worker.end()
    options = {"state_dir": str(host.state_dir)}
    call = {**options, "services": [{"name": "worker", "manager": "process"}], "transaction": records.id}
    if not stopped:
        called(capsys, service_restart, {**call, "state": "stopped"})
        assert not worker.runs()
    undo_cli.undo_on_this_host(records, "asked")
    assert (worker.runs(), worker.starts()) == (True, 2)
    called(capsys, service_restart, {**call, "state": "started"})
    said = called(capsys, transaction_info, options)
    assert '"worker"' in said
    assert STARTING not in said and ASKING not in said


def called(capsys: pytest.CaptureFixture[str], module: Any, options: dict[str, Any]) -> str:
    """What a module says."""
    with patch_module_args(options), pytest.raises(SystemExit) as ended:
        module.main()
    said = capsys.readouterr().out
    assert ended.value.code == 0, said
    return said
