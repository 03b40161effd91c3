# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every row of every table, and every key, is as it was captured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lab_stack import looking
from testinfra.host import Host


def psql(host: Host, sql: str) -> str:
    return str(host.check_output("cd / && sudo -u postgres psql -XAtq -d blog -c %s", sql))


@pytest.mark.parametrize("table", looking.TABLES)
def test_rows_are_those_of_the_restore_point(table: str, remembered: dict[str, Any], now: dict[str, str]) -> None:
    assert now[f"table {table}"] == remembered["good"][f"table {table}"] != remembered["broken"][f"table {table}"]


def test_no_row_refers_to_nothing(on: Callable[[str], Host]) -> None:
    for table in ("post_section", "post_development"):
        orphans = f"SELECT count(*) FROM {table} WHERE post_id NOT IN (SELECT id FROM post)"
        assert psql(on("lab-db"), orphans) == "0"
    assert psql(on("lab-db"), "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND NOT convalidated") == "0"


def test_what_was_replaced_is_kept(on: Callable[[str], Host]) -> None:
    kept = psql(on("lab-db"), "SELECT count(*) FROM pg_database WHERE datname ~ '^blog_lastgood_.*_previous$'")
    assert kept == "1"
