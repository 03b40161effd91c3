# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook capture, on several hosts of one stack: good everywhere, or nowhere."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


class Stack:
    """Two web hosts and one that is not of the stack, all on this machine, each with directories of its own."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.projects: dict[str, Any] = {}
        for number in (1, 2):
            checkout = base / f"app{number}"
            checkout.mkdir()
            (checkout / ".env").write_text(f"NUMBER={number}\n")
            (checkout / "app.py").write_text("print('well')\n")
            (checkout / ".gitignore").write_text(".env\n")
            self.git(checkout, "init", "-q")
            self.git(checkout, "add", ".")
            self.git(checkout, "commit", "-q", "-m", "first")
            self.projects[f"app{number}"] = {
                "group": f"apps{number}",
                "path": str(checkout),
                "files": [".env"],
                "checks": {"commands": [["grep", "-q", "well", "app.py"]]},
                "test_environment": {"DATABASE_NAME": "{{ rollback_side_database }}"},
            }
        self.projects["app2"]["requires"] = ["app1"]

    @staticmethod
    def git(checkout: Path, *words: str) -> None:
        names = {f"GIT_{who}_{what}": "a@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        environment = {**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        subprocess.run(["git", "-C", str(checkout), *words], check=True, env=environment)

    def points(self, host: str) -> Path:
        """Where a host keeps its restore points."""
        return self.base / "state" / host / "restore_points"

    def names(self, host: str) -> list[str]:
        """The restore points of a host."""
        return sorted(path.name for path in self.points(host).glob("[!.]*"))

    def good(self, host: str, name: str) -> dict[str, Any] | None:
        """What a host wrote down about being good."""
        path = self.points(host) / name / "good.json"
        return json.loads(path.read_text()) if path.exists() else None

    def capture(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the playbook."""
        inventory = self.base / "inventory.yml"
        groups = {f"apps{number}": {"hosts": {f"web{number}": None}} for number in (1, 2)}
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "rollback_stack": "blog",
            "rollback_projects": self.projects,
            "rollback_state_dir": f"{self.base}/state/{{{{ inventory_hostname }}}}",
        }
        hosts: dict[str, None] = {"other": None}
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": variables, "children": groups}}))
        command = ["ansible-playbook", "-i", str(inventory), str(ROOT / "playbooks" / "capture.yml"), *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=self.base, check=False)


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """A stack that works."""
    return Stack(tmp_path)


def test_a_capture_is_good_on_all_hosts_under_one_name(stack: Stack) -> None:
    done = stack.capture()
    assert done.returncode == 0, done.stdout + done.stderr
    (name,) = stack.names("web1")
    assert name.endswith("Z-blog")
    assert stack.names("web2") == [name]
    assert not stack.points("other").exists()
    hosts = {
        host: hashlib.sha256((stack.points(host) / name / "manifest.json").read_bytes()).hexdigest()
        for host in ("web1", "web2")
    }
    records = [stack.good(host, name) for host in hosts]
    assert records[0] is not None
    assert records[1] is not None
    assert records[0]["hosts"] == records[1]["hosts"] == hosts
    assert records[0]["digest"] == records[1]["digest"]
    assert records[0]["components"]["web2"] == [f"code:{stack.base}/app2", "files:files"]
    checked = [check["name"] for check in records[1]["checks"]]
    assert len(checked) == 2
    assert checked[0].startswith("web1: app1")
    assert checked[1].startswith("web2: app2")

    again = stack.capture("-e", f"restore_point_name={name}")
    assert again.returncode == 0, again.stdout
    assert "changed=0" in again.stdout
    assert "changed=1" not in again.stdout


def test_a_check_that_fails_on_one_host_leaves_none_good(stack: Stack) -> None:
    (stack.base / "app2" / "app.py").write_text("print('broken')\n")
    done = stack.capture("-e", "restore_point_name=one")
    assert done.returncode == 2, done.stdout
    assert "these checks failed: web2: app2" in done.stdout
    assert [stack.names(host) for host in ("web1", "web2")] == [["one"], ["one"]]
    assert [stack.good(host, "one") for host in ("web1", "web2")] == [None, None]


def test_a_capture_that_fails_on_one_host_leaves_none_good(stack: Stack) -> None:
    (stack.base / "app2" / ".git" / "index.lock").write_text("")
    done = stack.capture("-e", "restore_point_name=one")
    assert done.returncode == 2, done.stdout
    assert stack.names("web2") == []
    assert stack.good("web1", "one") is None


def test_a_part_of_the_stack_is_not_captured_alone(stack: Stack) -> None:
    done = stack.capture("--limit", "web1")
    assert done.returncode == 2
    assert "Not here: web2" in done.stdout
    assert not stack.points("web1").exists()


def test_all_mistakes_of_the_catalogue_are_told_at_once_and_nothing_is_captured(stack: Stack) -> None:
    stack.projects["app1"].update(group="app1", requires=["app2"], colour="red")
    done = stack.capture()
    assert done.returncode == 2
    for sentence in ("'app1' is not a group", "did you mean 'apps1'", "a circle", "does not know 'colour'"):
        assert sentence in done.stdout, done.stdout
    assert not (stack.base / "state").exists()


def test_check_mode_writes_nothing(stack: Stack) -> None:
    done = stack.capture("--check", "--diff")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f'"code:{stack.base}/app1"' in done.stdout
    assert not (stack.base / "state").exists()


@pytest.mark.at_length  # test_restore_point.py: retention
def test_only_the_wanted_number_is_kept(stack: Stack) -> None:
    for name in ("a", "b", "c"):
        done = stack.capture("-e", f"restore_point_name={name}", "-e", "restore_point_retention=2")
        assert done.returncode == 0, done.stdout
    assert [stack.names(host) for host in ("web1", "web2")] == [["b", "c"], ["b", "c"]]
