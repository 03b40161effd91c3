# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments for tests: made and changed as people do it, looked at by other means than the component's own."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import sha256_file
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context, PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages.component import Packages
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State

BASE = sys.base_prefix + f"/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
GOOD = ("six==1.16.0", "click==8.1.7", "idna==3.7")
BAD = ("six==1.17.0", "click==8.1.7", "iniconfig==2.0.0")
WORSE = "six==1.15.0"


def change(environment: Path, *words: str) -> None:
    """Change an environment as people do; quick, since uv has the packages in its cache after the first time."""
    command = ["uv", "pip", words[0], "--quiet", "--python", str(environment / "bin" / "python"), *words[1:]]
    subprocess.run(command, check=True, capture_output=True)


def make_environment(path: Path, *packages: str) -> Path:
    subprocess.run([BASE, "-m", "venv", "--without-pip", str(path)], check=True, capture_output=True)
    if packages:
        change(path, "install", "--no-deps", *packages)
    return path


def frozen(environment: Path) -> set[str]:
    """The installed set as ``pip freeze`` sees it: another path than the component's."""
    command = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "freeze", "--all"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def version_of(environment: Path, module: str) -> str:
    code = f"import importlib.metadata as m, {module}; print(m.version('{module}'), {module}.__file__)"
    done = subprocess.run([environment / "bin" / "python", "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.split()[0]


def tree(directory: Path) -> dict[str, str]:
    """Every file of a directory with its digest, links with their target; byte code aside."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if "__pycache__" in path.parts:
            continue
        if path.is_symlink():
            found[str(path.relative_to(directory))] = f"-> {path.readlink()}"
        elif path.is_file():
            found[str(path.relative_to(directory))] = sha256_file(path)
    return found


def write_project(directory: Path, says: str = "one") -> Path:
    """A project of ours as its authors keep it: the module ``our_app``, with a console script ``our-tool``."""
    directory.mkdir(exist_ok=True)
    (directory / "pyproject.toml").write_text(
        "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
        "[project]\nname = 'our_app'\nversion = '1.0'\nscripts = {our-tool = 'our_app:main'}\n"
        "[tool.setuptools]\npy-modules = ['our_app']\n"
    )
    (directory / "our_app.py").write_text(f"import sys\n\n\ndef main():\n    print('{says}', sys.prefix)\n")
    return directory


def write_wheel(directory: Path, name: str, version: str, code: str) -> Path:
    """A wheel with one package of this code."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    wheel = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)
    return wheel


def said_by(program: Path) -> str:
    """What a program prints."""
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.strip()


class Site:
    """An application directory with an environment, its restore point, and the component."""

    def __init__(self, root: Path, context: Context) -> None:
        self.root = root
        self.path = root / "app" / ".venv"
        self.path.parent.mkdir(exist_ok=True)
        self.context = context
        self.component = Packages(context)

    def capture(self, **options: Any) -> PointEntry:
        into = self.root / "point"
        into.mkdir(mode=0o700)
        facts = self.component.capture({"path": str(self.path), **options}, into)
        return PointEntry("good", into, json.loads(json.dumps(facts)))

    def plan(self, point: PointEntry | None, **options: Any) -> Plan:
        """The plan as it comes out of the journal."""
        complete: Mapping[str, Any] = {"path": str(self.path), "installer": "auto", **options}
        return Plan.from_json(json.loads(json.dumps(self.component.plan(complete, point).to_json())))

    def roll_back(self, point: PointEntry | None, **options: Any) -> Plan:
        """Plan, prepare and switch."""
        plan = self.plan(point, **options)
        assert plan.changed
        self.component.prepare(plan)
        self.component.switch(plan)
        return plan

    def state(self, plan: Plan) -> State:
        return self.component.state(plan)

    @property
    def base(self) -> Path:
        return self.path.with_name(".venv.lastgood")
