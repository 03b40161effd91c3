# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small stack of two hosts that is rolled back by the real playbook in seconds: checkouts with a settings file each."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from support.play import kill_all

ROOT = Path(__file__).resolve().parents[2]
HOSTS = ("web1", "web2")
WANTED = {"rollback_point": "last_good", "rollback_components": ["files"]}
CONTACTS = {
    "primary": {"name": "Operations on call", "email": "operations@example.com"},
    "secondary": {"name": "Development on call", "email": "development@example.com"},
    "tertiary": {"name": "Project office", "email": "office@example.com"},
}


_numbers = itertools.count(1)


class SmallStack:
    """Captured when it was good, and then broken in its settings.

    :param base: an empty directory for all of it.
    :ivar prefix: words in front of each ``ansible-playbook``.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.prefix: list[str] = []
        self.logs = base / "logs"
        #: Hosts that hold no part of the stack.
        self.archives: dict[str, Any] = {}
        self.variables: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "rollback_stack": "blog",
            "rollback_state_dir": f"{base}/state/{{{{ inventory_hostname }}}}",
            "report_dest": str(self.logs),
            "notify_schedule": False,  # no unit of systemd is left on whatever machine the tests run on
            "rollback_projects": {f"app{number}": self.project(number) for number in (1, 2)},
        }
        done = self.play("capture")
        assert done.returncode == 0, done.stdout + done.stderr
        self.captured = done.stdout

    def project(self, number: int) -> dict[str, Any]:
        """Make a project; what the catalogue has of it."""
        checkout = self.base / f"app{number}"
        checkout.mkdir()
        (checkout / "app.py").write_text("print('well')\n")
        (checkout / ".gitignore").write_text(".env\n")
        self.settings(number).write_text("MODE=good\n")
        names = {f"GIT_{who}_{what}": "a@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        environment = {**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
            subprocess.run(["git", "-C", str(checkout), *words], check=True, env=environment)
        commands = [["grep", "-q", "good", ".env"]]
        return {"group": f"apps{number}", "path": str(checkout), "files": [".env"], "checks": {"commands": commands}}

    def settings(self, number: int) -> Path:
        """The settings file of a project."""
        return self.base / f"app{number}" / ".env"

    def damage(self) -> None:
        """Change both settings files."""
        for number in (1, 2):
            self.settings(number).write_text("MODE=broken\n")

    def start(self, playbook: str, *words: str, **values: Any) -> subprocess.Popen[str]:
        """Start a playbook; ``values`` are its extra variables."""
        number = next(_numbers)  # several may run at once
        inventory = self.base / f"inventory-{number}.yml"
        groups: dict[str, Any] = {f"apps{number}": {"hosts": {host: None}} for number, host in enumerate(HOSTS, 1)}
        groups["archives"] = {"hosts": self.archives}
        inventory.write_text(yaml.safe_dump({"all": {"vars": self.variables, "children": groups}}))
        extra = self.base / f"extra-{number}.json"
        extra.write_text(json.dumps(values))
        command = [*self.prefix, "ansible-playbook", "-i", str(inventory), str(ROOT / "playbooks" / f"{playbook}.yml")]
        return subprocess.Popen(
            [*command, "-e", f"@{extra}", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.base,
            env={**os.environ, "ANSIBLE_HOME": str(self.base / "ansible"), "LASTGOOD_TEST_CALLS": str(extra)},
        )

    def kill(self, process: subprocess.Popen[str]) -> None:
        """``kill -9`` of a playbook, with all that it has started."""
        words: Any = process.args
        kill_all(process, Path(words[words.index("-e") + 1].removeprefix("@")))

    def play(self, playbook: str, *words: str, **values: Any) -> subprocess.CompletedProcess[str]:
        """Run a playbook to its end."""
        process = self.start(playbook, *words, **values)
        said, complaints = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, said, complaints)

    def roll_back(self, *words: str, **values: Any) -> subprocess.CompletedProcess[str]:
        """Break it, and roll the files back."""
        self.damage()
        return self.play("multi_rollback", *words, **{**WANTED, **values})

    def reports(self, kind: str = "json") -> list[Path]:
        """The reports, oldest first."""
        return sorted(path for path in self.logs.glob(f"*.{kind}") if not path.name.endswith(".postmortem.md"))

    def report(self) -> Mapping[str, Any]:
        """The latest one."""
        found: Mapping[str, Any] = json.loads(self.reports()[-1].read_text(encoding="utf-8"))
        return found

    def spool(self, part: str = "") -> list[str]:
        """The kinds of the messages that wait, or of those that were sent."""
        return sorted(path.name.split(".")[1] for path in (self.logs / "spool" / part).glob("*.json"))
