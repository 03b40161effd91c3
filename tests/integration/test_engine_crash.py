# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill -9 at every durable step of a transaction, in a process of its own; then recovery; then a look at the files.

The hook lives here, in the child: it counts what changes the disk (audit events and syncs) and ends the process by
SIGKILL before the n-th, or in the middle of it where it is a write. No disk is waited for: a kill loses no page cache.

Each kill costs the way there once more. So a kill that finds the same on the disk as the one before it is left out (a
sync, an open of what is there), and of kills of one kind (between the same two things done to the same files, with the
same events where these are records) the first and the last are tried. With ``LASTGOOD_ALL_KILLS=1`` each one is.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import COMPONENTS
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import all_records
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.recovery import recover
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.standalone import run_standalone
from engine_component import KINDS, Late, make_pair, plan_pair, words
from engine_host import OK_CHECK, Host

CHANGES = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")
TWO_PATHS = ("os.rename", "os.link")
SURVIVED = 7
ALL_KILLS = os.environ.get("LASTGOOD_ALL_KILLS") == "1"


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
        run_standalone(self.host.transaction(), plan_pair(self.host.path), {})
        for name in ("one", "two"):
            (self.late / name).write_text("new")

    def failing(self) -> None:
        """A module called on its own whose switch fails half way."""
        (self.host.path / "fail-switch").touch()
        try:
            run_standalone(self.host.transaction(), plan_pair(self.host.path), {})
        except CommandFailed:
            return

    def overtaken(self) -> None:
        """An undo that arrives before the begin."""
        self.host.transaction().undo(None, "the begin never arrived")

    def recover(self) -> None:
        """As ``state=recover`` of the module does."""
        transaction = self.host.transaction()
        if transaction.records.directory.is_dir():
            recover(transaction, "recovery", 7)

    def words(self) -> set[str]:
        return self.host.words | words(self.late)


def killed_at(number: int, work: Callable[[], None]) -> bool:
    """Do work in a child that is killed at its n-th change of the disk; false when it came to its end before that."""

    def die(change: int, _kind: str) -> bool:
        return change == number

    child = os.fork()
    if child == 0:
        in_child(work, die)
    _pid, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == SURVIVED
    return False


def changes_of(base: Path, work: Callable[[], None]) -> list[str]:
    """Do work in a child that comes to its end; between what and what it changes the disk, in order.

    Empty where a kill would find what the one before it found.
    """
    reading, writing = os.pipe()
    tell = os.write
    last: tuple[str, Any] = ("the begin", None)

    def note(_change: int, what: str) -> bool:
        nonlocal last
        # In the middle of a write the disk is like at no other time.
        found = None if what.startswith("write ") else on_disk(base)
        same = found is not None and found == last[1]
        tell(writing, b"\n" if same else f"between {last[0]} and {what}\n".encode())
        last = what, found
        return False

    child = os.fork()
    if child == 0:
        os.close(reading)
        in_child(work, note)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as lines:
        kinds = lines.read().splitlines()
    _pid, status = os.waitpid(child, 0)
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == SURVIVED
    return kinds


def on_disk(base: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in base.rglob("*")}


def in_child(work: Callable[[], None], ends_at: Callable[[int, str], bool]) -> None:
    """Do work, and end this process, by SIGKILL where it is asked for."""
    try:
        watch_changes(ends_at)
        work()
    except BaseException as error:  # noqa: BLE001 - the end of a child
        sys.stderr.write(f"{error!r}\n")
        os._exit(1)
    os._exit(SURVIVED)


def watch_changes(ends_at: Callable[[int, str], bool]) -> None:
    """Count and name the changes from now on, and end this process before the one that is chosen."""
    count = [0]
    real_write = os.write

    def change(*words: str) -> bool:
        count[0] += 1
        return ends_at(count[0], " ".join(words))

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (event in CHANGES or writes) and change(event, *map(plain, arguments[: 2 if event in TWO_PATHS else 1])):
            die()

    def write(handle: int, data: bytes) -> int:
        if change("write", plain(path_of(handle)), event_in(data)):
            real_write(handle, data[: len(data) // 2])
            die()
        return real_write(handle, data)

    def sync(*handles: int) -> None:
        if change("sync", *(plain(path_of(handle)) for handle in handles)):
            die()

    os.write, os.fsync, os.sync = write, sync, sync
    sys.addaudithook(audit)


def path_of(handle: int) -> str:
    return os.readlink(f"/proc/self/fd/{handle}")


def plain(path: Any) -> str:
    """A file's name, without what is another one each time."""
    name = os.path.basename(path_of(path) if isinstance(path, int) else os.fsdecode(path))
    return re.sub(r"(?<=[.-])[a-z0-9_]{8}$|\d{8}T\d{6}Z|[0-9a-f]{8,}|\d+", "#", name)


def event_in(data: bytes) -> str:
    """The event of a record; empty for what is none."""
    try:
        found = json.loads(bytes(data))
    except ValueError:
        return ""
    return str(found.get("event", "")) if isinstance(found, dict) else ""


def chosen(kinds: Sequence[str]) -> list[int]:
    """The changes to be killed at, from 1 on: the first and the last of each kind, or all."""
    if ALL_KILLS:
        return list(range(1, len(kinds) + 1))
    tried = [(kind, number) for number, kind in enumerate(kinds, 1) if kind]
    return sorted({*dict(reversed(tried)).values(), *dict(tried).values()})


def killed_sites(base: Path, make: Callable[[Site], None], work: Callable[[Site], None]) -> Iterator[tuple[Path, int]]:
    """Do work again and again, each time on a site made anew, and killed at another change of it.

    :returns: each site after its kill, with the number of the change; the last of all is the one before the end.
    """

    def site(name: object) -> Path:
        place = base / str(name)
        place.mkdir()
        make(Site(place))
        return place

    place = site("whole")
    kinds = changes_of(place, lambda: work(Site(place)))
    numbers = chosen(kinds)
    for number in numbers:
        place = site(number)
        assert killed_at(number, lambda place=place: work(Site(place))), f"never came to {kinds[number - 1]}"  # type: ignore[misc]
        yield place, number
    place = site("end")
    assert not killed_at(len(kinds) + 1, lambda: work(Site(place)))


def at_every_kill(base: Path, scenario: str, after: Callable[[Path, int], None]) -> int:
    """Run a scenario again and again, killed at one change after the other; returns how many it has."""
    top = base / scenario
    top.mkdir()
    number = 0
    for site, number in killed_sites(top, lambda _site: None, Site.__dict__[scenario]):
        after(site, number)
    return number


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
    number = 0
    for base, number in killed_sites(tmp_path, lambda site: interrupt(site, begun), Site.recover):
        Site(base).recover()
        found.add(require_whole(base, f"{begun}, recovery killed at change {number}"))
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
