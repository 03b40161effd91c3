# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a lab host as root, from standard input: digests of everything there that a rollback may touch, as JSON.

It knows nothing of the collection: it asks psql and git, reads files, and lists names.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

OWNER = "blog"
SETTINGS = (".env", "assistant_config.env")
FREEZE = "import importlib.metadata as m; print(*sorted(f'{d.name}=={d.version}' for d in m.distributions()))"
TABLES = (
    "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
    " WHERE schemaname !~ '^(pg_|information_schema$|lastgood_kept_)' ORDER BY 1"
)
COLUMNS = (
    "SELECT md5(string_agg(concat_ws(' ', table_name, column_name, data_type, character_maximum_length, column_default),"
    " ',' ORDER BY table_name, ordinal_position)) FROM information_schema.columns WHERE table_schema = 'public'"
)


def digest(*parts: bytes | str) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part if isinstance(part, bytes) else part.encode())
        whole.update(b"\0")
    return whole.hexdigest()[:16]


def ask(user: str, *words: str, cwd: str = "/") -> str:
    env = {"PATH": os.defpath, "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "GIT_OPTIONAL_LOCKS": "0"}
    done = subprocess.run(words, user=user, group=user, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else f"{words[0]} failed: {done.stderr.strip()}"


def described(path: Path) -> str:
    """A file's name, owner, mode and content."""
    found = path.lstat()
    content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
    return digest(str(path), f"{found.st_uid} {found.st_mode:o}", content)


def files_below(top: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(top):
        names[:] = sorted(
            name for name in names if name not in (".git", "__pycache__") and not name.startswith(".venv")
        )
        yield from (Path(directory) / name for name in sorted(files) if name not in SETTINGS)


def project(path: Path) -> Iterator[tuple[str, str]]:
    yield "head", ask(OWNER, "git", "rev-parse", "HEAD", cwd=str(path))
    yield "branch", ask(OWNER, "git", "symbolic-ref", "HEAD", cwd=str(path))
    yield "index", digest(ask(OWNER, "git", "ls-files", "--stage", cwd=str(path)))
    yield "tree", digest(*(described(file) for file in files_below(path)))
    yield "settings", " ".join(described(path / name) for name in SETTINGS)
    yield "packages", ask(OWNER, str(path / ".venv" / "bin" / "python"), "-c", FREEZE)
    yield "unit", ask("root", "systemctl", "is-enabled", path.name)


def database(name: str) -> Iterator[tuple[str, str]]:
    def psql(sql: str) -> str:
        return ask("postgres", "psql", "-XAtq", "-d", name, "-c", sql)

    yield "columns", psql(COLUMNS)
    yield "sequences", digest(psql("SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"))
    yield "grants", psql(f"SELECT datdba::regrole, datacl, datconnlimit FROM pg_database WHERE datname = '{name}'")
    for table in psql(TABLES).splitlines():
        yield table, psql(f"SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY t::text)) FROM {table} t")


def state() -> dict[str, str]:
    """What has to be all new, or all as it was."""
    found = {}
    for path in sorted(Path("/srv").iterdir()):
        if (path / ".git").is_dir():
            found.update({f"{path.name} {name}": value for name, value in project(path)})
    if Path("/var/lib/postgresql/15/main/PG_VERSION").exists() and sys.argv[1:]:
        found.update({f"database {sys.argv[1]} {name}": value for name, value in database(sys.argv[1])})
    return found


def around() -> list[str]:
    """The names of things beside, which a rollback may make but not leave."""
    found = []
    for path in sorted(Path("/srv").iterdir()):
        found += [str(child) for child in path.iterdir() if child.name != "__pycache__"]
        found += [str(child) for child in path.glob(".venv.*/*")]
        if (path / ".git").is_dir():
            found += ask(OWNER, "git", "worktree", "list", cwd=str(path)).splitlines()[1:]
            found += [
                f"{path} {ref}"
                for ref in ask(OWNER, "git", "for-each-ref", "--format=%(refname)", cwd=str(path)).split()
            ]
            found += [str(child) for child in (path / ".git").glob("*.lock")]
    found += [str(path) for path in Path("/etc/systemd/system").rglob("*lastgood*")]
    found += [str(path) for top in ("/tmp", "/var/tmp", "/run", "/home") for path in Path(top).glob("**/*lastgood*")]
    found += [
        f"open {path}"
        for path in Path("/var/lib/lastgood/transactions").glob("*")
        if path.is_dir() and not (path / "outcome.json").exists()
    ]
    found += [
        str(path)
        for name in ("secrets.json", "services.json", "deadline", "reserve")
        for path in Path("/var/lib/lastgood/transactions").glob(f"*/{name}")
    ]
    found += [
        f"process {line}"
        for line in ask("root", "pgrep", "-af", "lastgood/transactions").splitlines()
        if "/undo" in line
    ]
    if sys.argv[1:]:
        names = ask("postgres", "psql", "-XAtq", "-d", "postgres", "-c", "SELECT datname FROM pg_database ORDER BY 1")
        found += [f"database {name}" for name in names.splitlines()]
    return found


print(json.dumps({"state": state(), "around": around()}))
