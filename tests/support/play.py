# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A playbook as a process of its own, that can be killed, with what it called and told."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from built_modules import CALLBACK_PLUGINS
from support.demo_site import DemoSite

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Ended:
    """How a playbook ended.

    :param status: its exit status; negative for a signal.
    :param said: all that it printed.
    :param records: what the callback plugin ``calls`` wrote down, in order.
    """

    status: int
    said: str
    records: Sequence[Mapping[str, Any]]

    @property
    def artefacts(self) -> Mapping[str, Any]:
        """What it left for job templates, all of it under one key."""
        data: Mapping[str, Any] = next((record["data"] for record in self.records if record["kind"] == "artefacts"), {})
        assert not set(data) - {"lastgood"}
        return data.get("lastgood", {})

    @property
    def outcome(self) -> str | None:
        """The outcome that it left for job templates."""
        return self.artefacts.get("outcome")

    @property
    def words(self) -> str:
        """What it printed, with every run of blanks as one: tables and YAML wrap lines."""
        return " ".join(self.said.split())

    @property
    def calls(self) -> list[Mapping[str, Any]]:
        """The calls of modules on hosts."""
        return [record for record in self.records if record["kind"] == "call"]


class Play:
    """A running ``ansible-playbook``.

    :param known: the transactions that there were before it.
    """

    def __init__(self, site: DemoSite, playbook: str, words: Sequence[str], values: Mapping[str, Any]) -> None:
        self.known = {path.name for path in site.directory.glob("state/*/transactions/2*")}
        base = site.base / "plays" / f"{next(_numbers)}-{playbook}"
        base.parent.mkdir(exist_ok=True)
        self._output, self._calls = base.with_suffix(".out"), base.with_suffix(".jsonl")
        command = [str(site.python.parent / "ansible-playbook"), f"playbooks/{playbook}.yml", "-i", "inventory/demo"]
        extra = json.dumps({"report_dest": str(site.base / "logs"), **values})
        with self._output.open("w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                [*command, "-e", extra, *words],
                cwd=site.clone,
                env=environment(site, self._calls),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> Ended:
        """Wait for its end."""
        status = self.process.wait()
        lines = self._calls.read_text(encoding="utf-8").splitlines() if self._calls.exists() else []
        return Ended(status, self._output.read_text(encoding="utf-8"), [json.loads(line) for line in lines])

    def must_run(self) -> None:
        """Fail when it has ended, with what it said."""
        if self.process.poll() is not None:
            raise AssertionError(self.wait().said)

    def kill(self) -> None:
        """``kill -9`` of the playbook and of everything that it has started, wherever that is in its work."""
        kill_all(self.process, self._calls)

    def members(self) -> list[int]:
        """The processes that come from it: they carry its mark. A timer does not, it belongs to its host."""
        return members(self._calls)


def kill_all(process: subprocess.Popen[Any], mark: Path) -> None:
    """``kill -9`` of a playbook and of everything that it has started: Ansible's workers leave its process group.

    :param mark: what ``LASTGOOD_TEST_CALLS`` is in its environment.
    """
    process.kill()
    process.wait()
    while left := members(mark):
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def members(mark: Path) -> list[int]:
    """The processes with a mark in their environment."""
    needle = f"\0LASTGOOD_TEST_CALLS={mark}\0"
    return [pid for pid in _pids() if needle in f"\0{_environment_of(pid)}\0"]


def environment(site: DemoSite, calls: Path) -> dict[str, str]:
    """What a playbook is run with; nothing of ours gets in, and nothing of it stays outside of the site."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
    return {
        **kept,
        "HOME": str(site.home),
        "TMPDIR": str(site.temporary),
        "ANSIBLE_CONFIG": str(site.clone / "ansible.cfg"),
        "ANSIBLE_HOME": str(site.directory / "ansible"),
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACK_PLUGINS),
        "ANSIBLE_CALLBACKS_ENABLED": "built_modules,calls",
        "LASTGOOD_DEMO_DIR": str(site.directory),
        "LASTGOOD_TEST_CALLS": str(calls),
    }


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _environment_of(pid: int) -> str:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(") ")[2][0]
        return "" if state == "Z" else Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""
