# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The owner of a directory in which root restores files: wants to read them, to write them, and to have others removed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from accounts import Account
from ansible_collections.lastgood.rollback.plugins.module_utils._components._base import PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.files import Files
from ansible_collections.lastgood.rollback.plugins.module_utils._errors import LastGoodError, Refused

SECRET = "TOKEN=of-root-alone\n"
#: So large that it takes a while to be written; the attacker has to be there only once in all that time.
SIZE = 64 * 1024**2

#: Opens whatever appears beside the file, for reading and writing; writes to it when it is told to.
GRAB = """
import glob, os, select, sys
print("ready", flush=True)
found = None
while found is None and not select.select([sys.stdin], [], [], 0)[0]:
    for path in glob.glob(".*.lastgood-*/*") + glob.glob(".*.lastgood-*/.*"):
        try:
            found = os.open(path, os.O_RDWR)
        except OSError:
            continue
sys.stdin.readline()
if found is not None:
    os.pwrite(found, b"TOKEN=of-the-attacker", 0)
    print("had it open", flush=True)
"""


@pytest.fixture
def directory(attacker: Account) -> Path:
    """The attacker's directory, with a file that is root's alone."""
    found = attacker.home / "app"
    attacker.run("mkdir", found)
    (found / ".env").write_text(SECRET)
    (found / ".env").chmod(0o600)
    return found


@pytest.fixture
def files(make_context) -> Files:
    return Files(make_context())


def captured(files: Files, tmp_path: Path, path: Path) -> PointEntry:
    into = tmp_path / "point"
    into.mkdir(mode=0o700)
    return PointEntry("good", into, json.loads(json.dumps(files.capture({"paths": [str(path)]}, into))))


def test_a_file_of_root_is_never_open_to_the_owner_of_its_directory(files, directory, tmp_path, attacker) -> None:
    env = directory / ".env"
    os.truncate(env, SIZE)
    point = captured(files, tmp_path, env)
    env.write_text("TOKEN=other\n")
    with attacker.running("/usr/bin/python3", "-c", GRAB, cwd=directory, stdin=-1) as grabbing:
        assert grabbing.stdout.readline() == "ready\n"
        plan = files.plan({}, point)
        files.prepare(plan)
        files.switch(plan)
        files.finish(plan)
        said, _none = grabbing.communicate("write\n", timeout=60)
    assert (said, env.read_bytes()[: len(SECRET)]) == ("", SECRET.encode())
    assert (env.stat().st_uid, env.stat().st_mode & 0o777) == (0, 0o600)


def test_what_takes_the_name_of_our_directory_is_neither_used_nor_removed(files, directory, tmp_path, attacker) -> None:
    point = captured(files, tmp_path, directory / ".env")
    (directory / ".env").write_text("TOKEN=other\n")
    (directory / "private").mkdir(mode=0o700)  # root's: the attacker may not empty it, but may rename it
    (directory / "private" / ".env").write_text("another secret\n")
    plan = files.plan({}, point)
    side = directory / plan.facts["files"][0]["side"]

    attacker.run("mv", directory / "private", side)
    with pytest.raises(Refused, match="in the way"):
        files.prepare(plan)
    files.undo(plan)
    assert (side / ".env").read_text() == "another secret\n"

    attacker.run("mv", side, directory / "private")
    files.prepare(plan)
    attacker.run("mv", side, directory / "ours")
    attacker.run("mv", directory / "private", side)
    with pytest.raises(LastGoodError, match="is not prepared"):
        files.switch(plan)
    files.undo(plan)
    assert (side / ".env").read_text() == "another secret\n"
    assert (directory / ".env").read_text() == "TOKEN=other\n"
