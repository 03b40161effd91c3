# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Building an environment beside: which tool can install here, and installing a locked set with it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import DEFAULT_PATH, CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import show_progress
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from .environment import Interpreter

#: The first pip that can install into another environment (``--python``).
_PIP_FOR_OTHERS = (22, 3)
#: Seconds. Installing hundreds of wheels from disk takes far less; a tool that hangs must not hang us for ever.
_BUILD_TIMEOUT = 1800
_VERSION_TIMEOUT = 30


@dataclass(frozen=True)
class Installer:
    """A tool that can install into a new environment.

    :param kind: ``uv`` or ``pip``.
    :param place: ``program`` (a path of uv), ``module`` (the interpreter whose pip is used), ``wheel`` (a pip wheel
        that the new environment runs itself), ``staged`` (the same, by its name among the verified wheels).
    :param path: that path or name.
    """

    kind: str
    place: str
    path: str

    def to_json(self) -> JsonObject:
        """A plain JSON object; ``Installer(**raw)`` is its inverse."""
        return asdict(self)

    @property
    def description(self) -> str:
        """For the report: ``uv (/usr/bin/uv)``."""
        return f"{self.kind} ({self.path})"


def find_installer(
    run: CommandRunner,
    choice: str,
    base: Interpreter,
    live: Interpreter | None,
    live_python: Path,
    wheels: Mapping[str, str],
) -> Installer | None:
    """The first tool that works, in the order: uv, a verified pip wheel, the pip that came with Python, any other.

    :param run: runs programs as the environment's owner.
    :param choice: ``auto``, ``uv`` or ``pip``.
    :param live: the present environment's interpreter, when it works.
    :param wheels: canonical name → file name of the verified wheels.
    """
    if choice in ("auto", "uv"):
        for program in _uv_programs(run.user):
            if _starts(run, [program, "--version"]):
                return Installer("uv", "program", program)
    if choice in ("auto", "pip"):
        if "pip" in wheels:
            return Installer("pip", "staged", wheels["pip"])
        if base.bundled_pip and _starts(run, [base.executable, f"{base.bundled_pip}/pip", "--version"]):
            return Installer("pip", "wheel", base.bundled_pip)
        if _can_install_elsewhere(base.pip):
            return Installer("pip", "module", base.executable)
        if live is not None and _can_install_elsewhere(live.pip):
            return Installer("pip", "module", str(live_python))
    return None


@dataclass(frozen=True)
class Build:
    """What to build, and from what.

    :param target: where the environment is to stand; its parent exists.
    :param staging: the owner's directory with ``wheels/`` and the lock file ``requirements.txt``.
    :param from_index: the wheels come from the index that the installer is configured for (hashes decide all the same).
    """

    target: Path
    staging: Path
    interpreter: Interpreter
    installer: Installer
    system_site: bool
    prompt: str
    from_index: bool

    def run(self, run: CommandRunner) -> None:
        """Make the environment, install, and compile byte code, all as the owner.

        :raises CommandFailed: when a tool fails; what was built by then stays, for the caller to remove.
        """
        flags = ["--system-site-packages"] if self.system_site else []
        if self.interpreter.makes_environments:
            argv = [self.interpreter.executable, "-I", "-m", "venv", "--without-pip", "--prompt", self.prompt, *flags]
        else:
            python = ["--python", self.interpreter.executable]
            argv = [
                self.installer.path,
                "venv",
                "--no-config",
                "--no-project",
                *python,
                "--prompt",
                self.prompt,
                *flags,
            ]
        run.run([*argv, str(self.target)], f"Making the environment {self.target}", timeout=_BUILD_TIMEOUT, cwd="/")
        if (self.staging / "requirements.txt").stat().st_size:
            install = self._uv() if self.installer.kind == "uv" else self._pip()
            tool = run.with_env({"TMPDIR": str(self.staging / "tmp"), **self._quiet()})
            attempt = f"Installing into {self.target}"
            tool.run(install, attempt, timeout=_BUILD_TIMEOUT, cwd=self.staging, meanwhile=self._show_packages)

    def _show_packages(self) -> None:
        """How many packages are there by now."""
        wanted = (self.staging / "requirements.txt").read_text(encoding="utf-8").count("==")
        show_progress(f"Installing into {self.target}: {installed(self.target)} of {wanted} packages")

    @property
    def _sources(self) -> list[str]:
        return [] if self.from_index else ["--no-index", "--find-links", str(self.staging / "wheels")]

    @property
    def _python(self) -> str:
        return str(self.target / "bin" / "python")

    def _quiet(self) -> dict[str, str]:
        """No configuration may add sources or options to an installation from verified wheels."""
        common = {
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            "PIP_NO_CACHE_DIR": "1",
            "UV_NO_PROGRESS": "1",
        }
        # A cache beside the target makes uv link files instead of copying them, and goes away with the staging.
        common["UV_CACHE_DIR"] = str(self.staging / "cache")
        return (
            common
            if self.from_index
            else {**common, "PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1", "UV_OFFLINE": "1"}
        )

    def _uv(self) -> list[str]:
        return [
            *(
                self.installer.path,
                "pip",
                "install",
                "--quiet",
                "--python",
                self._python,
                "--no-deps",
                "--require-hashes",
            ),
            *("--only-binary", ":all:", "--reinstall", "--compile-bytecode", *self._sources, "-r", "requirements.txt"),
        ]

    def _pip(self) -> list[str]:
        if self.installer.place == "module":
            start = [self.installer.path, "-I", "-m", "pip", "--python", self._python]
        else:
            wheel = self.installer.path
            wheel = str(self.staging / "wheels" / wheel) if self.installer.place == "staged" else wheel
            start = [self._python, f"{wheel}/pip"]
        # Packages of the base interpreter don't count as installed: the set must stand on its own.
        return [
            *(*start, "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"),
            *("--ignore-installed", "--no-warn-script-location", *self._sources, "-r", "requirements.txt"),
        ]


def _uv_programs(owner: User | None) -> list[str]:
    """Where uv may be: on PATH, beside the running interpreter, and where its own installer puts it for the owner."""
    home = Path(owner.home if owner else Path.home())
    places = [Path(sys.executable).parent / "uv", home / ".local" / "bin" / "uv", home / ".cargo" / "bin" / "uv"]
    on_path = shutil.which("uv", path=os.environ.get("PATH", DEFAULT_PATH))
    found = [on_path] if on_path else []
    return list(dict.fromkeys([*found, *(str(path) for path in places)]))


def _starts(run: CommandRunner, argv: list[str]) -> bool:
    """Whether it can be started by this user; one that is not there, or not to be trusted, is an answer, not an error."""
    try:
        run.run(argv, f"Trying {argv[0]}", timeout=_VERSION_TIMEOUT, cwd="/")
    except (CommandFailed, Refused):
        return False
    return True


def _can_install_elsewhere(version: str) -> bool:
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= _PIP_FOR_OTHERS


def installed(environment: Path) -> int:
    """How many packages are in an environment; ``lib64`` is often but another name of ``lib``."""
    return len({each.name for each in environment.glob("lib*/python*/site-packages/*.dist-info")})
