# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real git checkouts for tests, made and read by the program git and nothing of ours."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._components.code.component import Code
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.plan import Plan, State

#: git of the tests sees no configuration but its own.
ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_OPTIONAL_LOCKS": "0",
    "LC_ALL": "C.UTF-8",
    **{
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "A"), ("EMAIL", "a@b.c"))
    },
}


@dataclass(frozen=True)
class Checkout:
    """A checkout that a test plays with."""

    path: Path
    user: int | None = None

    @property
    def argv(self) -> list[str]:
        """The beginning of every git command here."""
        return ["git", "-C", str(self.path)]

    def git(self, *arguments: str) -> str:
        """Run git; its output."""
        done = self.try_git(*arguments)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode("utf-8", "surrogateescape")

    def try_git(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run git, and let it fail."""
        extra = {} if self.user is None or os.geteuid() != 0 else {"user": self.user}
        return subprocess.run([*self.argv, *arguments], capture_output=True, env=ENVIRONMENT, **extra, check=False)

    def id(self, name: str) -> str:
        """The id that a name stands for."""
        return self.git("rev-parse", "--verify", name).strip()

    def write(self, name: str, content: str) -> None:
        """Write a file, its directories made."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        if self.user is not None:
            for made in (path, *path.relative_to(self.path).parents):
                os.chown(self.path / made, self.user, -1)

    def commit(self, subject: str, tag: str | None = None) -> str:
        """Commit everything; the new id."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        if tag:
            self.git("tag", tag)
        return self.id("HEAD")

    def snapshot(self) -> dict[str, object]:
        """Worktree (names, modes, owners, contents), index, status and refs, byte for byte."""
        return {
            "tree": self.tree(),
            "index": self.git("ls-files", "-s", "-v", "-z"),
            "status": self.git("status", "--porcelain=v2", "-z", "--branch"),
            "head": (self.git("rev-parse", "HEAD"), self.git("reflog", "-1", "--format=%H")),
            "refs": self.git("for-each-ref"),
        }

    def tree(self) -> dict[str, tuple[int, int, int, bytes]]:
        """Everything outside of .git."""
        found = {}
        for directory, names, files in os.walk(self.path):
            if ".git" in names:
                names.remove(".git")
            for name in (*names, *files):
                path = Path(directory) / name
                facts = path.lstat()
                content = b""
                if stat.S_ISLNK(facts.st_mode):
                    content = os.fsencode(path.readlink())
                elif stat.S_ISREG(facts.st_mode):
                    content = path.read_bytes()
                found[str(path.relative_to(self.path))] = (facts.st_mode, facts.st_uid, facts.st_gid, content)
        return found

    @staticmethod
    def sha256sum(path: Path) -> str:
        """As the program says."""
        return subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True).stdout.split()[0]


def make_checkout(path: Path, user: int | None = None) -> Checkout:
    """An empty repository on branch main, of another account where we are root."""
    path.mkdir(exist_ok=True)
    if user is not None:
        os.chown(path, user, -1)
    checkout = Checkout(path, user)
    checkout.git("init", "-q", "-b", "main")
    return checkout


def clone(of: Checkout, to: Path, *options: str) -> Checkout:
    """A clone by git's own protocol (but for ``--shared``), with its remote named ``origin``."""
    source = str(of.path) if "--shared" in options else f"file://{of.path}"
    argv = ["git", "clone", "-q", *options, source, str(to)]
    subprocess.run(argv, check=True, env=ENVIRONMENT, capture_output=True)
    return Checkout(to, of.user)


def plan_of(code: Code, checkout: Checkout, to: str | None = "v1", **options: Any) -> Plan:
    """A plan, as the journal gives it back."""
    plan = code.plan({"path": str(checkout.path), "to": to, **options}, None)
    return Plan.from_json(json.loads(json.dumps(plan.to_json())))


def switched(code: Code, plan: Plan) -> dict[str, Any]:
    """Prepare and switch; the evidence."""
    evidence = code.prepare(plan)
    assert code.state(plan) is State.PREPARED
    code.switch(plan)
    assert code.state(plan) is State.SWITCHED
    return evidence


def captured(code: Code, checkout: Checkout, into: Path) -> PointEntry:
    """A restore point's entry, as the store hands it out."""
    into.mkdir(mode=0o700, parents=True)
    facts = json.loads(json.dumps(code.capture({"path": str(checkout.path)}, into)))
    digests = {path.name: checkout.sha256sum(path) for path in into.iterdir()}
    return PointEntry("before", into, facts, digests)
