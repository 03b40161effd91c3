# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The schema is that of the restore point, and no row is lost, nor what the older schema has no place for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from testinfra.host import Host

KEPT = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname ~ '^lastgood_kept_' AND tablename ~ '{}'"


def psql(host: Host, sql: str) -> str:
    return str(host.check_output("cd / && sudo -u postgres psql -XAtq -d blog -c %s", sql))


def test_columns_and_keys_are_those_of_the_restore_point(
    remembered: dict[str, Any], now: dict[str, str], on: Callable[[str], Host]
) -> None:
    assert now["columns"] == remembered["good"]["columns"] != remembered["broken"]["columns"]
    key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'post_section'::regclass AND contype = 'u'"
    assert psql(on("lab-db"), key) == 'UNIQUE (post_id, "position")'


def test_what_was_written_since_stayed(remembered: dict[str, Any], now: dict[str, str]) -> None:
    assert now["table post"] == remembered["broken"]["table post"] != remembered["good"]["table post"]


def test_the_dropped_column_has_its_values_again(remembered: dict[str, Any], now: dict[str, str]) -> None:
    assert now["table post_section"] == remembered["good"]["table post_section"]


def test_what_the_older_schema_has_no_place_for_is_kept(on: Callable[[str], Host]) -> None:
    host = on("lab-db")
    # What earlier rollbacks kept was carried along.
    ranks = psql(host, KEPT.format("post_section")).split()
    sections = psql(host, "SELECT count(*) FROM post_section")
    assert ranks
    assert {psql(host, f"SELECT count(*) FROM {table} WHERE rank = 'unsorted'") for table in ranks} == {sections}
    versions = psql(host, KEPT.format("alembic_version")).split()
    assert versions
    assert all("0007_section_ranks" in psql(host, f"SELECT t::text FROM {table} t") for table in versions)


def test_what_was_replaced_is_kept(on: Callable[[str], Host]) -> None:
    kept = psql(on("lab-db"), "SELECT count(*) FROM pg_database WHERE datname ~ '^blog_lastgood_.*_previous$'")
    assert kept == "1"
