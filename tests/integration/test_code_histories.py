# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random histories, random dirt, random targets: roll back, then undo, and everything equals the start, byte for byte.

``CODE_HISTORIES`` sets how many are tried (60 by default, and a third of that for reverts and single paths).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._components.code.component import Code
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.journal import Journal
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from support.checkouts import Checkout, make_checkout

#: Few names, so that files, directories and links get into each other's way; one is no text.
NAMES = [
    "a",
    "a/b",
    "a/b/c",
    "d.py",
    "pkg/m.py",
    "pkg/n.py",
    "sp ace",
    "x\nz",
    os.fsdecode(b"\xff\xfe"),
    ".env",
    ":(top)q",
]
BYTECODE = ["__pycache__/d.cpython-311.pyc", "pkg/__pycache__/m.cpython-311.pyc"]

Step = Callable[[Checkout, str], None]


def clear(checkout: Checkout, name: str) -> Path:
    """Make room for a path: whatever stands there or in its way goes."""
    path = checkout.path / name
    for parent in [*reversed(path.relative_to(checkout.path).parents)][1:]:
        above = checkout.path / parent
        if above.is_symlink() or above.is_file():
            above.unlink()
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write(content: str, mode: int) -> Step:
    def step(checkout: Checkout, name: str) -> None:
        path = clear(checkout, name)
        path.write_text(content)
        path.chmod(mode)

    return step


def link(target: str) -> Step:
    def step(checkout: Checkout, name: str) -> None:
        clear(checkout, name).symlink_to(target)

    return step


def remove(checkout: Checkout, name: str) -> None:
    clear(checkout, name)


def make_directory(checkout: Checkout, name: str) -> None:
    (clear(checkout, name) / "inner").mkdir(parents=True)


def add(checkout: Checkout, name: str) -> None:
    if (checkout.path / name).is_symlink() or (checkout.path / name).is_file():
        checkout.try_git("--literal-pathspecs", "add", "-f", "--", name)


def intend_to_add(checkout: Checkout, name: str) -> None:
    checkout.try_git("--literal-pathspecs", "add", "-f", "-N", "--", name)


def forget(checkout: Checkout, name: str) -> None:
    checkout.try_git("--literal-pathspecs", "rm", "-q", "-r", "-f", "--cached", "--", name)


def flag(option: str) -> Step:
    def step(checkout: Checkout, name: str) -> None:
        checkout.try_git("update-index", option, "--", name)

    return step


CONTENTS = st.builds(
    write, st.sampled_from(["", "one\n", "two\n", "three\r\n"]), st.sampled_from([0o644, 0o755, 0o600])
)
LINKS = st.builds(link, st.sampled_from(["a", "nowhere", "/etc/hostname"]))
COMMITTED = st.lists(st.tuples(st.sampled_from(NAMES), st.one_of(CONTENTS, LINKS, st.just(remove))), max_size=5)
DIRT = st.lists(
    st.tuples(
        st.sampled_from(NAMES + BYTECODE),
        st.one_of(
            CONTENTS,
            LINKS,
            st.sampled_from([remove, make_directory, add, add, intend_to_add, forget]),
            st.sampled_from(["--skip-worktree", "--assume-unchanged"]).map(flag),
        ),
    ),
    max_size=8,
)


def build(path: Path, history: list, dirt: list, *, detached: bool) -> Checkout:
    checkout = make_checkout(path)
    checkout.write(".gitignore", ".env\n__pycache__/\n")
    checkout.commit("0")
    for number, steps in enumerate(history, 1):
        for name, step in steps:
            step(checkout, name)
        checkout.commit(str(number))
    if detached:
        checkout.git("checkout", "-q", "--detach")
    for name, step in dirt:
        step(checkout, name)
    return checkout


EXAMPLES = int(os.environ.get("CODE_HISTORIES", "60"))
PATIENT = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate] if os.environ.get("NOSHRINK") else list(Phase),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def code_in(base: Path) -> Code:
    """A component with a journal and a workspace of its own."""
    (base / "workspace").mkdir(mode=0o700)
    journal = Journal(base / "journal.jsonl", base / "log")
    return Code(Context("20260101T000000Z-x-0000", base / "workspace", CommandRunner(), journal.change, journal.note))


def journalled(plan: Plan) -> Plan:
    """As the journal gives it back."""
    return Plan.from_json(json.loads(json.dumps(plan.to_json(), ensure_ascii=False).encode()))


@PATIENT
@given(
    history=st.lists(COMMITTED, min_size=1, max_size=4),
    dirt=DIRT,
    late=DIRT,
    back=st.integers(0, 4),
    detached=st.booleans(),
)
def test_roll_back_and_undo_equals_the_start(history, dirt, late, back, detached) -> None:
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        checkout = build(base / "app", history, dirt, detached=detached)
        code = code_in(base)
        target = checkout.id(f"HEAD~{min(back, len(history))}")
        before = checkout.snapshot()
        plan = journalled(code.plan({"path": str(checkout.path), "to": target}, None))
        code.prepare(plan)
        assert code.state(plan) is State.PREPARED
        code.switch(plan)
        assert code.state(plan) is State.SWITCHED
        assert checkout.id("HEAD") == target
        assert checkout.git("diff-index", "--cached", "HEAD") == ""
        for name, step in late:
            step(checkout, name)
        code.undo(plan)
        assert code.state(plan) is State.UNTOUCHED
        after = checkout.snapshot()
        if late:
            compare_but(before, after, {name for name, _step in late})
        else:
            assert after == before


def compare_but(before: dict, after: dict, late: set[str], *, only_tree: bool = False) -> None:
    """Equal, but for paths in or around these; of a switch, byte code is none of it."""
    if not only_tree:
        assert {**after, "tree": None, "status": None} == {**before, "tree": None, "status": None}
    for name, facts in before["tree"].items():
        near = any(
            other == "." or name == other or f"{name}/".startswith(f"{other}/") or other.startswith(f"{name}/")
            for other in late
        )
        stale = only_tree and "__pycache__" in name
        assert near or stale or after["tree"].get(name) == facts, name


@settings(PATIENT, max_examples=EXAMPLES // 3)
@given(
    history=st.lists(COMMITTED, min_size=1, max_size=4),
    dirt=DIRT,
    back=st.integers(0, 4),
    paths=st.sets(st.sampled_from([name for name in NAMES if name.isprintable()] + ["pkg", "."]), min_size=1),
    revert=st.booleans(),
)
def test_reverts_and_single_paths_leave_the_rest_alone_and_an_undo_equals_the_start(
    history, dirt, back, paths, revert
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        checkout = build(base / "app", history, dirt, detached=False)
        code = code_in(base)
        target = checkout.id(f"HEAD~{min(back, len(history) - 1 if revert else len(history))}")
        options = {"mode": "revert", "commits": [target]} if revert else {"mode": "paths", "to": target}
        if not revert:
            options["paths"] = sorted(path for path in paths if knows(checkout, target, path))
            assume(options["paths"])
        before = checkout.snapshot()
        try:
            plan = journalled(code.plan({"path": str(checkout.path), **options}, None))
        except Refused as error:  # what came later changed the same lines, or a path outside is in the way
            assert "can't be reverted" in error.message or "stands where" in error.message
            assert checkout.snapshot() == before
            return
        code.prepare(plan)
        assert code.state(plan) is State.PREPARED
        code.switch(plan)
        assert code.state(plan) is State.SWITCHED
        assert checkout.id("HEAD") == plan.facts["after"]
        names = checkout.git("diff-tree", "-r", "-z", "--name-only", plan.before["commit"], plan.facts["target"])
        chosen = names.split("\0")[:-1] if revert else options["paths"]
        compare_but({**before, "refs": None}, {**checkout.snapshot(), "refs": None}, set(chosen), only_tree=True)
        code.undo(plan)
        assert code.state(plan) is State.UNTOUCHED
        assert checkout.snapshot() == before


def knows(checkout: Checkout, commit: str, path: str) -> bool:
    """Whether git has something under that path, in the commit or now."""
    listed = (
        ("--literal-pathspecs", "ls-tree", "-r", commit, "--", path),
        ("--literal-pathspecs", "ls-files", "--", path),
    )
    return path == "." or any(checkout.git(*words) for words in listed)
