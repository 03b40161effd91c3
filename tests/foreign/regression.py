# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL's own regression database: what its developers left in it when they tried everything that there is.

The scripts come with Debian's source of PostgreSQL. They are run one by one; what they print is of no interest, and some of
it are errors as they should be. What is left behind counts.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import urllib.request
from pathlib import Path

from conftest import ROOT
from support.postgres_server import PostgresServer, as_account

VERSION = "15.18"
SHA256 = "11df0df97fe3ea4ba9a791faaf39cee1d2fe571e78885b5b55d8517d27c323b4"
#: The mirror lets go of a version some time after the next one; a copy may be named in its place.
SOURCE = os.environ.get(
    "LASTGOOD_REGRESSION_SOURCE",
    f"http://deb.debian.org/debian/pool/main/p/postgresql-15/postgresql-15_{VERSION}.orig.tar.bz2",
)
CACHE = ROOT / ".cache" / "regression"
INSIDE = f"postgresql-{VERSION}/src/test/regress/"
#: As pg_regress does it.
SETTINGS = ("lc_messages TO 'C'", "lc_monetary TO 'C'", "lc_numeric TO 'C'", "lc_time TO 'C'", "bytea_output TO 'hex'",
            "timezone_abbreviations TO 'Default'")  # fmt: skip
LONGEST_S = 120
#: What was computed before its tables changed would be computed anew by a restore.
REFRESH = """
DO $$ DECLARE each regclass; BEGIN FOR each IN SELECT oid FROM pg_class WHERE relkind = 'm' AND relispopulated ORDER BY oid
LOOP EXECUTE 'REFRESH MATERIALIZED VIEW ' || each; END LOOP; END $$
"""


def fetched() -> Path:
    """The archive, downloaded once and never opened with another checksum."""
    archive = CACHE / f"{VERSION}.tar.bz2"
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        coming = archive.with_suffix(".part")
        url = SOURCE if "://" in SOURCE else Path(SOURCE).resolve().as_uri()
        with urllib.request.urlopen(url, timeout=60) as answer, coming.open("wb") as stream:
            shutil.copyfileobj(answer, stream)
        coming.replace(archive)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        archive.unlink()
        raise RuntimeError(f"{SOURCE} has the checksum {found}, not {SHA256}.")
    return archive


def scripts(into: Path) -> Path:
    """The directory with the tests, where the server's account can read it; its library of C functions is built."""
    with tarfile.open(fetched()) as source:
        members = [member for member in source if member.name.startswith(INSIDE)]
        source.extractall(into, members, filter="data")
    return into / INSIDE


def build_library(server: PostgresServer, directory: Path) -> None:
    """What the tests' C functions need: the headers of the server, and a compiler."""
    config = server.programs / "pg_config"
    headers = server.run("pg_config", "--includedir-server").stdout.strip() if config.exists() else str(config)
    if not Path(headers, "postgres.h").exists():
        raise RuntimeError(f"No headers of the server in {headers}: install Debian's postgresql-server-dev-15.")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-w", "-I", headers, "-o", str(directory / "regress.so"), str(directory / "regress.c")],
        check=True,
    )  # fmt: skip


def load(server: PostgresServer, name: str) -> None:
    """Make the database, and run all tests on it in the order of their schedule."""
    directory = scripts(server.base)
    build_library(server, directory)
    results = server.base / "results"
    results.mkdir()
    if os.geteuid() == 0:
        shutil.chown(results, server.account)
    server.psql("postgres", f"CREATE DATABASE {name} TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    configure(server, name)
    for line in (directory / "parallel_schedule").read_text().splitlines():
        for test in line[5:].split() if line.startswith("test:") else []:
            run_script(server, name, directory, test)
    server.psql(name, REFRESH)


def configure(server: PostgresServer, name: str) -> None:
    """Settings of the database, which a copy of it has not."""
    server.psql("postgres", *[f"ALTER DATABASE {name} SET {setting}" for setting in SETTINGS])


def run_script(server: PostgresServer, name: str, directory: Path, test: str) -> None:
    """One test's statements, whatever becomes of each."""
    command = [str(server.programs / "psql"), "-X", "-q", "-d", name, "-v", "HIDE_TABLEAM=on", "-v",
               "HIDE_TOAST_COMPRESSION=on", "-f", str(directory / "sql" / f"{test}.sql")]  # fmt: skip
    env = {
        "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(server.base),
        "PGHOST": str(server.sockets), "PGPORT": str(server.port), "PGUSER": "postgres",
        "PGTZ": "PST8PDT", "PGDATESTYLE": "Postgres, MDY",
        "PG_ABS_SRCDIR": str(directory), "PG_ABS_BUILDDIR": str(server.base), "PG_LIBDIR": str(directory),
        "PG_DLSUFFIX": ".so",
    }  # fmt: skip
    subprocess.run(
        command, env=env, cwd=server.base, capture_output=True, timeout=LONGEST_S, stdin=subprocess.DEVNULL, check=False,
        **as_account(server.account),
    )  # fmt: skip
