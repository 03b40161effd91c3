# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A finished rollback of a real stack undone as a whole: everything as it was before it, or nothing moved."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.play import Ended
from support.rollback_stack import ALL, CORE, STAGE, RollbackStack, Snapshot, journalled

WRITE = "INSERT INTO post (title, slug, summary) SELECT 'since', 'since-' || g, 'since' FROM generate_series(1, 7) g"
WRITTEN = "SELECT count(*) FROM post WHERE title = 'since'"


@dataclass(frozen=True)
class RolledBack:
    """A stack after a rollback of every kind of thing.

    :param id: of that rollback.
    :param before: how everything looked before it.
    """

    stack: RollbackStack
    id: str
    before: Snapshot
    said: Ended

    def undo(self, *words: str, **values: str) -> Ended:
        """Ask for the rollback to be undone."""
        return self.stack.play("undo_rollback", *words, **{"rollback_id": self.id, **values})


def snapshot(stack: RollbackStack) -> Snapshot:
    """All that can be told of the stack, and what git has in its index and beside it."""
    found = stack.site.snapshot()
    for project in (CORE, STAGE):
        found[f"{project} status"] = stack.site.git(project, "status", "--porcelain=v2", "--branch")
        found[f"{project} staged"] = stack.site.git(project, "diff", "--cached")
    found["settings"] = stack.site.psql(
        "SELECT setconfig FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase"
    )
    return found


def append(file: Path, text: str) -> None:
    """Change a file."""
    file.write_text(file.read_text(encoding="utf-8") + text, encoding="utf-8")


@pytest.fixture
def rolled_back(stack: RollbackStack) -> Iterator[RolledBack]:
    """Broken in every kind of thing, with a change that is staged and one that is not; then rolled back."""
    stack.damage()
    append(stack.path(CORE) / "config.py", "# staged\n")
    stack.site.git(CORE, "add", "config.py")
    append(stack.path(CORE) / "config.py", "# and more\n")
    before = snapshot(stack)
    ended = stack.play("multi_rollback", **ALL)
    assert ended.outcome == "rolled_back", ended.said
    yield RolledBack(stack, str(ended.artefacts["id"]), before, ended)
    still_open = stack.traces()["open"]
    if still_open:
        stack.recover()
    assert still_open == []


def test_a_finished_rollback_is_undone_as_a_whole_and_the_undo_as_well(rolled_back: RolledBack) -> None:
    stack = rolled_back.stack
    how = rf"ansible-playbook lastgood\.rollback\.undo_rollback -i .* -e rollback_id={rolled_back.id}"
    assert re.search(how, rolled_back.said.words)
    assert "can be asked for until another rollback of blog has ended" in rolled_back.said.words
    stack.site.psql(WRITE)
    append(stack.path(CORE) / "app.py", "# written since\n")
    after, states = snapshot(stack), stack.states()

    unnamed = stack.play("undo_rollback")
    assert (unnamed.status != 0, unnamed.outcome) == (True, "refused")
    assert "The last finished rollback is of" in unnamed.words
    assert re.search(how, unnamed.words)
    planned = rolled_back.undo("--check", "--diff")
    assert (planned.status, planned.outcome) == (0, "planned"), planned.said
    assert f"back to what was before {rolled_back.id}" in planned.words
    assert "public.post: 2,007 rows now, 2,000 right after the rollback (+7)" in planned.words
    assert "discards modified: app.py" in planned.words
    assert (snapshot(stack), stack.states()) == (after, states), "a plan changes nothing"

    undone = rolled_back.undo()
    assert (undone.status, undone.outcome) == (0, "undone_as_asked"), undone.said
    assert snapshot(stack) == rolled_back.before
    kept = next(word for word in undone.words.split() if word.endswith("_previous"))
    assert stack.site.psql(f"SELECT count(*) FROM pg_database WHERE datname = '{kept}'") == "1"
    assert "uncommitted work:" in undone.words

    again = rolled_back.undo()
    assert (again.status != 0, again.outcome) == (True, "refused")
    assert f"{rolled_back.id} was undone already, by {undone.artefacts['id']}" in again.words
    history = stack.play("history")
    assert f"undone by {undone.artefacts['id']}" in history.words
    traces = stack.traces()
    assert traces["open"] == traces["timers"] == []

    back = stack.play("undo_rollback", rollback_id=undone.artefacts["id"])
    assert (back.status, back.outcome) == (0, "undone_as_asked"), back.said
    assert snapshot(stack) == after
    assert stack.site.psql(WRITTEN) == "7"
    assert set(stack.health().values()) == {200}


def test_killed_in_the_middle_of_an_undo_it_never_happened(rolled_back: RolledBack) -> None:
    stack = rolled_back.stack
    after = snapshot(stack)
    play = stack.start("undo_rollback", rollback_id=rolled_back.id)
    stack.wait_for(play, journalled("intent", phase="switch"), "demo_db")
    play.kill()
    recovered = stack.recover()
    assert (recovered.status, recovered.outcome) == (0, "recovered"), recovered.said
    assert snapshot(stack) == after
    assert set(stack.health().values()) == {200}
    undone = rolled_back.undo()
    assert (undone.status, undone.outcome) == (0, "undone_as_asked"), undone.said
    assert snapshot(stack) == rolled_back.before
