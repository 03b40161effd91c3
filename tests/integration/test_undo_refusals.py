# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a finished rollback of two hosts can't be undone: nothing is touched on either, and the cause is named."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from integration.small_stack import HOSTS, SmallStack


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallStack:
    """Captured once; every test rolls back again."""
    return SmallStack(tmp_path_factory.mktemp("undo"))


def roll_back(small: SmallStack) -> str:
    """The id of a new rollback."""
    done = small.roll_back()
    assert done.returncode == 0, done.stdout + done.stderr
    return small.reports()[-1].stem


def digests(small: SmallStack) -> dict[str, str]:
    """Every file but those that a play leaves on its controller."""
    files = [path for part in ("app1", "app2", "state") for path in (small.base / part).rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.name != ".lock"}


def refused(small: SmallStack, rollback_id: str, *words: str) -> str:
    """What an undo says that changes nothing."""
    before = digests(small)
    done = small.play("undo_rollback", *words, rollback_id=rollback_id)
    assert done.returncode != 0
    assert digests(small) == before
    said = " ".join(done.stdout.split())
    assert "REFUSED: nothing was touched" in said
    return said


def test_a_later_change_on_one_host_a_missing_one_and_what_was_pruned_each_refuse_all(small: SmallStack) -> None:
    name = roll_back(small)
    assert "Not here: web2." in refused(small, name, "--limit", "web1")

    small.settings(2).write_text("MODE=deployed since\n")
    said = refused(small, name)
    assert f"files:{small.settings(2)} is not as {name} left it (foreign)" in said
    small.settings(2).write_text("MODE=good\n")

    workspace = small.base / "state" / "web1" / "transactions" / name / "workspace"
    shutil.copytree(workspace, small.base / "kept")
    shutil.rmtree(workspace)
    said = refused(small, name)
    assert f"files:{small.settings(1)} can't be undone as a whole" in said
    assert "was removed when its time was over" in said
    shutil.copytree(small.base / "kept", workspace)

    done = small.play("undo_rollback", rollback_id=name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [small.settings(number).read_text() for number in (1, 2)] == ["MODE=broken\n"] * 2


def test_the_last_one_goes_first(small: SmallStack) -> None:
    first = roll_back(small)
    second = roll_back(small)
    assert f"Later rollbacks stand above {first}: {second}. Undo those first" in refused(small, first)
    assert "No transaction 20200101T000000Z-blog-0000 of blog is known" in refused(small, "20200101T000000Z-blog-0000")
    done = small.play("undo_rollback", rollback_id=second)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is not as" in refused(small, first), "what the second one rolled back was deployed after the first"
    for number in (1, 2):
        small.settings(number).write_text("MODE=good\n")
    done = small.play("undo_rollback", rollback_id=first)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [small.settings(number).read_text() for number in (1, 2)] == ["MODE=broken\n"] * 2


def test_what_fails_on_one_host_after_the_switch_is_taken_back_on_both(small: SmallStack) -> None:
    name = roll_back(small)
    hook = {"name": "let people in", "host": "web2", "command": ["true"], "after": ["false"]}
    done = small.play("undo_rollback", rollback_id=name, rollback_hooks={"around_switch": [hook]})
    assert done.returncode != 0
    assert "UNDONE: the undo failed and everything is as it was before" in " ".join(done.stdout.split())
    assert [small.settings(number).read_text() for number in (1, 2)] == ["MODE=good\n"] * 2
    assert not [path for host in HOSTS for path in transactions(small, host) if not (path / "outcome.json").exists()]
    done = small.play("undo_rollback", rollback_id=name)
    assert done.returncode == 0, done.stdout + done.stderr


def transactions(small: SmallStack, host: str) -> list[Path]:
    """The directories of a host's transactions."""
    return list((small.base / "state" / host / "transactions").glob("2*"))
