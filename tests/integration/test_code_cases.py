# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What git does behind one's back, case by case: each was found by trying, and is survived. State is read by git itself."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    CommandFailed,
    Refused,
    UndoIncomplete,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components.code.component import Code
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import State
from support.checkouts import Checkout, clone, make_checkout, plan_of, switched
from support.file_limit import no_file_larger_than


@pytest.fixture
def code(make_context) -> Code:
    return Code(make_context())


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """``v1``, and then a commit that is bad."""
    made = make_checkout(tmp_path / "app")
    made.write(".gitignore", ".env\n__pycache__/\n")
    made.write("app.py", "import shared\n")
    made.write("shared.py", "VALUE = 1\n")
    made.commit("good", tag="v1")
    made.write("app.py", "import broken\n")
    made.write("broken.py", "VALUE = 2\n")
    made.commit("bad")
    return made


# -- files that git would take


def test_an_archive_that_could_not_be_written_is_in_nobodys_way(code, checkout) -> None:
    checkout.write("shared.py", "VALUE = 'edited'\n" * 10_000)
    before = checkout.snapshot()
    plan = plan_of(code, checkout)
    with no_file_larger_than(64 * 1024), pytest.raises(OSError, match="File too large"):
        code.prepare(plan)
    assert [path.name for path in code.context.workspace.iterdir() if ".tar" in path.name] == []
    # What reads a transaction, and so begins its recovery.
    assert set(code.kept(plan)) <= {"commits"}
    code.undo(plan)
    assert checkout.snapshot() == before
    assert code.state(plan) is State.UNTOUCHED


def test_an_archive_that_can_not_be_read_is_named_and_stops_no_recovery(code, checkout) -> None:
    plan = plan_of(code, checkout)
    damaged = code.context.workspace / "before-1.tar"
    damaged.write_bytes(b"")
    assert code.kept(plan)["uncommitted work"] == [str(damaged)]


def test_what_a_killed_archiver_left_is_in_nobodys_way(code, checkout) -> None:
    checkout.write("shared.py", "VALUE = 'edited'\n")
    before = checkout.snapshot()
    plan = plan_of(code, checkout)
    (code.context.workspace / ".before-1.tar.k3j2").write_bytes(b"")
    assert code.kept(plan) == {}
    switched(code, plan)
    (archive,) = code.kept(plan)["uncommitted work"]
    with tarfile.open(archive) as content:
        assert "shared.py" in content.getnames()
    code.undo(plan)
    assert checkout.snapshot() == before


def test_a_file_under_the_name_of_ours_is_not_removed_when_files_are_put_back(code, checkout) -> None:
    """A file is written beside and renamed: what a killed call has left there goes, whatever else has that name stays."""
    long = "ä" * 120 + ".txt"
    content = "VALUE = 'edited'\n" * 10_000
    for name in ("shared.py", "app.py", long):
        checkout.write(name, content)
    checkout.git("add", long)
    before = checkout.snapshot()
    plan = plan_of(code, checkout)
    switched(code, plan)
    assert not (checkout.path / long).exists()
    checkout.write("shared.py.lastgood-restoring", "somebody's\n")
    checkout.write("app.py.lastgood-restoring", content[:5_000])
    code.undo(plan)
    assert (checkout.path / "shared.py.lastgood-restoring").read_text() == "somebody's\n"
    (checkout.path / "shared.py.lastgood-restoring").unlink()
    assert checkout.snapshot() == before


def test_who_takes_every_name_beside_a_file_keeps_nothing_but_that_file_from_coming_back(code, checkout) -> None:
    checkout.write("shared.py", "VALUE = 'written by hand'\n")
    plan = plan_of(code, checkout)
    switched(code, plan)
    taken = ["shared.py.lastgood-restoring", *(f"shared.py.lastgood-restoring-{number}" for number in range(2, 400))]
    for name in taken:
        checkout.write(name, "somebody's\n")
    with pytest.raises(UndoIncomplete, match=r"shared\.py.*all names like shared\.py\.lastgood-restoring are taken"):
        code.undo(plan)
    assert {(checkout.path / name).read_text() for name in taken} == {"somebody's\n"}
    for name in taken:
        (checkout.path / name).unlink()
    code.undo(plan)
    assert (checkout.path / "shared.py").read_text() == "VALUE = 'written by hand'\n"


def test_an_untracked_file_that_the_target_tracks_is_not_lost(code, checkout) -> None:
    checkout.git("rm", "-q", "shared.py")
    checkout.commit("without shared.py")
    checkout.write("shared.py", "VALUE = 'written by hand'\n")
    before = checkout.snapshot()
    plan = plan_of(code, checkout)
    assert plan.discards["untracked"] == ["shared.py"]
    switched(code, plan)
    assert (checkout.path / "shared.py").read_text() == "VALUE = 1\n"
    code.undo(plan)
    assert checkout.snapshot() == before


def test_a_tracked_env_that_the_target_ignores_stays_where_it_is(code, checkout) -> None:
    checkout.write(".env", "SECRET=live\n")
    checkout.write("conf/.env", "SECRET=another\n")
    (checkout.path / ".env").chmod(0o600)
    checkout.git("add", "-f", ".env", "conf/.env")
    checkout.write("build.txt", "tracked, and not ignored\n")
    checkout.commit("commit .env by mistake")
    (checkout.path / ".env").write_text("SECRET=live, and edited\n")
    before = checkout.snapshot()
    plan = plan_of(code, checkout)
    switched(code, plan)
    code.switch(plan)
    assert (checkout.path / ".env").read_text() == "SECRET=live, and edited\n"
    assert (checkout.path / ".env").stat().st_mode & 0o777 == 0o600
    assert (checkout.path / "conf/.env").read_text() == "SECRET=another\n"
    assert not (checkout.path / "build.txt").exists()
    assert checkout.git("ls-files", ".env", "conf") == checkout.git("status", "--porcelain") == ""
    code.undo(plan)
    assert checkout.snapshot() == before


def test_an_ignored_path_gives_way_to_what_the_target_has_in_its_place(code, tmp_path) -> None:
    checkout = make_checkout(tmp_path / "app")
    checkout.write(".gitignore", "data/*\n")
    checkout.write("data", "a file\n")
    checkout.commit("a file", tag="v1")
    checkout.git("rm", "-q", "data")
    checkout.write("data/.env", "SECRET=live\n")
    checkout.git("add", "-f", "data/.env")
    checkout.commit("a directory")
    before = checkout.snapshot()
    plan = plan_of(code, checkout)
    switched(code, plan)
    assert (checkout.path / "data").read_text() == "a file\n"
    code.undo(plan)
    assert checkout.snapshot() == before


def test_a_target_older_than_gitignore_leaves_env_alone(code, tmp_path) -> None:
    checkout = make_checkout(tmp_path / "app")
    checkout.write("app.py", "1\n")
    checkout.commit("no .gitignore yet", tag="v1")
    checkout.write(".gitignore", ".env\n*.log\n")
    checkout.write("app.py", "2\n")
    checkout.commit("with .gitignore")
    checkout.write(".env", "SECRET=live\n")
    checkout.write("logs/app.log", "a line\n")
    before = checkout.snapshot()
    plan = plan_of(code, checkout)
    switched(code, plan)
    assert not (checkout.path / ".gitignore").exists()
    assert (checkout.path / ".env").read_text() == "SECRET=live\n"
    assert (checkout.path / "logs/app.log").exists()
    code.undo(plan)
    assert checkout.snapshot() == before


def test_staged_content_that_was_never_committed_outlives_a_garbage_collection(code, checkout) -> None:
    checkout.write("app.py", "staged\n")
    checkout.git("add", "app.py")
    checkout.write("app.py", "and changed again\n")
    before = checkout.snapshot()
    plan = plan_of(code, checkout)
    switched(code, plan)
    checkout.git("reflog", "expire", "--expire=now", "--all")
    checkout.git("gc", "-q", "--prune=now")
    assert checkout.git("show", f"{plan.facts['staged_ref']}:app.py") == "staged\n"
    code.undo(plan)
    assert checkout.snapshot() == before
    assert checkout.git("show", ":app.py") == "staged\n"


def test_stashes_survive(code, checkout) -> None:
    checkout.write("app.py", "put away\n")
    checkout.git("stash", "-q")
    listed = checkout.git("stash", "list", "--format=%H")
    plan = plan_of(code, checkout)
    switched(code, plan)
    code.finish(plan)
    assert checkout.git("stash", "list", "--format=%H") == listed
    checkout.git("reset", "-q", "--hard", "v1")
    assert checkout.git("show", "stash@{0}:app.py") == "put away\n"
    code.undo(plan)
    assert checkout.git("stash", "list", "--format=%H") == listed


def test_skip_worktree_files_are_archived_and_come_back_with_their_mark(code, checkout) -> None:
    checkout.write("settings.py", "DEBUG = False\n")
    checkout.commit("settings", tag="v2")
    checkout.write("settings.py", "DEBUG = None\n")
    checkout.commit("other settings")
    checkout.git("update-index", "--skip-worktree", "settings.py")
    checkout.write("settings.py", "DEBUG = 'this host only'\n")
    before = checkout.snapshot()
    plan = plan_of(code, checkout, to="v2")
    assert plan.discards["hidden"] == ["settings.py"]
    switched(code, plan)
    assert (checkout.path / "settings.py").read_text() == "DEBUG = False\n"
    code.undo(plan)
    assert checkout.snapshot() == before
    assert checkout.git("ls-files", "-v", "settings.py").startswith("S ")


def test_byte_code_of_the_newer_version_is_removed_and_no_other(code, checkout) -> None:
    checkout.write("newer/__init__.py", "")
    checkout.commit("a package")
    for name in ("app", "broken", "other"):
        checkout.write(f"__pycache__/{name}.cpython-311.pyc", name)
    checkout.write("newer/__pycache__/__init__.cpython-311.pyc", "a namespace, once its source has gone")
    before = checkout.snapshot()
    plan = plan_of(code, checkout)
    switched(code, plan)
    assert [path.name for path in (checkout.path / "__pycache__").iterdir()] == ["other.cpython-311.pyc"]
    assert not (checkout.path / "newer").exists()
    assert "uncommitted work" not in code.kept(plan), "nobody has written byte code"
    code.undo(plan)
    assert checkout.snapshot() == before


def test_a_sparse_checkout_stays_sparse(code, checkout) -> None:
    for name in ("one/a.py", "one/b.py", "two/c.py"):
        checkout.write(name, "1\n")
    checkout.commit("two directories", tag="v2")
    checkout.write("one/a.py", "2\n")
    checkout.write("two/c.py", "2\n")
    checkout.commit("both changed")
    checkout.git("sparse-checkout", "set", "one")
    checkout.write("one/b.py", "dirt\n")
    assert not (checkout.path / "two").exists()
    before = checkout.snapshot()
    plan = plan_of(code, checkout, to="v2")
    switched(code, plan)
    assert (checkout.path / "one/a.py").read_text() == "1\n"
    assert not (checkout.path / "two").exists()
    assert checkout.git("status", "--porcelain") == ""
    assert checkout.git("diff-index", "--cached", "v2") == ""
    code.undo(plan)
    assert checkout.snapshot() == before


# -- what is going on in the repository


def test_a_rebase_in_progress_is_refused(code, checkout) -> None:
    checkout.git("checkout", "-q", "-b", "side", "v1")
    checkout.write("app.py", "conflicting\n")
    checkout.commit("side")
    assert checkout.try_git("rebase", "-q", "main").returncode == 1
    checkout.git("checkout", "-q", "--force", "HEAD", "--", ".")
    before = checkout.snapshot()
    with pytest.raises(Refused, match="a rebase is in progress"):
        plan_of(code, checkout)
    assert checkout.snapshot() == before


def test_the_target_is_resolved_once(code, checkout) -> None:
    plan = plan_of(code, checkout, to="refs/tags/v1")
    good = checkout.id("v1")
    code.prepare(plan)
    checkout.git("tag", "-f", "v1", "HEAD")
    code.switch(plan)
    assert checkout.id("HEAD") == good
    assert code.state(plan) is State.SWITCHED


def test_a_branch_that_is_checked_out_in_another_worktree_too_is_refused(code, checkout, tmp_path) -> None:
    checkout.git("worktree", "add", "-q", "--force", str(tmp_path / "other"), "main")
    with pytest.raises(Refused, match=f"main is also checked out in {tmp_path / 'other'}"):
        plan_of(code, checkout)
    Checkout(tmp_path / "other").git("checkout", "-q", "--detach")
    switched(code, plan_of(code, checkout))


def test_a_target_that_is_a_branch_of_another_worktree_is_gone_to(code, checkout, tmp_path) -> None:
    checkout.git("worktree", "add", "-q", str(tmp_path / "other"), "-b", "release", "v1")
    switched(code, plan_of(code, checkout, to="release"))
    assert checkout.git("symbolic-ref", "HEAD").strip() == "refs/heads/main"
    assert checkout.id("main") == checkout.id("release")


# -- repositories that lean on others


def shallow_clone(checkout: Checkout, to: Path) -> Checkout:
    """The newest commit alone."""
    return clone(checkout, to, "--depth=1")


def test_a_shallow_clone_that_lacks_the_target_is_deepened_in_prepare_when_asked(code, checkout, tmp_path) -> None:
    for number in (1, 2, 3):
        checkout.write("app.py", f"{number}\n")
        checkout.commit(f"later {number}")
    shallow = shallow_clone(checkout, tmp_path / "shallow")
    shallow.write("app.py", "edited here\n")
    good, before, boundary = checkout.id("v1"), shallow.snapshot(), (shallow.path / ".git/shallow").read_text()
    with pytest.raises(Refused, match="set deepen to true"):
        plan_of(code, shallow, to=good)
    plan = plan_of(code, shallow, to="v1", deepen=True)
    assert plan.after["commit"] == good
    assert shallow.snapshot() == before
    assert (shallow.path / ".git/shallow").read_text() == boundary, "a plan fetches nothing into the checkout"
    assert shallow.try_git("cat-file", "-e", good).returncode != 0
    checkout.path.rename(tmp_path / "elsewhere")
    with pytest.raises(CommandFailed, match="Fetching the history"):
        code.prepare(plan)
    (tmp_path / "elsewhere").rename(checkout.path)
    code.undo(plan)
    code.prepare(plan)
    checkout.path.rename(tmp_path / "elsewhere")
    code.switch(plan)
    assert shallow.id("HEAD") == good
    assert shallow.git("rev-parse", "--is-shallow-repository").strip() == "false"
    code.undo(plan)
    assert shallow.snapshot() == before
    (tmp_path / "elsewhere").rename(checkout.path)
    shallow.git("reset", "-q", "--hard", good)
    shallow.git("pull", "-q", "--ff-only")
    assert shallow.id("HEAD") == checkout.id("HEAD")


def test_deepening_fails_before_anything_is_touched(code, checkout, tmp_path) -> None:
    shallow = shallow_clone(checkout, tmp_path / "shallow")
    good, before = checkout.id("v1"), shallow.snapshot()
    with pytest.raises(Refused, match="fetching it from the remote origin failed"):
        plan_of(code, shallow, to="nosuch", deepen=True)
    shallow.git("remote", "set-url", "origin", f"file://{tmp_path}/nowhere")
    with pytest.raises(Refused, match="fetching it from the remote origin failed"):
        plan_of(code, shallow, to=good, deepen=True)
    assert shallow.snapshot() == before
    shallow.git("remote", "remove", "origin")
    with pytest.raises(Refused, match="nowhere to deepen it from"):
        plan_of(code, shallow, to=good, deepen=True)


def test_a_clone_with_alternates_goes_back(code, checkout, tmp_path) -> None:
    shared = clone(checkout, tmp_path / "shared", "--shared")
    before = shared.snapshot()
    plan = plan_of(code, shared)
    switched(code, plan)
    assert shared.id("HEAD") == checkout.id("v1")
    code.undo(plan)
    assert shared.snapshot() == before


def test_alternates_that_have_gone_are_refused(code, checkout, tmp_path) -> None:
    shared = clone(checkout, tmp_path / "shared", "--shared")
    shared.write("app.py", "3\n")
    shared.commit("here only")
    (checkout.path / ".git/objects").rename(tmp_path / "objects")
    with pytest.raises(Refused, match="no commit 'v1'"):
        plan_of(code, shared)


def test_a_submodule_that_can_not_follow_is_refused(code, checkout, tmp_path) -> None:
    library = make_checkout(tmp_path / "library")
    library.write("lib.py", "one\n")
    first = library.commit("one")
    checkout.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library.path), "lib")
    checkout.commit("with library", tag="v3")
    inner = Checkout(checkout.path / "lib")
    lost = inner.commit("two, and never pushed")
    checkout.commit("library moved", tag="v4")
    inner.git("reset", "-q", "--hard", first)
    checkout.commit("library moved back")
    inner.git("reflog", "expire", "--expire=now", "--all")
    inner.git("gc", "-q", "--prune=now")
    before = checkout.snapshot()
    with pytest.raises(Refused, match=f"submodule lib lacks the commit {lost}"):
        plan_of(code, checkout, to="v4")
    checkout.git("rm", "-q", "-f", "lib")
    checkout.commit("without library")
    with pytest.raises(Refused, match=r"is in the target and not here: git submodule update"):
        plan_of(code, checkout, to="v3")
    checkout.git("reset", "-q", "--hard", str(before["head"][0]).strip())
    assert not plan_of(code, checkout, to="HEAD").changed


def test_a_pull_brings_the_bad_commit_back_and_a_deployment_that_tests_for_the_hold_does_not(
    code, checkout, tmp_path
) -> None:
    deployed = clone(checkout, tmp_path / "deployed")
    bad = deployed.id("HEAD")
    plan = plan_of(code, deployed)
    switched(code, plan)
    code.finish(plan)
    by_config = ["sh", "-c", "git config lastgood.hold >&2 && exit 75; git pull -q"]
    by_file = ["sh", "-c", 'test -e "$(git rev-parse --git-path lastgood-hold)" && exit 75; git pull -q']
    for deploy in (by_config, by_file):
        assert subprocess.run(deploy, cwd=deployed.path, capture_output=True, check=False).returncode == 75
        assert deployed.id("HEAD") == checkout.id("v1")
    deployed.git("pull", "-q")
    assert deployed.id("HEAD") == bad
