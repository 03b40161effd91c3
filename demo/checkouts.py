# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The six projects: real git checkouts with history, configuration files and an environment each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from commands import User, environment, run
from packages import install, new_environment
from place import CORE, Place, Project
from postgres import APPLICATION, DATABASE

TEMPLATES = Path(__file__).resolve().parent / "projects"
AUTHOR = ("Blog Team", "blog@example.invalid")
#: Not in git: they differ from machine to machine.
SETTINGS = (".env", "assistant_config.env")
#: The history of every project: date, message, version, and the files that came with it.
HISTORY = (
    ("2026-02-02", "Start the project", "0.1.0", ("README.md", ".gitignore", "requirements.txt")),
    ("2026-02-16", "Load the settings from the environment files", "0.2.0", ("config.py",)),
    ("2026-03-09", "Use the shared database", "0.4.0", ("database.py",)),
    ("2026-04-13", "Answer requests, and report health", "1.0.0", ("app.py", "health.py", "run.py")),
    ("2026-05-04", "Test what readers depend on", "1.1.0", ("tests/critical",)),
    ("2026-06-15", "Release 1.2.0", "1.2.0", ()),
)


def make(place: Place) -> None:
    """Make all six, side by side: most of the time goes into copying packages."""
    top = place.directory / "projects"
    top.mkdir()
    with ThreadPoolExecutor(max_workers=3) as workers:
        list(workers.map(lambda project: _make_one(place, project), place.projects))
    place.give(top)


def git(project: Project, user: User, *words: str, date: str = "", check: bool = True) -> str:
    """Run git in a checkout, free from anybody's own configuration; what it prints.

    :param date: of a commit, so that commits have the same ids each time.
    :raises DemoError: (with check) when git fails.
    """
    name, mail = AUTHOR
    who = {
        f"GIT_{role}_{part}": value
        for role in ("AUTHOR", "COMMITTER")
        for part, value in (("NAME", name), ("EMAIL", mail), ("DATE", f"{date}T09:00:00+00:00" if date else ""))
    }
    env = {key: value for key, value in who.items() if value}
    env.update(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1", GIT_TERMINAL_PROMPT="0")
    done = run(["git", *words], user=user, cwd=Path(project.path), env=environment(**env), check=check)
    return done.stdout


def commit_all(project: Project, user: User, message: str, date: str) -> None:
    """Commit everything that is not ignored."""
    git(project, user, "add", "--all")
    git(project, user, "commit", "--quiet", "--message", message, date=date)


def replace_in(place: Place, project: Project, name: str, old: str, new: str) -> None:
    """Change a file of a checkout in place, keeping owner and mode.

    :raises ValueError: when the text to replace is not there.
    """
    path = Path(project.path) / name
    text = path.read_text(encoding="utf-8")
    if old not in text:
        raise ValueError(f"{path} does not contain {old!r}")
    path.write_text(text.replace(old, new), encoding="utf-8")


def write(target: Path, project: Project, values: Mapping[str, str]) -> None:
    """A checkout with its history and its settings, owned by ourselves.

    :param values: what stands for ``@@key@@`` in the templates.
    """
    ourselves = User("", os.geteuid(), os.getegid())
    staged = target.with_name(f"{target.name}.files")
    kind = "core" if project.key == CORE else "stage"
    for source in ("shared", kind):
        _render(TEMPLATES / source, staged, values)
    target.mkdir()
    here = replace(project, path=str(target))
    git(here, ourselves, "init", "--quiet", "--initial-branch=main", "--template=")
    for date, message, version, names in HISTORY:
        (target / "VERSION").write_text(f"{version}\n", encoding="utf-8")
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).rename(target / name)
        commit_all(here, ourselves, message, date)
    for name in SETTINGS:
        (staged / name).rename(target / name)
        (target / name).chmod(0o600)
    shutil.rmtree(staged)


def values_for(project: Project, database_host: str, core_url: str) -> dict[str, str]:
    """What stands for ``@@key@@`` in this project's templates."""
    stage = project.name.removeprefix("blog-")
    about = f'The stage "{stage}" of the blog.' if project.key != CORE else "The shared database and the workflow."
    return {
        "name": project.name,
        "stage": stage,
        "about": about,
        "database": DATABASE,
        "database_user": APPLICATION,
        "socket_dir": database_host,
        "core_url": core_url,
        "secret_key": f"not-a-secret-{project.name}",
    }


def _make_one(place: Place, project: Project) -> None:
    target = Path(project.path)
    write(target, project, values_for(project, str(place.socket_dir), place.project(CORE).url))
    new_environment(place, target / ".venv")
    install(place, target / ".venv", "-r", str(target / "requirements.txt"))


def _render(source: Path, target: Path, values: Mapping[str, str]) -> None:
    """Copy a tree of templates; ``dot_x`` becomes ``.x``, and ``@@key@@`` its value."""
    for path in sorted(source.rglob("*")):
        if not path.is_file() or "__pycache__" in path.parts:
            continue
        relative = path.relative_to(source)
        name = f".{relative.name[4:]}" if relative.name.startswith("dot_") else relative.name
        made = target / relative.with_name(name)
        made.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8")
        for key, value in values.items():
            text = text.replace(f"@@{key}@@", value)
        made.write_text(text, encoding="utf-8")
