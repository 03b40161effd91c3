# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table's rows are back, no row refers to nothing, and everything around the table is as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from testinfra.host import Host

TABLE = "table post_section"
SIDE = "SELECT datname FROM pg_database WHERE datname ~ '^blog_lastgood_.*_tables$' ORDER BY oid DESC LIMIT 1"
CONTENT = "SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY t::text)) FROM {} t"


def psql(host: Host, sql: str, database: str = "blog") -> str:
    return str(host.check_output("cd / && sudo -u postgres psql -XAtq -d %s -c %s", database, sql))


def test_only_the_rows_of_that_table_went_back(remembered: dict[str, Any], now: dict[str, str]) -> None:
    assert now[TABLE] == remembered["good"][TABLE] != remembered["broken"][TABLE]
    assert [name for name in now if name.startswith("table ") and now[name] != remembered["broken"][name]] == [TABLE]


def test_the_rows_as_they_were_are_kept(remembered: dict[str, Any], on: Callable[[str], Host]) -> None:
    host = on("lab-db")
    kept = CONTENT.format('lastgood_previous."public.post_section"')
    assert psql(host, kept, psql(host, SIDE)) == remembered["broken"][TABLE]


def test_no_row_refers_to_nothing(on: Callable[[str], Host]) -> None:
    orphans = "SELECT count(*) FROM post_section WHERE post_id NOT IN (SELECT id FROM post)"
    assert psql(on("lab-db"), orphans) == "0"


def test_views_keys_and_triggers_stayed(on: Callable[[str], Host]) -> None:
    host = on("lab-db")
    # A table that was dropped and made again would be younger than the view over it, and would have taken it along.
    assert psql(host, "SELECT 'post_section'::regclass::oid < 'post_overview'::regclass::oid") == "t"
    assert psql(host, "SELECT count(*) = (SELECT count(*) FROM post_development) FROM post_overview") == "t"
    keys = "SELECT contype, count(*) FROM pg_constraint WHERE conrelid = 'post_section'::regclass AND convalidated"
    assert psql(host, f"{keys} GROUP BY 1 ORDER BY 1").split() == ["f|1", "p|1", "u|1"]
    assert psql(host, "SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal") == "post_touched|O"
