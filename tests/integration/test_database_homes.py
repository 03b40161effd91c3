# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can't be changed once a database is made, and does not follow to a new one: tablespace, encoding, locale provider."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from support.database_site import Site

HOME = """
SELECT pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider, daticulocale, spcname
FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE datname = 'blog'
"""
WORDS = {
    "tablespace": "TABLESPACE beside",
    "encoding": "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
    "no encoding": "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'",
    "collation": "LC_COLLATE 'C' LC_CTYPE 'C'",
    "ICU": "LOCALE_PROVIDER icu ICU_LOCALE 'de-u-co-phonebk'",
}
#: What the collation does to these is seen in their order.
FILL = "CREATE TABLE word (w text); INSERT INTO word VALUES ('Zebra'), ('apfel'), ('äpfel'), ('Ähre'), ('zoo')"
ORDER = "SELECT string_agg(encode(w::bytea, 'hex'), ' ' ORDER BY w) FROM word"


@pytest.fixture
def homes(site: Site) -> Iterator[Site]:
    """With a tablespace besides the default one."""
    place = site.server.base / "beside"
    place.mkdir()
    shutil.chown(place, site.server.account)
    site.query(f"CREATE TABLESPACE beside LOCATION '{place}'", "postgres")
    yield site
    site.drop(site.databases())
    site.query("DROP TABLESPACE beside", "postgres")
    shutil.rmtree(place)


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_a_database_comes_back_with_its_home(homes: Site, words: str) -> None:
    site = homes
    site.query(f"CREATE DATABASE blog TEMPLATE template0 {words}", "postgres")
    site.query(f"SET client_encoding = 'UTF8'; {FILL}")
    home, order, oid = site.query(HOME, "postgres"), site.query(ORDER), site.oid()
    point = site.capture()
    site.query("DELETE FROM word WHERE w ~ 'Z'")
    site.roll_back(point)
    assert (site.query(HOME, "postgres"), site.query(ORDER)) == (home, order)
    assert site.oid() != oid


def test_a_missing_database_comes_back_with_the_home_of_the_restore_point(homes: Site) -> None:
    site = homes
    site.query(f"CREATE DATABASE blog TEMPLATE template0 {WORDS['ICU']} TABLESPACE beside", "postgres")
    site.query(FILL)
    home, order = site.query(HOME, "postgres"), site.query(ORDER)
    point = site.capture()
    site.query("DROP DATABASE blog", "postgres")
    site.roll_back(point)
    assert (site.query(HOME, "postgres"), site.query(ORDER)) == (home, order)


def test_a_tablespace_that_is_gone_is_refused_in_plan(homes: Site, tmp_path: Path) -> None:
    site = homes
    site.query("CREATE DATABASE blog TABLESPACE beside", "postgres")
    point = site.capture()
    site.query("DROP DATABASE blog", "postgres")
    site.query("ALTER TABLESPACE beside RENAME TO elsewhere", "postgres")
    try:
        with pytest.raises(Refused, match="tablespace beside"):
            site.plan(point)
        assert site.databases() == []
    finally:
        site.query("ALTER TABLESPACE elsewhere RENAME TO beside", "postgres")
