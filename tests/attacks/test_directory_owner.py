# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The owner of a directory in which root restores files: wants to read them, to write them, and to have others removed."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from pathlib import Path

import pytest
from accounts import Account
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import show_progress, shown
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.files.component import Files
from ansible_collections.lastgood.rollback.plugins.module_utils._services import control
from ansible_collections.lastgood.rollback.plugins.module_utils._services.managers.supervisor import read_address
from ansible_collections.lastgood.rollback.plugins.plugin_utils._progress.reporting import read_command

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


def process(attacker: Account, **more: str) -> control.Service:
    """A service of the attacker's, as the catalogue describes it."""
    home = attacker.home
    spec = {"name": "it", "manager": "process", "pid_file": f"{home}/pid", "log": f"{home}/log", "command": ["true"]}
    (service,) = control.parse([{**spec, "user": attacker.name, **more}])
    return service


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


@pytest.mark.parametrize("way", ["symbolic", "hard"])
def test_no_log_shows_what_the_service_could_not_read_itself(arena: Path, attacker: Account, way: str) -> None:
    secret = arena / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    if way == "hard":  # as it can where links to files of others are allowed
        os.link(secret, attacker.home / "log")
    else:
        attacker.run("ln", "-s", secret, attacker.home / "log")
    assert SECRET.strip() not in process(attacker).manager_of(CommandRunner()).log("it")


def test_a_log_in_place_is_shown(attacker: Account) -> None:
    attacker.write(attacker.home / "log", "one\ntwo\n")
    assert process(attacker).manager_of(CommandRunner()).log("it") == "one\ntwo"
    (attacker.home / "log").unlink()
    assert process(attacker).manager_of(CommandRunner()).log("it") == ""


@pytest.mark.parametrize("name", ["log", "pid", "supervisord.conf"])
def test_a_pipe_is_not_waited_for(attacker: Account, name: str) -> None:
    attacker.run("mkfifo", attacker.home / name)

    def read() -> None:
        manager = process(attacker).manager_of(CommandRunner())
        manager.log("it"), manager.status("it")
        with pytest.raises(Refused, match="can't be read"):
            read_address(attacker.home / "supervisord.conf")

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    reading.join(20)
    is_waiting = reading.is_alive()
    if is_waiting:
        attacker.run("sh", "-c", f": > {name}")  # nobody waits any more
    assert not is_waiting


def test_a_pid_file_names_no_process_of_root_to_be_ended(attacker: Account) -> None:
    with subprocess.Popen(["sleep", "600"]) as victim:
        attacker.write(attacker.home / "pid", f"{victim.pid}\n")
        for user in ("", attacker.name):
            with pytest.raises(LastGoodError, match="can be changed by" if not user else "runs as root"):
                process(attacker, user=user).manager_of(CommandRunner()).stop("it")
        assert victim.poll() is None
        victim.kill()


def test_a_configuration_of_supervisor_shows_no_file_of_root(arena: Path, attacker: Account, monkeypatch) -> None:
    secret = arena / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    attacker.run("ln", "-s", secret, attacker.home / "supervisord.conf")
    with pytest.raises(Refused) as caught:
        read_address(attacker.home / "supervisord.conf")
    assert SECRET.strip() not in str(caught.value)

    monkeypatch.setenv("OF_ROOT", "secret-of-root")
    (attacker.home / "supervisord.conf").unlink()
    text = "[inet_http_server]\nport=127.0.0.1:9001\nusername=%(ENV_OF_ROOT)s\npassword=x\n"
    attacker.write(attacker.home / "supervisord.conf", text)
    token = read_address(attacker.home / "supervisord.conf").authorization.removeprefix("Basic ")
    assert b"secret-of-root" not in base64.b64decode(token)


@pytest.mark.parametrize(
    "prepared", ["ln -s {secret} {name}", "ln {secret} {name}", "mkfifo {name}", "echo forged > {name}"]
)
def test_what_others_prepare_for_a_line_of_progress_is_not_shown(arena: Path, attacker: Account, prepared: str) -> None:
    (arena / "tmp").mkdir()
    (arena / "tmp").chmod(0o1777)
    (arena / "secret").write_text(SECRET)
    (arena / "secret").chmod(0o600)
    name = arena / "tmp/.lastgood-0123"
    words = ["sh", "-c", prepared.format(secret=arena / "secret", name=name)]
    if prepared.startswith("ln {"):  # as it can where the kernel does not forbid links to files of others
        subprocess.run(words, check=True)
    else:
        attacker.run(*words)
    done = subprocess.run(
        ["sh", "-c", read_command(str(name))], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.stdout == ""


def test_the_line_of_the_module_is_shown(arena: Path, monkeypatch) -> None:
    monkeypatch.setenv("LASTGOOD_PROGRESS", str(arena / "it's"))
    with shown():
        show_progress("half of it")
        done = subprocess.run(
            ["sh", "-c", read_command(str(arena / "it's"))], capture_output=True, text=True, check=False
        )
    assert done.stdout.strip() == "half of it"


@pytest.mark.parametrize("owner", ["root", "victim"])
def test_a_file_keeps_an_owner_and_a_group_that_its_directory_has_not(
    files, directory, tmp_path, attacker, victim, owner: str
) -> None:
    """As a secret of root's that the web server's group may read, in the application's directory."""
    env, uid = directory / ".env", 0 if owner == "root" else victim.uid
    gid = victim.gid if owner == "root" else 0
    os.chown(env, uid, gid)
    env.chmod(0o640)
    point = captured(files, tmp_path, env)
    env.write_text("TOKEN=other\n")
    os.chown(env, attacker.uid, victim.gid)
    plan = files.plan({}, point)
    files.prepare(plan)
    files.switch(plan)
    assert owned(env) == (uid, gid, 0o640)
    files.finish(plan)
    files.undo(plan)  # from the copy: the replaced file itself is gone
    assert owned(env) == (attacker.uid, victim.gid, 0o640)


def test_an_owner_whose_number_has_changed_is_known_by_name(files, directory, tmp_path, victim) -> None:
    os.chown(directory / ".env", victim.uid, victim.gid)
    point = captured(files, tmp_path, directory / ".env")
    look = point.facts["files"][str(directory / ".env")]["look"]
    assert (look["owner"], look["group"]) == (victim.name, victim.name)
    look.update(uid=54321, gid=54322)  # the account had other numbers when it was captured
    (directory / ".env").write_text("TOKEN=other\n")
    plan = files.plan({}, point)
    files.prepare(plan)
    files.switch(plan)
    assert owned(directory / ".env")[:2] == (victim.uid, victim.gid)


def owned(path: Path) -> tuple[int, int, int]:
    """Owner, group and mode, as ``stat`` prints them."""
    done = subprocess.run(["stat", "-c", "%u %g %a", path], capture_output=True, text=True, check=True)
    uid, gid, mode = done.stdout.split()
    return int(uid), int(gid), int(mode, 8)
