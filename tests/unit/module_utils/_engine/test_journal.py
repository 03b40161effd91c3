# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal survives whatever ends its writer: what was written before is read, in order, and writing goes on."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Damaged, Unreadable
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.journal import Journal, log_line


@pytest.fixture(params=["chained", "of an old release"])
def journal(tmp_path: Path, request: pytest.FixtureRequest) -> Journal:
    """One that hangs on a header, and one of a release that had no chain."""
    if request.param == "chained":
        return chained(tmp_path)
    (tmp_path / "header.json").write_text("{}")
    return Journal(tmp_path / "journal.jsonl", tmp_path / "rollback.log")


def chained(directory: Path, *notes: str) -> Journal:
    (directory / "header.json").write_text('{"chained": true, "stack": "blog"}')
    journal = Journal(directory / "journal.jsonl", directory / "rollback.log")
    journal.start()
    for note in notes:
        journal.note(note)
    return journal


def what(journal: Journal) -> list[str]:
    return [entry["what"] for entry in journal.entries()]


def test_events_come_back_in_order_with_their_facts(journal: Journal) -> None:
    journal.write("intent", "Rename blog aside", oid=16384)
    journal.write("done", "Rename blog aside")
    first, second = journal.entries()
    assert (first["event"], first["facts"]) == ("intent", {"oid": 16384})
    assert "facts" not in second
    assert first["at"] <= second["at"]


def test_no_journal_is_an_empty_one(journal: Journal) -> None:
    assert journal.entries() == []


WHOLE = json.dumps({"at": 1.0, "event": "note", "what": "käse"}, ensure_ascii=False).encode()


@pytest.mark.parametrize("length", range(1, len(WHOLE)))
def test_a_line_that_was_cut_off_is_passed_over_and_ended(journal: Journal, length: int) -> None:
    """Cut at every byte, also inside a character."""
    journal.note("before")
    with journal.path.open("ab") as stream:
        stream.write(WHOLE[:length])
    assert what(journal) == ["before"]
    journal.note("after")
    assert what(journal) == ["before", "after"]


@pytest.mark.parametrize("garbage", [b"\0\0\0\0", b"\xff\xfe", b"null", b"17", b'"text"', b"[]", b"{}"])
def test_what_a_power_cut_left_at_the_end_is_passed_over(journal: Journal, garbage: bytes) -> None:
    journal.note("before")
    with journal.path.open("ab") as stream:
        stream.write(garbage)
    journal.note("after")
    assert what(journal) == ["before", "after"]


def test_only_the_owner_may_read_it(journal: Journal) -> None:
    journal.note("private")
    for path in (journal.path, journal.log):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_log_for_people_has_its_format(journal: Journal) -> None:
    journal.write("intent", "is not for people")
    journal.note("Switched code:/srv/blog")
    journal.write("failed", "Undo")
    switched, failed = journal.log.read_text().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d - ROLLBACK - Switched code:/srv/blog", switched)
    assert failed.endswith(" - ROLLBACK - FAILED: Undo")


@pytest.mark.parametrize("text", ["two\nlines", "a\r\nb", "tab\there", "form\x0cfeed"])
def test_a_name_can_not_forge_a_line_of_the_log(text: str) -> None:
    assert len(log_line(0.0, "note", text).splitlines()) == 1


@pytest.mark.parametrize("hidden", ["\x1b[2K", "\x9b2J", "\u202e", "\x07", "\x7f", "\u2066"])
def test_no_name_gives_orders_to_a_terminal_that_shows_the_log(journal: Journal, hidden: str) -> None:
    journal.note(f"Switched {hidden}blog")
    (line,) = journal.log.read_text().splitlines()
    assert hidden not in line
    assert line.endswith(f"Switched {hidden.encode('unicode_escape').decode()}blog")


def test_a_step_is_announced_before_and_closed_after(journal: Journal) -> None:
    with journal.change("Rename", oid=1):
        assert [entry["event"] for entry in journal.entries()] == ["intent"]
    assert [entry["event"] for entry in journal.entries()] == ["intent", "done"]


def test_a_step_that_fails_says_why(journal: Journal) -> None:
    with pytest.raises(ValueError, match="no such oid"), journal.change("Rename"):
        raise ValueError("no such oid")
    assert journal.entries()[-1]["facts"] == {"error": "no such oid"}


def test_each_event_is_synced_before_the_call_returns(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []

    def fsync(handle: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{handle}"), journal.path.read_bytes().count(b"\n")))

    monkeypatch.setattr(os, "fsync", fsync)
    journal.write("intent", "Rename")
    assert synced[0] == (str(journal.path), 1)
    assert (str(journal.path.parent), 1) in synced, "the new name has to survive a power cut as well"


def test_what_can_not_be_written_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "gone" / "journal.jsonl", tmp_path / "rollback.log")
    with pytest.raises(Damaged, match=r"gone/journal.jsonl can't be written: No such file"):
        journal.note("lost")


def test_many_writers_cut_no_line_of_each_other(journal: Journal) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.starmap(_write, [(journal.path.parent, number) for number in range(40)], chunksize=1)
    assert sorted(what(journal)) == sorted("x" * 5000 + str(number) for number in range(40))


def _write(directory: Path, number: int) -> None:
    Journal(directory / "journal.jsonl", directory / "rollback.log").note("x" * 5000 + str(number))


# -- the chain -----------------------------------------------------------------------------------------------------


def lines_of(journal: Journal) -> list[bytes]:
    return journal.path.read_bytes().splitlines(keepends=True)


Damage = Callable[[list[bytes]], list[bytes]]
CHANGES: dict[str, Damage] = {
    "the first record is gone": lambda lines: lines[1:],
    "one in the middle is gone": lambda lines: [*lines[:1], *lines[2:]],
    "the last one is gone": lambda lines: lines[:-1],
    "all are gone": lambda lines: [],
    "two changed places": lambda lines: [lines[0], lines[2], lines[1]],
    "one stands there twice": lambda lines: [lines[0], lines[0], *lines[1:]],
    "the last one stands there twice": lambda lines: [*lines, lines[-1]],
    "the first says something else": lambda lines: [lines[0].replace(b"one", b"eno"), *lines[1:]],
    "the last says something else": lambda lines: [*lines[:-1], lines[-1].replace(b"three", b"theer")],
    "the last is no record any more": lambda lines: [*lines[:-1], lines[-1][1:]],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_whatever_is_changed_in_what_was_written_is_noticed_and_nothing_is_added(
    tmp_path: Path, change: Damage
) -> None:
    journal = chained(tmp_path, "one", "two", "three")
    journal.path.write_bytes(b"".join(change(lines_of(journal))))
    with pytest.raises(Unreadable, match=re.escape(str(journal.path))):
        journal.entries()
    assert Unreadable.outcome == "in_doubt"


def test_a_journal_that_is_cut_at_any_byte_is_noticed(tmp_path: Path) -> None:
    journal = chained(tmp_path, "one", "two")
    whole = journal.path.read_bytes()
    for length in range(len(whole) - 1):
        journal.path.write_bytes(whole[:length])
        with pytest.raises(Unreadable, match="cut off"):
            journal.entries()
    journal.path.write_bytes(whole[:-1])  # the record is there
    assert what(journal) == ["one", "two"]


@pytest.mark.parametrize("name", ["journal.jsonl", "head.json", "header.json"])
def test_a_file_of_the_chain_that_is_gone_is_missed_when_reading_and_when_writing(tmp_path: Path, name: str) -> None:
    journal = chained(tmp_path, "one")
    (tmp_path / name).unlink()
    with pytest.raises(Unreadable, match=name):
        journal.entries()
    if name != "header.json":
        with pytest.raises(Unreadable, match=name):
            journal.note("two")


@pytest.mark.parametrize("content", ["", "[]", '{"number": "1"}', '{"number": true, "hash": "", "end": 0}'])
def test_a_head_of_another_type_is_named(tmp_path: Path, content: str) -> None:
    journal = chained(tmp_path, "one")
    (tmp_path / "head.json").write_text(content)
    for use in (journal.entries, lambda: journal.note("two")):
        with pytest.raises(Unreadable, match=r"head\.json can't be understood"):
            use()


def test_a_header_that_was_changed_breaks_the_chain(tmp_path: Path) -> None:
    journal = chained(tmp_path, "one")
    (tmp_path / "header.json").write_text('{"chained": true, "stack": "shop"}')
    with pytest.raises(Unreadable, match="does not follow"):
        journal.entries()


def test_the_head_may_lag_behind(tmp_path: Path) -> None:
    """A crash came between a record and the head; or a loss of power took heads back."""
    journal = chained(tmp_path, "one")
    head = (tmp_path / "head.json").read_bytes()
    journal.note("two")
    journal.note("three")
    (tmp_path / "head.json").write_bytes(head)
    assert what(journal) == ["one", "two", "three"]
    journal.note("four")
    assert what(journal) == ["one", "two", "three", "four"]


def test_a_journal_of_an_old_release_goes_on_without_a_chain(tmp_path: Path) -> None:
    (tmp_path / "header.json").write_text('{"stack": "blog"}')
    journal = Journal(tmp_path / "journal.jsonl", tmp_path / "rollback.log")
    journal.start()
    journal.note("one")
    assert "before" not in journal.entries()[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["header.json", "journal.jsonl", "rollback.log"]


@pytest.mark.parametrize("record", ['{"event": 1}', '{"event": "note", "what": "x", "at": "now"}', '{"event": []}'])
def test_a_record_of_another_type_is_named(tmp_path: Path, record: str) -> None:
    journal = Journal(tmp_path / "journal.jsonl", tmp_path / "rollback.log")
    journal.path.write_text(record + "\n")
    with pytest.raises(Unreadable, match="record 1 can't be understood"):
        journal.entries()
