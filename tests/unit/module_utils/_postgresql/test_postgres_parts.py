# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From options to libpq's parameters, from archives' headers to versions, from dumps to comparable schemas."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._components.schema.diff import blocks, unlike
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import programs
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.archive import Archive, read_archive
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.catalogue import split_names
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.content import compare_inside
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.programs import PgPrograms
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.schema_text import (
    compare_objects,
    definitions,
    levelled,
    objects,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Server


@pytest.mark.parametrize(
    ("options", "host", "local"),
    [
        ({"login_host": "db1"}, "db1", False),
        ({"login_host": "127.0.0.1"}, "127.0.0.1", True),
        ({"login_unix_socket": "/run/pg"}, "/run/pg", True),
        ({"login_host": "localhost", "login_unix_socket": "/run/pg"}, "/run/pg", True),
        ({"login_host": "db1", "login_unix_socket": "/run/pg"}, "db1", False),
        ({"login_host": "/run/pg"}, "/run/pg", True),
    ],
)
def test_where_a_server_is(options: dict[str, Any], host: str, local: bool) -> None:
    server = Server.from_options(options)
    assert (server.host, server.is_local) == (host, local)


def test_options_come_back_from_json_without_the_password() -> None:
    options = {
        "login_host": "db1", "login_port": 5433, "login_user": "u", "login_db": "m", "ssl_mode": "verify-full",
        "ca_cert": "/ca", "connect_params": {"keepalives": 1}, "session_role": "r",
    }  # fmt: skip
    server = Server.from_options(options, "secret", "app")
    assert "secret" not in str(server.to_json())
    assert Server.from_options(server.to_json(), "secret", "app") == server


def program(directory: Path, name: str, words: str, asked: Path) -> Path:
    """A program that notes in a file that it was called."""
    directory.mkdir(exist_ok=True)
    made = directory / name
    made.write_text(f"#!/bin/sh\necho called >> {asked}\necho '{words}'\n", encoding="utf-8")
    made.chmod(0o755)
    return made


def test_a_wrapper_that_only_chooses_among_programs_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapped, asked = tmp_path / "wrapped", tmp_path / "asked"
    wrapper = program(wrapped, "pg_wrapper", "pg_restore (PostgreSQL) 99.7", tmp_path / "wrapper asked")
    for name in ("pg_dump", "pg_restore"):
        (wrapped / name).symlink_to(wrapper)
        program(tmp_path / "own", name, f"{name} (PostgreSQL) 99.3", asked)
    monkeypatch.setenv("PATH", f"{wrapped}:{tmp_path / 'own'}:{tmp_path / 'own'}:/usr/bin:/bin")
    found = PgPrograms.find(CommandRunner(), Server.from_options({"login_host": "127.0.0.1"}), 99)
    assert (found.directory, found.version) == (tmp_path / "own", (99, 3))
    assert not (tmp_path / "wrapper asked").exists()
    assert asked.read_text(encoding="utf-8") == "called\n"


def test_a_wrapper_is_better_than_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper = program(tmp_path / "wrapped", "pg_wrapper", "pg_restore (PostgreSQL) 99.7", tmp_path / "asked")
    for name in ("pg_dump", "pg_restore"):
        (tmp_path / "wrapped" / name).symlink_to(wrapper)
    monkeypatch.setenv("PATH", str(tmp_path / "wrapped"))
    monkeypatch.setattr(programs, "INSTALLED", ())
    found = PgPrograms.find(CommandRunner(), Server.from_options({"login_host": "127.0.0.1"}), 99)
    assert (found.directory, found.version) == (tmp_path / "wrapped", (99, 7))


def test_programs_learn_everything_from_environment_and_connection_string() -> None:
    options = {
        "login_host": "db1", "login_user": "u", "session_role": "the role", "ssl_mode": "require", "ca_cert": "/ca",
        "connect_params": {"keepalives": 1, "options": "-c geqo=off", "sslcert": "/crt"},
    }  # fmt: skip
    server = Server.from_options(options, "secret", "app")
    environment = server.environment()
    assert environment["PGPASSWORD"] == "secret"
    assert environment["PGOPTIONS"] == r"-c geqo=off -c role=the\ role"
    assert (environment["PGHOST"], environment["PGPORT"], environment["PGUSER"]) == ("db1", "5432", "u")
    assert (environment["PGSSLMODE"], environment["PGSSLROOTCERT"], environment["PGSSLCERT"]) == (
        "require",
        "/ca",
        "/crt",
    )
    assert server.conninfo(r"it's a \ db=x") == r"dbname='it\'s a \\ db=x' keepalives='1'"


def number(value: int) -> bytes:
    return bytes([value < 0]) + abs(value).to_bytes(4, "little")


def text(value: str) -> bytes:
    return number(len(value)) + value.encode()


def header(minor: int = 14, server: str = "15.3 (Debian)", program: str = "16.1", form: int = 1) -> bytes:
    compression = b"\1" if minor >= 15 else number(-1)
    date = b"".join(map(number, (1, 2, 3, 4, 0, 126, 0)))
    return (
        b"PGDMP" + bytes([1, minor, 0, 4, 8, form]) + compression + date + text("blog") + text(server) + text(program)
    )


@pytest.mark.parametrize("minor", [12, 13, 14, 15, 16])
@pytest.mark.parametrize("form", ["custom", "directory", "tar"])
def test_a_header_says_who_wrote_the_archive(tmp_path: Path, minor: int, form: str) -> None:
    place, content = tmp_path / "archive", header(minor)
    if form == "custom":
        place.write_bytes(content)
    elif form == "directory":
        place.mkdir()
        (place / "toc.dat").write_bytes(content)
    else:
        with tarfile.open(place, "w") as tar:
            member = tarfile.TarInfo("toc.dat")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    found = read_archive(place)
    assert found == Archive(form, "blog", "15.3 (Debian)", "16.1", found.bytes)
    assert found.major == 16


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a custom, directory or tar archive"),
        (b"SELECT 1;", "nor plain SQL of it"),
        (b"PGDMP", "cut off"),
        (header()[:30], "cut off"),
        (b"PGDMP\1\2\0\4\0\1", "unknown version 1.2"),
        (b"PGDMP\1\x0e\0\4\0\1" + b"\xff" * 60, "does not name the version"),
    ],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(Refused, match=said):
        read_archive(tmp_path / "archive")


@pytest.mark.parametrize(
    ("stored", "names"),
    [
        ("", []),
        ('""', [""]),
        ("public", ["public"]),
        ('"$user", public', ["$user", "public"]),
        ('"a, ""b""", c', ['a, "b"', "c"]),
    ],
)
def test_a_list_of_names_is_split_as_the_server_does(stored: str, names: list[str]) -> None:
    assert split_names(stored) == names


DUMP = """\\restrict aBc
--
-- PostgreSQL database dump
--
-- Dumped from database version 15.3
SET statement_timeout = 0;
SET default_tablespace = '';
--
-- Name: f(); Type: FUNCTION; Schema: public; Owner: me
--

CREATE FUNCTION public.f() RETURNS int AS $$
-- Name of nobody
UPDATE t
SET a = 1;
$$;
--
-- Name: t; Type: TABLE; Schema: public; Owner: me
--
CREATE TABLE public.t (
    CONSTRAINT c CHECK {check}
);
\\unrestrict aBc
"""
ONCE = "(((a)::text = ANY ((ARRAY['x'::character varying, 'y'::character varying])::text[])))"
TWICE = "(((a)::text = ANY (ARRAY[('x'::character varying)::text, ('y'::character varying)::text])))"


def lines(check: str) -> list[str]:
    return list(definitions(DUMP.replace("{check}", check).splitlines(keepends=True)))


def test_definitions_lose_only_what_defines_nothing() -> None:
    kept = "".join(lines(ONCE))
    for gone in ("restrict", "Dumped", "statement_timeout"):
        assert gone not in kept
    for needed in ("default_tablespace", "-- Name of nobody", "SET a = 1;", "Owner: me"):
        assert needed in kept


def test_an_expression_in_its_two_equal_forms_is_no_difference() -> None:
    assert [levelled(line) for line in lines(ONCE)] == [levelled(line) for line in lines(TWICE)]
    assert compare_objects(objects(lines(ONCE)), objects(lines(TWICE))) == {"missing": [], "added": [], "changed": []}


def test_objects_are_compared_by_kind_schema_and_name() -> None:
    wanted, found = objects(lines("(a > 1)")), objects(lines("(a > 2)"))
    assert sorted(wanted) == ["FUNCTION public f()", "TABLE public t"]
    assert compare_objects(wanted, found)["changed"] == ["TABLE public t"]
    assert compare_objects(wanted, {})["missing"] == sorted(wanted)


@pytest.mark.parametrize(
    ("wanted", "found", "good"),
    [("5", "5", True), ("5", "6", True), ("5", "4", False), ("5", None, False), (None, None, True), ("-5", "-6", True)],
)
def test_a_sequence_may_stand_further_but_not_behind(wanted: str | None, found: str | None, good: bool) -> None:
    base: dict[str, Any] = {"extensions": {}, "invalid": {}, "large_objects": 0}
    said = compare_inside({**base, "sequences": {"s": wanted}}, {**base, "sequences": {"s": found}})
    assert (said == []) is good


TABLE = """
-- Name: t; Type: TABLE; Schema: public; Owner: o
CREATE TABLE public.t (
    a integer NOT NULL,
    b text,
    CONSTRAINT c CHECK ((b = ANY (ARRAY['x'::text, 'y'::text])))
);
-- Name: v; Type: VIEW; Schema: public; Owner: o
CREATE VIEW public.v AS
 SELECT a,
    b
   FROM public.t;
"""


@pytest.mark.parametrize(
    ("old", "new", "wrong", "reordered"),
    [
        ("", "", [], []),
        ("'x'::text", "('x'::character varying)::text", [], []),
        ("a integer NOT NULL,\n    b text,", "b text,\n    a integer NOT NULL,", [], ["order of columns: TABLE public t"]),
        ("    b text,\n", "", ["changed: TABLE public t (without 'b text')"], []),
        ("b text", "b varchar", ["changed: TABLE public t (without 'b text', with 'b varchar')"], []),
        ("FROM public.t;", "FROM u;", ["changed: VIEW public v (without 'FROM public.t;', with 'FROM u;')"], []),
        ("Name: v;", "Name: w;", ["missing: VIEW public v", "added: VIEW public w"], []),
    ],
)  # fmt: skip
def test_what_a_downgrade_has_left_is_compared_line_by_line_but_for_the_order_of_columns(
    old: str, new: str, wrong: list[str], reordered: list[str]
) -> None:
    then, now = (blocks(text.splitlines()) for text in (TABLE, TABLE.replace(old, new)))
    assert unlike(then, now) == (wrong, reordered)
