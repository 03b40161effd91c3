# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stack is, read without the collection: by git, psql, sha256, uv and supervisorctl."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import postgres
import supervisor
from checkouts import SETTINGS, git
from console import table
from packages import installed
from place import Place, Project

#: What is read, by the name of the thing; equal values mean an equal thing.
Snapshot = dict[str, str]

UNTRACKED = "untracked files"
TABLES = ("alembic_version", "post", "post_development", "post_section")
_SCHEMA = """
SELECT table_name, column_name, ordinal_position, data_type, character_maximum_length, is_nullable, column_default
FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 3;
SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1;
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2;
SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1;
SELECT tgrelid::regclass::text, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2;
SELECT datname, datdba::regrole, encoding, datcollate, datconnlimit, datacl FROM pg_database
WHERE datname = current_database();
"""
_SEQUENCES = "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1"


def snapshot(place: Place) -> Snapshot:
    """Everything that a rollback has to put back, and the states of the services."""
    found: Snapshot = {}
    for name in TABLES:
        rows, digest = postgres.content(place, name)
        found[f"table {name}"] = f"{rows} rows, sha256 {digest}"
    found["schema"] = _sha256(postgres.psql(place, _SCHEMA))
    found["sequences"] = " ".join(postgres.psql(place, _SEQUENCES).split())
    for project in place.projects:
        found.update(_look_at(place, project))
    for name, state in supervisor.settled(place).items():
        found[f"{name}: service"] = state
    return found


def _look_at(place: Place, project: Project) -> Snapshot:
    path, name = Path(project.path), project.name
    found = {
        f"{name}: commit": git(project, place.user, "rev-parse", "HEAD").strip(),
        f"{name}: branch": git(project, place.user, "symbolic-ref", "HEAD").strip(),
        f"{name}: git status": git(project, place.user, "status", "--porcelain", "--untracked-files=no").strip(),
        f"{name}: work tree": _files_of_git(place, project, "--cached"),
        f"{name}: {UNTRACKED}": _files_of_git(place, project, "--others", "--exclude-standard"),
        f"{name}: packages": installed(path / ".venv"),
    }
    for setting in SETTINGS:
        found[f"{name}: {setting}"] = _file(path / setting)
    return found


def _files_of_git(place: Place, project: Project, *which: str) -> str:
    """Digest of the files that git lists, with mode, owner and content."""
    names = git(project, place.user, "ls-files", "-z", *which).split("\0")
    digest = hashlib.sha256()
    for name in sorted(filter(None, names)):
        digest.update(f"{name} {_file(Path(project.path) / name)}\n".encode())
    return digest.hexdigest()


def _file(path: Path) -> str:
    if not path.exists():
        return "missing"
    stat = path.stat()
    return f"{_sha256(path.read_bytes())} {stat.st_mode & 0o7777:o} {stat.st_uid}"


def _sha256(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def save(place: Place, name: str, snapshot: Mapping[str, str]) -> None:
    """Remember a snapshot for a later step."""
    (place.directory / f"{name}.json").write_text(json.dumps(snapshot, indent=2) + "\n", encoding="utf-8")


def load(place: Place, name: str) -> Snapshot | None:
    """A remembered snapshot; nothing when that step was not done."""
    path = place.directory / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def forget(place: Place, name: str) -> None:
    """Forget a snapshot: what it remembers is no longer so."""
    (place.directory / f"{name}.json").unlink(missing_ok=True)


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The names of the things that are not the same."""
    return [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]


def without_untracked(snapshot: Mapping[str, str]) -> Snapshot:
    """All but the files that lie about in checkouts."""
    return {name: value for name, value in snapshot.items() if not name.endswith(UNTRACKED)}


def show(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """A row for each kind of thing: how many of them are the same."""
    kinds: dict[tuple[str, str], list[bool]] = {}
    for name in before:
        kinds.setdefault(_kind(name), []).append(before[name] == after.get(name))
    rows = [
        (kind, how, f"{sum(same)} of {len(same)}", "yes" if all(same) else "NO") for (kind, how), same in kinds.items()
    ]
    table(("what", "read by", "equal", "all"), rows)
    for name in differences(before, after):
        table(("differs", "was", "is"), [(name, _short(before.get(name, "-")), _short(after.get(name, "-")))])


_KINDS = {
    "table": ("rows of the tables", "psql, sha256"),
    "schema": ("schema and database settings", "psql, sha256"),
    "sequences": ("sequences", "psql"),
    "commit": ("commits", "git rev-parse"),
    "branch": ("branches", "git symbolic-ref"),
    "git status": ("clean checkouts", "git status"),
    "work tree": ("files in the checkouts", "sha256"),
    UNTRACKED: ("files that lie about", "sha256"),
    "packages": ("installed packages", "uv pip freeze"),
    "service": ("services", "supervisorctl status"),
}


def _kind(name: str) -> tuple[str, str]:
    last = name.rpartition(": ")[2].split(" ")[0] if name.startswith("table ") else name.rpartition(": ")[2]
    return _KINDS.get(last, ("configuration files", "sha256, mode, owner"))


def _short(value: str) -> str:
    flat = " ".join(value.split())
    return flat if len(flat) <= 40 else f"{flat[:37]}..."
