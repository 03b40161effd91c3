# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks for single kinds of things, on a small stack: dependencies without a network, and configuration."""

from __future__ import annotations

import copy
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.environments import change, frozen, make_environment, said_by, write_wheel
from support.namespaces import unshared
from support.small_stack import SmallStack

POINT = {"rollback_point": "last_good"}
WORKS = "VALUE = 'good'\n"
BROKEN = "raise ImportError('half an update')\n"


class PackagesStack(SmallStack):
    """The same with an environment for each project, at first as plain directories."""

    good: list[set[str]]

    def project(self, number: int) -> dict[str, Any]:
        project = super().project(number)
        path = self.environment(number)
        make_environment(path)
        change(path, "install", "--offline", str(write_wheel(self.base, "our_app", "1.0", WORKS)))
        change(path, "install", "--offline", str(write_wheel(self.base, "helper", "1.0", WORKS)))
        checks = {"imports": ["our_app"], "commands": [["python", "-c", "import our_app; assert our_app.VALUE"]]}
        return {**project, "files": [], "packages": str(path), "checks": checks}

    def environment(self, number: int) -> Path:
        """A project's environment."""
        return self.base / f"app{number}" / ".venv"

    def damage(self) -> None:
        """Update one package to a version that can't be imported, remove one, and add one."""
        for number in (1, 2):
            if any(word.startswith("helper") for word in frozen(self.environment(number))):
                change(self.environment(number), "uninstall", "helper")
            for name in ("our_app", "surplus"):
                wheel = write_wheel(self.base, name, "2.0", BROKEN)
                change(self.environment(number), "install", "--offline", str(wheel))

    def snapshot(self) -> list[set[str]]:
        """The installed sets."""
        return [frozen(self.environment(number)) for number in (1, 2)]


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> PackagesStack:
    """Captured once, with the sets of then as ``good``."""
    stack = PackagesStack(tmp_path_factory.mktemp("packages"))
    stack.good = stack.snapshot()
    return stack


@pytest.fixture
def packages(captured: PackagesStack) -> Iterator[PackagesStack]:
    """The same, broken by an update in both, with nothing in front of a playbook and no hooks."""
    before = copy.deepcopy(captured.variables)
    captured.damage()
    yield captured
    captured.prefix, captured.variables = [], before


@pytest.mark.parametrize("cut", ["after prepare", "from the start"])
def test_a_full_dependency_rollback_needs_no_network(packages: PackagesStack, cut: str) -> None:
    """In a network namespace with nothing but a loopback, which is cut when everything is prepared, or never there."""
    seen = packages.base / "interfaces"
    seen.unlink(missing_ok=True)
    up = "ip link set lo up" if cut == "after prepare" else "true"
    packages.prefix = [*unshared("net"), "sh", "-c", f'{up} && exec "$@"', "sh"]
    words = f"ip -o link show up >> {seen}; echo == >> {seen}; ip link set lo down; ip -o link show up >> {seen}"
    packages.variables["rollback_hooks"] = {
        "before_stop": [{"name": "cut", "host": "web1", "command": ["sh", "-c", words]}]
    }
    done = packages.play("dependency_rollback", **POINT)
    assert done.returncode == 0, done.stdout + done.stderr
    before, after = seen.read_text().split("==\n")
    assert ("lo:" in before, after) == (cut == "after prepare", "")
    assert packages.snapshot() == packages.good
    for number in (1, 2):
        assert packages.environment(number).is_symlink()
        command = (
            f"#!/bin/sh\nexec {packages.environment(number)}/bin/python -c 'import our_app; print(our_app.VALUE)'\n"
        )
        program = packages.base / "try"
        program.write_text(command)
        program.chmod(0o755)
        assert said_by(program) == "good"
        assert "MODE=good" in packages.settings(number).read_text()


@pytest.mark.at_length  # test_rollback_faults.py: checks that fail; test_packages.py: the undo
def test_dependencies_whose_checks_fail_after_the_switch_are_undone(packages: PackagesStack) -> None:
    bad, inodes = packages.snapshot(), [packages.environment(number).stat().st_ino for number in (1, 2)]
    packages.variables["rollback_projects"]["app2"]["checks"]["commands"] = [["false"]]
    done = packages.play("dependency_rollback", **POINT)
    assert done.returncode != 0
    assert packages.snapshot() == bad
    assert [packages.environment(number).stat().st_ino for number in (1, 2)] == inodes


LOADER = """\
import os

def load():
    settings = dict(line.strip().split("=", 1) for line in open(".env"))
    return int(settings["PORT"]), os.stat("schema").st_size
"""


class ConfigurationStack(SmallStack):
    """The same with configuration of two files in each project, that an application's own loader has to accept."""

    def project(self, number: int) -> dict[str, Any]:
        project = super().project(number)
        checkout = self.base / f"app{number}"
        (checkout / ".gitignore").write_text(".env\nconfig.py\nschema\n__pycache__\n")
        (checkout / "schema").write_text("")
        (checkout / "config.py").write_text(LOADER)
        self.settings(number).write_text("PORT=5000\n")
        self.settings(number).chmod(0o640)
        checks = {"commands": [["python", "-c", "import config; config.load()"]]}
        return {**project, "files": [".env", "config.py"], "checks": checks}

    def damage(self) -> None:
        """Wrong content and a wrong mode."""
        for number in (1, 2):
            self.settings(number).write_text("PORT=many\n")
            self.settings(number).chmod(0o666)
            (self.base / f"app{number}" / "config.py").write_text("def load(:\n")

    def snapshot(self) -> dict[str, tuple[str, str]]:
        """Content and mode of every file of the projects, byte code and git's own aside."""
        found = {}
        for number in (1, 2):
            for path in (self.base / f"app{number}").iterdir():
                if path.is_file():
                    mode = stat.filemode(path.stat().st_mode)
                    found[os.fspath(path.relative_to(self.base))] = (path.read_text(), mode)
        return found


@pytest.fixture
def configuration(tmp_path: Path) -> ConfigurationStack:
    return ConfigurationStack(tmp_path)


def test_configuration_rollback(configuration: ConfigurationStack) -> None:
    """Environment files and the application's configuration: content and mode of each, and its own loader takes them."""
    good = configuration.snapshot()
    configuration.damage()
    assert configuration.snapshot() != good
    done = configuration.play("config_rollback", **POINT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert configuration.snapshot() == good
    configuration.damage()
    broken = configuration.snapshot()

    # What the loader does not take after the switch is taken back on both hosts.
    (configuration.base / "app2" / "schema").unlink()
    del broken["app2/schema"]
    done = configuration.play("config_rollback", **POINT)
    assert done.returncode != 0
    assert "config.load()" in done.stdout
    assert configuration.snapshot() == broken
