# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever has become of a transaction's records, the word is never better than the state.

A transaction is brought to some place, its files are damaged in some way, and then it is asked to go on in every way there
is. Each may be refused or be in doubt; what is claimed has to hold, and after the decision to keep nothing is taken back.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import COMPONENTS
from ansible_collections.lastgood.rollback.plugins.module_utils._engine import timer
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.recovery import recover
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.undo_cli import undo_on_this_host
from ansible_collections.lastgood.rollback.plugins.module_utils._runners.transaction import _info_result
from engine_component import KINDS
from engine_host import ID, Host
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

KEPT = ("keep", "finished")


@pytest.fixture(scope="module", autouse=True)
def kinds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for kind, component in KINDS.items():
            patch.setitem(COMPONENTS, kind, component)
        for name in ("fsync", "sync"):  # nothing here loses its power
            patch.setattr(os, name, lambda *_handle: None)
        yield


def half_switched(host: Host) -> None:
    host.until("prepare")
    (host.path / "fail-switch").touch()
    with pytest.raises(CommandFailed):
        host.transaction().switch()
    (host.path / "fail-switch").unlink()


PLACES: dict[str, Callable[[Host], object]] = {
    "prepared": lambda host: host.until("prepare"),
    "half switched": half_switched,
    "switched": lambda host: host.until("switch"),
    "promised": lambda host: host.until("promise"),
    "keep": lambda host: host.until("keep"),
    "finished": lambda host: host.until("keep").finish(None, []),
    "undone": lambda host: host.until("switch").undo(None, "asked"),
    "ended as undone": lambda host: (host.until("switch").undo(None, "asked"), host.transaction().finish(None, [])),
}


class Claims:
    """What a call says about the state, in a few words; empty where it says nothing."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def undo(self, decision: str | None) -> str:
        self.host.transaction().undo(decision, "asked")
        return "undone"

    def by_hand(self) -> str:
        undo_on_this_host(self.host.records(), "asked by hand")
        return "undone"

    def recover(self) -> str:
        return str(recover(self.host.transaction(), "recovery", 7)["outcome"])

    def finish(self) -> str:
        return self.host.transaction().finish(None, []) or ""

    def info(self) -> str:
        params = {"state_dir": str(self.host.state_dir), "id": ID, "passwords": {}, "open_only": False}
        for found in _info_result(params)["transactions"]:
            # By the protocol's names a host stays prepared until all of it is switched; the phase tells how far it is.
            is_switching = (found["state"], found["phase"]) == ("prepared", "switch")
            return "" if is_switching else str(found["outcome"] or found["state"])
        return ""


CALLS: dict[str, Callable[[Claims], str]] = {
    "info": Claims.info,
    "undo": lambda claims: claims.undo(None),
    "undo, shown the decision to": lambda claims: claims.undo("undo"),
    "by hand": Claims.by_hand,
    "recover": Claims.recover,
    "finish": Claims.finish,
}
#: What must stand in the live files where a word is said.
MEANS = {"undone": {"old"}, "prepared": {"old"}, "rolled_back": {"new"}, "finished": {"new"}, "promised": {"new"}}

OTHER_VALUES: list[Any] = [None, True, 0, -1, 1e300, "", "keep", "undo", [], ["keep"], {}, {"decision": []}]


def flipped(content: bytes, at: float) -> bytes:
    position = int(at * (len(content) * 8 - 1)) if content else 0
    changed = bytearray(content)
    if changed:
        changed[position // 8] ^= 1 << position % 8
    return bytes(changed)


def cut(content: bytes, at: float) -> bytes:
    return content[: int(at * len(content))]


def without_a_line(content: bytes, at: float) -> bytes:
    lines = content.splitlines(keepends=True)
    del lines[min(int(at * len(lines)), len(lines) - 1) :][:1]
    return b"".join(lines[: int(at * len(lines))] + lines[int(at * len(lines)) + 1 :])


def of_another_type(content: bytes, at: float) -> bytes:
    return json.dumps(OTHER_VALUES[int(at * (len(OTHER_VALUES) - 1))]).encode() + b"\n"


def with_another_value(content: bytes, at: float) -> bytes:
    """One value of an object is another one, and its line still JSON."""
    whole = b"\n" in content.rstrip(b"\n") and content.startswith(b"{\n")
    lines = [content] if whole else content.splitlines(keepends=True)
    position = min(int(at * len(lines)), len(lines) - 1)
    record = json.loads(lines[position])
    name = sorted(record)[int(at * 997) % len(record)]
    record[name] = OTHER_VALUES[int(at * 9973) % len(OTHER_VALUES)]
    return b"".join([*lines[:position], json.dumps(record).encode() + b"\n", *lines[position + 1 :]])


DAMAGES = [flipped, cut, without_a_line, of_another_type, with_another_value, None]


def damage(directory: Path, which: float, how: Callable[[bytes, float], bytes] | None, at: float) -> None:
    """Do something to one of the records; ``None`` removes it."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and is_record(path.relative_to(directory)))
    if not files:
        return
    file = files[int(which * (len(files) - 1))]
    if how is None:
        file.unlink()
        return
    try:
        file.write_bytes(how(file.read_bytes(), at))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # it is damaged already
        file.write_bytes(b"")


def is_record(path: Path) -> bool:
    return path.parts[0] not in ("workspace", "lock", "reserve")


FRACTION = st.floats(0, 1, allow_nan=False)


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None, derandomize=True)
@given(
    damages=st.lists(st.tuples(FRACTION, st.sampled_from(DAMAGES), FRACTION), min_size=1, max_size=3),
    calls=st.lists(st.sampled_from(sorted(CALLS)), min_size=1, max_size=3),
)
def test_the_word_is_never_better_than_the_state(place: str, damages: list[Any], calls: list[str]) -> None:
    base = Path(tempfile.mkdtemp())
    try:
        host = Host(base)
        PLACES[place](host)
        if place in ("prepared", "switched"):
            timer.set_deadline(host.records().directory, 600)
        for one in damages:
            damage(host.records().directory, *one)
        for call in calls:
            claim = claimed(host, call)
            assert host.words <= MEANS.get(claim, {"old", "new"}), f"{call} says {claim!r}"
            if place in KEPT:
                assert host.words == {"new"}, f"{call} took back what was kept"
                assert claim != "undone"
    finally:
        shutil.rmtree(base)


def claimed(host: Host, call: str) -> str:
    """What a call says; nothing where it refuses, or is in doubt."""
    try:
        return CALLS[call](Claims(host))
    except (LastGoodError, OSError):
        return ""
