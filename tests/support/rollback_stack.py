# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's stack with a restore point, broken again as often as needed, for tests of the playbooks over it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.demo_site import ROOT, DemoSite, demo_site
from support.environments import write_wheel
from support.play import Ended, Play

HOSTS = ("demo_core", "demo_db", "demo_stages")
POINT = "release-1.2.0"
#: Two of the six projects: enough for every kind of component on every host, and much less to wait for.
CORE, STAGE = PART = ("blog_core", "blog_writing")
ALL = {"rollback_point": "last_good", "rollback_components": "all", "rollback_only": ",".join(PART)}
#: What there is to break.
KINDS = {"database", "code", "packages", "files"}
#: A check that fails only after the switch: nobody listens there.
FAILING = [{"url": "http://127.0.0.1:9/never", "status": 200}]

_MIGRATED = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'post_section' AND column_name = 'rank'"

Snapshot = dict[str, str]


@dataclass(frozen=True)
class RollbackStack:
    """A running stack that was captured when it was good.

    :param good: how everything looked then.
    """

    site: DemoSite
    good: Snapshot

    # -- breaking ------------------------------------------------------------------------------------------------

    def damage(self, *kinds: str) -> None:
        """Break one thing of each kind (all of them by default), in `PART`; what is broken already stays so."""
        ways = {
            "database": self._damage_database,
            "code": self._damage_code,
            "packages": self._damage_packages,
            "files": self.damage_files,
        }
        for kind in kinds or ways:
            ways[kind]()
        self.site.supervisorctl("restart", "all")
        self._until_settled()

    def damage_whole(self) -> None:
        """Break one thing of each kind, unless there is one broken already."""
        if self.broken() != KINDS:
            self.damage()

    def _damage_database(self) -> None:
        if self.site.psql(_MIGRATED) == "0":
            self.site.psql((ROOT / "demo" / "sql" / "disaster.sql").read_text(encoding="utf-8"))

    def damage_files(self) -> None:
        """Give the stage settings that it does not work with."""
        settings = self.path(STAGE) / ".env"
        text = settings.read_text(encoding="utf-8")
        settings.write_text(text.replace("DATABASE_NAME=blog\n", "DATABASE_NAME=elsewhere\n"), encoding="utf-8")

    def _damage_code(self) -> None:
        app = self.path(CORE) / "app.py"
        text = app.read_text(encoding="utf-8")
        broken = text.replace('"package": check_package,', '"package": check_package, "cache": app.extensions,')
        if broken != text:
            app.write_text(broken, encoding="utf-8")
            who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
            self.site.git(CORE, *who, "commit", "--quiet", "--all", "-m", "Report the cache")

    def _damage_packages(self) -> None:
        wheel = write_wheel(self.site.base, "mistune", "0.8.4", "__version__ = '0.8.4'\n")
        python = str(self.path(STAGE) / ".venv" / "bin" / "python")
        quiet = ["--quiet", "--no-index", "--no-deps", "--no-cache-dir", "--disable-pip-version-check"]
        self.site.as_owner([python, "-m", "pip", "install", *quiet, str(wheel)])

    def save_database(self) -> None:
        """Remember how the database is, for `renew_database`."""
        self._postgres("pg_dump", "--format=custom", f"--file={self._saved}", "--dbname=blog")

    def renew_database(self) -> None:
        """Make it anew as it was remembered: much sooner than a rollback does."""
        self.site.supervisorctl("stop", "all")
        self.site.psql("DROP DATABASE blog WITH (FORCE)", "postgres", "postgres")
        self._postgres("pg_restore", "--create", "--exit-on-error", "--dbname=postgres", str(self._saved))
        self.site.psql("ANALYZE", user="postgres")
        self.site.supervisorctl("start", "all")
        self._until_settled()

    @property
    def _saved(self) -> Path:
        return self.site.directory / "run" / "as-captured.dump"

    def _postgres(self, program: str, *words: str) -> None:
        facts = self.site.facts
        path = Path(facts["postgres_bin"]) / program
        self.site.as_owner([str(path), "-h", facts["socket_dir"], "-U", "postgres", *words])

    def _until_settled(self) -> None:
        while "STARTING" in self.site.supervisorctl("status"):
            time.sleep(0.2)

    # -- looking -------------------------------------------------------------------------------------------------

    def broken(self) -> set[str]:
        """The kinds of what is not as it was when it was good."""
        found = self.site.snapshot()
        return {_kind(name) for name in {*found, *self.good} if found.get(name) != self.good.get(name)}

    def path(self, project: str) -> Path:
        """A project's checkout."""
        return Path(self.site.facts["projects"][project]["path"])

    def state(self, host: str) -> Path:
        """A host's state directory."""
        return self.site.directory / "state" / host

    def expected(self, before: Snapshot, *kinds: str) -> Snapshot:
        """How it has to look after a rollback of `PART`; everything else as before it.

        :param kinds: parts of the names of what is put back; none for all.
        """
        back = {name for name in self.good if not name.startswith("blog_") or name.startswith(PART)}
        chosen = {name for name in back if not kinds or any(kind in name for kind in kinds)}
        return {**before, **{name: self.good[name] for name in chosen}}

    def health(self) -> dict[str, int]:
        """Each project's HTTP status; waits as long as programs are on their way."""
        self._until_settled()
        return {project: self.site.get(project) for project in self.site.facts["projects"]}

    def pids(self) -> dict[str, str]:
        """Each service's process."""
        words = [line.split() for line in self.site.supervisorctl("status").splitlines()]
        return {line[0]: line[3].rstrip(",") for line in words if line[1] == "RUNNING"}

    def traces(self) -> dict[str, Any]:
        """What a rollback that has ended may not leave: listed by other means than its own."""
        databases = self.site.psql("SELECT datname FROM pg_database ORDER BY 1").splitlines()
        found: dict[str, Any] = {
            "databases": [name for name in databases if not name.endswith(("_previous", "_rejected"))],
            "timers": [line for line in self.site.processes() if "/undo" in line],
            "open": sorted(str(path) for path in self.site.directory.glob("state/*/transactions/2*") if is_open(path)),
        }
        for project in self.site.facts["projects"]:
            found[f"{project} worktrees"] = self.site.git(project, "worktree", "list").splitlines()[1:]
            found[f"{project} branches"] = self.site.git(project, "branch", "--format=%(refname)")
            found[f"{project} files"] = sorted(path.name for path in self.path(project).iterdir())
        return found

    def states(self) -> dict[str, str]:
        """Digests of every file in the hosts' state directories."""
        top = self.site.directory / "state"
        files = (path for path in top.rglob("*") if path.is_file() and path.name != ".lock")
        return {str(path.relative_to(top)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def entry(self, host: str, kind: str, name: str) -> Path:
        """Where a host's restore point keeps one thing."""
        point = self.state(host) / "restore_points" / POINT
        manifest = json.loads((point / "manifest.json").read_text(encoding="utf-8"))
        found = [each for each in manifest["components"] if each["kind"] == kind and each["name"] == name]
        return point / str(found[0]["directory"])

    # -- playing -------------------------------------------------------------------------------------------------

    def start(self, playbook: str, *words: str, **values: Any) -> Play:
        """Start a playbook on the three hosts; ``values`` are its extra variables."""
        return Play(self.site, playbook, words, values)

    def play(self, playbook: str, *words: str, **values: Any) -> Ended:
        """Run a playbook to its end."""
        return self.start(playbook, *words, **values).wait()

    def recover(self) -> Ended:
        """Recover, as somebody would who comes to it."""
        return self.play("recover")

    def wait_for(self, play: Play, condition: Callable[[Path], bool], host: str) -> None:
        """Watch the transaction of a running play on one host until the condition holds of its directory."""
        transactions = self.state(host) / "transactions"
        while True:
            new = [path for path in transactions.glob("2*") if path.name not in play.known]
            if new and condition(new[0]):
                return
            play.must_run()
            time.sleep(0.003)


@contextmanager
def damaged(file: Path) -> Iterator[None]:
    """A file with one bit in its middle turned over."""
    content = file.read_bytes()
    middle = len(content) // 2
    file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    yield
    file.write_bytes(content)


def projects(**changes: Mapping[str, Any]) -> dict[str, Any]:
    """The demo's catalogue of projects with other values in it, to be given as ``rollback_projects``.

    :param changes: project → its keys that are other than in the inventory.
    """
    text = (ROOT / "inventory" / "demo" / "group_vars" / "all" / "projects.yml").read_text(encoding="utf-8")
    known = yaml.safe_load(text)["rollback_projects"]
    return {name: {**known.get(name, {}), **changes.get(name, {})} for name in {**known, **changes}}


def checks(project: str, **changes: Any) -> dict[str, Any]:
    """A change of a project's checks."""
    return {project: {"checks": {**projects()[project]["checks"], **changes}}}


def is_open(transaction: Path) -> bool:
    """Whether a transaction's directory has no outcome."""
    return not (transaction / "outcome.json").exists()


def journal(transaction: Path) -> list[dict[str, Any]]:
    """The whole lines of a transaction's journal."""
    try:
        text = (transaction / "journal.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def journalled(event: str, **facts: str) -> Callable[[Path], bool]:
    """A condition: the journal has such an event."""

    def met(transaction: Path) -> bool:
        return any(entry["event"] == event and _has(entry, facts) for entry in journal(transaction))

    return met


def _has(entry: Mapping[str, Any], facts: Mapping[str, str]) -> bool:
    return facts.items() <= entry.get("facts", {}).items()


def _kind(name: str) -> str:
    """The kind of component that a digest is of; see `DemoSite.snapshot`."""
    if not name.startswith("blog_"):
        return "database"
    return {"head": "code", "changes": "code", "packages": "packages"}.get(name.split()[1], "files")


@pytest.fixture(scope="session")
def captured_stack() -> Iterator[RollbackStack]:
    """One stack for all tests of a process that ask for it: built and captured once."""
    with demo_site() as site:
        for words in (["up", "--posts", "2000"], ["capture"]):
            status, said = site.run(*words)
            assert status == 0, said
        found = RollbackStack(site, site.snapshot())
        found.save_database()
        yield found


@pytest.fixture
def healthy(captured_stack: RollbackStack) -> RollbackStack:
    """The same, as it was when it was captured."""
    broken = sorted(captured_stack.broken())
    if broken == ["database"]:
        captured_stack.renew_database()
    elif broken:
        ended = captured_stack.play("multi_rollback", **{**ALL, "rollback_components": broken})
        assert ended.status == 0, ended.said
    if broken:
        assert captured_stack.site.snapshot() == captured_stack.good
    return captured_stack


@pytest.fixture
def stack(captured_stack: RollbackStack) -> RollbackStack:
    """The same, something of each kind broken, whatever the test before it left whole; with nothing open."""
    captured_stack.damage_whole()
    return captured_stack
