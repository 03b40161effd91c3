# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a long step says of itself: the line in the file, and when somebody who watches shows it."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base import progress, rate
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.journal import Journal
from ansible_collections.lastgood.rollback.plugins.plugin_utils._progress import watch as _watch
from ansible_collections.lastgood.rollback.plugins.plugin_utils._progress.watch import Watch, watched

HOURS = 3600.0


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the controller named."""
    path = tmp_path / "line"
    monkeypatch.setenv(progress.VARIABLE, str(path))
    return path


def test_the_line_is_there_while_it_works_and_gone_afterwards(line: Path) -> None:
    with progress.shown():
        progress.show_progress("a long first line")
        progress.show_progress("a  second\none")
        assert line.read_text().strip() == "a second one"
        assert stat.S_IMODE(line.stat().st_mode) == 0o600
    assert not line.exists()
    progress.show_progress("nobody listens any more")
    assert not line.exists()


def test_it_is_gone_after_a_failure_too(line: Path) -> None:
    with pytest.raises(KeyError), progress.shown():
        raise KeyError
    assert not line.exists()


def test_without_a_watcher_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(progress.VARIABLE, raising=False)
    with progress.shown():
        progress.show_progress("to nobody")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_module_has_left_is_removed_a_day_later(line: Path, tmp_path: Path) -> None:
    """It is known by more than its name: whoever has something else under such a name keeps it."""
    names = ("left", "silent", "fresh", "open", "written", "directory")
    left, silent, fresh, open_to_all, written, directory = (tmp_path / f"{progress.PREFIX}{name}" for name in names)
    other = tmp_path / "other"
    for path in (left, silent, fresh, open_to_all, other):
        path.write_bytes(b"" if path == silent else b"at work".ljust(512))
        path.chmod(0o644 if path == open_to_all else 0o600)
    written.write_text("precious")
    written.chmod(0o600)
    directory.mkdir()
    for path in (left, silent, open_to_all, written, directory, other):
        os.utime(path, (1, 1))
    with progress.shown():
        assert set(tmp_path.iterdir()) == {line, fresh, open_to_all, written, directory, other}


def test_somebody_elses_file_is_left_alone(line: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("precious")
    line.symlink_to(other)
    with progress.shown():
        progress.show_progress("hello")
    assert other.read_text() == "precious"
    assert line.is_symlink()


def test_a_line_is_written_whole_however_long_it_is(line: Path) -> None:
    with progress.shown():
        progress.show_progress("ä" * 1000)
        assert line.stat().st_size == 512
        assert line.read_bytes().decode(errors="ignore").strip() == "ä" * 255


def test_an_intent_of_the_journal_is_what_is_being_done(line: Path, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", tmp_path / "rollback.log")
    with progress.shown(), journal.change("Restore blog.dump"):
        assert line.read_text().strip() == "Restore blog.dump"


def test_those_that_are_awaited_together_are_named_with_what_is_missing(line: Path) -> None:
    pending = progress.Pending("Waiting for", "services", 3)
    with progress.shown():
        pending.add("core", "port 5000 is closed")
        pending.add("planning")
        pending.done("images")
        assert line.read_text().strip() == "Waiting for 2 of 3 services: core (port 5000 is closed), planning"
        pending.done("core")
        assert line.read_text().strip() == "Waiting for 1 of 3 services: planning"


def test_pace_tells_how_much_how_fast_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 1.0, 11.0])
    monkeypatch.setattr(rate.time, "monotonic", lambda: next(moments))
    growing = rate.Rate(4_500_000_000)
    assert growing.describe(8_000_000) == "8.0 MB of about 4.5 GB"
    assert growing.describe(1_108_000_000) == "1.1 GB of about 4.5 GB, 100 MB/s, about 34 s left"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (40, "40 s"), (100, "2 min"), (3700, "62 min"), (7500, "2 h 5 min")]
)
def test_durations_are_short(seconds: float, words: str) -> None:
    assert progress.duration(seconds) == words


def polls(watch: Watch, until: float) -> Iterator[float]:
    """The moments at which a watch would read, on a clock of its own."""
    elapsed = watch.pause(0.0)
    while elapsed < until:
        yield elapsed
        elapsed += watch.pause(elapsed)


def test_there_is_no_flood() -> None:
    shown: list[float] = []
    moments: list[float] = []
    watch = Watch(lambda: f"step {len(moments)}", lambda _line: shown.append(moments[-1]))
    for elapsed in polls(watch, 2 * HOURS):
        moments.append(elapsed)
        watch.poll(elapsed)
    assert shown[0] == 3.0
    assert min(later - earlier for earlier, later in zip(shown, shown[1:])) >= 2.0
    assert len(shown) < 400  # of two hours, in which something new could be said all the time


def test_a_short_step_is_not_read() -> None:
    assert list(polls(Watch(lambda: "", lambda _line: None), 2.9)) == []


def test_the_same_is_shown_again_only_after_a_while() -> None:
    shown: list[str] = []
    watch = Watch(lambda: "still the same", shown.append)
    for elapsed in polls(watch, 130.0):
        watch.poll(elapsed)
    assert shown == ["still the same (3 s)", "still the same (66 s)", "still the same (2 min)"]


def test_a_line_can_neither_move_the_cursor_nor_be_endless() -> None:
    shown: list[str] = []
    Watch(lambda: "\x1b[2J" + "x" * 5000, shown.append).poll(5.0)
    assert "\x1b" not in shown[0]
    assert len(shown[0]) < 320


def test_nothing_is_shown_once_the_step_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watch, "_FIRST_READ_S", 0.01)
    reading, over = threading.Event(), threading.Event()
    watching: list[threading.Thread] = []
    shown: list[str] = []

    def read() -> str:
        watching.append(threading.current_thread())
        reading.set()
        over.wait()
        return "too late"

    with watched(read, shown.append):
        assert reading.wait(60)
    over.set()
    watching[0].join(60)
    assert not watching[0].is_alive()
    assert shown == []


def test_who_can_not_read_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watch, "_FIRST_READ_S", 0.01)
    was_read = threading.Event()
    watching: list[threading.Thread] = []
    failed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)

    def read() -> str:
        watching.append(threading.current_thread())
        was_read.set()
        raise OSError("the way there is closed")

    with watched(read, lambda _line: None):
        assert was_read.wait(60)
        watching[0].join(60)
    assert not watching[0].is_alive()
    assert failed == []
