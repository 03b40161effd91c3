# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Beside a rollback that was killed in the middle, nothing ends well but its recovery; and a missing host is missed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.test_recover import until_journalled
from support.small_stack import WANTED, SmallStack


class Killed(SmallStack):
    """Killed at the switch: all files are back, the service of web1 is down, and the transaction is open.

    :ivar id: of the transaction.
    """

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.pid = base / "worker.pid"
        start = ["sh", "-c", f"sleep 600 >/dev/null 2>&1 & echo $! > {self.pid}"]
        worker = {"name": "worker", "manager": "process", "pid_file": str(self.pid), "command": start, "soak": 0}
        self.variables["rollback_projects"]["app1"]["services"] = [worker]
        subprocess.run(start, check=True)
        gate, reached = base / "gate", base / "reached"
        os.mkfifo(gate)
        os.mkfifo(reached)
        hook = {
            "name": "wait",
            "host": "web1",
            "command": ["true"],
            "after": ["sh", "-c", f"echo > {reached}; cat {gate}"],
        }
        self.variables["rollback_hooks"] = {"around_switch": [hook]}
        self.damage()
        play = self.start("multi_rollback", **WANTED, rollback_operator="night shift")
        reached.read_text()
        self.kill(play)
        play.communicate()
        self.variables["rollback_hooks"] = {}
        directory = until_journalled(self, "web2", "switched")
        self.id = directory.name
        assert [self.settings(number).read_text() for number in (1, 2)] == ["MODE=good\n"] * 2
        assert not self.runs()

    def runs(self) -> bool:
        """Whether the worker's process is there."""
        return self.pid.exists() and Path(f"/proc/{self.pid.read_text().strip()}").exists()

    def journals(self) -> dict[str, bytes]:
        """What stands on the hosts of this transaction."""
        return {str(path): path.read_bytes() for path in (self.base / "state").rglob("journal.jsonl")}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    small = Killed(tmp_path_factory.mktemp("killed"))
    try:
        yield small
    finally:
        if small.runs():
            os.kill(int(small.pid.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("playbook", "values"),
    [
        ("multi_rollback", WANTED),
        ("undo_rollback", {"rollback_id": "unknown"}),
        ("capture", {"restore_point_name": "in-the-middle"}),
        ("check", {}),
    ],
)
def test_nothing_ends_well_while_it_is_open(killed: Killed, playbook: str, values: dict[str, object]) -> None:
    before = killed.journals()
    ended = killed.play(playbook, **values)
    said = " ".join(ended.stdout.split())
    assert ended.returncode != 0, said
    assert "Nothing to do" not in said
    assert killed.id in said and "by night shift" in said and "start on web1" in said
    assert "Down because of it: worker on web1" in said
    assert re.search(rf"ansible-playbook lastgood.rollback.recover -i \S+ -e @\S+ -e rollback_id={killed.id}", said)
    assert killed.journals() == before
    assert not (killed.base / "state" / "web1" / "restore_points" / "in-the-middle").exists()


@pytest.mark.parametrize("module", ["file_restore", "service_restart", "restore_point"])
def test_a_module_of_its_own_is_refused_as_well(killed: Killed, module: str) -> None:
    """All three would end well: the file is back, the service is started, and that restore point is there."""
    state, app = killed.base / "state" / "web1", killed.base / "app1"
    [point] = [path.name for path in (state / "restore_points").iterdir() if path.name.endswith("-blog")]
    process = {"name": "worker", "manager": "process", "pid_file": str(killed.pid), "command": ["true"]}
    words = {
        "file_restore": {"files": [{"dest": f"{app}/.env"}], "restore_point": point},
        "service_restart": {"services": [process], "state": "started"},
        "restore_point": {"name": point, "stack": "blog", "host": "web1", "files": [f"{app}/.env"]},
    }[module]
    command = [
        "ansible",
        "localhost",
        "-i",
        "localhost,",
        "-c",
        "local",
        "-e",
        f"ansible_python_interpreter={sys.executable}",
    ]
    asked = subprocess.run(
        [*command, "-m", f"lastgood.rollback.{module}", "-a", json.dumps({**words, "state_dir": str(state)})],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_HOME": str(killed.base / "ansible")},
    )
    said = " ".join(asked.stdout.split())
    assert asked.returncode != 0, said
    assert f"held by transaction {killed.id}" in said
    assert "in its phase start; down because of it: worker" in said
    assert re.search(rf"ansible-playbook lastgood.rollback.recover -i localhost, -e rollback_id={killed.id}", said)


def test_a_host_that_the_inventory_lost_is_missed_by_name(tmp_path: Path) -> None:
    """Its group has another host, so that nothing else tells that it is gone: as in AWX, where a host is disabled."""
    inventory = tmp_path / "two.yml"
    inventory.write_text("{all: {children: {apps1: {hosts: {web3: }}}}}")
    small = SmallStack(tmp_path)
    projects = small.variables["rollback_projects"]
    project = projects["app1"]
    twins = {"rollback_projects": {**projects, "app1": {**project, "path": f"{tmp_path}/{{{{ inventory_hostname }}}}"}}}
    for host in ("web1", "web3"):
        shutil.copytree(project["path"], tmp_path / host)
    captured = small.play("capture", "-i", str(inventory), restore_point_name="both", **twins)
    assert captured.returncode == 0, captured.stdout

    (tmp_path / "web1" / ".env").write_text("MODE=broken\n")
    for playbook, values in (("multi_rollback", WANTED), ("capture", {})):
        alone = small.play(playbook, **twins, **values)
        assert alone.returncode != 0
        said = " ".join(alone.stdout.split())
        assert "Not a host of blog in this inventory: web3 (known from restore point both)." in said
        assert "-e rollback_accept_missing_hosts=web3" in said
    assert (tmp_path / "web1" / ".env").read_text() == "MODE=broken\n"

    gone = small.play("multi_rollback", **twins, **WANTED, rollback_accept_missing_hosts="web3")
    assert gone.returncode == 0, gone.stdout
    assert (tmp_path / "web1" / ".env").read_text() == "MODE=good\n"
