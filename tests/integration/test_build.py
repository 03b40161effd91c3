# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The artefact holds what people need and nothing else, and works where it is installed, far from this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

CONTENT = {"changelogs", "docs", "inventory", "meta", "playbooks", "plugins", "roles"}
FILES = {"CHANGELOG.md", "CODE_OF_CONDUCT.md", "FILES.json", "LICENSE", "MANIFEST.json", "README.md", "SECURITY.md"}


@pytest.fixture(scope="module")
def source(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with what tools leave behind in a checkout, none of which may get into the artefact."""
    copy = tmp_path_factory.mktemp("source") / "rollback"
    shutil.copytree(
        root,
        copy,
        symlinks=True,
        ignore=shutil.ignore_patterns(".git", ".venv", ".cache", ".demo", ".ansible", "dist", "__pycache__", "*.sock"),
    )
    for leftover in (".venv/bin/x", ".cache/x", ".ansible/x", "plugins/modules/__pycache__/x.pyc", "dist/old.tar.gz"):
        (copy / leftover).parent.mkdir(parents=True, exist_ok=True)
        (copy / leftover).write_text("left over", encoding="utf-8")
    return copy


@pytest.fixture(scope="module")
def artefact(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built collection."""
    directory = tmp_path_factory.mktemp("dist")
    subprocess.run(["ansible-galaxy", "collection", "build", str(source), "--output-path", str(directory)], check=True)
    (built,) = directory.glob("lastgood-rollback-*.tar.gz")
    return built


@pytest.fixture(scope="module")
def elsewhere(artefact: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A directory with the collection installed, and an environment that does not know this checkout."""
    place = tmp_path_factory.mktemp("elsewhere")
    (place / "ansible.cfg").touch()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
    environment |= {"HOME": str(place), "ANSIBLE_CONFIG": "ansible.cfg", "ANSIBLE_COLLECTIONS_PATH": str(place)}
    command = ["ansible-galaxy", "collection", "install", str(artefact), "-p", str(place), "--offline"]
    subprocess.run(command, check=True, env=environment, cwd=place)
    return place, environment


def test_the_artefact_holds_what_people_need_and_nothing_else(artefact: Path) -> None:
    with tarfile.open(artefact) as archive:
        members = archive.getmembers()
    links = [member.name for member in members if not (member.isfile() or member.isdir())]
    hidden = [member.name for member in members if any(part.startswith(".") for part in Path(member.name).parts)]
    compiled = [member.name for member in members if member.name.endswith((".pyc", "__pycache__"))]
    top = {Path(member.name).parts[0] for member in members}
    assert (links, hidden, compiled) == ([], [], [])
    assert top - CONTENT - FILES == set()
    assert {"meta", "playbooks", "plugins", "roles", *FILES} - top == set()
    assert not any(member.name.startswith(("playbooks/collections", "inventory/demo")) for member in members)


def test_every_module_is_documented_where_it_is_installed(elsewhere: tuple[Path, dict[str, str]], root: Path) -> None:
    place, environment = elsewhere
    modules = sorted(f"lastgood.rollback.{path.stem}" for path in (root / "plugins" / "modules").glob("*.py"))
    command = ["ansible-doc", "--type", "module", "--list", "lastgood.rollback"]
    listing = subprocess.run(command, check=True, env=environment, cwd=place, capture_output=True, text=True).stdout
    assert [line.split()[0] for line in listing.splitlines() if line.strip()] == modules
    subprocess.run(["ansible-doc", *modules], check=True, env=environment, cwd=place, stdout=subprocess.DEVNULL)


def test_a_playbook_runs_where_it_is_installed(elsewhere: tuple[Path, dict[str, str]]) -> None:
    place, environment = elsewhere
    inventory = place / "hosts.yml"
    inventory.write_text(
        "all:\n  hosts:\n    here:\n      ansible_connection: local\n"
        "      ansible_python_interpreter: '{{ ansible_playbook_python }}'\n",
        encoding="utf-8",
    )
    command = [
        "ansible-playbook",
        "-i",
        str(inventory),
        "lastgood.rollback.history",
        "-e",
        f"rollback_state_dir={place}/state",
    ]
    done = subprocess.run(command, env=environment, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed=0" in done.stdout
