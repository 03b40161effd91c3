# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may become good, be asked for again, or go: what is asked for and what there is, with what follows."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import Header
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.capture import epoch
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.manifest import (
    CapturedComponent,
    Good,
    Manifest,
    stack_digest,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.policy import (
    becomes_good,
    good_for,
    refuse_another,
    refuse_last_good,
    surplus,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.store import RestorePoint

HERE = "ab" * 32
HOSTS = {"web1": HERE, "db1": "cd" * 32}
CREATED = "2026-11-23T14:30:00.000000Z"
KEYS = ("code:/srv/app", "files:files")


def point(
    name: str = "one", created: str = CREATED, *, stack: str = "blog", good: bool = False, **changes: Any
) -> RestorePoint:
    """A restore point of two components without a file."""
    components = tuple(CapturedComponent(*key.split(":"), key.partition(":")[0], {}, {}) for key in KEYS)
    manifest = Manifest(f"id-{name}", name, stack, "web1", created, "0.1.0", components)
    record = Good(manifest.id, stack_digest(HOSTS), HOSTS, {}, (), created) if good else None
    return replace(RestorePoint(Path(), manifest, HERE, record), **changes)


def begun(seconds: float, stack: str = "blog") -> Header:
    """A transaction that began so long after the capture."""
    return Header("t1", stack, "web1", ("web1",), "web1", "somebody", epoch(CREATED) + seconds, "python3")


def refused(sentence: str) -> AbstractContextManager[Any]:
    return pytest.raises(Refused, match=sentence)


PASSED = {"name": "web1: answers", "ok": True}
FAILED = {"name": "db1: tests", "ok": False}
MOVED = replace(point().manifest, consistent=False, moved=("code:/srv/app changed while it was captured: commit",))


@pytest.mark.parametrize(
    ("there", "hosts", "checks", "transactions", "expected"),
    [
        (point(), HOSTS, [PASSED], [], True),
        (point(), HOSTS, [], [], True),
        (point(), HOSTS, [PASSED], [None, begun(-1), begun(5, "shop")], True),
        (point(good=True), HOSTS, [PASSED], [], False),
        (point(good=True), HOSTS, [FAILED], [begun(5)], False),
        (point(good=True), {"web1": HERE}, [PASSED], [], "it is good already, for db1, web1. Make a new one"),
        (point(), {"web1": "ef" * 32}, [PASSED], [], f"with the manifest {'ef' * 32} of web1, .* here is {HERE}"),
        (point(), {"db1": HERE}, [PASSED], [], "with the manifest None of web1, .* Capture and check again"),
        (point(), HOSTS, [PASSED, FAILED, {}], [], "these checks failed: db1: tests, None. Mend the stack"),
        (point(), HOSTS, [PASSED], [begun(0)], "transaction t1 began since it was captured"),
        (point(manifest=MOVED), HOSTS, [PASSED], [], "changed while it was captured: commit. Capture again when"),
        (point(findings=("damaged",)), HOSTS, [PASSED], [], "damaged. Make a new one"),
    ],
)  # fmt: skip
def test_what_becomes_good(
    tmp_path: Path, there: RestorePoint, hosts: Any, checks: Any, transactions: Any, expected: bool | str
) -> None:
    for component in there.manifest.components:
        (tmp_path / component.directory).mkdir()
    there = replace(there, directory=tmp_path)
    with refused(expected) if isinstance(expected, str) else nullcontext():
        assert becomes_good(there, hosts, checks, transactions) is expected


def test_what_is_damaged_does_not_become_good(tmp_path: Path) -> None:
    with refused("can't be marked good: .*code is missing"):
        becomes_good(point(directory=tmp_path), HOSTS, [PASSED], [])


def test_the_record_names_what_it_is_good_for_on_every_host() -> None:
    manifest = point().manifest
    good = good_for(manifest, HOSTS, {"db1": ["database:blog"], "web1": ["a mistake"]}, [PASSED])
    assert (good.id, good.digest, good.hosts) == (manifest.id, stack_digest(HOSTS), HOSTS)
    assert good.components == {"db1": ["database:blog"], "web1": list(KEYS)}
    assert good.checks == (PASSED,)


@pytest.mark.parametrize(
    ("stack", "keys", "expected"),
    [
        ("blog", KEYS, nullcontext()),
        ("shop", KEYS, refused("'one' exists already, of stack 'blog' with code:/srv/app, files:files. It is never")),
        ("blog", KEYS[:1], refused("never overwritten")),
        ("blog", (*KEYS, "packages:/srv/venv"), refused("never overwritten")),
    ],
)
def test_a_name_is_never_used_for_something_else(
    stack: str, keys: tuple[str, ...], expected: AbstractContextManager[Any]
) -> None:
    with expected:
        refuse_another(point().manifest, stack, keys)


#: Newest first, as the store has them; each was captured later than the one below it.
THERE = [
    point("other-good", "7", stack="shop", good=True),
    point("f-not", "6"),
    point("e-good", "5", good=True),
    point("d-not", "4"),
    point("c-good", "3", good=True),
    point("b-not", "2"),
    point("a-good", "1", good=True),
]


@pytest.mark.parametrize(
    ("keep", "good", "expected"),
    [
        (None, THERE[1], []),
        (3, THERE[2], []),
        (2, THERE[2], ["b-not", "a-good"]),
        (2, THERE[1], ["d-not", "c-good", "b-not", "a-good"]),
        (1, THERE[2], ["d-not", "c-good", "b-not", "a-good"]),
        (0, THERE[2], ["d-not", "c-good", "b-not", "a-good"]),
        (1, THERE[0], []),
        (1, point(stack="nobody"), []),
    ],
)
def test_surplus_keeps_the_newest_good_ones_and_never_the_stack_of_others(
    keep: int | None, good: RestorePoint, expected: list[str]
) -> None:
    assert surplus(THERE, good.manifest, keep) == expected


@pytest.mark.parametrize(
    ("leaving", "expected"),
    [
        (THERE[0], refused("'other-good' is the last good one of stack 'shop'.* remove it with force")),
        (THERE[1], nullcontext()),
        (THERE[2], refused("'e-good' is the last good one of stack 'blog'")),
        (THERE[4], nullcontext()),
        (point(stack="nobody"), nullcontext()),
    ],
)
def test_the_last_good_one_does_not_go(leaving: RestorePoint, expected: AbstractContextManager[Any]) -> None:
    with expected:
        refuse_last_good(THERE, leaving.manifest)
