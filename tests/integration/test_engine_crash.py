# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill -9 at every durable step of a transaction, in a process of its own; then recovery; then a look at the files.

The hook lives here, in the child: it counts what changes the disk (audit events and syncs) and ends the process by
SIGKILL before the n-th, or in the middle of it where it is a write. No disk is waited for: a kill loses no page cache.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._components._registry import COMPONENTS
from ansible_collections.lastgood.rollback.plugins.module_utils._errors import CommandFailed
from ansible_collections.lastgood.rollback.plugins.module_utils._records import all_records
from ansible_collections.lastgood.rollback.plugins.module_utils._single import run_alone
from ansible_collections.lastgood.rollback.plugins.module_utils._transaction_runner import _STATES
from engine_component import KINDS, Late, make_pair, plan_pair, words
from engine_host import OK_CHECK, Host

CHANGES = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")
SURVIVED = 7


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, component in KINDS.items():
        monkeypatch.setitem(COMPONENTS, kind, component)
    for name in ("fsync", "sync"):
        monkeypatch.setattr(os, name, lambda *_handle: None)


class Site:
    """Two components of one host, and what is done to them."""

    def __init__(self, base: Path) -> None:
        self.host = Host(base)
        self.late = base / "late"
        if not self.late.exists():
            make_pair(self.late)

    def forward(self) -> None:
        """A rollback that goes well, phase by phase."""
        self.host.begin()
        self.host.transaction().prepare(plan_pair(self.host.path), {"login_password": "secret"})
        self.host.transaction().prepare(plan_pair(self.late, kind=Late), {})
        self.host.transaction().switch()
        self.host.transaction().promise([OK_CHECK])
        self.host.transaction().decide("keep", self.host.hosts, "night shift")
        self.host.transaction().finish(None, [])

    def backward(self) -> None:
        """A rollback that is taken back after the switch."""
        self.host.begin()
        self.host.transaction().prepare(plan_pair(self.host.path), {"login_password": "secret"})
        self.host.transaction().prepare(plan_pair(self.late, kind=Late), {})
        self.host.transaction().switch()
        self.host.transaction().decide("undo", [], "night shift")
        self.host.transaction().undo(None, "a check failed")
        self.host.transaction().finish(None, [])

    def alone(self) -> None:
        """A module called on its own; the second component belongs to somebody else."""
        run_alone(self.host.transaction(), plan_pair(self.host.path), {})
        for name in ("one", "two"):
            (self.late / name).write_text("new")

    def failing(self) -> None:
        """A module called on its own whose switch fails half way."""
        (self.host.path / "fail-switch").touch()
        try:
            run_alone(self.host.transaction(), plan_pair(self.host.path), {})
        except CommandFailed:
            return

    def overtaken(self) -> None:
        """An undo that arrives before the begin."""
        self.host.transaction().undo(None, "the begin never arrived")

    def recover(self) -> None:
        """As ``state=recover`` of the module does."""
        transaction = self.host.transaction()
        if transaction.records.directory.is_dir():
            _STATES["recover"](transaction, {"operator": "recovery", "keep_days": 7})

    def words(self) -> set[str]:
        return self.host.words | words(self.late)


def killed_at(number: int, work: Callable[[], None]) -> bool:
    """Do work in a child that is killed at its n-th change of the disk; false when it came to its end before that."""
    child = os.fork()
    if child == 0:
        try:
            kill_before(number)
            work()
        except BaseException as error:  # noqa: BLE001 - the end of a child
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(SURVIVED)
    _pid, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == SURVIVED
    return False


def kill_before(number: int) -> None:
    """Count from now on, and end this process before the n-th change."""
    left = [number]
    real_write = os.write

    def change() -> bool:
        left[0] -= 1
        return left[0] == 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (event in CHANGES or writes) and change():
            die()

    def write(handle: int, data: bytes) -> int:
        if change():
            real_write(handle, data[: len(data) // 2])
            die()
        return real_write(handle, data)

    def sync(_handle: int = 0) -> None:
        if change():
            die()

    os.write, os.fsync, os.sync = write, sync, sync
    sys.addaudithook(audit)


def at_every_kill(base: Path, scenario: str, after: Callable[[Path, int], None]) -> int:
    """Run a scenario again and again, killed one change later each time; returns how many changes it has."""
    number = 1
    while True:
        site = base / f"{scenario}-{number}"
        site.mkdir()
        Site(site)
        if not killed_at(number, lambda site=site: getattr(Site(site), scenario)()):  # type: ignore[misc]
            return number - 1
        after(site, number)
        number += 1


def require_truthful(site: Site, where: str) -> None:
    """No transaction is half made, and every change was announced before it was made."""
    known = all_records(site.host.state_dir)
    assert all(records.header() is not None or records.tombstoned for records in known), where
    entries = [entry for records in known for entry in records.journal.entries()]
    assert [entry["at"] for entry in entries] == sorted(entry["at"] for entry in entries), where
    announced = {entry["what"] for entry in entries if entry["event"] == "intent"}
    for name in ("one", "two"):
        if (site.host.path / name).read_text() == "new":
            assert f"Flip {name}" in announced, where
        if (site.host.path / f"{name}.new").exists():
            assert f"Build {name}.new" in announced, where


def require_whole(base: Path, where: str) -> str:
    """All new or all old, and nothing is held; returns which."""
    site = Site(base)
    (word,) = site.words() if len(site.words()) == 1 else (f"mixed after {where}",)
    assert word in ("new", "old"), where
    records = all_records(site.host.state_dir)
    assert all(each.outcome is not None for each in records), where
    for each in records:
        assert each.outcome is not None
        assert each.outcome["outcome"] == {"new": "rolled_back", "old": "undone"}[word], where
        assert each.journal.entries()[-1]["event"] == "finished", where
        assert not (each.directory / "secrets.json").exists(), where
        assert not (each.directory / "deadline").exists(), where
    site.host.begin("20261124T000000Z-blog-next")
    site.host.transaction("20261124T000000Z-blog-next").prepare(plan_pair(site.late, "newest", Late), {})
    return word


def frozen(base: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in base.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("scenario", "ends"), [("forward", {"old", "new"}), ("backward", {"old"})])
def test_killed_anywhere_recovery_makes_it_whole(tmp_path: Path, scenario: str, ends: set[str]) -> None:
    found = set()

    def after(base: Path, number: int) -> None:
        where = f"{scenario}, killed at change {number}"
        require_truthful(Site(base), where)
        Site(base).recover()
        before = frozen(base)
        Site(base).recover()
        assert frozen(base) == before, f"{where}: a second recovery changed something"
        found.add(require_whole(base, where))

    changes = at_every_kill(tmp_path, scenario, after)
    assert changes > 100
    assert found == ends


@pytest.mark.parametrize("scenario", ["alone", "failing"])
def test_a_module_on_its_own_is_recovered_as_well(tmp_path: Path, scenario: str) -> None:
    def after(base: Path, number: int) -> None:
        where = f"{scenario}, killed at change {number}"
        (base / "web1" / "pair" / "fail-switch").unlink(missing_ok=True)
        Site(base).recover()
        assert len(Site(base).host.words) == 1, where
        assert all(each.outcome is not None for each in all_records(Site(base).host.state_dir)), where

    assert at_every_kill(tmp_path, scenario, after) > 60


@pytest.mark.parametrize("begun", ["half switched", "all promised"])
def test_a_recovery_that_is_killed_anywhere_is_recovered(tmp_path: Path, begun: str) -> None:
    """Also: how it ends does not depend on where the first recovery was killed."""
    found = set()
    number = 1
    while True:
        base = tmp_path / str(number)
        base.mkdir()
        interrupt(Site(base), begun)
        if not killed_at(number, Site(base).recover):
            break
        Site(base).recover()
        found.add(require_whole(base, f"{begun}, recovery killed at change {number}"))
        number += 1
    assert number > 20
    assert found == {"old" if begun == "half switched" else "new"}


def interrupt(site: Site, begun: str) -> None:
    site.host.begin()
    site.host.prepare()
    site.host.transaction().prepare(plan_pair(site.late, kind=Late), {})
    if begun == "half switched":
        (site.late / "fail-switch").touch()
        with pytest.raises(CommandFailed):
            site.host.transaction().switch()
        (site.late / "fail-switch").unlink()
        assert site.words() == {"old", "new"}
    else:
        site.host.transaction().switch()
        site.host.transaction().promise([OK_CHECK])


def test_an_undo_that_overtakes_the_begin_leaves_a_tombstone_or_nothing(tmp_path: Path) -> None:
    def after(base: Path, number: int) -> None:
        require_truthful(Site(base), f"killed at change {number}")

    assert at_every_kill(tmp_path, "overtaken", after) > 5
