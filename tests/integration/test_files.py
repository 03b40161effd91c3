# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files, restored as one: links, absence, owners, attributes, failures in the middle, and whatever is changed meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    ChecksumMismatch,
    LastGoodError,
    Refused,
    StateConflict,
    VerificationFailed,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.files.component import Files
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State
from support.namespaces import run_module


def snapshot(directory: Path) -> dict[str, tuple[int, int, int, int, bytes]]:
    """Every name below a directory with mode, owner, time and content."""
    found = {}
    for path in sorted(directory.rglob("*")):
        facts = path.lstat()
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        time_ns = 0 if path.is_dir() and not path.is_symlink() else facts.st_mtime_ns
        found[str(path.relative_to(directory))] = (facts.st_mode, facts.st_uid, facts.st_gid, time_ns, content)
    return found


def sha256sum(path: Path) -> str:
    done = subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True)
    return done.stdout.split()[0].lstrip("\\")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    directory = tmp_path / "app"
    directory.mkdir()
    for name, mode, text in (
        (".env", 0o600, "SECRET_KEY=hunter2\nDATABASE_URL=postgresql:///blog\n"),
        ("config.py", 0o640, "DEBUG = False\n"),
        ("other.txt", 0o644, "not ours\n"),
    ):
        (directory / name).write_text(text)
        (directory / name).chmod(mode)
        os.utime(directory / name, (1_700_000_000, 1_700_000_000))
    return directory


@pytest.fixture
def files(make_context) -> Files:
    return Files(make_context())


@pytest.fixture
def point(app: Path, files: Files, tmp_path: Path) -> PointEntry:
    """A restore point of .env, config.py, and of extra.conf, which does not exist."""
    into = tmp_path / "point" / "files-0"
    into.mkdir(mode=0o700, parents=True)
    facts = files.capture({"files": [str(app / name) for name in (".env", "config.py", "extra.conf")]}, into)
    artefacts = {path.name: sha256sum(path) for path in into.iterdir()}
    return PointEntry("before", into, json.loads(json.dumps(facts)), artefacts)


@pytest.fixture
def broken(app: Path, point: PointEntry) -> Path:
    """The application after a wrong deployment."""
    (app / ".env").write_text("SECRET_KEY=wrong\nNEW_SETTING=1\n")
    (app / ".env").chmod(0o644)
    (app / "config.py").write_text("DEBUG = True\n")
    (app / "extra.conf").write_text("left behind\n")
    return app


def through_json(plan: Plan) -> Plan:
    return Plan.from_json(json.loads(json.dumps(plan.to_json())))


def plan_of(files: Files, options: dict, point: PointEntry | None = None) -> Plan:
    return through_json(files.plan(options, point))


def test_files_come_back_with_content_owner_mode_and_time(files, point, broken, tmp_path) -> None:
    plan = plan_of(files, {}, point)
    assert files.state(plan) is State.UNTOUCHED
    evidence = files.prepare(plan)
    assert files.state(plan) is State.PREPARED
    assert (broken / ".env").read_text().startswith("SECRET_KEY=wrong")
    files.switch(plan)
    assert files.state(plan) is State.SWITCHED
    files.finish(plan)
    files.finish(plan)
    assert files.state(plan) is State.SWITCHED
    assert (
        sha256sum(broken / ".env")
        == hashlib.sha256(b"SECRET_KEY=hunter2\nDATABASE_URL=postgresql:///blog\n").hexdigest()
    )
    facts = (broken / ".env").stat()
    assert (facts.st_mode & 0o7777, facts.st_mtime) == (0o600, 1_700_000_000)
    assert sorted(path.name for path in broken.iterdir()) == [".env", "config.py", "other.txt"]
    result = files.result(plan, evidence)
    assert result["removed"] == [str(broken / "extra.conf")]
    assert Path(result["backup"][str(broken / "extra.conf")]).read_text() == "left behind\n"
    assert set(files.kept(plan)) == {str(broken / name) for name in (".env", "config.py", "extra.conf")}
    assert not plan_of(files, {}, point).changed


def test_no_value_of_a_setting_is_shown_anywhere_in_a_plan(files, point, broken) -> None:
    plan = files.plan({}, point)
    shown = json.dumps(plan.to_json()) + json.dumps(files.result(plan, {}))
    assert "hunter2" not in shown and "wrong" not in shown
    by_path = {Path(one["path"]).name: one for one in plan.discards["files"]}
    assert by_path[".env"]["settings"] == ["DATABASE_URL", "NEW_SETTING", "SECRET_KEY"]
    assert by_path["extra.conf"]["becomes"] == "removed"
    assert set(plan.before) == set(plan.after)


def test_undo_leaves_everything_as_it_was(files, point, broken) -> None:
    before = snapshot(broken)
    plan = plan_of(files, {}, point)
    files.prepare(plan)
    files.switch(plan)
    assert snapshot(broken) != before
    files.undo(plan)
    assert files.state(plan) is State.UNTOUCHED
    assert snapshot(broken) == before
    files.undo(plan)
    assert snapshot(broken) == before


def test_undo_of_a_prepared_set_removes_what_was_staged(files, point, broken) -> None:
    before = snapshot(broken)
    plan = plan_of(files, {}, point)
    files.prepare(plan)
    files.prepare(plan)
    files.undo(plan)
    assert snapshot(broken) == before


def test_undo_after_finish_uses_the_copies(files, point, broken) -> None:
    before = snapshot(broken)
    plan = plan_of(files, {}, point)
    files.prepare(plan)
    files.switch(plan)
    files.finish(plan)
    files.undo(plan)
    assert snapshot(broken) == before


def test_a_file_that_was_absent_and_is_restored_goes_away_again(files, point, app) -> None:
    (app / "config.py").unlink()
    before = snapshot(app)
    plan = plan_of(files, {"files": [{"dest": str(app / "config.py")}]}, point)
    files.prepare(plan)
    files.switch(plan)
    assert (app / "config.py").read_text() == "DEBUG = False\n"
    assert files.state(plan) is State.SWITCHED
    files.undo(plan)
    assert snapshot(app) == before


def test_an_undo_takes_away_what_the_rollback_put_there_and_nothing_else(files, point, app) -> None:
    """It is exchanged after it was looked at, right before it would be removed."""
    (app / ".env").unlink()
    plan = plan_of(files, {}, point)
    files.prepare(plan)
    files.switch(plan)
    (app / "theirs").write_text("somebody's\n")
    armed = True

    def exchange(event: str, arguments: tuple) -> None:
        nonlocal armed
        if armed and event in ("os.rename", "os.remove") and arguments[0] == ".env":
            armed = False
            os.replace(app / "theirs", app / ".env")

    sys.addaudithook(exchange)
    with pytest.raises(StateConflict, match="exchanged"):
        files.undo(plan)
    armed = False
    assert (app / ".env").read_text() == "somebody's\n"


def test_a_directory_that_takes_the_place_of_a_new_one_is_not_taken_for_ours(files, point, broken) -> None:
    """It is exchanged after it was made, right before it is opened for the first time."""
    (broken / "private").mkdir()
    (broken / "private" / ".env").write_text("another secret\n")
    plan = plan_of(files, {}, point)
    side = plan.facts["files"][0]["side"]
    armed = True

    def exchange(event: str, arguments: tuple) -> None:
        nonlocal armed
        if armed and event == "open" and arguments[0] == side:
            armed = False
            os.rename(broken / side, broken / "made")
            os.rename(broken / "private", broken / side)

    sys.addaudithook(exchange)
    with pytest.raises(Refused, match="in the way"):
        files.prepare(plan)
    assert not armed
    assert (broken / side / ".env").read_text() == "another secret\n"
    assert not (files.context.workspace / "0.side").exists()


def test_the_last_file_failing_puts_the_first_back(files, point, broken) -> None:
    before = snapshot(broken)
    plan = plan_of(files, {}, point)
    files.prepare(plan)
    staged = broken / plan.facts["files"][1]["side"] / "config.py"
    staged.write_text("DEBUG = 'damaged'\n")
    with pytest.raises(LastGoodError, match=r"config\.py.*damaged"):
        files.switch(plan)
    assert (broken / ".env").read_text().startswith("SECRET_KEY=hunter2")
    assert files.state(plan) is State.PARTIAL
    files.undo(plan)
    assert snapshot(broken) == before


def test_what_is_written_after_prepare_comes_back_with_an_undo(files, point, broken) -> None:
    plan = plan_of(files, {}, point)
    files.prepare(plan)
    (broken / "config.py").write_text("DEBUG = 'edited at the last moment'\n")
    before = {name: facts for name, facts in snapshot(broken).items() if "lastgood" not in name}
    files.switch(plan)
    assert files.state(plan) is State.SWITCHED
    assert "last moment" in Path(files.kept(plan)[str(broken / "config.py")]).read_text()
    files.undo(plan)
    assert snapshot(broken) == before
    assert files.state(plan) is State.UNTOUCHED


def test_a_file_changed_after_the_switch_is_left_alone(files, point, broken) -> None:
    plan = plan_of(files, {}, point)
    files.prepare(plan)
    files.switch(plan)
    (broken / "config.py").write_text("DEBUG = 'a later deployment'\n")
    assert files.state(plan) is State.FOREIGN
    now = snapshot(broken)
    with pytest.raises(StateConflict, match=r"config\.py"):
        files.undo(plan)
    assert snapshot(broken) == now


def test_changes_to_a_tracked_file_between_the_phases_are_undone_in_reverse(files, point, broken) -> None:
    """What a code rollback does to a tracked config.py: it changes before the switch of files, and after their undo."""
    plan = plan_of(files, {}, point)
    files.prepare(plan)
    (broken / "config.py").write_text("DEBUG = 'as committed'\n")
    assert files.state(plan) is State.PREPARED
    files.switch(plan)
    files.undo(plan)
    assert (broken / "config.py").read_text() == "DEBUG = 'as committed'\n"
    assert files.state(plan) is State.UNTOUCHED
    (broken / "config.py").write_text("DEBUG = True\n")
    assert files.state(plan) is State.UNTOUCHED


def test_a_symbolic_link_is_refused(files, point, broken, tmp_path) -> None:
    (tmp_path / "elsewhere").write_text("precious\n")
    (broken / "config.py").unlink()
    (broken / "config.py").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="symbolic link"):
        files.plan({}, point)
    assert (tmp_path / "elsewhere").read_text() == "precious\n"


def test_a_parent_that_becomes_a_link_after_the_plan_is_not_followed(files, point, broken, tmp_path) -> None:
    plan = plan_of(files, {}, point)
    files.prepare(plan)
    elsewhere = tmp_path / "elsewhere"
    broken.rename(elsewhere)
    broken.symlink_to(elsewhere)
    before = snapshot(elsewhere)
    with pytest.raises(Refused, match="link"):
        files.switch(plan)
    assert snapshot(elsewhere) == before
    assert files.state(plan) is State.FOREIGN


def test_a_parent_reached_through_a_link_is_named_by_its_real_path(files, point, broken, tmp_path) -> None:
    (tmp_path / "current").symlink_to(broken)
    plan = files.plan({"files": [{"dest": str(tmp_path / "current" / "config.py")}]}, point)
    assert plan.things == (f"file:{broken / 'config.py'}",)


def test_a_parent_that_is_a_link_of_somebody_else_is_not_followed(files, app, tmp_path, other_account) -> None:
    """Its owner could turn it to ``/etc`` at any moment; without root the operating system sees to that."""
    owned = tmp_path / "owned"
    owned.mkdir()
    (owned / "inner").symlink_to(app)
    (tmp_path / "outer").symlink_to(owned / "inner")
    os.chown(owned / "inner", other_account, -1, follow_symlinks=False)
    options = {"paths": [str(tmp_path / "outer" / "config.py")]}
    if os.geteuid() == 0:
        with pytest.raises(Refused, match=r"owned/inner on the way is a link of nobody .*real path"):
            files.fingerprint(options)
        os.chown(app, other_account, -1)
    assert list(files.fingerprint(options)) == [str(app / "config.py")]


def test_a_parent_that_leads_in_a_circle_is_refused(files, tmp_path) -> None:
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(Refused, match="Too many levels of symbolic links"):
        files.fingerprint({"paths": [str(tmp_path / "one" / "config.py")]})


@pytest.mark.parametrize("name", ["../app/config.py", "config.py", "/srv/../etc/passwd", "/"])
def test_names_that_lead_out_are_refused(files, point, name) -> None:
    with pytest.raises(Refused, match="absolute path"):
        files.plan({"files": [{"dest": name}]}, point)


def test_a_directory_is_refused(files, point, broken) -> None:
    (broken / "config.py").unlink()
    (broken / "config.py").mkdir()
    with pytest.raises(Refused, match="regular file"):
        files.plan({}, point)


def test_a_file_that_the_restore_point_lacks_is_refused(files, point, broken) -> None:
    with pytest.raises(Refused, match=r"no .*other\.txt"):
        files.plan({"files": [{"dest": str(broken / "other.txt")}]}, point)


def backup(app: Path, content: bytes) -> Path:
    path = app.parent / "config.backup"
    path.write_bytes(content)
    return path


def test_a_backup_brings_content_and_keeps_owner_and_mode(files, app) -> None:
    source = backup(app, b"DEBUG = 'backup'\n")
    options = {
        "files": [{"dest": str(app / "config.py"), "src": str(source), "checksum": f"sha256:{sha256sum(source)}"}]
    }
    plan = plan_of(files, options)
    files.prepare(plan)
    files.switch(plan)
    assert (app / "config.py").read_bytes() == b"DEBUG = 'backup'\n"
    assert (app / "config.py").stat().st_mode & 0o7777 == 0o640


@pytest.mark.parametrize(
    ("content", "checksum", "error", "words"),
    [
        (b"x", None, Refused, "no checksum"),
        (b"x", "0" * 64, ChecksumMismatch, "damaged or replaced"),
        (None, "0" * 64, Refused, "can't be read"),
    ],
)
def test_a_backup_that_can_not_be_trusted_is_refused(files, app, content, checksum, error, words) -> None:
    source = backup(app, content) if content is not None else app.parent / "missing"
    before = snapshot(app)
    with pytest.raises(error, match=words):
        files.plan({"files": [{"dest": str(app / "config.py"), "src": str(source), "checksum": checksum}]}, None)
    assert snapshot(app) == before


def test_an_empty_backup_is_only_accepted_with_its_checksum(files, app) -> None:
    source = backup(app, b"")
    item = {"dest": str(app / "config.py"), "src": str(source)}
    with pytest.raises(Refused, match="empty"):
        files.plan({"files": [item], "allow_unverified": True}, None)
    assert files.plan({"files": [{**item, "checksum": sha256sum(source)}]}, None).changed


def test_a_backup_that_is_damaged_after_the_plan_is_not_used(files, app) -> None:
    source = backup(app, b"DEBUG = 'backup'\n")
    plan = plan_of(files, {"files": [{"dest": str(app / "config.py"), "src": str(source)}], "allow_unverified": True})
    source.write_bytes(b"DEBUG = 'replaced'\n")
    with pytest.raises(ChecksumMismatch):
        files.prepare(plan)
    files.undo(plan)
    assert (app / "config.py").read_text() == "DEBUG = False\n"
    assert sorted(path.name for path in app.iterdir()) == [".env", "config.py", "other.txt"]


def test_a_validator_that_rejects_stops_before_anything_is_replaced(files, app) -> None:
    source = backup(app, b"DEBUG = (\n")
    python = "/usr/bin/python3"
    options = {"files": [{"dest": str(app / "config.py"), "src": str(source)}], "allow_unverified": True}
    reject = plan_of(
        files, {**options, "validate": [python, "-c", "import ast,sys; ast.parse(open(sys.argv[1]).read())", "%s"]}
    )
    before = snapshot(app)
    with pytest.raises(VerificationFailed, match="SyntaxError"):
        files.prepare(reject)
    files.undo(reject)
    assert snapshot(app) == before
    with pytest.raises(Refused, match="%s"):
        files.plan({**options, "validate": ["true"]}, None)


def test_hard_links_and_extended_attributes_are_back_after_an_undo(files, point, broken) -> None:
    os.setxattr(broken / "config.py", "user.origin", b"deployment 42")
    os.link(broken / "config.py", broken / "twin.py")
    inode = (broken / "config.py").stat().st_ino
    plan = plan_of(files, {}, point)
    files.prepare(plan)
    files.switch(plan)
    assert os.listxattr(broken / "config.py") == []
    files.undo(plan)
    assert os.getxattr(broken / "config.py", "user.origin") == b"deployment 42"
    assert (broken / "config.py").stat().st_ino == inode == (broken / "twin.py").stat().st_ino


def test_an_access_control_list_is_captured_and_comes_back(files, app, tmp_path) -> None:
    # user::rw- user:65534:r-- group::r-- mask::r-- other::--- in the kernel's own form
    acl = bytes.fromhex("02000000 01000600ffffffff 02000400feff0000 04000400ffffffff 10000400ffffffff 20000000ffffffff")
    os.setxattr(app / "config.py", "system.posix_acl_access", acl)
    into = tmp_path / "acl"
    into.mkdir()
    facts = json.loads(json.dumps(files.capture({"paths": [str(app / "config.py")]}, into)))
    os.removexattr(app / "config.py", "system.posix_acl_access")
    plan = plan_of(files, {}, PointEntry("acl", into, facts))
    assert plan.changed
    files.prepare(plan)
    files.switch(plan)
    assert os.getxattr(app / "config.py", "system.posix_acl_access") == acl


def test_what_a_security_module_attached_comes_back_where_the_kernel_lets_us(files, app, tmp_path) -> None:
    """As root a file's capabilities, which are kept like an SELinux context; other accounts may not set them."""
    attribute = "security.capability" if os.geteuid() == 0 else "user.capability"
    value = bytes.fromhex("0000000200040000000000000000000000000000")
    os.setxattr(app / "config.py", attribute, value)
    into = tmp_path / "labelled"
    into.mkdir()
    facts = json.loads(json.dumps(files.capture({"paths": [str(app / "config.py")]}, into)))
    (app / "config.py").write_text("DEBUG = True\n")
    assert attribute.startswith("user.") or attribute not in os.listxattr(app / "config.py")  # writing drops it
    plan = plan_of(files, {}, PointEntry("labelled", into, facts))
    files.prepare(plan)
    files.switch(plan)
    assert os.getxattr(app / "config.py", attribute) == value


KILLED = """
import json, os, signal, sys
from pathlib import Path
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan
from ansible_collections.lastgood.rollback.plugins.module_utils._components.files.component import Files
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.journal import Journal

state, phase, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
journal = Journal(state / "journal.jsonl", state / "log")
context = Context(sys.argv[5], state, CommandRunner(), journal.change, journal.note)
seen = 0

def count(event, _arguments):
    global seen
    if event in ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "open"):
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)

plan = Plan.from_json(json.loads(Path(sys.argv[4]).read_text()))
component = Files(context)
sys.addaudithook(count)
getattr(component, phase)(plan)
"""


def killed(files: Files, phase: str, at: int, plan_file: Path) -> bool:
    """Run a phase in a process that is killed at its ``at``-th change of the file system; whether it was."""
    context = files.context
    argv = [sys.executable, "-c", KILLED, str(context.workspace), phase, str(at), str(plan_file), context.transaction]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == -9


@pytest.mark.parametrize("phase", ["prepare", "switch", "undo"])
def test_kill_9_at_every_change_of_the_file_system(files, point, broken, tmp_path, phase) -> None:
    before = snapshot(broken)
    plan = plan_of(files, {}, point)
    plan_file = tmp_path / "plan.json"
    plan_file.write_text(json.dumps(plan.to_json()))
    at = 1
    while True:
        if phase != "prepare":
            files.prepare(plan)
        if phase == "undo":
            files.switch(plan)
        was_killed = killed(files, phase, at, plan_file)
        assert files.state(plan) is not State.FOREIGN, at
        if phase == "switch" and was_killed:
            files.switch(plan)  # goes on from wherever it was
            assert files.state(plan) is State.SWITCHED, at
        files.undo(plan)
        assert files.state(plan) is State.UNTOUCHED, at
        assert snapshot(broken) == before, at
        if not was_killed:
            break
        at += 3
    assert at > 6


def test_files_of_another_account_stay_its_own(files, app, tmp_path, other_account) -> None:
    for path in (app, *app.iterdir()):
        os.chown(path, other_account, -1)
    into = tmp_path / "owned"
    into.mkdir()
    facts = json.loads(json.dumps(files.capture({"paths": [str(app / ".env")]}, into)))
    (app / ".env").write_text("SECRET_KEY=wrong\n")
    validate = ["sh", "-c", 'test "$(id -u)" = "$1" && cat "$2"', "check", str(other_account), "%s"]
    plan = plan_of(files, {"validate": validate}, PointEntry("owned", into, facts))
    before = snapshot(app)
    files.prepare(plan)
    assert (app / plan.facts["files"][0]["side"]).stat().st_uid == os.geteuid()
    files.switch(plan)
    assert (app / ".env").stat().st_uid == other_account
    files.undo(plan)
    assert snapshot(app) == before


def test_a_file_changed_while_a_plan_was_made_is_found_in_prepare(files, point, broken) -> None:
    plan = plan_of(files, {}, point)
    (broken / "config.py").write_text("DEBUG = 'somebody is at work here'\n")
    with pytest.raises(Refused, match="plan again"):
        files.prepare(plan)


def test_a_full_disk_is_seen_in_the_plan(files, point, app) -> None:
    (app / "config.py").unlink()
    facts = json.loads(json.dumps(point.facts))
    facts["files"][str(app / "config.py")]["look"]["bytes"] = 2**60
    with pytest.raises(Refused, match="free"):
        files.plan({}, replace(point, facts=facts))


@pytest.mark.parametrize(("disk", "attempt"), [("files_staged", "Staging"), ("files_switched", "Keeping")])
def test_a_disk_that_is_full_at_the_last_of_many_files_puts_the_first_back(tmp_path, disk, attempt) -> None:
    """The disk of the files while they are staged, and that of the state directory in the middle of the switch."""
    told = json.loads(run_module("full_disk", disk, tmp_path, kinds=("mount",)))
    assert told["said"].startswith(f"{attempt} {told['last']}")
    assert "No space left on device" in told["said"]
    assert told["done"] >= 19
    assert told["as_before"]
