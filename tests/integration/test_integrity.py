# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module pg_integrity_info on databases that are broken first, each in one way, by psql or on the disk."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._checks.integrity.session import CatalogueSession
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import DatabaseError, Server
from integration.test_pg_restore import call
from support.database_site import Site
from support.postgres_server import PostgresServer, running_server, wait_until

UNCHECKED = "SET session_replication_role = replica;"


def inspect(site: Site, **options: Any) -> dict[str, Any]:
    """Call pg_integrity_info."""
    result = call(site, "pg_integrity_info", name=site.name, **{**site.server.options, **options})
    assert not result.get("failed"), result
    assert result["changed"] is False
    return result


def found(result: dict[str, Any], check: str) -> dict[str, tuple[str, Any]]:
    """Object → severity and count of what one check found."""
    return {
        finding["object"]: (finding["severity"], finding.get("count"))
        for finding in result["findings"]
        if finding["check"] == check
    }


@pytest.fixture
def blog(site: Site) -> Site:
    """A database, whole."""
    site.create()
    return site


def test_a_whole_database_is_healthy(blog: Site) -> None:
    blog.query("CREATE EXTENSION amcheck")
    before = blog.content()
    result = inspect(blog)
    assert (result["healthy"], result["complete"]) == (True, True), result
    assert blog.content() == before
    assert result["findings"] == []
    counted = {key: table["rows"] for key, table in result["tables"].items()}
    assert counted == {
        "public.post": 300,
        "public.post_section": 900,
        "public.visit": 50,
        "public.event_old": 213,
        "public.event_new": 187,
        'odd "schema.Tä$ble; --': 3,
        "public.alembic_version": 1,
        "public.empty": 0,
    }


def test_orphans_behind_a_foreign_key_that_is_marked_valid(blog: Site) -> None:
    blog.query(f"{UNCHECKED} DELETE FROM post WHERE id IN (7, 8)")
    assert blog.query("SELECT bool_and(convalidated) FROM pg_constraint") == "t"
    blog.query("ALTER TABLE post_section VALIDATE CONSTRAINT post_section_post_id_fkey")
    result = inspect(blog)
    assert result["healthy"] is False
    assert found(result, "orphans") == {"public.post_section post_section_post_id_fkey": ("error", 6)}
    (finding,) = result["findings"]
    assert "public.post_section (post_id) → public.post (id)" in finding["detail"]
    assert blog.query(f"SELECT DISTINCT post_id FROM ({finding['query']}) q ORDER BY 1") == "7\n8"


KEYS = """
CREATE TABLE "pa rent" (a int, "b b" text COLLATE "C", UNIQUE (a, "b b"));
INSERT INTO "pa rent" VALUES (1, 'x'), (2, 'y');
CREATE TABLE simple_child (a int, b text COLLATE "en-x-icu", FOREIGN KEY (a, b) REFERENCES "pa rent" (a, "b b"));
CREATE TABLE full_child (a bigint, b text, FOREIGN KEY (a, b) REFERENCES "pa rent" (a, "b b") MATCH FULL);
CREATE TABLE part (id int PRIMARY KEY, up int REFERENCES part) PARTITION BY RANGE (id);
CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (100);
CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (100) TO (200);
CREATE TABLE heir () INHERITS (simple_child);
INSERT INTO part VALUES (1, NULL), (150, 1);
SET session_replication_role = replica;
INSERT INTO simple_child VALUES (1, 'x'), (1, NULL), (NULL, 'nowhere'), (NULL, NULL), (2, 'x'), (9, 'y');
INSERT INTO full_child VALUES (1, 'x'), (1, NULL), (NULL, NULL), (2, 'x');
INSERT INTO heir VALUES (77, 'not under the key');
INSERT INTO part VALUES (3, 77), (160, 161), (170, 150);
"""


def test_orphans_of_composite_keys_partitions_and_null(blog: Site) -> None:
    blog.query(KEYS)
    result = inspect(blog, checks=["orphans"])
    assert found(result, "orphans") == {
        "public.simple_child simple_child_a_b_fkey": ("error", 2),
        "public.full_child full_child_a_b_fkey": ("error", 2),
        "public.part part_up_fkey": ("error", 2),
    }
    for finding in result["findings"]:
        assert blog.query(f"SELECT count(*) FROM ({finding['query']}) q") == "2"


def test_constraints_that_were_never_validated_and_rows_that_break_them(blog: Site) -> None:
    blog.query(
        "ALTER TABLE visit ADD CONSTRAINT early CHECK (at < 40) NOT VALID;"
        "ALTER TABLE visit ADD CONSTRAINT fine CHECK (at > 0 OR at IS NULL) NOT VALID;"
        "ALTER TABLE post_section ADD CONSTRAINT again FOREIGN KEY (post_id) REFERENCES post NOT VALID;"
    )
    result = inspect(blog)
    assert [(one["object"], one["severity"], one.get("count")) for one in result["findings"]] == [
        *[("public.post_section again", "warning", None)],
        *[("public.visit early", "warning", None), ("public.visit fine", "warning", None)],
        ("public.visit early", "error", 11),
    ]


@pytest.mark.parametrize(
    "expression",
    [
        "sly(at)",
        "lo_export(1, '/tmp/' || at) IS NOT NULL",
        "pg_terminate_backend(pg_backend_pid())",
        "table_to_xml('sly', true, true, '') IS NOT NULL",
        "at::sly_domain > 0",
        "at OPERATOR(public.=!=) at",
    ],
)
def test_what_users_wrote_is_not_run_with_the_rights_of_a_superuser(blog: Site, expression: str) -> None:
    blog.query(
        "CREATE FUNCTION sly(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN"
        " RAISE EXCEPTION 'I was run'; END $$;"
        "CREATE VIEW sly AS SELECT sly(1);"
        "CREATE DOMAIN sly_domain AS int CHECK (sly(VALUE));"
        "CREATE FUNCTION sly(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT sly($1)';"
        "CREATE OPERATOR =!= (FUNCTION = sly, LEFTARG = int, RIGHTARG = int);"
        f"ALTER TABLE visit ADD CONSTRAINT sly CHECK ({expression}) NOT VALID"
    )
    result = inspect(blog, checks=["constraints"])
    assert result["healthy"] is True
    assert [one["object"] for one in result["not_checked"]] == ["public.visit sly"]
    assert "functions" in result["not_checked"][0]["reason"]


def test_it_can_write_nothing_even_by_accident(blog: Site) -> None:
    with Server.from_options(blog.server.options).connect("blog") as session:
        CatalogueSession(session, 10)
        with pytest.raises(DatabaseError, match="read-only transaction"):
            session.execute("DELETE FROM public.visit")
    assert blog.query("SELECT count(*) FROM visit") == "50"


def test_an_invalid_index(blog: Site) -> None:
    blog.query("INSERT INTO visit VALUES (1)")
    failed = blog.server.psql("blog", "CREATE UNIQUE INDEX CONCURRENTLY once ON visit (at)", check=False)
    assert "could not create unique index" in failed
    result = inspect(blog)
    assert found(result, "indexes") == {"public.once": ("error", None)}
    blog.query("DROP INDEX once")
    assert inspect(blog)["healthy"] is True


def test_a_sequence_that_is_behind_its_column(blog: Site) -> None:
    blog.query("SELECT setval('post_id_seq', 100), setval('post_section_id_seq', 901, false)")
    blog.query(
        "CREATE SEQUENCE loose INCREMENT -2 MINVALUE -100 START -1;"
        "CREATE TABLE down (id int DEFAULT nextval('loose'));"
        "INSERT INTO down DEFAULT VALUES; INSERT INTO down VALUES (-9), (-1000), (1000)"
    )
    result = inspect(blog)
    assert found(result, "sequences") == {"public.post_id_seq": ("error", 200), "public.loose": ("error", 7)}
    said = blog.server.psql("blog", "INSERT INTO post (title) VALUES ('a')", check=False)
    assert "duplicate key" in said


def test_triggers_that_do_not_fire(blog: Site) -> None:
    blog.query(
        "ALTER TABLE post_section DISABLE TRIGGER shouting; ALTER TABLE post DISABLE TRIGGER ALL",
    )
    result = inspect(blog)
    assert found(result, "triggers") == {
        "public.post_section shouting": ("warning", None),
        "public.post_section post_section_post_id_fkey": ("error", None),
    }


def test_only_the_named_tables(blog: Site) -> None:
    blog.query(f"{UNCHECKED} DELETE FROM post WHERE id = 7")
    blog.query("SELECT setval('post_id_seq', 100)")
    blog.query("ALTER TABLE visit ADD CONSTRAINT early CHECK (at < 40) NOT VALID")
    for_sections = inspect(blog, tables=["post_section"])
    assert found(for_sections, "orphans").keys() == {"public.post_section post_section_post_id_fkey"}
    assert len(for_sections["findings"]) == 1
    assert for_sections["tables"] == {"public.post_section": {"rows": 900}}
    for_posts = inspect(blog, tables=["public.post"])
    assert {finding["check"] for finding in for_posts["findings"]} == {"orphans", "sequences"}
    of_events = inspect(blog, tables=["event"])
    assert of_events["findings"] == []
    assert of_events["tables"].keys() == {"public.event_old", "public.event_new"}

    wrong = call(blog, "pg_integrity_info", name="blog", tables=["posts"], **blog.server.options)
    assert wrong["failed"]
    assert "public.posts" in wrong["msg"]


def make_slow(blog: Site) -> None:
    """Give a table a constraint that takes minutes to look at; it is made without looking."""
    blog.query("INSERT INTO visit SELECT generate_series(100, 9999)")
    blog.query("ALTER TABLE visit ADD CONSTRAINT slow CHECK (md5(repeat(at::text, 5000000)) <> '') NOT VALID")


def test_what_there_was_no_time_for_is_listed(blog: Site) -> None:
    make_slow(blog)
    blog.query("CREATE EXTENSION amcheck")
    result = inspect(blog, timeout=2)
    assert result["complete"] is False
    left = {(one["check"], one["object"]) for one in result["not_checked"]}
    assert ("constraints", "public.visit slow") in left
    assert {check for check, _what in left} == {"constraints", "orphans", "rows", "pages"}
    assert blog.query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lastgood check'") == "0"


def test_a_connection_that_is_lost_is_a_finding(blog: Site) -> None:
    make_slow(blog)
    # Looking makes this process another user's now and then: no program may be started meanwhile.
    with Server.from_options(blog.all_options).connect("postgres") as other:

        def end_it() -> bool:
            return bool(
                other.rows(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lastgood check'"
                    " AND state = 'active' AND query LIKE '%md5%'"
                )
            )

        killer = threading.Thread(target=wait_until, args=(end_it, 60))
        killer.start()
        result = inspect(blog, checks=["constraints", "orphans"])
        killer.join()
    assert found(result, "connection") == {"database blog": ("error", None)}
    assert "lost in the check constraints" in result["findings"][-1]["detail"]
    assert [one["check"] for one in result["not_checked"]] == ["constraints", "orphans"]


def test_a_locked_table_does_not_take_the_time_of_the_others(blog: Site) -> None:
    blog.query("GRANT ALL ON visit TO hammer")
    holder = psycopg2.connect(
        host=str(blog.server.sockets), port=blog.server.port, user="hammer", dbname="blog"
    )  # fmt: skip
    try:
        holder.cursor().execute("LOCK TABLE visit IN ACCESS EXCLUSIVE MODE")
        result = inspect(blog, checks=["rows"])
    finally:
        holder.close()
    assert [(one["object"], "locked" in one["reason"]) for one in result["not_checked"]] == [("public.visit", True)]
    assert "public.post" in result["tables"]


def test_the_owner_needs_to_be_no_superuser(site: Site) -> None:
    site.create(owner="keeper")
    site.query("CREATE EXTENSION amcheck")
    site.query(f"{UNCHECKED} DELETE FROM post WHERE id = 7")
    options = {
        "login_host": "127.0.0.1", "login_user": "keeper", "login_password": "se cret", "login_unix_socket": "",
    }  # fmt: skip
    result = inspect(site, **options)
    assert found(result, "orphans") == {"public.post_section post_section_post_id_fkey": ("error", 3)}
    assert {one["check"] for one in result["not_checked"]} == {"pages"}
    assert "superuser" in result["not_checked"][0]["reason"]
    assert result["tables"]["public.post"] == {"rows": 299}

    site.query("REVOKE SELECT ON visit FROM keeper")
    refused = inspect(site, **options, checks=["rows"])
    assert [one["object"] for one in refused["not_checked"]] == ["public.visit"]
    assert "permission denied" in refused["not_checked"][0]["reason"]


def test_a_database_that_can_not_be_reached_is_a_finding(blog: Site) -> None:
    result = call(blog, "pg_integrity_info", name="nosuch", **blog.server.options)
    assert not result.get("failed"), result
    assert (result["healthy"], result["complete"]) == (False, False)
    assert found(result, "connection") == {"database nosuch": ("error", None)}
    assert "nosuch" in result["findings"][0]["detail"]


def test_comparison_with_a_restore_point(blog: Site) -> None:
    blog.options = dict(blog.server.options)
    made = call(blog, "restore_point", name="p1", stack="blog", databases=[{"name": "blog", **blog.options}])
    assert made.get("changed"), made
    same = inspect(blog, restore_point="p1")
    assert (same["healthy"], same["findings"]) == (True, [])
    assert {table["equal"] for table in same["tables"].values()} == {True}

    blog.damage()
    blog.query("DROP TABLE empty; CREATE TABLE extra (id int); INSERT INTO extra VALUES (1)")
    result = inspect(blog, restore_point="p1", checks=["comparison"])
    assert found(result, "comparison") == {
        "database blog": ("error", None),
        "VIEW public good_posts": ("error", None),
        "TABLE public empty": ("error", None),
        "TABLE public extra": ("error", None),
        "TABLE public post": ("error", None),
        "public.empty": ("error", 0),
        "public.extra": ("error", 1),
        "public.visit": ("error", 50),
        "public.post": ("error", 1),
        "public.post_section": ("error", None),
        "public.alembic_version": ("error", None),
    }
    assert result["tables"]["public.event_old"]["equal"] is True
    assert result["tables"]["public.post"]["equal"] is False
    narrow = inspect(blog, restore_point="p1", checks=["comparison"], tables=["empty", "event"])
    assert found(narrow, "comparison").keys() == {"public.empty"}


def test_without_psycopg2_it_says_what_to_install(site: Site, tmp_path: Path) -> None:
    (tmp_path / "psycopg2.py").write_text("raise ImportError('not here')\n")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import runpy;"
        " runpy.run_module('ansible_collections.lastgood.rollback.plugins.modules.pg_integrity_info',"
        " run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input='{"ANSIBLE_MODULE_ARGS": {"name": "blog"}}', capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "psycopg2" in done.stdout
    assert "install" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


# -- damage on the disk ----------------------------------------------------------------------------------------------


@pytest.fixture
def broken_cluster(tmp_path: Path, make_context: Any) -> Iterator[Site]:
    """A cluster of its own, whose files may be damaged."""
    with running_server({"autovacuum": "off"}) as server:
        site = Site(server, make_context, tmp_path, name="postgres")
        site.query(
            "CREATE EXTENSION amcheck;"
            "CREATE TABLE victim (id int PRIMARY KEY, body text);"
            "INSERT INTO victim SELECT g, 'body' FROM generate_series(1, 500) g;"
            "CREATE TABLE bystander AS SELECT * FROM victim;"
        )
        server.psql("postgres", "VACUUM", "CHECKPOINT")
        yield site


def overwrite(server: PostgresServer, table: str, find: bytes, replace: bytes) -> None:
    """Change bytes in a table's file while the server is down."""
    path = server.data / server.psql("postgres", f"SELECT pg_relation_filepath('{table}')")
    server.stop("fast")
    content = path.read_bytes()
    assert content.count(find) >= 1
    path.write_bytes(content.replace(find, replace, 1))
    server.start()


def test_a_row_whose_index_entry_is_lost(broken_cluster: Site) -> None:
    assert inspect(broken_cluster)["healthy"] is True
    # The key of row 77 becomes 7700077, as a flipped bit or a lost write would leave it.
    row = (77).to_bytes(4, "little") + b"\x0bbody"
    overwrite(broken_cluster.server, "victim", row, (7700077).to_bytes(4, "little") + b"\x0bbody")
    result = inspect(broken_cluster)
    assert result["healthy"] is False
    assert found(result, "pages") == {"public.victim_pkey": ("error", None)}


def test_a_damaged_tuple_header(broken_cluster: Site) -> None:
    xmin = int(broken_cluster.query("SELECT xmin FROM victim WHERE id = 1"))
    server = broken_cluster.server
    head = xmin.to_bytes(4, "little") + bytes(4)
    overwrite(server, "victim", head, (xmin + 1_000_000).to_bytes(4, "little") + bytes(4))
    result = inspect(broken_cluster, checks=["pages"])
    assert result["healthy"] is False
    assert "public.victim" in found(result, "pages")
    assert not [what for what in found(result, "pages") if "bystander" in what]


def test_a_page_that_is_no_page_is_found_without_amcheck(broken_cluster: Site) -> None:
    server = broken_cluster.server
    broken_cluster.query("DROP EXTENSION amcheck")
    header = (server.data / server.psql("postgres", "SELECT pg_relation_filepath('victim')")).read_bytes()[:24]
    overwrite(server, "victim", header, b"\xff" * 24)
    result = inspect(broken_cluster)
    assert found(result, "rows") == {"public.victim": ("error", None)}
    assert result["tables"] == {"public.bystander": {"rows": 500}}
    assert {one["reason"] for one in result["not_checked"]} == {
        "the extension amcheck is not installed in this database"
    }
