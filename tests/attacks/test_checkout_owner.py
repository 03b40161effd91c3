# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The owner of a checkout, while root rolls it back."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from accounts import Account
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    CommandFailed,
    LastGoodError,
    Refused,
    UndoIncomplete,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components.code.component import Code
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import State
from attacks.races import racing
from support.checkouts import Checkout, captured, make_checkout, plan_of


@pytest.fixture
def code(make_context: Callable[..., Context]) -> Code:
    """The component, as the engine makes it for root."""
    return Code(make_context())


@pytest.fixture
def checkout(attacker: Account) -> Checkout:
    """The attacker's checkout: the target has a file ``tool``, what is checked out has none."""
    checkout = make_checkout(attacker.home / "app", attacker.uid)
    checkout.write("app.py", "A = 1\n")
    checkout.write("tool", "a file of the target\n")
    checkout.write("big", "")
    checkout.commit("good", tag="v1")
    checkout.git("rm", "-q", "tool")
    checkout.write("app.py", "A = 2\n")
    checkout.commit("bad")
    return checkout


def test_no_file_of_root_is_made_with_the_content_of_another(
    code: Code, checkout: Checkout, attacker: Account, arena: Path
) -> None:
    """The facts of root's program, looked at through a link, and the content of the attacker's, opened after it."""
    identity = Path(shutil.which("id") or "")
    (arena / "system").mkdir()
    (arena / "system/su").write_bytes(b"\0" * identity.stat().st_size)
    (arena / "system/su").chmod(0o4755)
    attacker.run("mkdir", checkout.path / "tool")
    attacker.run("cp", identity, checkout.path / "tool/su")
    attacker.run("truncate", "--size=16M", checkout.path / "big")  # archived first, and long to copy
    checkout.git("update-index", "--assume-unchanged", "big")
    attacker.run("mkfifo", attacker.home / "settings")  # every git reads it, and waits for its end
    checkout.git("config", "include.path", str(attacker.home / "settings"))
    program = f"""
        os.chdir({str(checkout.path)!r})
        fifo, known = {str(attacker.home / "settings")!r}, []
        ready()
        while True:
            settings = held(fifo)
            asking = programs("check-ignore")
            recording = os.path.isdir(".git/refs/heads/lastgood") and not os.path.isfile("tool")
            if asking and asking != known and recording:
                known = asking
                os.rename("tool", "../mine")
                os.symlink({str(arena / "system")!r}, "tool")
                archive = Watch("big", OPEN)
                while settings is not None:
                    os.close(settings)
                    settings = held(fifo, asking)
                archive.wait(2)  # it may be refused before
                os.unlink("tool")
                os.rename("../mine", "tool")
                archive.close()
            else:
                os.close(settings)
    """
    with racing(attacker, program), contextlib.suppress(LastGoodError):
        plan = plan_of(code, checkout)
        with contextlib.suppress(LastGoodError):
            code.prepare(plan)
            code.switch(plan)
        code.undo(plan)
    made = [path for path in checkout.path.rglob("*") if path.lstat().st_mode & (stat.S_ISUID | stat.S_ISGID)]
    assert made == [], attacker.run(made[0], "-u").stdout
    assert {path.lstat().st_uid for path in checkout.path.rglob("*")} == {attacker.uid}


@pytest.mark.parametrize("where", ["clean", "smudge"])
def test_a_filter_that_never_ends_holds_neither_the_switch_nor_the_undo(
    code: Code, checkout: Checkout, attacker: Account, where: str
) -> None:
    checkout.git("checkout", "-q", "v1")
    checkout.write(".gitattributes", "app.py filter=slow\n")
    checkout.commit("filtered", tag="target")
    checkout.git("checkout", "-q", "main")
    checkout.write(".gitattributes", "app.py filter=slow\n")
    checkout.commit("also filtered")
    checkout.write("app.py", "A = 9\n")  # never committed, and as long: git has to look at the content
    before, head = checkout.tree(), checkout.id("HEAD")
    plan = plan_of(code, checkout, to="target", timeout=2)
    code.prepare(plan)
    checkout.git("config", f"filter.slow.{where}", "sleep 600")
    attacker.run("touch", checkout.path / "app.py")
    with pytest.raises(CommandFailed, match="no end after 2 s; it was stopped"):
        code.switch(plan)
    alive = attacker.run("pgrep", "--exact", "--runstates=D,R,S", "--uid", attacker.name, "sleep", check=False)
    assert alive.stdout == "", "the filter was left behind"
    if code.state(plan) is not State.PREPARED:
        with pytest.raises(UndoIncomplete, match=r"put back as far as possible.* no end after 2 s"):
            code.undo(plan)
    assert checkout.tree() == before
    assert checkout.id("main") == head
    checkout.git("config", "--unset", f"filter.slow.{where}")
    code.undo(plan)
    assert checkout.tree() == before
    assert code.state(plan) is State.UNTOUCHED


def test_a_path_through_a_link_of_somebody_else_is_refused(
    code: Code, checkout: Checkout, attacker: Account, victim: Account
) -> None:
    """It could lead to any checkout of anybody by the time that it is rolled back."""
    theirs = make_checkout(victim.home / "app", victim.uid)
    theirs.write("app.py", "A = 1\n")
    theirs.commit("good", tag="v1")
    theirs.write("app.py", "A = 2\n")
    theirs.commit("bad")
    attacker.run("ln", "-s", theirs.path, attacker.home / "current")
    attacker.run("ln", "-s", victim.home, attacker.home / "homes")
    for path in ("current", "homes/app"):
        with pytest.raises(Refused, match=f"is a link of {attacker.name}, .*rolling it back is refused"):
            code.plan({"path": str(attacker.home / path), "to": "v1"}, None)
    attacker.run("ln", "-s", checkout.path, attacker.home / "own")
    assert code.plan({"path": str(attacker.home / "own"), "to": "v1"}, None).name == str(checkout.path)


@pytest.mark.parametrize("what", ["", ".git", ".git/config"])
def test_git_does_not_run_as_root_what_others_could_write(
    code: Code, attacker: Account, arena: Path, what: str
) -> None:
    ours = make_checkout(arena / "ours")
    ours.write("app.py", "A = 1\n")
    ours.commit("good", tag="v1")
    ours.write("app.py", "A = 2\n")
    ours.commit("bad")
    assert code.plan({"path": str(ours.path), "to": "v1"}, None).changed
    os.chown(ours.path / what, -1, attacker.gid)
    (ours.path / what).chmod(0o775)
    with pytest.raises(Refused, match=f"can be changed by {attacker.name}: git as root in {ours.path} is refused"):
        code.plan({"path": str(ours.path), "to": "v1"}, None)


def test_the_owners_checkout_is_not_rolled_back_as_root(code: Code, checkout: Checkout, attacker: Account) -> None:
    ran = attacker.home / "ran"
    checkout.git("config", "filter.own.clean", f"sh -c 'id -u > {ran}; cat'")
    checkout.write(".git/info/attributes", "* filter=own\n")
    attacker.run("touch", checkout.path / "app.py")
    with pytest.raises(Refused, match=f"can be changed by {attacker.name}: git as root"):
        code.plan({"path": str(checkout.path), "to": "v1", "owner": "root"}, None)
    assert not ran.exists()


def _of_root(path: Path) -> None:
    os.chown(path, 0, 0, follow_symlinks=False)


def _closed(path: Path) -> None:
    os.chown(path, 0, 0)
    path.chmod(0o755 if path.is_dir() else 0o644)


def _set_id(path: Path) -> None:
    path.chmod(0o4755)


@pytest.mark.parametrize(
    ("path", "change", "why"),
    [
        ("app.py", _of_root, r"app\.py belongs to another account \(uid 0\)"),
        ("app.py", _set_id, r"app\.py runs as its owner or group"),
        ("__pycache__", _closed, "__pycache__ can't be written by"),
        (".git/logs/HEAD", _closed, "logs/HEAD can't be written by"),
        (".git/logs/refs/heads/main", _closed, "heads/main can't be written by"),
        (".git/objects", _closed, "objects can't be written by"),
        (".git/refs/heads", _closed, "heads can't be written by"),
    ],
)
def test_what_the_owner_could_not_change_is_refused_in_the_plan(
    code: Code, checkout: Checkout, path: str, change: Callable[[Path], None], why: str
) -> None:
    """After a pull by root, or a run of the application as root."""
    checkout.write("__pycache__/app.cpython-311.pyc", "compiled\n")
    assert plan_of(code, checkout).changed
    change(checkout.path / path)
    before = checkout.tree()
    with pytest.raises(Refused, match=why):
        plan_of(code, checkout)
    assert checkout.tree() == before


@pytest.mark.parametrize(("attribute", "path"), [("+i", "app.py"), ("+a", "app.py"), ("+i", ""), ("+i", ".git/index")])
def test_what_is_immutable_is_refused_in_the_plan(code: Code, checkout: Checkout, attribute: str, path: str) -> None:
    place = checkout.path / path
    subprocess.run(["chattr", attribute, place], check=True)
    try:
        with pytest.raises(Refused, match=r"immutable or append-only|can't be written"):
            plan_of(code, checkout)
    finally:
        subprocess.run(["chattr", "-i", "-a", place], check=True)
    assert plan_of(code, checkout).changed


def test_a_file_that_is_mounted_is_refused_in_the_plan(code: Code, checkout: Checkout, attacker: Account) -> None:
    other = attacker.write(attacker.home / "other", "A = 2\n")
    subprocess.run(["mount", "--bind", other, checkout.path / "app.py"], check=True)
    try:
        with pytest.raises(Refused, match=r"app\.py is a mount of its own"):
            plan_of(code, checkout)
    finally:
        subprocess.run(["umount", checkout.path / "app.py"], check=True)
    assert plan_of(code, checkout).changed


@pytest.mark.parametrize(("side", "value"), [("v1", "1"), ("main", "true")])
def test_a_required_filter_without_a_program_is_refused_for_both_ways(
    code: Code, checkout: Checkout, side: str, value: str
) -> None:
    checkout.git("checkout", "-q", side)
    checkout.write(".gitattributes", "*.bin filter=large\n")
    checkout.commit("with a filter", tag="filtered")
    target = "filtered" if side == "v1" else "v1"
    checkout.git("checkout", "-q", "main")
    checkout.git("config", "filter.large.required", value)
    with pytest.raises(Refused, match=r"the filter 'large' is needed, whose program \(none configured\)"):
        plan_of(code, checkout, to=target)
    checkout.git("config", "filter.large.smudge", "no-such-program %f")
    with pytest.raises(Refused, match="whose program no-such-program is not there"):
        plan_of(code, checkout, to=target)
    checkout.git("config", "filter.large.smudge", "cat")
    assert plan_of(code, checkout, to=target).changed


def test_a_ref_of_our_name_with_another_commit_is_not_removed(code: Code, checkout: Checkout) -> None:
    plan = plan_of(code, checkout)
    code.prepare(plan)
    ours = plan.facts["emergency_ref"]
    checkout.git("update-ref", ours, checkout.id("v1"))
    checkout.git("update-ref", plan.facts["staged_ref"], checkout.id("v1"))
    code.undo(plan)
    assert checkout.id(ours) == checkout.id(plan.facts["staged_ref"]) == checkout.id("v1")
    assert code.state(plan) is State.UNTOUCHED


def test_the_ref_of_a_restore_point_goes_only_if_it_holds_its_commit(
    code: Code, checkout: Checkout, tmp_path: Path
) -> None:
    entry = captured(code, checkout, tmp_path / "point")
    checkout.git("update-ref", entry.facts["ref"], checkout.id("v1"))
    code.delete_captured(entry.facts, [])
    assert checkout.id(entry.facts["ref"]) == checkout.id("v1")
    checkout.git("update-ref", entry.facts["ref"], entry.facts["commit"])
    code.delete_captured(entry.facts, [])
    assert checkout.try_git("rev-parse", "--verify", "--quiet", entry.facts["ref"]).returncode == 1
