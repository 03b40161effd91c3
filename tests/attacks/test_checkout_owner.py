# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The owner of a checkout, while root rolls it back."""

from __future__ import annotations

import contextlib
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from accounts import Account
from ansible_collections.lastgood.rollback.plugins.module_utils._components._base import Context, State
from ansible_collections.lastgood.rollback.plugins.module_utils._components.code import Code
from ansible_collections.lastgood.rollback.plugins.module_utils._errors import (
    CommandFailed,
    LastGoodError,
    UndoIncomplete,
)
from attacks.races import racing
from integration.checkouts import Checkout, make_checkout, plan_of


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
