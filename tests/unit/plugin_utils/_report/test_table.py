# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables as text: no cell can forge a line, hide something, or break the layout."""

from __future__ import annotations

import unicodedata

import pytest
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.table import render_table


def test_columns_stand_under_each_other() -> None:
    assert render_table("Title", [["a", "bb", "c"], ["aaa", "b", None], ["only"]]) == (
        "Title\n----------\na    bb  c\naaa  b\nonly"
    )


def test_a_table_without_rows_is_its_title() -> None:
    assert render_table("Nothing to recover", []) == "Nothing to recover\n------------------"


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("\x1b[2Jcleared", r"\x1b[2Jcleared"),
        ("a\rb", r"a\rb"),
        ("a\tb", r"a\tb"),
        ("\x00", r"\x00"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u200b", r"\u200b"),
        ("\u2028forged", r"\u2028forged"),
        ("\u2029forged", r"\u2029forged"),
        ("\x85forged", r"\x85forged"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
        ("käse 数据", "käse 数据"),
    ],
)
def test_what_is_not_seen_is_shown(cell: str, shown: str) -> None:
    for text in (render_table("T", [[cell, "x"]]), render_table(cell, [])):
        assert shown in text
    assert render_table("T", [[cell]]).splitlines()[2:] == [shown]


def test_every_character_of_unicode_stays_on_its_line() -> None:
    for number in range(0x110000):
        character = chr(number)
        if unicodedata.category(character)[0] in "CZ" and character != "\n":
            assert len(render_table("T", [[f"a{character}b"]]).splitlines()) == 3, hex(number)


def test_a_cell_of_several_lines_goes_on_below_itself() -> None:
    assert render_table("T", [["a", "one\ntwo"], ["b", "three"]]).splitlines()[2:] == ["a  one", "   two", "b  three"]


@pytest.mark.parametrize("width", [80, 120])
def test_prose_is_wrapped_to_the_terminal_and_nothing_of_it_lost(width: int) -> None:
    prose = "word " * 100
    lines = render_table("T", [["k", prose], [prose]], width).splitlines()
    assert all(len(line) <= width for line in lines)
    assert "".join("".join(lines[2:]).split()) == f"k{''.join(prose.split())}{''.join(prose.split())}"


def test_a_path_or_a_command_is_never_cut_in_the_middle_of_a_word() -> None:
    path = f"/srv/{'x' * 200}"
    lines = render_table("T", [["Report", path], ["Next", f"first this, then: {path} and that"]], 80).splitlines()[2:]
    assert lines[0] == f"Report  {path}"
    assert [line.strip() for line in lines[1:]] == ["Next    first this, then:", path, "and that"]


def test_a_command_stays_on_one_line() -> None:
    command = f"ansible-playbook lastgood.rollback.recover -e rollback_id={'x' * 40}"
    lines = render_table("T", [["Next", f"put right what is named above by hand, then: {command}"]], 80).splitlines()[
        2:
    ]
    assert [line.strip() for line in lines] == ["Next  put right what is named above by hand, then:", command]


def test_a_row_of_one_cell_is_a_line_of_its_own() -> None:
    lines = render_table("T", [["a", "b", "c"], ["a sentence that is wider than the first column"]]).splitlines()[2:]
    assert lines == ["a  b  c", "a sentence that is wider than the first column"]


def test_what_goes_on_below_stays_indented() -> None:
    assert render_table("T", [["a", "  " + "word " * 20]], 50).splitlines()[2:4] == [
        f"a    {'word ' * 9}".rstrip(),
        f"     {'word ' * 9}".rstrip(),
    ]
