# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""git's machine-readable formats, read into values."""

from __future__ import annotations

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._components.code.git import (
    Change,
    TreeChange,
    parse_raw,
    parse_status,
    settings_environment,
)

A, B = "a" * 40, "b" * 40


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (f"1 .M N... 100644 100644 100644 {A} {B} app.py", Change("app.py", ".", "M", "N...", B)),
        (
            f"1 A. N... 000000 100644 100644 {A} {B} two words\nand a line",
            Change("two words\nand a line", "A", ".", "N...", B),
        ),
        (f"1 .M SCM. 160000 160000 160000 {A} {B} lib", Change("lib", ".", "M", "SCM.", B)),
        (f"u UU N... 100644 100644 100644 100644 {A} {B} {A} a b", Change("a b", "U", "U", "N...", "0" * 40)),
    ],
)
def test_a_record_of_the_status_is_read(record: str, expected: Change) -> None:
    assert parse_status(["# branch.oid x", record, "? untracked"]) == [expected]


def test_records_of_a_raw_difference_come_in_pairs() -> None:
    records = [f":100644 000000 {A} {'0' * 40} D", "gone", f":000000 160000 {'0' * 40} {B} A", "lib with space"]
    assert parse_raw(records) == [
        TreeChange("gone", "100644", "000000", A, "0" * 40),
        TreeChange("lib with space", "000000", "160000", "0" * 40, B),
    ]


def test_settings_travel_in_the_environment() -> None:
    assert settings_environment([("core.hooksPath", "/dev/null"), ("gc.auto", "0")]) == {
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": "/dev/null",
        "GIT_CONFIG_KEY_1": "gc.auto",
        "GIT_CONFIG_VALUE_1": "0",
    }
