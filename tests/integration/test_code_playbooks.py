# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks over checkouts, on a small stack of two hosts: code back, holds, named commits, single files."""

from __future__ import annotations

import copy
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from support.checkouts import Checkout
from support.small_stack import SmallStack

#: Reverts and single files have no way back as a whole.
ACCEPTED = {"rollback_accept": ["no_undo"]}


class CodeStack:
    """Two projects that were captured when they were good, and then got two commits each, the first of them bad."""

    def __init__(self, base: Path) -> None:
        self.stack = SmallStack(base)
        self.apps = [Checkout(base / f"app{number}") for number in (1, 2)]
        self.good = [app.id("HEAD") for app in self.apps]
        for app in self.apps:
            app.write("app.py", "print('badly')\n")
            app.commit("bad")
            app.write("later.py", "LATER = 1\n")
            app.commit("later")
        self.broken = [app.id("HEAD") for app in self.apps]

    def again(self) -> None:
        """As it was before the rollbacks, holds and local changes gone."""
        for app, commit in zip(self.apps, self.broken):
            app.git("reset", "-q", "--hard", commit)
            app.try_git("config", "--unset-all", "lastgood.hold")
            (app.path / ".git" / "lastgood-hold").unlink(missing_ok=True)

    def heads(self) -> list[str]:
        """What is checked out."""
        return [app.id("HEAD") for app in self.apps]

    def holds(self) -> list[bool]:
        """Where a deployment would stop, by configuration; the file has to agree."""
        files = [(app.path / ".git" / "lastgood-hold").exists() for app in self.apps]
        assert [app.try_git("config", "lastgood.hold").returncode == 0 for app in self.apps] == files
        return files


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> CodeStack:
    return CodeStack(tmp_path_factory.mktemp("code"))


@pytest.fixture
def code(built: CodeStack) -> CodeStack:
    built.again()
    return built


def words(said: str) -> str:
    """Tables wrap lines."""
    return " ".join(said.split())


def state(code: CodeStack) -> dict[str, str]:
    """Digests of all that the hosts keep of transactions and restore points."""
    files = (path for path in (code.stack.base / "state").rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def refused(code: CodeStack, playbook: str, kept: str, **options: Any) -> None:
    """It names what can't be undone as a whole, and changes neither a checkout nor what a host keeps."""
    before = [app.snapshot() for app in code.apps], state(code)
    done = code.stack.play(playbook, **options)
    said = words(done.stdout)
    assert done.returncode == 2 and "REFUSED: nothing was touched" in said, done.stdout
    path = code.apps[0].path
    assert f"this can't be undone as a whole: code:{path} on web1 (kept instead: {kept}" in said
    assert "run it again with -e rollback_accept=no_undo" in said
    assert ([app.snapshot() for app in code.apps], state(code)) == before


def test_code_goes_back_with_a_hold_that_is_released_when_asked(code) -> None:
    done = code.stack.play("code_rollback", rollback_point="last_good")
    assert done.returncode == 0, done.stdout
    assert code.heads() == code.good
    assert code.holds() == [True, True]
    shown = code.stack.play("release_hold", "--check")
    assert shown.returncode == 0, shown.stdout
    assert code.holds() == [True, True]
    assert words(shown.stdout).count("released the hold of 2") == 2 and "would be released" in shown.stdout

    one = code.stack.play("release_hold", rollback_only="app1")
    assert one.returncode == 0, one.stdout
    assert code.holds() == [False, True]
    assert "changed=1" in one.stdout
    rest = code.stack.play("release_hold")
    assert "was not held" in words(rest.stdout) and "released the hold of 2" in words(rest.stdout)
    assert code.holds() == [False, False]
    again = code.stack.play("release_hold")
    assert "changed=1" not in again.stdout and words(again.stdout).count("was not held") == 2
    assert code.heads() == code.good


@pytest.mark.parametrize(
    ("playbook", "more"),
    [
        ("database_rollback", "-e rollback_source="),
        ("file_rollback", "-e rollback_only=project -e rollback_files="),
        ("code_rollback", "-e rollback_point=last_good"),
    ],
)
def test_how_a_playbook_is_used_is_said_with_what_this_one_was_run_with(code, playbook: str, more: str) -> None:
    done = code.stack.play(playbook)
    assert done.returncode != 0
    usage = rf"Usage: ansible-playbook lastgood.rollback.{playbook} -i \S+/inventory-\d+.yml -e @\S+ {more}"
    assert re.search(usage, words(done.stdout)), done.stdout


@pytest.mark.at_length  # attacks/test_checkout_owner.py: a filter without an end; test_plan.py: the project's timeout
def test_a_filter_of_a_checkout_gets_as_long_as_its_project_says(code) -> None:
    """And no longer: the services are down meanwhile."""
    app, attributes = code.apps[0], code.apps[0].path / ".git" / "info" / "attributes"
    projects = copy.deepcopy(code.stack.variables["rollback_projects"])
    projects["app1"]["git_timeout"] = 6
    app.git("config", "filter.slow.smudge", "sleep 600")
    attributes.parent.mkdir(exist_ok=True)
    attributes.write_text("app.py filter=slow\n")
    try:
        done = code.stack.play("code_rollback", rollback_point="last_good", rollback_projects=projects)
    finally:
        attributes.unlink()
        app.git("config", "--unset", "filter.slow.smudge")
    assert done.returncode != 0
    assert "no end after 6 s; it was stopped" in words(done.stdout)
    # The way back went by the same filter.
    assert "UNDO INCOMPLETE" in done.stdout
    recovered = code.stack.play("recover")
    assert recovered.returncode == 0, recovered.stdout
    assert code.heads() == code.broken
    assert [(each.path / "app.py").read_text() for each in code.apps] == ["print('badly')\n"] * 2
    assert code.holds() == [False, False]


def test_a_hold_of_a_project_that_does_not_exist_is_refused(code) -> None:
    done = code.stack.play("release_hold", rollback_only="app3")
    assert done.returncode != 0
    assert "'app3' is not a project of blog" in words(done.stdout + done.stderr)


def test_named_commits_of_one_project_are_reverted_and_the_later_ones_stay(code) -> None:
    bad = code.apps[0].id("HEAD~1")
    reverted = {"rollback_commits": bad, "rollback_only": "app1"}
    refused(code, "code_rollback", "the commits, on an emergency branch, and what was never committed", **reverted)
    done = code.stack.play("code_rollback", **reverted, **ACCEPTED)
    assert done.returncode == 0, done.stdout
    app, other = code.apps
    assert app.git("log", "-1", "--format=%s").strip() == 'Revert "bad"'
    assert app.id("HEAD~1") == code.broken[0] and other.id("HEAD") == code.broken[1]
    assert (app.path / "app.py").read_text() == "print('well')\n"
    assert (app.path / "later.py").exists()
    assert code.holds() == [True, False]
    shown = words(done.stdout)
    assert "Rolled back: everything is at the wanted commit, and its checks held" in shown
    assert f"Code what was without {bad}" in shown
    assert f"discards commit {bad[:9]} bad" in shown
    again = code.stack.play("code_rollback", **reverted)
    assert again.returncode == 0 and "Nothing to do" in again.stdout, again.stdout


def test_a_file_comes_back_from_git_and_everything_else_stays(code) -> None:
    app = code.apps[0]
    app.write("later.py", "edited on this host\n")
    (app.path / "app.py").unlink()
    before = app.snapshot()
    options = {"rollback_only": "app1", "rollback_files": "app.py", "rollback_to": "HEAD~1"}
    planned = code.stack.play("file_rollback", "--check", "--diff", **options)
    assert planned.returncode == 0, planned.stdout
    assert app.snapshot() == before
    assert "discards modified: app.py" in words(planned.stdout)
    assert "For real add -e rollback_accept=no_undo, since code:" in words(planned.stdout)
    refused(
        code, "file_rollback", "the commits, where they are, and what was never committed, in an archive", **options
    )
    done = code.stack.play("file_rollback", **options, **ACCEPTED)
    assert done.returncode == 0, done.stdout
    after = app.snapshot()
    assert after["head"] == before["head"] and after["refs"] == before["refs"]
    assert {name for name in after["tree"] if after["tree"][name] != before["tree"].get(name)} == {"app.py"}
    assert app.git("hash-object", "app.py") == app.git("rev-parse", "HEAD~1:app.py")
    assert code.holds() == [False, False]


@pytest.mark.at_length  # from git below; test_files.py: from a restore point
def test_a_file_comes_back_from_a_restore_point(code) -> None:
    options = {"rollback_only": "app2", "rollback_files": ["app.py"], "rollback_point": "last_good"}
    done = code.stack.play("file_rollback", **options, **ACCEPTED)
    assert done.returncode == 0, done.stdout
    assert (code.apps[1].path / "app.py").read_text() == "print('well')\n"
    assert code.heads() == code.broken


@pytest.mark.parametrize(
    ("playbook", "options", "reason"),
    [
        ("code_rollback", {}, "Back to what? Nothing was touched."),
        ("file_rollback", {"rollback_to": "HEAD"}, "Which files? Nothing was touched."),
        pytest.param(  # `test_plan` shows it
            *("file_rollback", {"rollback_files": "app.py", "rollback_to": "HEAD"}),
            "of one project's checkout: name it",
            marks=pytest.mark.at_length,
        ),
        ("code_rollback", {"rollback_commits": "nosuch", "rollback_only": "app1"}, "has no commit 'nosuch'"),
    ],
)
def test_options_that_make_no_sense_are_refused_and_nothing_is_touched(code, playbook, options, reason) -> None:
    before = [app.snapshot() for app in code.apps]
    done = code.stack.play(playbook, **options)
    assert done.returncode != 0
    assert reason in words(done.stdout + done.stderr), done.stdout
    assert [app.snapshot() for app in code.apps] == before
