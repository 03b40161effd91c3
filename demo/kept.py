# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollback discarded is kept: found again here, without the collection's help."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import postgres
from checkouts import git
from commands import DemoError
from disaster import UNCOMMITTED, UNTRACKED
from place import Place


def find(place: Place, broken: Mapping[str, str]) -> list[tuple[str, str]]:
    """Look for the posts, the commits and the work that was lying about when the stack was broken.

    :param broken: how the stack was before the rollback.
    :returns: what, and where it is kept.
    :raises DemoError: when something of it is gone.
    """
    images = Path(place.project("blog_images").path)
    name, text = UNTRACKED
    places = {
        "the posts written since": _posts(place),
        "blog-core's bad commit": _commit(place, "blog_core", broken),
        "blog-structuring's bad commit": _commit(place, "blog_structuring", broken),
        "the uncommitted edit": _in_archives(place, "app.py", UNCOMMITTED),
        "the untracked file": _in_place(images / name, text) or _in_archives(place, name, text),
    }
    if lost := [what for what, where in places.items() if not where]:
        raise DemoError(f"Not kept anywhere: {', '.join(lost)}.")
    return list(places.items())


def _posts(place: Place) -> str:
    others = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate"
    names = postgres.psql(place, others, user="postgres", database="postgres").split()
    for name in set(names) - {"postgres", postgres.DATABASE}:
        count = f"SELECT count(*) FROM post WHERE id > {place.posts}"
        if (found := postgres.psql(place, count, user="postgres", database=name)) != "0":
            return f"{found} posts in database {name}"
    return ""


def _commit(place: Place, key: str, broken: Mapping[str, str]) -> str:
    project = place.project(key)
    commit = broken[f"{project.name}: commit"]
    refs = git(project, place.user, "for-each-ref", "--format=%(refname)", "--contains", commit, check=False)
    return f"{commit[:7]} in {refs.split()[0]}" if refs.strip() else ""


def _in_place(path: Path, text: str) -> str:
    return str(path) if path.exists() and path.read_text(encoding="utf-8") == text else ""


def _in_archives(place: Place, name: str, text: str) -> str:
    for archive in _archives(place):
        with tarfile.open(archive) as opened:
            for member in opened:
                if Path(member.name).name == name and member.isfile():
                    content = opened.extractfile(member)
                    if content is not None and text.encode() in content.read():
                        return f"{archive}: {member.name}"
    return ""


def _archives(place: Place) -> Iterator[Path]:
    for path in sorted((place.directory / "state").rglob("*.tar*")):
        if path.is_file() and tarfile.is_tarfile(path):
            yield path
