# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an earlier release has left on a host, its own code run for it: recovered, taken back and disarmed by this one.

See tests/earlier/README.md.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._engine import timer
from packed_modules import Modules, stored, zipped
from support.database_site import FIRST, SECOND, THIRD
from support.kinds import KINDS, POINT, Thing, thing
from support.postgres_server import PostgresServer, wait_until

EARLIER = Path(__file__).resolve().parents[1] / "earlier"
COLLECTIONS = EARLIER.parents[1] / "collections"
#: Each with the module that writes its timer's unit.
RELEASES = {"43627c0": "ansible_collections.lastgood.rollback.plugins.module_utils._timer_unit"}
BEGIN = {"stack": "blog", "host": "web1", "hosts": ["web1"], "decision_host": "web1", "operator": "night shift"}
KEEP = {"decision": "keep", "promised": ["web1"]}
PATIENCE_S = 60.0


@pytest.fixture(scope="session", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    """Its name."""
    return str(request.param)


@pytest.fixture(scope="session")
def payload(release: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What it packed."""
    return zipped(stored(EARLIER / f"{release}.tar.xz", tmp_path_factory.mktemp("earlier") / release))


@pytest.fixture
def earlier(payload: Path, tmp_path: Path) -> Modules:
    """Its modules on a host."""
    return Modules(tmp_path / "state", payload)


@pytest.fixture
def present(tmp_path: Path) -> Modules:
    """The modules of this tree on the same host."""
    return Modules(tmp_path / "state")


def spoiled(modules: Modules, of: Thing) -> tuple[object, object]:
    """Capture it and spoil it; how it looked before and looks now."""
    good = of.snapshot()
    modules.run("restore_point", name=POINT, stack="blog", host="web1", **of.capture)
    of.spoil()
    bad = of.snapshot()
    assert good != bad
    return good, bad


def prepare(modules: Modules, of: Thing, transaction: str = FIRST) -> None:
    modules.run("transaction", id=transaction, state="begin", **BEGIN)
    modules.run(of.module, transaction=transaction, **of.options)


def end(modules: Modules, transaction: str) -> None:
    """From the switch to the end, well."""
    modules.run("transaction", id=transaction, state="switch")
    modules.run("transaction", id=transaction, state="promise", checks=[{"name": "health", "ok": True}])
    modules.run("transaction", id=transaction, state="decide", **KEEP)
    ended = modules.run("transaction", id=transaction, state="finish", decision="keep")
    assert ended["outcome"] == "rolled_back"


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_stopped_in_the_middle_is_recovered_and_what_had_ended_is_taken_back(
    kind: str, earlier: Modules, present: Modules, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    with thing(kind, tmp_path, postgres_server) as one:
        good, bad = spoiled(earlier, one)
        prepare(earlier, one)
        assert one.snapshot() == bad
        earlier.kill("transaction", "done", id=FIRST, state="switch")
        recovered = present.run("transaction", id=FIRST, state="recover")
        assert (recovered["outcome"], one.snapshot()) == ("undone", bad)
        prepare(earlier, one, SECOND)
        end(earlier, SECOND)
        assert one.snapshot() == good
        present.run("transaction", id=THIRD, state="begin", **BEGIN)
        if kind == "tables":
            with pytest.raises(
                AssertionError, match="a finished rollback of tables has no way back but another rollback"
            ):
                present.run("transaction", id=THIRD, state="prepare", undoes=SECOND)
            assert one.snapshot() == good
            return
        present.run("transaction", id=THIRD, state="prepare", undoes=SECOND)
        end(present, THIRD)
        assert one.snapshot() == bad


# -- the dead man's timer, and the undo of the transaction's directory -----------------------------------------------


class Armed:
    """A host that the earlier release has switched, with its timer waiting."""

    def __init__(self, modules: Modules, of: Thing) -> None:
        self.modules, self.thing = modules, of
        self.directory = modules.state_dir / "transactions" / FIRST
        self.good, self.bad = spoiled(modules, of)
        prepare(modules, of)
        modules.run("transaction", id=FIRST, state="arm")
        self.wait_for_its_process()
        modules.run("transaction", id=FIRST, state="switch")
        assert of.snapshot() == self.good

    def wait_for_its_process(self) -> None:
        wait_until((self.directory / "timer.pid").exists, PATIENCE_S)
        self.pid = int((self.directory / "timer.pid").read_text())
        assert self.waits

    @property
    def waits(self) -> bool:
        """Whether its process is there, and runs."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def fall_silent(self) -> None:
        """Let the deadline pass now."""
        path = self.directory / "deadline"
        path.write_text(json.dumps({**json.loads(path.read_text()), "boottime": 0.0}))

    def undo(self) -> None:
        """By hand, where this release has been installed since."""
        done = subprocess.run(
            [sys.executable, str(self.directory / "undo")],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(COLLECTIONS)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def end(self) -> None:
        if self.waits:
            os.kill(self.pid, signal.SIGKILL)
            wait_until(lambda: not self.waits, PATIENCE_S)


@pytest.fixture
def armed(earlier: Modules, postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Armed]:
    with thing("files", tmp_path, postgres_server) as one:
        host = Armed(earlier, one)
        yield host
        host.end()


def test_its_timer_fires_and_the_transaction_is_recovered(armed: Armed, present: Modules) -> None:
    armed.fall_silent()
    wait_until(lambda: not armed.waits, PATIENCE_S)
    assert armed.thing.snapshot() == armed.bad
    assert present.run("transaction", id=FIRST, state="recover")["outcome"] == "undone"


def test_its_timer_is_disarmed_by_a_promise(armed: Armed, present: Modules) -> None:
    present.run("transaction", id=FIRST, state="promise", checks=[{"name": "health", "ok": True}])
    wait_until(lambda: not armed.waits, PATIENCE_S)
    assert armed.thing.snapshot() == armed.good
    assert present.run("transaction", id=FIRST, state="recover")["outcome"] == "rolled_back"
    assert armed.thing.snapshot() == armed.good


def test_its_timer_is_disarmed_by_a_recovery(armed: Armed, present: Modules) -> None:
    assert present.run("transaction", id=FIRST, state="recover")["outcome"] == "undone"
    wait_until(lambda: not armed.waits, PATIENCE_S)
    assert armed.thing.snapshot() == armed.bad
    assert (armed.directory / "timer.log").read_text() == ""


def test_its_undo_works_by_hand(armed: Armed) -> None:
    armed.undo()
    assert armed.thing.snapshot() == armed.bad


def test_its_timer_that_was_killed_is_armed_again(armed: Armed, present: Modules) -> None:
    """The undo and the payload that it reads are of one release, whoever arms."""
    armed.end()
    present.run("transaction", id=FIRST, state="arm")
    armed.wait_for_its_process()
    armed.fall_silent()
    wait_until(lambda: not armed.waits, PATIENCE_S)
    assert armed.thing.snapshot() == armed.bad


def test_its_unit_runs_the_undo_and_is_removed_by_this_release(
    armed: Armed, release: str, payload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    armed.end()
    units, programs = tmp_path / "units", tmp_path / "programs"
    units.mkdir()
    programs.mkdir()
    (programs / "systemctl").write_text("#!/bin/sh\n")
    (programs / "systemctl").chmod(0o755)
    code = f"""
import os, sys
from pathlib import Path
sys.path[:0] = [{str(payload)!r}]
import {RELEASES[release]} as timer_unit
os.geteuid = lambda: 0
timer_unit.UNITS, timer_unit.BOOTED = Path({str(units)!r}), Path({str(units)!r})
assert timer_unit.start(Path({str(armed.directory)!r}), [{{"name": "core"}}])
"""
    path = f"{programs}:{os.environ['PATH']}"
    subprocess.run([sys.executable, "-I", "-c", code], check=True, env={"PATH": path})
    (unit,) = units.glob("*.service")
    (line,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    armed.fall_silent()
    subprocess.run(shlex.split(line.partition("=")[2]), check=True, env={"PATH": path}, timeout=PATIENCE_S)
    assert armed.thing.snapshot() == armed.bad
    monkeypatch.setattr(timer, "UNITS", units)
    timer.disarm(armed.directory)
    assert [path for path in units.rglob("*") if not path.is_dir()] == []
