# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever may write where a named dump lies: it lets another one be restored, or one that does more than to restore."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from accounts import Account
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.plain_script import restore_script
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Server
from support.database_site import Site

#: Waits until somebody opens a file, and puts another one in its place: renames work in one's own directory, whoever owns
#: what lies in it.
SWAPPER = """
import ctypes, os, sys
libc, (ours, good) = ctypes.CDLL(None), sys.argv[1:]
watch = libc.inotify_init()
assert libc.inotify_add_watch(watch, good.encode(), 0x20) >= 0  # IN_OPEN
print("watching", flush=True)
os.read(watch, 4096)
os.rename(ours, good)
print("swapped", flush=True)
"""
#: So much that comparing its checksum takes longer than to put another file in its place.
BYTES = 64 * 1024**2
ADMIN = "SELECT count(*) FROM pg_roles WHERE rolname = 'taken_over' AND rolsuper"
EVIL = """
CREATE FUNCTION public.evil() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
  EXECUTE 'CREATE ROLE taken_over SUPERUSER'; RETURN 1; EXCEPTION WHEN OTHERS THEN RETURN 2; END $$;
"""


@pytest.fixture
def shop(site: Site) -> Iterator[Site]:
    """A database with one table, of an owner without other rights."""
    site.name = "shop"
    site.server.psql("postgres", "CREATE ROLE owner_of_shop LOGIN", "CREATE DATABASE shop OWNER owner_of_shop")
    site.server.psql("shop", "CREATE TABLE price (euro int)", "INSERT INTO price VALUES (10)", user="owner_of_shop")
    yield site
    site.drop([name for name in site.databases() if name.startswith("shop")])
    site.query("DROP ROLE IF EXISTS taken_over", "postgres")
    site.query("DROP ROLE owner_of_shop", "postgres")


def laid_down(shop: Site, attacker: Account, name: str, form: str) -> Path:
    """A dump that root has written into a directory of the attacker, readable for all."""
    place = attacker.home / name
    shutil.move(shop.dump(name, form), place)
    os.chown(place, 0, 0)
    place.chmod(0o644)
    return place


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_what_is_restored_is_what_was_compared(shop: Site, attacker: Account, form: str) -> None:
    good, other = laid_down(shop, attacker, "good", form), attacker.home / "other"
    if form == "custom":
        os.truncate(good, BYTES)
    else:
        with good.open("a") as stream:
            stream.write("-- nothing\n" * (BYTES // 11))
    shop.query("UPDATE price SET euro = 0")
    shutil.move(shop.dump("other", form), other)
    os.chown(other, attacker.uid, attacker.gid)
    other.chmod(0o644)
    shop.query("UPDATE price SET euro = 5")
    plan = shop.plan(None, source=str(good), checksum=shop.checksum(good))
    with attacker.running("/usr/bin/python3", "-c", SWAPPER, other, good) as swapper:
        assert swapper.stdout is not None
        assert swapper.stdout.readline() == "watching\n"
        component = shop.component()
        component.prepare(plan)
        component.switch(plan)
        assert swapper.stdout.readline() == "swapped\n"
    assert shop.query("SELECT euro FROM price") == "10"


def test_a_pipe_in_place_of_a_dump_is_not_waited_for(shop: Site, attacker: Account) -> None:
    attacker.run("mkfifo", "good")
    for words in ({"allow_unverified": True}, {"checksum": f"sha256:{'0' * 64}"}):
        with pytest.raises(Refused, match="neither a file nor a directory"):
            shop.plan(None, source=str(attacker.home / "good"), **words)


def script(shop: Site, attacker: Account, *lines: str) -> dict[str, object]:
    """Plain SQL of the database, with more in it than pg_dump wrote; the operator believes it."""
    place = laid_down(shop, attacker, "good.sql", "plain")
    end = "\n--\n-- PostgreSQL database dump complete\n"
    text = place.read_text()
    assert end in text
    place.write_text(text.replace(end, "\n".join(["", *lines, end])))
    return {"source": str(place), "checksum": shop.checksum(place)}


@pytest.mark.parametrize(
    "line",
    [
        "COPY public.price FROM PROGRAM 'touch {mark}; echo 1';",
        "CREATE ROLE taken_over SUPERUSER;",
        "ALTER DATABASE shop RENAME TO gone;",
        "DO $$ BEGIN EXECUTE 'CREATE ROLE taken_over SUPERUSER'; END $$;",
        "SELECT public.evil();",
    ],
)
def test_a_script_reaches_nothing_but_the_database_it_is_restored_into(
    shop: Site, attacker: Account, line: str
) -> None:
    mark = shop.server.base / "touched"
    options = script(shop, attacker, EVIL, line.format(mark=mark))
    with pytest.raises(Refused, match="does not write for one database"):
        shop.plan(None, **options)
    # Nor where nobody has looked through it before.
    shop.query("CREATE DATABASE shop_side", "postgres")
    server = Server.from_options(shop.server.options)
    with pytest.raises(LastGoodError, match="does not write for one database"):
        restore_script(server, "shop_side", Path(str(options["source"])), CommandRunner(), "it")
    assert shop.databases() == ["shop", "shop_side"]
    assert (shop.query(ADMIN), mark.exists()) == ("0", False)


def test_what_a_script_calls_has_the_rights_of_the_database_s_owner(shop: Site, attacker: Account) -> None:
    options = script(shop, attacker, EVIL, "INSERT INTO public.price VALUES (public.evil());")
    plan = shop.plan(None, **options)
    component = shop.component()
    component.prepare(plan)
    component.switch(plan)
    assert shop.query("SELECT string_agg(euro::text, ',' ORDER BY euro) FROM price") == "2,10"
    assert shop.query(ADMIN) == "0"


def test_a_script_that_could_only_run_with_our_rights_is_asked_for(shop: Site, attacker: Account) -> None:
    options = script(shop, attacker)
    shop.query("ALTER ROLE owner_of_shop NOLOGIN", "postgres")
    with pytest.raises(Refused, match=r"whatever role postgres may .* log in there as owner_of_shop.*\[owner_code\]"):
        shop.plan(None, **options)
    plan = shop.plan(None, **options, accept=["owner_code"])
    component = shop.component()
    component.prepare(plan)
    component.switch(plan)
    assert shop.query("SELECT euro FROM price") == "10"
