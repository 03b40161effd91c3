# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reverts of named commits, and single paths brought back. State is read by git itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    Refused,
    StateConflict,
    VerificationFailed,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components.code.component import Code
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State
from support.checkouts import Checkout, captured, make_checkout, plan_of, switched


@pytest.fixture
def code(make_context) -> Code:
    return Code(make_context("20260102T030405Z-test-0000"))


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Five commits on main that can be told apart: the third (``bad``) is the one to get rid of."""
    made = make_checkout(tmp_path / "app")
    made.write(".gitignore", ".env\n__pycache__/\n")
    made.write("app.py", "import shared\n")
    made.write("shared.py", "VALUE = 1\n")
    made.write("pkg/tool.py", "TOOL = 1\n")
    made.commit("one", tag="one")
    made.write("app.py", "import shared  # two\n")
    made.commit("two", tag="two")
    made.write("shared.py", "VALUE = 'bad'\n")
    made.write("broken.py", "VALUE = 2\n")
    made.commit("bad", tag="bad")
    made.write("pkg/tool.py", "TOOL = 4\n")
    made.commit("four", tag="four")
    made.write("later.py", "LATER = 5\n")
    made.commit("five", tag="five")
    return made


def revert_of(code: Code, checkout: Checkout, *commits: str, **options) -> Plan:
    return plan_of(code, checkout, None, mode="revert", commits=list(commits), **options)


def paths_of(code: Code, checkout: Checkout, *paths: str, to: str = "one", **options) -> Plan:
    return plan_of(code, checkout, to, mode="paths", paths=list(paths), **options)


def merged(checkout: Checkout) -> None:
    """A side branch with two commits, merged into main after another commit there."""
    checkout.git("checkout", "-q", "-b", "side")
    checkout.write("side.py", "SIDE = 1\n")
    checkout.commit("side one")
    checkout.write("side.py", "SIDE = 2\n")
    checkout.commit("side two")
    checkout.git("checkout", "-q", "main")
    checkout.write("seven.py", "SEVEN = 7\n")
    checkout.commit("seven")
    checkout.git("merge", "-q", "--no-ff", "-m", "Merge side", "side")
    checkout.git("tag", "merge")


# -- revert


def test_a_revert_takes_the_named_commit_back_and_keeps_the_later_ones(code, checkout) -> None:
    head, bad = checkout.id("HEAD"), checkout.id("bad")
    before = checkout.snapshot()
    plan = revert_of(code, checkout, "bad")
    assert checkout.snapshot() == before
    assert checkout.try_git("cat-file", "-e", plan.facts["target"]).returncode != 0, "a plan makes no commit"
    evidence = switched(code, plan)
    assert checkout.id("HEAD~1") == head
    assert checkout.git("symbolic-ref", "HEAD").strip() == "refs/heads/main"
    assert checkout.git("log", "-1", "--format=%B").strip() == f'Revert "bad"\n\nThis reverts commit {bad}.'
    assert checkout.git("diff", "HEAD", "HEAD~1", "--name-only").split() == ["broken.py", "shared.py"]
    assert (checkout.path / "shared.py").read_text() == "VALUE = 1\n"
    assert (checkout.path / "later.py").exists() and not (checkout.path / "broken.py").exists()
    assert checkout.git("status", "--porcelain") == ""
    result = code.result(plan, evidence)
    assert [one["id"] for one in result["discarded_commits"]] == [bad]
    assert (result["before"]["commit"], result["after"]["commit"]) == (head, checkout.id("HEAD"))
    code.finish(plan)
    assert checkout.git("for-each-ref", "refs/lastgood") == ""
    assert checkout.git("config", "lastgood.hold").strip() == code.context.transaction
    code.undo(plan)
    assert checkout.snapshot() == before


def test_a_revert_leaves_local_changes_elsewhere_alone(code, checkout) -> None:
    checkout.write("app.py", "edited on this host\n")
    checkout.write("pkg/tool.py", "staged on this host\n")
    checkout.git("add", "pkg/tool.py")
    checkout.write("shared.py", "in the way of the revert\n")
    before = checkout.snapshot()
    plan = revert_of(code, checkout, "bad")
    assert plan.discards["modified"] == ["shared.py"] and "staged" not in plan.discards
    switched(code, plan)
    assert (checkout.path / "app.py").read_text() == "edited on this host\n"
    assert checkout.git("status", "--porcelain").splitlines() == [" M app.py", "M  pkg/tool.py"]
    assert (checkout.path / "shared.py").read_text() == "VALUE = 1\n"
    code.undo(plan)
    assert checkout.snapshot() == before


def test_a_range_is_reverted_from_the_newest_to_the_oldest(code, checkout) -> None:
    plan = revert_of(code, checkout, "one..four")
    switched(code, plan)
    subjects = checkout.git("log", "-3", "--format=%s").splitlines()
    assert subjects == ['Revert "two"', 'Revert "bad"', 'Revert "four"']
    assert checkout.git("diff", "--name-only", "one", "HEAD").split() == ["later.py"]


def test_a_revert_range_with_a_merge_in_it_takes_the_merge_back_as_a_whole(code, checkout) -> None:
    merged(checkout)
    before = checkout.snapshot()
    plan = revert_of(code, checkout, "five..HEAD")
    switched(code, plan)
    assert checkout.git("log", "-2", "--format=%s").splitlines() == ['Revert "seven"', 'Revert "Merge side"']
    assert checkout.git("diff", "--name-only", "five", "HEAD") == ""
    assert f"reversing\nchanges made to {checkout.id('merge^1')}" in checkout.git("log", "-1", "--format=%B", "HEAD~1")
    code.undo(plan)
    assert checkout.snapshot() == before


def test_the_mainline_says_which_side_of_a_merge_stays(code, checkout) -> None:
    merged(checkout)
    switched(code, revert_of(code, checkout, "merge", mainline=2))
    assert (checkout.path / "side.py").exists() and not (checkout.path / "seven.py").exists()
    with pytest.raises(Refused, match="has 2 parents"):
        revert_of(code, checkout, "merge", mainline=3)


def test_what_has_been_reverted_already_is_left_as_it_is(code, checkout) -> None:
    checkout.git("revert", "--no-edit", "bad")
    assert not revert_of(code, checkout, "bad").changed
    plan = revert_of(code, checkout, "bad", "four")
    assert [one["subject"] for one in plan.discards["commits"]] == ["four"]
    switched(code, plan)
    assert checkout.git("log", "-1", "--format=%s").strip() == 'Revert "four"'
    assert not revert_of(code, checkout, "bad", "four").changed


def test_a_revert_that_conflicts_is_refused_before_anything_is_touched(code, checkout) -> None:
    checkout.write("shared.py", "VALUE = 'built on the bad one'\n")
    checkout.commit("six")
    before = checkout.snapshot()
    with pytest.raises(Refused, match=r"\(bad\) can't be reverted: later commits changed the same lines of shared.py"):
        revert_of(code, checkout, "bad")
    assert checkout.snapshot() == before
    assert sorted(path.name for path in (checkout.path / ".git").iterdir()).count("REVERT_HEAD") == 0
    switched(code, revert_of(code, checkout, "bad", "HEAD"))
    assert (checkout.path / "shared.py").read_text() == "VALUE = 1\n"


@pytest.mark.parametrize(
    ("commits", "words"),
    [
        (["four..two"], "empty range"),
        (["two...four"], "no range"),
        (["..four"], "no range"),
        (["nosuch"], "no commit 'nosuch'"),
        (["-n"], "can't be the name"),
        (["elsewhere"], "is not part of what is checked out"),
    ],
)
def test_names_that_stand_for_nothing_to_revert_are_refused(code, checkout, commits, words) -> None:
    checkout.git("branch", "elsewhere", checkout.git("commit-tree", "one^{tree}", "-m", "elsewhere").strip())
    with pytest.raises(Refused, match=words):
        revert_of(code, checkout, *commits)


def test_reverts_run_no_hooks(code, checkout, tmp_path) -> None:
    for name in ("pre-commit", "post-commit", "commit-msg", "post-checkout", "reference-transaction", "post-rewrite"):
        checkout.write(f".git/hooks/{name}", f"#!/bin/sh\ntouch {tmp_path}/ran-{name}\n")
        (checkout.path / ".git/hooks" / name).chmod(0o755)
    plan = revert_of(code, checkout, "bad")
    switched(code, plan)
    code.undo(plan)
    assert list(tmp_path.glob("ran-*")) == []


def test_a_revert_whose_result_fails_its_checks_is_never_switched_to(code, checkout) -> None:
    before = checkout.snapshot()
    failing = {"commands": [["python", "-c", "import broken"]]}
    plan = revert_of(code, checkout, "bad", verify=failing)
    with pytest.raises(VerificationFailed, match="ModuleNotFoundError"):
        code.prepare(plan)
    code.undo(plan)
    assert checkout.snapshot() == before


def test_reverts_of_another_accounts_checkout_stay_its_own(code, tmp_path, other_account) -> None:
    checkout = make_checkout(tmp_path / "theirs", user=other_account)
    checkout.write("a.py", "A = 1\n")
    checkout.commit("one")
    checkout.write("a.py", "A = 2\n")
    checkout.commit("two")
    plan = revert_of(code, checkout, "HEAD")
    switched(code, plan)
    code.finish(plan)
    assert {path.lstat().st_uid for path in [checkout.path, *checkout.path.rglob("*")]} == {other_account}
    assert (checkout.path / "a.py").read_text() == "A = 1\n"


# -- paths


def test_paths_come_back_and_others_are_untouched(code, checkout) -> None:
    checkout.write("later.py", "edited on this host\n")
    checkout.write("broken.py", "staged\n")
    checkout.git("add", "broken.py")
    head, before = checkout.id("HEAD"), checkout.snapshot()
    plan = paths_of(code, checkout, "shared.py", "pkg")
    assert checkout.snapshot() == before
    evidence = switched(code, plan)
    blobs = [checkout.git("rev-parse", f"one:{name}").strip() for name in ("shared.py", "pkg/tool.py")]
    assert checkout.git("hash-object", "shared.py", "pkg/tool.py").split() == blobs
    assert checkout.id("HEAD") == checkout.id("main") == head
    changed = {"shared.py", "pkg/tool.py"}
    tree = checkout.tree()
    assert {name for name in tree if tree[name] != before["tree"][name]} == changed
    assert tree.keys() == before["tree"].keys()
    assert code.result(plan, evidence)["changed_files"] == sorted(changed)
    assert not paths_of(code, checkout, "shared.py", "pkg").changed
    code.finish(plan)
    assert checkout.try_git("config", "lastgood.hold").returncode == 1
    assert checkout.git("for-each-ref") == before["refs"]
    code.undo(plan)
    assert checkout.snapshot() == before


def test_a_damaged_file_comes_back_from_what_is_checked_out(code, checkout) -> None:
    checkout.write("app.py", "damaged\n")
    (checkout.path / "shared.py").unlink()
    checkout.write("later.py", "wanted\n")
    before = checkout.snapshot()
    plan = paths_of(code, checkout, "app.py", "shared.py", to="HEAD")
    assert plan.before["files"]["app.py"] == "modified, never committed"
    assert plan.before["files"]["shared.py"] == "absent"
    assert plan.after["files"]["app.py"] == checkout.git("rev-parse", "HEAD:app.py").strip()
    switched(code, plan)
    assert checkout.git("status", "--porcelain").splitlines() == [" M later.py"]
    code.undo(plan)
    assert checkout.snapshot() == before


def test_the_byte_code_of_a_file_that_was_edited_comes_back_with_it(code, checkout) -> None:
    checkout.write("app.py", "edited\n")
    checkout.write("__pycache__/app.cpython-311.pyc", "of what was edited")
    checkout.write("pkg/__pycache__/tool.cpython-311.pyc", "of what stays")
    before = checkout.snapshot()
    plan = paths_of(code, checkout, "app.py", to="HEAD")
    switched(code, plan)
    assert not (checkout.path / "__pycache__").exists()
    assert (checkout.path / "pkg/__pycache__/tool.cpython-311.pyc").exists()
    code.undo(plan)
    assert checkout.snapshot() == before


def test_a_link_that_is_named_like_a_source_is_not_compiled(code, checkout) -> None:
    (checkout.path / "linked.py").symlink_to("nowhere")
    checkout.commit("a link")
    (checkout.path / "linked.py").unlink()
    plan = paths_of(code, checkout, "linked.py", to="HEAD")
    switched(code, plan)
    assert (checkout.path / "linked.py").readlink() == Path("nowhere")


def test_a_path_that_the_target_lacks_is_removed_and_comes_back(code, checkout) -> None:
    before = checkout.snapshot()
    plan = paths_of(code, checkout, str(checkout.path / "broken.py"))
    switched(code, plan)
    assert not (checkout.path / "broken.py").exists()
    code.undo(plan)
    assert checkout.snapshot() == before


def test_an_untracked_file_where_a_path_comes_back_is_not_lost(code, checkout) -> None:
    checkout.git("rm", "-q", "-r", "pkg")
    checkout.commit("without pkg")
    checkout.write("pkg/tool.py", "written by hand\n")
    checkout.write("pkg/other.py", "and another\n")
    before = checkout.snapshot()
    plan = paths_of(code, checkout, "pkg")
    assert plan.discards["untracked"] == ["pkg/tool.py"]
    switched(code, plan)
    assert (checkout.path / "pkg/tool.py").read_text() == "TOOL = 1\n"
    assert (checkout.path / "pkg/other.py").exists()
    code.undo(plan)
    assert checkout.snapshot() == before


def test_a_file_comes_back_where_a_directory_is_now_and_the_other_way_round(code, checkout) -> None:
    checkout.git("rm", "-q", "-r", "pkg", "app.py")
    checkout.write("pkg", "a file\n")
    checkout.write("app.py/part.py", "PART = 1\n")
    checkout.commit("other kinds")
    checkout.write("app.py/part.py", "PART = 'edited'\n")
    before = checkout.snapshot()
    with pytest.raises(Refused, match=r"'pkg' is tracked now and stands where 'pkg/tool.py' would come back"):
        paths_of(code, checkout, "pkg/tool.py")
    plan = paths_of(code, checkout, "pkg", "app.py")
    switched(code, plan)
    assert (checkout.path / "app.py").read_text() == "import shared\n"
    assert (checkout.path / "pkg/tool.py").read_text() == "TOOL = 1\n"
    code.undo(plan)
    assert checkout.snapshot() == before


def test_paths_of_a_restore_point_come_back_as_they_ran(code, checkout, tmp_path) -> None:
    checkout.write("app.py", "edited when it was good\n")
    checkout.write("later.py", "edited too\n")
    point = captured(code, checkout, tmp_path / "point")
    checkout.write("app.py", "damaged\n")
    checkout.write("later.py", "wanted\n")
    before = checkout.snapshot()
    options = {"path": str(checkout.path), "mode": "paths", "paths": ["app.py"]}
    plan = code.plan(options, point)
    switched(code, plan)
    assert (checkout.path / "app.py").read_text() == "edited when it was good\n"
    assert (checkout.path / "later.py").read_text() == "wanted\n"
    assert not code.plan(options, point).changed
    code.undo(plan)
    assert checkout.snapshot() == before


def test_a_source_that_does_not_compile_is_not_brought_back(code, checkout) -> None:
    checkout.write("app.py", "def broken(:\n")
    checkout.commit("six", tag="six")
    checkout.write("app.py", "import shared\n")
    checkout.commit("seven")
    before = checkout.snapshot()
    plan = paths_of(code, checkout, "app.py", to="six")
    with pytest.raises(VerificationFailed, match="SyntaxError"):
        code.prepare(plan)
    code.undo(plan)
    assert checkout.snapshot() == before


def test_checks_of_single_paths_see_the_rest_as_it_is_committed(code, checkout) -> None:
    script = "import later, shared; assert (later.LATER, shared.VALUE) == (5, 1)"
    switched(code, paths_of(code, checkout, "shared.py", verify={"commands": [["python", "-c", script]]}))


def test_an_undo_over_something_staged_since_is_refused(code, checkout) -> None:
    plan = paths_of(code, checkout, "shared.py")
    switched(code, plan)
    checkout.write("later.py", "staged since\n")
    checkout.git("add", "later.py")
    before = checkout.snapshot()
    assert code.state(plan) is State.FOREIGN
    with pytest.raises(StateConflict, match="somebody changed it since"):
        code.undo(plan)
    assert checkout.snapshot() == before


def test_a_file_outside_of_a_sparse_checkout_comes_and_goes(code, checkout) -> None:
    checkout.git("sparse-checkout", "set", "nothing")
    before = checkout.snapshot()
    plan = paths_of(code, checkout, "pkg/tool.py")
    switched(code, plan)
    assert (checkout.path / "pkg/tool.py").read_text() == "TOOL = 1\n"
    code.undo(plan)
    assert checkout.snapshot() == before


@pytest.mark.parametrize("path", ["../app/app.py", "/etc/passwd", ".git/config", "", "nosuch.py", "ap*.py"])
def test_paths_that_git_does_not_have_are_refused(code, checkout, path) -> None:
    with pytest.raises(Refused, match=r"is no path of a file|git can't bring it back"):
        paths_of(code, checkout, path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "revert", "commits": ["bad"], "to": "one"}, "takes commits, and neither"),
        ({"mode": "revert"}, "takes commits, and neither"),
        ({"mode": "paths", "to": "one"}, "needs paths"),
        ({"mode": "paths", "to": "one", "paths": ["a"], "commits": ["bad"]}, "commits belongs to mode=revert"),
        ({"to": "one", "paths": ["app.py"]}, "paths belongs to mode=paths"),
    ],
)
def test_options_of_another_mode_are_refused(code, checkout, options, words) -> None:
    with pytest.raises(Refused, match=words):
        code.plan({"path": str(checkout.path), **options}, None)


def test_a_restore_point_and_reverts_exclude_each_other(code, checkout, tmp_path) -> None:
    point: PointEntry = captured(code, checkout, tmp_path / "point")
    with pytest.raises(Refused, match="nor a restore point"):
        code.plan({"path": str(checkout.path), "mode": "revert", "commits": ["bad"]}, point)
