# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be known to fail is refused in plan, with a clear message, and neither the stack nor a host notices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from support.play import Ended
from support.rollback_stack import ALL, CORE, POINT, RollbackStack, checks, damaged, projects

#: What is asked for besides `ALL` → what the refusal has to say.
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an unknown restore point": (
        {"rollback_point": "release-9"},
        ["Restore point 'release-9' does not exist on any host of the plan. There: release-1.2.0."],
    ),
    "misspelled components": (
        {"rollback_components": "databse,code"},
        [
            "rollback_components: 'databse' is none of database, tables, schema, code, files, packages",
            "did you mean 'database'?",
        ],
    ),
    "an unknown project": ({"rollback_only": "blog_wirting"}, ["'blog_wirting' is not a project of blog"]),
    "several mistakes at once": (
        {
            "rollback_projects": projects(
                blog_core={"requires": ["blog_writing"]},
                blog_images={"group": "blog_imagse"},
                blog_planning={"pth": "/srv/planning"},
            )
        },
        ["The catalogue has", "circle", "'blog_imagse' is not a group of this inventory", "pth"],
    ),
    "a missing service": (
        {"rollback_projects": projects(blog_writing={"services": [{"name": "blog-nowhere", "manager": "supervisor"}]})},
        ["blog-nowhere"],
    ),
    "an unreachable database": (
        {
            "rollback_databases": {
                "blog": {"host": "demo_db", "login_unix_socket": "/nonexistent", "login_user": "blog"}
            }
        },
        ["demo_db: ", "/nonexistent"],
    ),
}
#: Planning refuses them by itself, which `test_plan` shows, word by word; small stacks play the like.
PLANNED = ("an unknown restore point", "misspelled components", "an unknown project")


@pytest.fixture(scope="module")
def before(captured_stack: RollbackStack) -> tuple[Any, ...]:
    """The broken stack before all that is refused here."""
    captured_stack.damage_whole()
    return live_state(captured_stack)


@pytest.fixture
def untouched(stack: RollbackStack, before: tuple[Any, ...]) -> Iterator[RollbackStack]:
    """A broken stack that no test here may change."""
    yield stack
    assert live_state(stack) == before


def live_state(stack: RollbackStack) -> tuple[Any, ...]:
    """The stack, its processes, and everything that the hosts remember."""
    return stack.site.snapshot(), stack.pids(), stack.states()


def refused(ended: Ended) -> None:
    assert ended.status == 2, ended.said
    assert ended.outcome == "refused"
    assert "REFUSED: nothing was touched" in ended.said


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=pytest.mark.at_length) if what in PLANNED else what for what in REFUSED]
)
def test_what_can_be_known_is_refused(untouched: RollbackStack, what: str) -> None:
    values, words = REFUSED[what]
    ended = untouched.play("multi_rollback", **{**ALL, **values})
    refused(ended)
    assert [each for each in words if each not in ended.words] == []


def test_a_host_left_out_is_refused(untouched: RollbackStack) -> None:
    ended = untouched.play("multi_rollback", "--limit", "demo_core,demo_db", **ALL)
    refused(ended)
    assert "Not here: demo_stages. A rollback of blog needs all of" in ended.words


def test_a_checkout_that_is_none_is_refused(untouched: RollbackStack) -> None:
    git = untouched.path(CORE) / ".git"
    away = git.rename(untouched.site.base / "git-away")
    try:
        ended = untouched.play("multi_rollback", **ALL)
    finally:
        away.rename(git)
    refused(ended)
    assert f"{git.parent} is not a git checkout" in ended.words


@pytest.mark.parametrize("name", ["a dump", "a manifest"])
def test_a_damaged_restore_point_is_refused(untouched: RollbackStack, name: str) -> None:
    database = untouched.entry("demo_db", "database", "blog")
    file = next(database.rglob("*.dat*")) if name == "a dump" else database.parent / "manifest.json"
    with damaged(file):
        ended = untouched.play("multi_rollback", **ALL)
    refused(ended)
    assert POINT in ended.words
    assert file.name in ended.words


def test_code_alone_over_a_newer_schema_is_refused(untouched: RollbackStack) -> None:
    values = {"rollback_point": POINT, "rollback_only": CORE}
    ended = untouched.play("code_rollback", **values, rollback_allow_schema_mismatch="false")
    refused(ended)
    assert "The schema of database blog has moved on since release-1.2.0" in ended.words
    assert "-e rollback_allow_schema_mismatch=true" in ended.words
    allowed = untouched.play("code_rollback", "--check", **values, rollback_allow_schema_mismatch=True)
    assert allowed.status == 0, allowed.said
    assert allowed.outcome == "planned"
    assert "discards commit" in allowed.words


def test_check_and_diff_tell_what_would_be_discarded(untouched: RollbackStack) -> None:
    ended = untouched.play("multi_rollback", "--check", "--diff", **ALL)
    assert ended.status == 0, ended.said
    assert ended.outcome == "planned"
    for words in (
        "Report the cache (Somebody",
        "public.post: 2,250 rows now, 2,000 at the restore point (+250)",
        "discards packages: mistune==0.8.4",
        "blog-writing/.env is replaced (DATABASE_NAME)",
        f'- "commit": "{untouched.site.git(CORE, "rev-parse", "HEAD")}",',
        f'+ "commit": "{untouched.good[f"{CORE} head"]}",',
    ):
        assert words in ended.words
    # A value that Ansible takes for a secret is blotted out with stars, wherever it stands: no name may be one.
    assert re.search(r"\w\*{8}|\*{8}\w", ended.said) is None


def test_a_rehearsal_touches_nothing_that_lives(stack: RollbackStack) -> None:
    snapshot, pids, traces = stack.site.snapshot(), stack.pids(), stack.traces()
    ended = stack.play("rehearse", rollback_point="last_good", rollback_only=ALL["rollback_only"])
    assert ended.status == 0, ended.said
    assert ended.outcome == "rehearsed"
    assert stack.site.snapshot() == snapshot
    assert stack.pids() == pids
    assert stack.traces() == traces
    failing = projects(**checks(CORE, commands=[["python", "-c", "raise SystemExit('not today')"]]))
    ended = stack.play("rehearse", rollback_point="last_good", rollback_only=CORE, rollback_projects=failing)
    assert ended.status == 2, ended.said
    assert "not today" in ended.words
    assert stack.pids() == pids
    assert stack.traces() == traces
