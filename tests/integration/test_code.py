# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A checkout taken back and forth: refusals, dirt of all kinds, crashes, other owners. State is read by git itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    LastGoodError,
    Refused,
    StateConflict,
    VerificationFailed,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components.code.component import Code
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State
from support.checkouts import Checkout, captured, make_checkout, plan_of, switched


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Two commits on main: ``good`` and then ``bad``."""
    made = make_checkout(tmp_path / "blog-core")
    made.write(".gitignore", ".env\n__pycache__/\n")
    made.write("app.py", "import shared\n")
    made.write("shared.py", "VALUE = 1\n")
    made.write("config.py", "DEBUG = False\n")
    made.write("pkg/__init__.py", "")
    made.commit("good", tag="v1")
    made.write("app.py", "import shared, broken\n")
    made.write("broken.py", "VALUE = 2\n")
    made.write("newer/tool.py", "VALUE = 3\n")
    made.git("rm", "-q", "config.py")
    made.commit("bad")
    return made


@pytest.fixture
def code(make_context) -> Code:
    return Code(make_context())


def test_the_deployed_branch_goes_back_and_the_emergency_branch_keeps_the_rest(code, checkout) -> None:
    bad, good = checkout.id("HEAD"), checkout.id("v1")
    plan = plan_of(code, checkout)
    assert code.state(plan) is State.UNTOUCHED
    evidence = switched(code, plan)
    assert checkout.id("HEAD") == checkout.id("refs/heads/main") == good
    assert checkout.git("status", "--porcelain") == ""
    branch = checkout.git("branch", "--list", "lastgood/*", "--format=%(refname)").strip()
    result = code.result(plan, evidence)
    assert branch == result["emergency_ref"]
    assert checkout.id(branch) == bad
    assert [one["subject"] for one in result["discarded_commits"]] == ["bad"]
    assert (result["before"]["commit"], result["after"]["commit"]) == (bad, good)
    assert result["after"]["tree"] == checkout.git("rev-parse", "v1^{tree}").strip()
    assert not plan_of(code, checkout).changed


def test_a_plan_changes_nothing(code, checkout) -> None:
    checkout.write("app.py", "dirty\n")
    before = checkout.snapshot(), sorted(path.name for path in (checkout.path / ".git").iterdir())
    plan = plan_of(code, checkout)
    assert plan.changed
    assert (checkout.snapshot(), sorted(path.name for path in (checkout.path / ".git").iterdir())) == before
    assert not Path(plan.facts["scratch"]).exists()
    assert set(code.result(plan, {})) == {
        "before",
        "after",
        "emergency_ref",
        "archive",
        "discarded_commits",
        "changed_files",
    }
    assert set(plan.before) == set(plan.after)


def test_a_hold_is_left_and_released_by_an_undo(code, checkout) -> None:
    before = checkout.snapshot()
    plan = plan_of(code, checkout)
    switched(code, plan)
    code.finish(plan)
    code.finish(plan)
    assert checkout.git("config", "--local", "lastgood.hold").strip() == code.context.transaction
    assert code.context.transaction in (checkout.path / ".git" / "lastgood-hold").read_text()
    assert any("git pull" in warning for warning in plan.warnings)
    assert code.state(plan) is State.SWITCHED
    code.undo(plan)
    assert checkout.snapshot() == before
    assert "hold" not in (checkout.path / ".git" / "config").read_text()
    assert not (checkout.path / ".git" / "lastgood-hold").exists()


def dirty(checkout: Checkout) -> None:
    """Everything that a reset would take, of every kind."""
    checkout.write("app.py", "modified, never committed\n")
    checkout.write("shared.py", "staged, never committed\n")
    checkout.git("add", "shared.py")
    checkout.write("shared.py", "and modified again\n")
    checkout.write("config.py", "SECRET = 'untracked, in the way'\n")
    (checkout.path / "config.py").chmod(0o600)
    checkout.write("staged_new.py", "new, staged\n")
    checkout.git("add", "staged_new.py")
    (checkout.path / "pkg/__init__.py").unlink()
    checkout.write("newer/__pycache__/tool.cpython-311.pyc", "stale")
    checkout.write("notes.txt", "untracked, and in nobody's way\n")
    checkout.write(".env", "SECRET=ignored, and in nobody's way\n")


def test_dirt_of_every_kind_is_archived_and_an_undo_is_exact(code, checkout) -> None:
    dirty(checkout)
    before = checkout.snapshot()
    plan = plan_of(code, checkout)
    assert plan.discards["modified"] == ["app.py", "pkg/__init__.py"]
    assert plan.discards["staged"] == ["shared.py", "staged_new.py"]
    assert plan.discards["untracked"] == ["config.py"]
    evidence = switched(code, plan)
    assert (checkout.path / "config.py").read_text() == "DEBUG = False\n"
    assert (checkout.path / "notes.txt").exists() and (checkout.path / ".env").exists()
    assert not (checkout.path / "newer").exists(), "byte code of a removed package keeps it importable"
    with tarfile.open(evidence["archive"]) as archive:
        content = archive.extractfile("config.py")
        assert content is not None and content.read() == b"SECRET = 'untracked, in the way'\n"
        assert archive.getmember("config.py").mode == 0o600
    assert Path(evidence["archive"]).stat().st_mode & 0o777 == 0o600
    assert checkout.git("show", f"{plan.facts['staged_ref']}:shared.py") == "staged, never committed\n"
    code.undo(plan)
    assert code.state(plan) is State.UNTOUCHED
    assert checkout.snapshot() == before
    code.undo(plan)
    assert checkout.snapshot() == before


def test_what_changes_after_prepare_is_archived_again_before_the_reset(code, checkout) -> None:
    plan = plan_of(code, checkout)
    code.prepare(plan)
    dirty(checkout)
    before = checkout.snapshot()
    code.switch(plan)
    assert checkout.git("status", "--porcelain", "--untracked-files=no") == ""
    code.undo(plan)
    assert checkout.snapshot() == {**before, "refs": checkout.snapshot()["refs"]}


def test_an_undo_before_the_switch_leaves_newer_dirt_alone(code, checkout) -> None:
    plan = plan_of(code, checkout)
    refs = checkout.snapshot()["refs"]
    code.prepare(plan)
    dirty(checkout)
    before = checkout.snapshot()
    code.undo(plan)
    assert checkout.snapshot() == {**before, "refs": refs}
    assert code.state(plan) is State.UNTOUCHED


def test_what_is_written_after_the_switch_is_kept_as_rejected(code, checkout) -> None:
    before = checkout.snapshot()
    plan = plan_of(code, checkout)
    switched(code, plan)
    checkout.write("app.py", "a fix made after the rollback\n")
    code.undo(plan)
    assert checkout.snapshot() == before
    with tarfile.open(code.context.workspace / "rejected-1.tar") as archive:
        content = archive.extractfile("app.py")
        assert content is not None and content.read() == b"a fix made after the rollback\n"


def test_an_ignored_file_that_the_target_tracks_is_not_lost(code, tmp_path) -> None:
    checkout = make_checkout(tmp_path / "old")
    checkout.write(".env", "committed by mistake\n")
    checkout.commit("one", tag="v1")
    checkout.git("rm", "-q", ".env")
    checkout.write(".gitignore", ".env\n")
    checkout.commit("two")
    checkout.write(".env", "SECRET=live\n")
    (checkout.path / ".env").chmod(0o600)
    before = checkout.snapshot()
    plan = plan_of(code, checkout)
    assert plan.discards["ignored"] == [".env"]
    switched(code, plan)
    assert (checkout.path / ".env").stat().st_mode & 0o777 == 0o600, "the mode of a secret must not widen"
    code.undo(plan)
    assert checkout.snapshot() == before


def test_a_detached_head_stays_detached(code, checkout) -> None:
    checkout.git("checkout", "-q", "--detach")
    checkout.write("app.py", "on no branch\n")
    lost = checkout.commit("on no branch")
    main = checkout.id("refs/heads/main")
    plan = plan_of(code, checkout)
    switched(code, plan)
    assert checkout.id("refs/heads/main") == main
    assert checkout.id("HEAD") == checkout.id("v1")
    assert checkout.id(plan.facts["emergency_ref"]) == lost
    code.undo(plan)
    assert checkout.id("HEAD") == lost
    assert subprocess.run(["git", "-C", checkout.path, "symbolic-ref", "-q", "HEAD"], check=False).returncode == 1


def test_a_branch_named_lastgood_is_no_obstacle(code, checkout) -> None:
    checkout.git("branch", "lastgood")
    plan = plan_of(code, checkout)
    switched(code, plan)
    assert checkout.id(plan.facts["emergency_ref"]) == plan.before["commit"]


def test_hooks_do_not_run_and_global_configuration_is_not_written(code, checkout, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    for name in ("post-checkout", "post-index-change", "reference-transaction", "post-merge"):
        checkout.write(f".git/hooks/{name}", f"#!/bin/sh\ntouch {tmp_path}/ran-{name}\n")
        (checkout.path / ".git/hooks" / name).chmod(0o755)
    plan = plan_of(code, checkout)
    switched(code, plan)
    code.finish(plan)
    code.undo(plan)
    assert list(tmp_path.glob("ran-*")) == []
    assert list((tmp_path / "home").iterdir()) == []


# -- restore points


def test_a_restore_point_keeps_its_commit_alive(code, checkout, tmp_path) -> None:
    point = captured(code, checkout, tmp_path / "point")
    wanted = checkout.id("HEAD")
    checkout.git("reset", "-q", "--hard", "v1")
    checkout.git("reflog", "expire", "--expire=now", "--all")
    checkout.git("gc", "-q", "--prune=now")
    plan = code.plan({"path": str(checkout.path)}, point)
    switched(code, plan)
    assert checkout.id("HEAD") == wanted
    code.delete_captured(point.facts, [point.facts])
    assert checkout.id(point.facts["ref"]) == wanted
    code.delete_captured(point.facts, [])
    assert checkout.git("for-each-ref", "refs/lastgood/points") == ""


def test_no_login_of_a_remote_is_part_of_a_restore_point(code, checkout, tmp_path) -> None:
    checkout.git("remote", "add", "origin", "https://me:tulip@git.example.org/blog.git")
    point = captured(code, checkout, tmp_path / "point")
    assert point.facts["remote"] == "https://git.example.org/blog.git"
    kept = [path.read_bytes() for path in (tmp_path / "point").rglob("*") if path.is_file()]
    assert b"tulip" not in b"".join([*kept, json.dumps(point.facts).encode()])


def test_uncommitted_files_are_part_of_a_restore_point(code, checkout, tmp_path) -> None:
    checkout.write("app.py", "edited on the host\n")
    (checkout.path / "shared.py").unlink()
    point = captured(code, checkout, tmp_path / "point")
    assert point.facts["modified"] == ["app.py", "shared.py"]
    assert not code.plan({"path": str(checkout.path)}, point).changed
    checkout.git("reset", "-q", "--hard", "v1")
    checkout.write("shared.py", "other dirt\n")
    before = checkout.snapshot()
    plan = code.plan({"path": str(checkout.path)}, point)
    assert plan.after["modified"] == ["app.py", "shared.py"]
    switched(code, plan)
    assert (checkout.path / "app.py").read_text() == "edited on the host\n"
    assert not (checkout.path / "shared.py").exists()
    assert not code.plan({"path": str(checkout.path)}, point).changed
    # What was in the way; the restore point's own files are in the restore point.
    assert [Path(kept).name for kept in code.kept(plan)["uncommitted work"]] == ["before-1.tar"]
    code.undo(plan)
    assert checkout.snapshot() == before


def test_the_fingerprint_sees_commits_branches_and_content(code, checkout) -> None:
    options = {"path": str(checkout.path)}
    seen = [code.fingerprint(options)]
    assert code.fingerprint(options) == seen[0]
    checkout.write("app.py", "dirt\n")
    seen.append(code.fingerprint(options))
    checkout.write("app.py", "dart\n")
    seen.append(code.fingerprint(options))
    checkout.git("checkout", "-q", "-b", "other")
    seen.append(code.fingerprint(options))
    checkout.commit("three")
    seen.append(code.fingerprint(options))
    assert len({json.dumps(one, sort_keys=True) for one in seen}) == 5


# -- refusals


@pytest.mark.parametrize("ref", ["-q", "--upload-pack=touch", "no such ref", "nosuch", "", "v1\nv2", "HEAD^{tree}"])
def test_names_that_stand_for_no_commit_are_refused(code, checkout, ref) -> None:
    before = checkout.snapshot()
    with pytest.raises(Refused):
        plan_of(code, checkout, to=ref)
    assert checkout.snapshot() == before


def test_a_branch_and_a_tag_of_one_name_are_refused(code, checkout) -> None:
    checkout.git("branch", "v1")
    with pytest.raises(Refused, match=r"branch .* and a tag"):
        plan_of(code, checkout)
    assert plan_of(code, checkout, to="refs/tags/v1").changed


@pytest.mark.parametrize(
    "name", ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "BISECT_LOG", "rebase-merge", "index.lock"]
)
def test_operations_in_progress_and_locks_are_refused(code, checkout, name) -> None:
    (checkout.path / ".git" / name).write_text("x")
    with pytest.raises(Refused, match=name):
        plan_of(code, checkout)


def test_a_real_merge_in_progress_is_refused(code, checkout) -> None:
    checkout.git("checkout", "-q", "-b", "side", "v1")
    checkout.write("app.py", "conflicting\n")
    checkout.commit("side")
    assert checkout.try_git("merge", "-q", "main").returncode == 1
    with pytest.raises(Refused, match="merge"):
        plan_of(code, checkout)
    (checkout.path / ".git" / "MERGE_HEAD").unlink()
    with pytest.raises(Refused, match="conflicts"):
        plan_of(code, checkout)


def test_what_is_no_checkout_is_refused(code, checkout, tmp_path) -> None:
    (tmp_path / "plain").mkdir()
    for path, words in ((tmp_path / "plain", "not a git checkout"), (checkout.path / "pkg", "not the top")):
        with pytest.raises(Refused, match=words):
            code.plan({"path": str(path), "to": "v1"}, None)
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "bare"], check=True)
    with pytest.raises(Refused, match="bare"):
        code.plan({"path": str(tmp_path / "bare"), "to": "v1"}, None)
    empty = make_checkout(tmp_path / "empty")
    with pytest.raises(Refused, match="no commit yet"):
        code.plan({"path": str(empty.path), "to": "v1"}, None)


def test_a_shallow_clone_that_lacks_the_target_says_so(code, checkout, tmp_path) -> None:
    good = checkout.id("v1")
    subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{checkout.path}", tmp_path / "shallow"], check=True)
    with pytest.raises(Refused, match="shallow"):
        code.plan({"path": str(tmp_path / "shallow"), "to": good}, None)


def test_missing_objects_are_found_before_a_reset_would_stumble(code, checkout) -> None:
    blob = checkout.git("rev-parse", "v1:config.py").strip()
    (checkout.path / ".git/objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(Refused, match=f"missing.*{blob}"):
        plan_of(code, checkout)


def test_a_missing_required_filter_is_found_before_a_reset_would_stumble(code, tmp_path) -> None:
    checkout = make_checkout(tmp_path / "lfs")
    checkout.write(".gitattributes", "*.bin filter=big\n")
    checkout.write("a.bin", "pointer\n")
    checkout.commit("one", tag="v1")
    checkout.git("rm", "-q", "a.bin")
    checkout.commit("two")
    checkout.git("config", "filter.big.required", "true")
    checkout.git("config", "filter.big.smudge", "no-such-program smudge")
    with pytest.raises(Refused, match="no-such-program"):
        plan_of(code, checkout)


def test_a_special_file_in_the_way_is_refused(code, checkout) -> None:
    os.mkfifo(checkout.path / "config.py")
    with pytest.raises(Refused, match="pipe"):
        plan_of(code, checkout)


def test_a_commit_made_after_the_plan_stops_prepare_and_switch(code, checkout) -> None:
    plan = plan_of(code, checkout)
    code.prepare(plan)
    newer = checkout.commit("deployed meanwhile")
    assert code.state(plan) is State.FOREIGN
    with pytest.raises(Refused, match="plan again"):
        code.switch(plan)
    with pytest.raises(Refused, match="plan again"):
        code.prepare(plan)
    assert checkout.id("HEAD") == newer


def test_an_undo_over_a_later_deployment_is_refused(code, checkout) -> None:
    plan = plan_of(code, checkout)
    switched(code, plan)
    checkout.commit("a later deployment")
    before = checkout.snapshot()
    with pytest.raises(StateConflict, match="somebody changed it since"):
        code.undo(plan)
    assert checkout.snapshot() == before


# -- checks of the target


def test_a_target_that_does_not_compile_is_never_switched_to(code, checkout) -> None:
    checkout.write("app.py", "def broken(:\n")
    checkout.commit("does not compile", tag="v2")
    checkout.write("app.py", "import shared\n")
    checkout.commit("three")
    before = checkout.snapshot()
    plan = plan_of(code, checkout, to="v2", verify={"compile": ["app.py"]})
    with pytest.raises(VerificationFailed, match="SyntaxError"):
        code.prepare(plan)
    assert not Path(plan.facts["scratch"]).exists()
    code.undo(plan)
    assert checkout.snapshot() == before


def test_the_targets_own_commands_run_in_a_scratch_tree(code, checkout, tmp_path) -> None:
    checkout.write(".env", "DATABASE_URL=live\n")
    script = "import os, sys, shared; sys.exit(os.environ['DATABASE_NAME'] != 'side' or os.path.exists('.env'))"
    secret = {"DATABASE_NAME": "side", "PGPASSWORD": "a password"}
    code.context = replace(code.context, secrets={"test_environment": secret})
    before = checkout.snapshot()
    plan = plan_of(code, checkout, verify={"commands": [["python", "-c", script]]})
    assert "a password" not in json.dumps(plan.to_json())
    assert len(code.prepare(plan)["checks"]) == 1
    assert not Path(plan.facts["scratch"]).exists()
    code.undo(plan)
    assert checkout.snapshot() == before
    for wrong, words in (
        ({"commands": [["python", "-c", "import broken"]]}, "ModuleNotFoundError"),
        ({"compile": ["broken.py"]}, "no broken.py"),
        ({"commands": [["sleep", "60"]], "timeout": 1}, "no end after"),
    ):
        with pytest.raises(VerificationFailed, match=words):
            code.prepare(plan_of(code, checkout, verify=wrong))


# -- submodules and worktrees


def test_submodules_follow_and_come_back(code, checkout, tmp_path) -> None:
    library = make_checkout(tmp_path / "library")
    library.write("lib.py", "one\n")
    first = library.commit("one")
    checkout.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library.path), "lib")
    checkout.commit("with library", tag="v3")
    inner = Checkout(checkout.path / "lib")
    inner.write("lib.py", "two\n")
    second = inner.commit("two")
    checkout.commit("library moved")
    before = checkout.snapshot()
    plan = plan_of(code, checkout, to="v3")
    switched(code, plan)
    assert inner.id("HEAD") == first
    assert checkout.git("status", "--porcelain") == ""
    code.undo(plan)
    assert (inner.id("HEAD"), checkout.snapshot()) == (second, before)
    inner.write("lib.py", "uncommitted\n")
    with pytest.raises(Refused, match="submodule lib has changes"):
        plan_of(code, checkout, to="v3")


def test_a_linked_worktree_is_a_checkout_like_any_other(code, checkout, tmp_path) -> None:
    checkout.git("worktree", "add", "-q", str(tmp_path / "linked"), "-b", "deployed")
    linked = Checkout(tmp_path / "linked")
    linked.write("app.py", "dirty\n")
    before, main = linked.snapshot(), checkout.id("refs/heads/main")
    plan = plan_of(code, linked)
    switched(code, plan)
    assert linked.id("HEAD") == checkout.id("refs/heads/deployed") == checkout.id("v1")
    assert checkout.id("refs/heads/main") == main
    code.undo(plan)
    assert linked.snapshot() == before


# -- crashes

RUN_PHASE = """
import json, sys
from pathlib import Path
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan
from ansible_collections.lastgood.rollback.plugins.module_utils._components.code.component import Code
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.journal import Journal

workspace = Path(sys.argv[1])
looks = 0


# It waits as soon as it looks through the processes for the second time.
def count_looks(event, arguments):
    global looks
    if event in ("os.listdir", "os.scandir") and str(arguments[0]).rstrip("/") == "/proc":
        looks += 1
        if looks == 2:
            (workspace / "waits").touch()


sys.addaudithook(count_looks)
journal = Journal(workspace / "journal.jsonl", workspace / "log")
context = Context(sys.argv[4], workspace, CommandRunner(), journal.change, journal.note)
plan = Plan.from_json(json.loads(Path(sys.argv[2]).read_text()))
getattr(Code(context), sys.argv[3])(plan)
"""


def start_phase(code: Code, plan: Plan, phase: str, tmp_path: Path) -> subprocess.Popen[bytes]:
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    argv = [
        sys.executable,
        "-c",
        RUN_PHASE,
        code.context.workspace,
        tmp_path / "plan.json",
        phase,
        code.context.transaction,
    ]
    return subprocess.Popen(argv, stderr=subprocess.DEVNULL)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never appeared"
        time.sleep(0.01)


@pytest.fixture
def slow(checkout: Checkout, tmp_path: Path) -> Path:
    """A filter that stops a reset in its middle while ``gate`` exists, and says so in ``reached``."""
    checkout.write(".gitattributes", "config.py filter=slow\n")
    checkout.write("config.py", "DEBUG = False\n")
    checkout.commit("good, with a filter", tag="v9")
    checkout.git("rm", "-q", "config.py")
    checkout.write("app.py", "worse\n")
    checkout.write("zzz.py", "last\n")
    checkout.commit("bad again")
    gate = tmp_path / "gate"
    script = f"touch {tmp_path}/reached; while [ -e {gate} ]; do sleep 0.02; done; cat"
    checkout.git("config", "filter.slow.smudge", script)
    return gate


def kill_in_mid_reset(code: Code, plan: Plan, gate: Path, *, git_too: bool) -> None:
    """End the module, and git with it or not, while the worktree is half old and half new."""
    gate.touch()
    process = start_phase(code, plan, "switch", gate.parent)
    wait_for(gate.parent / "reached")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    if git_too:
        # The checkout belongs to the mark: other tests run beside this one, under the same transaction's name.
        mark = f"LASTGOOD_WORKING_ON={code.context.transaction}:{plan.facts['path']}".encode()
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (directory / "environ").read_bytes().split(b"\0"):
                    os.kill(int(directory.name), signal.SIGKILL)
            except OSError:
                continue


@pytest.mark.parametrize("changed", [True, False], ids=["changed files", "none"])
@pytest.mark.parametrize("way", ["undo", "switch"])
def test_kill_9_in_mid_reset_ends_in_a_whole_state(code, checkout, slow, way, changed) -> None:
    if changed:
        checkout.write("app.py", "dirty\n")
    before = checkout.snapshot()
    plan = plan_of(code, checkout, to="v9")
    code.prepare(plan)
    kill_in_mid_reset(code, plan, slow, git_too=True)
    slow.unlink()
    assert (checkout.path / ".git" / "index.lock").exists()
    assert checkout.id("HEAD") == plan.before["commit"]
    assert code.state(plan) is State.PARTIAL
    if way == "switch":
        code.switch(plan)
        assert code.state(plan) is State.SWITCHED
        assert checkout.id("HEAD") == checkout.id("v9")
        assert checkout.git("status", "--porcelain") == ""
    code.undo(plan)
    assert code.state(plan) is State.UNTOUCHED
    assert checkout.snapshot() == before


def test_a_git_that_outlives_its_module_is_waited_for(code, checkout, slow) -> None:
    before = checkout.snapshot()
    plan = plan_of(code, checkout, to="v9")
    code.prepare(plan)
    kill_in_mid_reset(code, plan, slow, git_too=False)
    undo = start_phase(code, plan, "undo", slow.parent)
    wait_for(code.context.workspace / "waits")
    assert undo.poll() is None, "it must wait for the reset that is still running"
    assert (checkout.path / ".git" / "index.lock").exists(), "the reset is over already"
    slow.unlink()
    assert undo.wait() == 0
    assert checkout.snapshot() == before


def test_a_lock_older_than_the_rollback_is_never_removed(code, checkout, slow) -> None:
    plan = plan_of(code, checkout, to="v9")
    code.prepare(plan)
    kill_in_mid_reset(code, plan, slow, git_too=True)
    slow.unlink()
    now = time.time()
    os.utime(code.context.workspace / "switching.json", (now + 3600, now + 3600))
    with pytest.raises(LastGoodError, match="older than this rollback"):
        code.undo(plan)
    assert (checkout.path / ".git" / "index.lock").exists()


KILL_AT_THE_INDEX = """
import os, signal, sys

def kill(event, arguments):
    if event == "os.rename" and str(arguments[0]).endswith("index.lock"):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
"""


def test_kill_9_just_before_the_recorded_index_takes_its_place(code, checkout, tmp_path) -> None:
    dirty(checkout)
    before = checkout.snapshot()
    plan = plan_of(code, checkout)
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    switched(code, plan)
    arguments = [code.context.workspace, tmp_path / "plan.json", "undo", code.context.transaction]
    undo = [sys.executable, "-c", KILL_AT_THE_INDEX + RUN_PHASE, *arguments]
    assert subprocess.run(undo, check=False).returncode == -signal.SIGKILL
    lock = checkout.path / ".git" / "index.lock"
    assert lock.stat().st_mtime < (code.context.workspace / "switching.json").stat().st_mtime, "not as old as the index"
    code.undo(plan)
    assert (checkout.snapshot(), lock.exists()) == (before, False)


KILL_AT = """
import os, signal, sys
at, seen = int(sys.argv[5]), 0

def count(event, arguments):
    global seen
    if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.utime", "subprocess.Popen"):
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
"""


OF_MODE = {
    "reset": {"to": "v1"},
    "revert": {"to": None, "mode": "revert", "commits": ["HEAD"]},
    "paths": {"to": "v1", "mode": "paths", "paths": ["app.py", "config.py", "broken.py", "newer"]},
}


@pytest.mark.parametrize("mode", OF_MODE)
@pytest.mark.parametrize("phase", ["prepare", "switch", "undo", "finish"])
def test_kill_9_anywhere_in_a_phase_can_be_undone(code, checkout, tmp_path, phase, mode) -> None:
    dirty(checkout)
    before = checkout.snapshot()
    plan = plan_of(code, checkout, verify={"compile": ["shared.py"]}, **OF_MODE[mode])
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    at, returncode, kills = 1, -9, 0
    while returncode:
        if phase != "prepare":
            code.prepare(plan)
        if phase in ("undo", "finish"):
            code.switch(plan)
        arguments = [code.context.workspace, tmp_path / "plan.json", phase, code.context.transaction, str(at)]
        done = subprocess.run(
            [sys.executable, "-c", KILL_AT + RUN_PHASE, *arguments], capture_output=True, text=True, check=False
        )
        returncode = done.returncode
        assert returncode in (0, -9), done.stderr
        assert code.state(plan) is not State.FOREIGN, at
        if phase == "switch":
            code.switch(plan)
            assert code.state(plan) is State.SWITCHED, at
        code.undo(plan)
        assert code.state(plan) is State.UNTOUCHED, at
        assert checkout.snapshot() == before, at
        assert not Path(plan.facts["scratch"]).exists(), at
        kills += returncode == -9
        at += 5 if mode == "reset" else 13
    assert kills or (phase, mode) == ("finish", "paths"), "finishing that leaves nothing to write"


# -- other accounts


def test_another_accounts_checkout_stays_its_own(code, tmp_path, other_account) -> None:
    checkout = make_checkout(tmp_path / "theirs", user=other_account)
    checkout.write("config.py", "DEBUG = False\n")
    checkout.write("pkg/a.py", "A = 1\n")
    checkout.commit("good", tag="v1")
    checkout.write("config.py", "DEBUG = True\n")
    checkout.git("rm", "-q", "-r", "pkg")
    checkout.commit("bad")
    checkout.write("config.py", "SECRET = 'dirty'\n")
    (checkout.path / "config.py").chmod(0o640)
    before = checkout.snapshot()
    identity = ["sh", "-c", f'test "$(id -u)" = {other_account}']
    plan = plan_of(code, checkout, python="/usr/bin/python3", verify={"compile": ["pkg"], "commands": [identity]})
    switched(code, plan)
    code.finish(plan)
    owners = {path.lstat().st_uid for path in [checkout.path, *checkout.path.rglob("*")]}
    assert owners == {other_account}
    assert checkout.git("status", "--porcelain") == ""
    code.undo(plan)
    assert checkout.snapshot() == before
    assert {path.lstat().st_uid for path in checkout.path.rglob("*")} == {other_account}


def test_a_directory_that_the_owner_may_not_write_is_refused(code, tmp_path, other_account) -> None:
    checkout = make_checkout(tmp_path / "theirs", user=other_account)
    checkout.write("pkg/a.py", "A = 1\n")
    checkout.commit("good", tag="v1")
    checkout.write("pkg/a.py", "A = 2\n")
    checkout.commit("bad")
    (checkout.path / "pkg").chmod(0o555)
    with pytest.raises(Refused, match=r"pkg can't be written"):
        plan_of(code, checkout)
    (checkout.path / "pkg").chmod(0o755)
