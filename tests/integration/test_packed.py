# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules as Ansible packs them, on the oldest and the newest Python that they support: each kind goes there and back."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import sanity
from integration.test_earlier import COLLECTIONS, prepare, spoiled
from packed_modules import Modules, packed, zipped
from support.database_site import FIRST
from support.kinds import KINDS, thing
from support.postgres_server import PostgresServer

PYTHONS = ("3.9", "3.13")
#: Each kind on the oldest in any case; on the newest one of each group, and the others at length.
CASES = [
    pytest.param(
        version, kind, marks=[] if version == PYTHONS[0] or kind in ("files", "database") else pytest.mark.at_length
    )
    for version in PYTHONS
    for kind in KINDS
]
ENVIRONMENTS = COLLECTIONS.parent / ".cache" / "packed"


def environment(version: str) -> str:
    """A Python with psycopg2 and nothing else of ours; made once in a clone."""
    place = ENVIRONMENTS / version
    python = place / "bin" / "python"
    ready = place / "ready"
    if ready.exists():
        return str(python)
    base = sanity.PYTHONS / f"python{version}"
    if not base.exists():
        sanity.provide_pythons()
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([base.resolve(strict=True), "-m", "venv", "--without-pip", place], check=True)
    locked = (COLLECTIONS.parent / "requirements" / "development.txt").read_text(encoding="utf-8")
    (newest,) = re.findall(
        r"^psycopg2-binary==(\S+)", locked, re.MULTILINE
    )  # which the oldest Python may be too old for
    driver = f"psycopg2-binary<={newest}"
    subprocess.run(["uv", "pip", "install", "--quiet", "--python", python, driver], check=True)
    ready.touch()
    return str(python)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is packed of this tree."""
    return packed(COLLECTIONS, tmp_path_factory.mktemp("packed") / "present")


@pytest.fixture
def modules_on(request: pytest.FixtureRequest, tree: Path) -> tuple[Path, str]:
    """The payload, and a Python that it runs on."""
    python = environment(request.param)
    own = tree.with_name(request.param)
    # pytest asks for it once for each kind.
    done = own.with_name(f"{own.name}.zip")
    return done if done.exists() else zipped(shutil.copytree(tree, own), python), python


@pytest.mark.parametrize(("modules_on", "kind"), CASES, indirect=["modules_on"])
def test_each_kind_is_rolled_back_and_undone(
    kind: str, modules_on: tuple[Path, str], postgres_server: PostgresServer, tmp_path: Path
) -> None:
    modules = Modules(tmp_path / "state", *modules_on)
    with thing(kind, tmp_path, postgres_server) as one:
        good, bad = spoiled(modules, one)
        prepare(modules, one)
        modules.run("transaction", id=FIRST, state="switch")
        assert one.snapshot() == good
        undone = modules.run("transaction", id=FIRST, state="undo", reason="asked")
        assert one.snapshot() == bad
        assert [component["kind"] for component in undone["components"]] == [kind]
