# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database's rollback refuses, and that it refuses before anything live is touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    ChecksumMismatch,
    CommandFailed,
    LastGoodError,
    Refused,
    VerificationFailed,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry
from support.database_site import FIRST, SECOND, Site, checksums


def data_file(point: PointEntry) -> Path:
    """The largest file of an archive."""
    return max((point.directory / "archive").iterdir(), key=lambda path: path.stat().st_size)


def flip_a_bit(point: PointEntry) -> None:
    content = bytearray(data_file(point).read_bytes())
    content[len(content) // 2] ^= 4
    data_file(point).write_bytes(content)


def cut_off(point: PointEntry) -> None:
    data_file(point).write_bytes(data_file(point).read_bytes()[:-9])


def lose(point: PointEntry) -> None:
    data_file(point).unlink()


def add_a_file(point: PointEntry) -> None:
    (point.directory / "archive" / "9999.dat").write_text("COPY more")


@pytest.mark.parametrize("harm", [flip_a_bit, cut_off, lose, add_a_file])
def test_an_archive_that_changed_since_the_plan_is_never_opened(
    damaged: tuple[Site, PointEntry], harm: Callable[[PointEntry], None]
) -> None:
    site, point = damaged
    plan = site.plan(point)
    before = (site.oid(), site.content())
    harm(point)
    component = site.component()
    with pytest.raises(ChecksumMismatch):
        component.prepare(plan)
    component.undo(plan)
    assert (site.oid(), site.content()) == before
    assert site.databases() == ["blog"]


def test_a_restore_point_that_lies_about_its_content_is_found_out(damaged: tuple[Site, PointEntry]) -> None:
    """Checksums can be right and the content still not what was counted: it is counted again in the side database."""
    site, point = damaged
    facts = {**point.facts, "tables": {**point.facts["tables"], "public.visit": {"rows": 49, "hash": "0"}}}
    plan = site.plan(PointEntry(point.point, point.directory, facts, point.artefacts))
    before = (site.oid(), site.content())
    component = site.component()
    with pytest.raises(VerificationFailed, match=r"public\.visit has 50 rows instead of 49"):
        component.prepare(plan)
    component.undo(plan)
    assert (site.oid(), site.content(), site.databases()) == (*before, ["blog"])


def test_a_prepared_transaction(damaged: tuple[Site, PointEntry]) -> None:
    site, point = damaged
    site.query("BEGIN; INSERT INTO visit VALUES (1); PREPARE TRANSACTION 'left over'")
    with pytest.raises(Refused, match="left over"):
        site.plan(point)


def test_a_logical_slot_needs_consent(damaged: tuple[Site, PointEntry]) -> None:
    site, point = damaged
    site.query("SELECT pg_create_logical_replication_slot('feed', 'pgoutput')")
    with pytest.raises(Refused, match=r"feed.*accept: \[slots\]"):
        site.plan(point)
    plan = site.plan(point, accept=["slots"])
    assert any("feed" in warning for warning in plan.warnings)


def test_a_subscription_needs_consent_and_does_not_come_back(site: Site) -> None:
    site.create()
    site.query("CREATE SUBSCRIPTION sub CONNECTION 'host=/nowhere' PUBLICATION p WITH (connect = false)")
    point = site.capture()
    site.damage()
    try:
        with pytest.raises(Refused, match="sub"):
            site.plan(point)
        plan = site.roll_back(point, accept=["subscriptions"])
        assert any("sub" in warning for warning in plan.warnings)
        where = "SELECT datname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid"
        previous = site.component().result(plan, {})["previous_database"]
        assert site.query(where, "postgres") == previous
    finally:
        for name in site.databases():
            if site.query("SELECT count(*) FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid"
                          " WHERE datname = current_database()", name) == "1":  # fmt: skip
                site.query("ALTER SUBSCRIPTION sub SET (slot_name = NONE)", name)
                site.query("DROP SUBSCRIPTION sub", name)


@pytest.mark.parametrize("name", ["postgres", "template1"])
def test_the_maintenance_database_and_templates(site: Site, name: str) -> None:
    with pytest.raises(Refused, match="login_db"):
        site.component().plan({**site.all_options, "name": name, "source": "/nowhere"}, None)


def test_a_server_that_does_not_answer(site: Site) -> None:
    site.create()
    point = site.capture()
    with pytest.raises(Refused, match="Connecting to database postgres"):
        site.plan(point, login_port=1)


def test_another_transaction_is_at_it(damaged: tuple[Site, PointEntry]) -> None:
    site, point = damaged
    plan = site.plan(point)
    site.component().prepare(plan)
    with pytest.raises(Refused, match=f"already being rolled back by transaction {FIRST}"):
        site.plan(point, SECOND)


def test_a_role_that_is_missing(damaged: tuple[Site, PointEntry]) -> None:
    site, point = damaged
    inside = {**point.facts["inside"], "roles": ["nobody_here"], "extensions": {"not_there": "1"}}
    with pytest.raises(Refused, match="role nobody_here, extension not_there"):
        site.plan(PointEntry(point.point, point.directory, {**point.facts, "inside": inside}, point.artefacts))


def test_a_disk_that_would_fill(damaged: tuple[Site, PointEntry]) -> None:
    site, point = damaged
    inside = {**point.facts["inside"], "bytes": 1 << 60}
    with pytest.raises(Refused, match="free"):
        site.plan(PointEntry(point.point, point.directory, {**point.facts, "inside": inside}, point.artefacts))


def test_programs_that_are_too_old(damaged: tuple[Site, PointEntry]) -> None:
    site, point = damaged
    place = site.server.base / "old"
    place.mkdir()
    place.chmod(0o755)
    for name in ("pg_dump", "pg_restore"):
        (place / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) 12.3'\n")
        (place / name).chmod(0o755)
    with pytest.raises(Refused, match=r"PostgreSQL 15 or newer are needed.*12\.3"):
        site.plan(point, bin_dir=str(place))


def test_an_archive_of_a_newer_server(damaged: tuple[Site, PointEntry]) -> None:
    site, point = damaged
    with pytest.raises(Refused, match=r"PostgreSQL 99.*older"):
        site.plan(PointEntry(point.point, point.directory, {**point.facts, "server_version": 990001}, point.artefacts))


def test_row_security_that_hides_rows_stops_the_capture(site: Site) -> None:
    """FORCE ROW LEVEL SECURITY once let an owner's copy silently lose most of the rows."""
    site.create(owner="keeper")
    site.server.psql(
        "blog",
        "CREATE TABLE mine AS SELECT generate_series(1, 9) AS a",
        "ALTER TABLE mine ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE mine FORCE ROW LEVEL SECURITY",
        "CREATE POLICY few ON mine USING (a > 6)",
        user="keeper",
    )
    site.options = {"login_user": "keeper"}
    with pytest.raises(LastGoodError, match="row-level security"):
        site.capture()


SOURCES: list[tuple[str, dict[str, Any], str]] = [
    ("missing", {"checksum": "sha256:" + "0" * 64}, "does not exist"),
    ("plain.sql", {"allow_unverified": True}, "DROP DATABASE postgres.*could reach beyond the database"),
    ("empty", {"allow_unverified": True}, "not a custom, directory or tar archive"),
    ("cut", {"allow_unverified": True}, "cut off"),
    ("good", {}, "has no checksum"),
    ("good", {"checksum": "sha256:" + "0" * 64}, "damaged or replaced"),
]


@pytest.mark.parametrize(("name", "options", "said"), SOURCES)
def test_a_source_that_is_not_to_be_trusted(site: Site, name: str, options: dict[str, Any], said: str) -> None:
    site.query("CREATE DATABASE blog", "postgres")
    site.directory.joinpath("plain.sql").write_text(
        "-- PostgreSQL database dump\nDROP DATABASE postgres;\n\\! touch /tmp/owned\n"
    )
    site.directory.joinpath("empty").write_bytes(b"")
    whole = site.dump("good", "custom").read_bytes()
    site.directory.joinpath("cut").write_bytes(whole[:20])
    with pytest.raises(Refused, match=said):
        site.plan(None, source=str(site.directory / name), **options)


PLACES = [
    ("custom", "in place"),
    ("custom", "closed to postgres"),
    ("custom", "open to everybody"),
    ("custom", "through a link"),
    ("directory", "in place"),
    ("directory", "closed to postgres"),
    ("tar", "in place"),
]


@pytest.mark.parametrize(("form", "place"), PLACES)
def test_a_named_source_is_restored_wherever_it_lies(site: Site, form: str, place: str) -> None:
    site.create()
    content, properties = site.content(), site.properties()
    source = site.dump("saved", form)
    if place == "open to everybody":
        for path in [source, *(source.iterdir() if form == "directory" else [])]:
            path.chmod(0o777)
    if place == "in place":
        for path in [source, *(source.iterdir() if form == "directory" else [])]:
            path.chmod(0o755)
    wanted = source
    if place == "through a link":
        wanted = site.directory / "latest"
        wanted.symlink_to(source)
    site.damage()
    plan = site.plan(None, source=str(wanted), checksum=site.checksum(source))
    assert plan.changed
    assert plan.discards["rows"]["public.post"] == {"now": 301, "then": None, "differs": True}
    component = site.component()
    evidence = component.prepare(plan)
    component.switch(plan)
    assert (site.content(), site.properties()) == (content, properties)
    assert evidence["verification"]["content"] == "unknown"
    assert not (component.context.workspace / "source").exists()


def test_a_source_that_changes_between_plan_and_prepare(site: Site) -> None:
    site.create()
    source = site.dump("saved", "custom")
    plan = site.plan(None, source=str(source), checksum=site.checksum(source))
    content = bytearray(source.read_bytes())
    content[-100] ^= 1
    source.write_bytes(content)
    component = site.component()
    with pytest.raises(ChecksumMismatch, match="No tool has opened it"):
        component.prepare(plan)
    component.undo(plan)
    assert site.databases() == ["blog"]


def test_a_restore_with_an_error_is_a_failure(site: Site) -> None:
    """A row that its own constraint now rejects: pg_restore without --exit-on-error would go on."""
    site.query("CREATE DATABASE blog", "postgres")
    site.query("CREATE TABLE t AS SELECT 1 AS a; CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1 / ($1 - 1)';"
               "ALTER TABLE t ADD CHECK (f(a + 1) > 0)")  # fmt: skip
    site.query("CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1 / ($1 - 2)'")
    point = site.capture()
    assert checksums(point.directory) == point.artefacts
    site.query("DELETE FROM t")
    plan = site.plan(point)
    component = site.component()
    with pytest.raises(CommandFailed, match="division by zero"):
        component.prepare(plan)
    component.undo(plan)
    assert site.databases() == ["blog"]
