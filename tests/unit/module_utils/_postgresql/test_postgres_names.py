# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and marks of side databases: never too long, never mistaken."""

from __future__ import annotations

import json

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import (
    INCOMING,
    Mark,
    SideNames,
    application_name,
)

#: Whoever may comment on a database can write them.
WRONG_TYPES: list[dict[str, object]] = [
    {"at": []}, {"at": "1"}, {"role": []}, {"name": {}}, {"of": "1"}, {"ready": "yes"}, {"comment": 1}, {"lastgood": 1},
]  # fmt: skip
NAMES = ["b", "blog", "x" * 63, "ü" * 31 + "x", "€" * 21, "🐘" * 15 + "abc", "a\"b'c;$ d"]


@pytest.mark.parametrize("name", NAMES)
def test_side_names_fit_and_differ(name: str) -> None:
    names = SideNames.of("20260101T000000Z-blog-7f3a", name)
    found = [names.incoming, names.previous, names.rejected]
    assert len({name, *found}) == 4
    for side in found:
        assert len(side.encode()) <= 63
        assert name.startswith(side.split("_lastgood_")[0])


def test_side_names_are_the_same_for_the_same_and_others_for_others() -> None:
    one = SideNames.of("t1", "blog")
    assert SideNames.of("t1", "blog") == one
    assert SideNames.of("t2", "blog") != one
    # Long names that are equal where they are cut.
    assert SideNames.of("t1", "x" * 60 + "abc") != SideNames.of("t1", "x" * 60 + "abd")


def test_an_application_name_is_not_cut() -> None:
    assert len(application_name("t" * 200)) <= 63
    assert application_name("t" * 200) != application_name("t" * 199)


def test_a_mark_comes_back_from_its_comment() -> None:
    mark = Mark("20260101T000000Z-blog-7f3a", INCOMING, "bl'og", 16384, True, 'it\'s "mine"', 1.5)
    assert Mark.read(mark.text()) == mark


@pytest.mark.parametrize(
    "comment",
    [None, "", "The blog's own", "{", "[1]", "null", "{}", json.dumps({"role": "previous"}), json.dumps({"lastgood": "x"}),
     json.dumps({"lastgood": "x", "role": "previous", "name": "b", "of": 1, "more": 2}),
     *(json.dumps({"lastgood": "x", "role": "previous", "name": "b", "of": 1, **wrong}) for wrong in WRONG_TYPES)],
)  # fmt: skip
def test_any_other_comment_is_no_mark(comment: str | None) -> None:
    assert Mark.read(comment) is None
