# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Named files as sources: plain SQL, packed or not, without psql; and files that are damaged, foreign or hostile."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    CommandFailed,
    LastGoodError,
    Refused,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.plain_script import restore_script
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Server
from support.database_site import Site

#: What is hard to cut: semicolons without quotes, rows and texts that look like commands of psql.
TRICKY = r"""
CREATE FUNCTION atomic(int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN $1 > 0 THEN 1 END; SELECT 2; END;
CREATE TABLE tricky (a text DEFAULT E'\\! touch; "', b text);
CREATE RULE both_of_them AS ON DELETE TO tricky DO ALSO (SELECT 1; SELECT 2);
COMMENT ON TABLE tricky IS '
\! touch /tmp/lastgood-owned
\.
';
INSERT INTO tricky VALUES ('\.', E'\n\\.\n'), (E'\\! touch', ';'), (NULL, '\N');
"""


@pytest.fixture
def blog(site: Site) -> Site:
    """A database, whole."""
    site.create()
    return site


def pack(source: Path, packer: str) -> Path:
    """The file, packed."""
    if packer == "plain":
        return source
    packed = source.with_name(f"{source.name}.{packer}")
    if packer == "gz":
        packed.write_bytes(gzip.compress(source.read_bytes()))
    else:
        subprocess.run(["zstd", "-q", str(source), "-o", str(packed)], check=True)
    packed.chmod(0o644)
    return packed


def script(site: Site, text: str, name: str = "made.sql") -> dict[str, Any]:
    """A file that says it is a dump; the options that name it."""
    source = site.directory / name
    source.write_text(f"--\n-- PostgreSQL database dump\n--\n\n{text}\n-- PostgreSQL database dump complete\n")
    source.chmod(0o644)
    return {"source": str(source), "checksum": site.checksum(source), "accept": ["other_database"]}


@pytest.mark.parametrize("packer", ["plain", "gz", "zst"])
def test_plain_sql_is_restored(blog: Site, packer: str) -> None:
    blog.query(TRICKY)
    content, properties = blog.content(), blog.properties()
    source = pack(blog.dump("saved.sql", "plain"), packer)
    blog.damage()
    blog.query("DROP TABLE tricky; DROP FUNCTION atomic")
    plan = blog.plan(None, source=str(source), checksum=blog.checksum(source))
    assert plan.discards["rows"]["public.post"] == {"now": 301, "then": None, "differs": True}
    component = blog.component()
    component.prepare(plan)
    component.switch(plan)
    assert (blog.content(), blog.properties()) == (content, properties)


def test_rows_as_insert_statements_are_restored(blog: Site) -> None:
    blog.query(TRICKY)
    content = blog.content()
    source = blog.dump("saved.sql", "plain", "--inserts", "--rows-per-insert=7")
    blog.damage()
    plan = blog.plan(None, source=str(source), checksum=blog.checksum(source))
    component = blog.component()
    component.prepare(plan)
    component.switch(plan)
    assert blog.content() == content


@pytest.mark.parametrize(
    "line",
    [
        r"\! touch {mark}",
        r"\copy visit from program 'touch {mark}'",
        r"SELECT 1 \g |touch {mark}",
        r"SELECT 'x' \gexec",
        r"\connect postgres",
        r"\restrict abc; \! touch {mark}",
        "COPY visit FROM stdin;\n1\n\\.\n\\! touch {mark}",
    ],
)
def test_a_command_of_psql_in_plain_sql_never_runs(blog: Site, line: str) -> None:
    mark = blog.directory / "owned"
    before = (blog.oid(), blog.content())
    options = script(blog, f"CREATE TABLE visit (at int);\n{line.format(mark=mark)}\n")
    with pytest.raises(Refused, match="command of psql"):
        blog.plan(None, **options)
    # Nor where nobody has looked through it before.
    blog.query("CREATE DATABASE side", "postgres")
    with pytest.raises(LastGoodError, match="command of psql"):
        restore_script(Server.from_options(blog.server.options), "side", Path(options["source"]), CommandRunner(), "it")
    assert not mark.exists()
    assert (blog.oid(), blog.content()) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "CREATE TABLE t (a int);\nINSERT INTO t VALUES (1 / 0);\nCREATE TABLE u ();",
            "line 6, failed: division by zero",
        ),
        ("CREATE TABLE t (a int);\nCOPY t FROM stdin;\n1\nx\n\\.\n", 'line 6, failed: .*"x"'),
        ("CREATE TABLE t (a int) SELECT 1;", "syntax error"),
    ],
)
def test_an_error_in_plain_sql_ends_the_restore_and_harms_nothing(blog: Site, text: str, said: str) -> None:
    before = (blog.oid(), blog.content())
    plan = blog.plan(None, **script(blog, text))
    component = blog.component()
    with pytest.raises(LastGoodError, match=said):
        component.prepare(plan)
    component.undo(plan)
    assert (blog.oid(), blog.content(), blog.databases()) == (*before, ["blog"])


@pytest.mark.parametrize("packer", ["plain", "gz", "zst"])
def test_a_file_that_was_cut_off_is_refused_wherever_it_ends(blog: Site, packer: str) -> None:
    source = pack(blog.dump("saved.sql", "plain"), packer)
    before = (blog.oid(), blog.content())
    whole = source.read_bytes()
    for part in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        source.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(Refused, match=r"cut off|not a custom|unpacked"):
            blog.plan(None, source=str(source), allow_unverified=True)
    assert (blog.oid(), blog.content(), blog.databases()) == (*before, ["blog"])


FOREIGN = [
    ("all.sql", "-- PostgreSQL database cluster dump\n\\connect template1\n", "pg_dumpall"),
    ("text.sql", "Dear colleague,\nplease find the dump attached.\n", "not a custom"),
    ("new.sql", "-- PostgreSQL database dump\n-- Dumped from database version 99.1\n", r"PostgreSQL 99; .*older 15"),
]


@pytest.mark.parametrize(("name", "text", "said"), FOREIGN)
def test_a_file_of_the_wrong_kind_is_refused(blog: Site, name: str, text: str, said: str) -> None:
    source = blog.directory / name
    source.write_text(text)
    with pytest.raises(Refused, match=said):
        blog.plan(None, source=str(source), allow_unverified=True)


def test_a_packed_archive_and_one_that_creates_its_database_are_refused(blog: Site) -> None:
    packed = pack(blog.dump("saved", "custom"), "gz")
    with pytest.raises(Refused, match="not a custom"):
        blog.plan(None, source=str(packed), allow_unverified=True)
    creating = blog.dump("creating.sql", "plain", "--create", "--clean")
    with pytest.raises(Refused, match=r"DROP DATABASE.*Dump without --create"):
        blog.plan(None, source=str(creating), allow_unverified=True)


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_a_dump_of_another_database_is_refused(blog: Site, form: str) -> None:
    blog.query("CREATE DATABASE shop", "postgres")
    blog.query("CREATE TABLE item AS SELECT 1 AS a", "shop")
    source = blog.dump("shop", form, database="shop")
    source.chmod(0o644)
    options = {"source": str(source), "checksum": blog.checksum(source)}
    with pytest.raises(Refused, match=r"holds none of the 8 tables of database blog.*accept: \[other_database\]"):
        blog.plan(None, **options)
    plan = blog.plan(None, **options, accept=["other_database"])
    assert plan.changed
    # The same tables under another name are told only.
    blog.query("ALTER DATABASE blog RENAME TO blog_staging", "postgres")
    source = blog.dump("staging", "custom", database="blog_staging")
    blog.query("ALTER DATABASE blog_staging RENAME TO blog", "postgres")
    plan = blog.plan(None, source=str(source), checksum=blog.checksum(source))
    assert any("blog_staging" in warning for warning in plan.warnings)


@pytest.mark.parametrize("form", ["plain", "custom", "directory", "tar"])
def test_what_the_server_lacks_for_a_named_file_is_refused(blog: Site, form: str) -> None:
    blog.query("CREATE ROLE passing", "postgres")
    place = blog.server.base / "space"
    place.mkdir(exist_ok=True)
    shutil.chown(place, blog.server.account)
    blog.query(f"CREATE TABLESPACE passing LOCATION '{place}'", "postgres")
    try:
        blog.query("CREATE TABLE owned (a int) TABLESPACE passing; ALTER TABLE owned OWNER TO passing")
        source = blog.dump("saved", form)
        for path in [source, *(source.iterdir() if source.is_dir() else [])]:
            path.chmod(0o755)
        blog.query("DROP TABLE owned")
    finally:
        blog.query("DROP TABLESPACE passing", "postgres")
        blog.query("DROP ROLE passing", "postgres")
    with pytest.raises(Refused, match="role passing, tablespace passing"):
        blog.plan(None, source=str(source), checksum=blog.checksum(source))


def test_a_directory_archive_without_one_of_its_files_harms_nothing(blog: Site) -> None:
    source = blog.dump("saved", "directory")
    before = (blog.oid(), blog.content())
    max(source.iterdir(), key=lambda path: path.stat().st_size).unlink()
    plan = blog.plan(None, source=str(source), allow_unverified=True)
    component = blog.component()
    with pytest.raises(CommandFailed):
        component.prepare(plan)
    component.undo(plan)
    assert (blog.oid(), blog.content(), blog.databases()) == (*before, ["blog"])
