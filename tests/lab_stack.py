# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's stack, as a test sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "lab"))

import layout  # noqa: E402
import reach  # noqa: E402
import snapshots  # noqa: E402
from containers import Podman  # noqa: E402
from deployment import psql  # noqa: E402

PATIENCE_S = 300.0
INVENTORY = ROOT / "inventory" / "lab"
STATE_DIR = "/var/lib/lastgood"


class Stack:
    """The lab's stack, as a test sees it."""

    def __init__(self, lab: layout.Lab, podman: Podman) -> None:
        self.lab = lab
        self.podman = podman
        self.good: snapshots.Snapshot = {}

    def start(self, playbook: str, **values: Any) -> subprocess.Popen[str]:
        """Start a playbook in a session of its own; what it says goes to a pipe."""
        # Whoever runs the tests in the background has SIGINT ignored, and so would everything that they start.
        command = ["env", "--default-signal=INT", "ansible-playbook", f"playbooks/{playbook}.yml", "-i", str(INVENTORY)]
        command += ["-e", json.dumps(values)]
        pipe: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        env = {**os.environ, "ANSIBLE_SHOW_CUSTOM_STATS": "1", "LASTGOOD_LAB_DIR": str(self.lab.directory)}
        return subprocess.Popen(command, cwd=ROOT, env=env, text=True, start_new_session=True, **pipe)

    def play(self, playbook: str, **values: Any) -> tuple[int, str]:
        """Run a playbook to its end: status, and all that it said."""
        process = self.start(playbook, **values)
        said, _none = process.communicate()
        return process.returncode, said

    def rollback(self, **values: Any) -> subprocess.Popen[str]:
        """Start the main flow, of everything."""
        return self.start("multi_rollback", rollback_point="last_good", rollback_components="all", **values)

    def snapshot(self) -> snapshots.Snapshot:
        """Everything that matters, read without the collection."""
        return snapshots.snapshot(self.lab)

    def on(self, host: str, command: str) -> str:
        """What a command prints that root runs on a host."""
        return reach.ssh(self.lab, self.lab.host(host), command)

    def timers(self) -> dict[str, list[str]]:
        """What is left of timers on each host: unit files, links to them, and processes."""
        command = (
            "find /etc/systemd/system -name 'lastgood-*'; systemctl list-units --no-legend --plain 'lastgood-*';"
            " pgrep -af 'undo --wait' | grep -v pgrep; true"
        )
        return {host.name: self.on(host.name, command).splitlines() for host in self.lab.hosts}

    def open_transactions(self) -> dict[str, list[str]]:
        """Ids of the transactions that have no outcome, by host."""
        command = f"cd {STATE_DIR}/transactions 2> /dev/null || exit 0; for id in *; do"
        command += ' [ ! -d "$id" ] || [ -e "$id/outcome.json" ] || echo "$id"; done'
        return {host.name: self.on(host.name, command).splitlines() for host in self.lab.hosts}

    def wait_for_stop(self, rollback: subprocess.Popen[str]) -> None:
        """Wait until the first service was stopped by a rollback that was started."""
        command = 'grep -l \'"event": "stopped"\' /var/lib/lastgood/transactions/*/journal.jsonl'
        host = self.lab.applications[-1]

        def stopped() -> bool:
            assert rollback.poll() is None, rollback.communicate()[0]
            journals = reach.attempt(self.lab, host, command).stdout.decode().split()
            return any(
                self.on(host.name, f"ls {os.path.dirname(journal)}").count("outcome.json") == 0 for journal in journals
            )

        wait_until(stopped)

    def nothing_is_left(self) -> None:
        """No lock, side database, worktree, timer or environment, but what a rollback keeps."""
        assert not any(self.open_transactions().values())
        wait_until(lambda: not any(self.timers().values()))
        names = psql(self.lab, "SELECT datname FROM pg_database WHERE datname ~ 'incoming|side|_new' ;")
        assert names == ""
        for host, project in snapshots.deployed(self.lab):
            listing = self.on(host.name, f"cd {project.path} && sudo -u blog git worktree list")
            assert len(listing.splitlines()) == 1, listing
            live = self.on(host.name, f"readlink {project.path}/.venv; true").rpartition("/")[2]
            beside = set(self.on(host.name, f"ls {project.path}/.venv.lastgood 2> /dev/null; true").split())
            # A rollback that went well has made the live one a link, and keeps what it replaced.
            assert len(beside - {live}) <= bool(live), f"{host.name} {project.name}: {beside}, live is {live}"
            assert not [name for name in beside if name.startswith(("staging-", "link-"))]


def kill(process: subprocess.Popen[str]) -> None:
    """End a controller with everything that it started, at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    """Wait for something that has to come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)


@contextmanager
def lab_is_up(hosts: int = 2, posts: int = 500, directory: Path | None = None) -> Iterator[Stack]:
    """The lab that is up, whatever its size; else a small one for the time of the block.

    :param directory: of another lab than the usual one.
    """
    program = [sys.executable, str(ROOT / "lab" / "lab.py")]
    directory = directory or layout.lab_directory()
    mine = layout.load(directory) is None
    env = {**os.environ, "LASTGOOD_LAB_DIR": str(directory)}
    if mine:
        env.update(LAB_HOSTS=str(hosts), LAB_POSTS=str(posts))
    try:
        subprocess.run([*program, "up"], check=True, env=env)
        lab = layout.load(directory)
        assert lab is not None
        yield Stack(lab, Podman(lab.directory))
    finally:
        if mine:
            subprocess.run([*program, "down"], check=True, env=env)
