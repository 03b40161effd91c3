# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a finished rollback of two hosts can't be undone: nothing is touched on either, and the cause is named."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import pytest
from support.small_stack import HOSTS, SmallStack

SENTINEL = "a-word-that-nobody-may-see"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallStack:
    """Captured once; every test rolls back again."""
    return SmallStack(tmp_path_factory.mktemp("undo"))


def roll_back(small: SmallStack) -> str:
    """The id of a new rollback."""
    done = small.roll_back()
    assert done.returncode == 0, done.stdout + done.stderr
    return small.reports()[-1].stem


def modes(small: SmallStack) -> list[str]:
    """What stands in the two settings files."""
    return [small.settings(number).read_text().strip() for number in (1, 2)]


def digests(small: SmallStack) -> dict[str, str]:
    """Every file but those that a play leaves on its controller."""
    files = [path for part in ("app1", "app2", "state") for path in (small.base / part).rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.name != ".lock"}


def refused(small: SmallStack, rollback_id: str, *words: str, **values: Any) -> str:
    """What an undo says that changes nothing."""
    before = digests(small)
    done = small.play("undo_rollback", *words, rollback_id=rollback_id, **values)
    assert done.returncode != 0
    assert digests(small) == before
    said = " ".join(done.stdout.split())
    assert "REFUSED: nothing was touched" in said
    return said


def test_a_later_deployment_on_one_host_a_missing_host_and_what_was_pruned_refuse_all(small: SmallStack) -> None:
    name = roll_back(small)
    assert "Not here: web2." in refused(small, name, "--limit", "web1")

    small.settings(2).write_text("MODE=deployed since\n")
    assert f"files:{small.settings(2)} is not as {name} left it (foreign)" in refused(small, name)
    small.settings(2).write_text("MODE=good\n")

    workspace = small.base / "state" / "web1" / "transactions" / name / "workspace"
    workspace.rename(small.base / "kept")
    said = refused(small, name)
    assert f"files:{small.settings(1)} can't be undone as a whole" in said
    assert "was removed when its time was over" in said
    (small.base / "kept").rename(workspace)


def test_the_last_one_goes_first_and_what_fails_on_one_host_is_taken_back_on_both(small: SmallStack) -> None:
    first, second = roll_back(small), roll_back(small)
    assert f"Later rollbacks stand above {first}: {second}. Undo those first" in refused(small, first)

    hook = {"name": "let people in", "host": "web2", "command": ["true"], "after": ["false"]}
    done = small.play("undo_rollback", rollback_id=second, rollback_hooks={"around_switch": [hook]})
    assert done.returncode != 0
    assert "UNDONE: the undo failed and everything is as it was before" in " ".join(done.stdout.split())
    assert modes(small) == ["MODE=good", "MODE=good"]
    assert [path for path in transactions(small) if not (path / "outcome.json").exists()] == []

    done = small.play("undo_rollback", rollback_id=second)
    assert done.returncode == 0, done.stdout + done.stderr
    assert modes(small) == ["MODE=broken", "MODE=broken"]


def transactions(small: SmallStack) -> list[Path]:
    """The directories of the transactions on both hosts."""
    return [path for host in HOSTS for path in (small.base / "state" / host / "transactions").glob("2*")]


def test_the_words_of_checks_are_in_nothing_that_is_kept_or_shown(small: SmallStack) -> None:
    """An undo takes them from the catalogue, and so it has to have them."""
    projects = copy.deepcopy(small.variables["rollback_projects"])
    made = small.base / "made"
    for project in projects.values():
        project["checks"]["commands"].append(["sh", "-c", f"echo made >> {made}", "--token", SENTINEL])
    done = small.roll_back("-vvv", rollback_projects=projects)
    assert done.returncode == 0, done.stdout + done.stderr
    last = small.reports()[-1].stem
    less = {name: project for name, project in projects.items() if name != "app2"}
    said = refused(small, last, rollback_projects=less)
    assert "is checked by app2 on web2, and the catalogue has no such project there any more" in said
    before = made.read_text()
    back = small.play("undo_rollback", "-vvv", rollback_id=last, rollback_projects=projects)
    assert back.returncode == 0, back.stdout + back.stderr
    assert made.read_text() != before, "it made the checks of the catalogue"
    kept = [path for part in ("state", "logs") for path in (small.base / part).rglob("*") if path.is_file()]
    assert {"header.json", "journal.jsonl", "promise"} <= {path.name for path in kept}
    assert [str(path) for path in kept if SENTINEL.encode() in path.read_bytes()] == []
    shown = "".join((done.stdout, done.stderr, back.stdout, back.stderr)).splitlines()
    assert [line for line in shown if SENTINEL in line] == []
