# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore points of real things, made by the modules through Ansible, and looked at by other means."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import ChecksumMismatch
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.store import open_entry
from support.postgres_server import PostgresServer, as_account, postgres_server, wait_until

__all__ = ["postgres_server"]


@dataclass
class Host:
    """A stack on this machine: a database, a checkout, files and an environment, with a state directory."""

    base: Path
    server: PostgresServer
    database: str

    @property
    def checkout(self) -> Path:
        return self.base / "app"

    @property
    def packages(self) -> Path:
        return self.base / "venv"

    @property
    def points(self) -> Path:
        return self.base / "state" / "restore_points"

    @property
    def everything(self) -> dict[str, Any]:
        """The options that capture all of it."""
        return {
            "stack": "blog",
            "host": "web1",
            "databases": [{"name": self.database, **self.server.options, "jobs": 2}],
            "checkouts": [{"path": str(self.checkout)}],
            "files": [str(self.base / "dot.env"), str(self.base / "config.py")],
            "packages": [{"path": str(self.packages), "imports": ["json"]}],
        }

    def ansible(self, module: str, *flags: str, **options: Any) -> str:
        """Run a module through Ansible; what it prints."""
        arguments = json.dumps({"state_dir": str(self.base / "state"), **options})
        interpreter = f"ansible_python_interpreter={sys.executable}"
        command = ["ansible", "localhost", "-i", "localhost,", "-c", "local", *flags, "-e", interpreter]
        done = subprocess.run(
            [*command, "-m", f"lastgood.rollback.{module}", "-a", arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    def start(self, module: str, *, check: bool = False, **options: Any) -> subprocess.Popen[str]:
        """Start a module as Ansible does, but without Ansible around it."""
        arguments = {"state_dir": str(self.base / "state"), "_ansible_check_mode": check, **options}
        name = f"ansible_collections.lastgood.rollback.plugins.modules.{module}"
        process = subprocess.Popen(
            [sys.executable, "-m", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
        process.stdin.close()
        return process

    def module(self, module: str, *, check: bool = False, **options: Any) -> dict[str, Any]:
        """What a module returns; ``failed`` tells how it went."""
        with self.start(module, check=check, **options) as process:
            assert process.stdout is not None
            value: dict[str, Any] = json.loads(process.stdout.read())
        return {"failed": False, **value}

    def make(self, name: str, **options: Any) -> dict[str, Any]:
        """Run restore_point."""
        return self.module("restore_point", name=name, **options)

    def capture(self, name: str, **changes: Any) -> dict[str, Any]:
        """Capture files and code; what is quick."""
        options = {key: self.everything[key] for key in ("stack", "host", "checkouts", "files")}
        result = self.make(name, **{**options, **changes})
        assert not result["failed"], result["msg"]
        return result

    def mark(self, captured: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Mark a capture good."""
        return self.make(captured["name"], **{"state": "good", "hosts": {"web1": captured["sha256"]}, **options})

    def listed(self, **options: Any) -> list[dict[str, Any]]:
        """What restore_point_info lists."""
        points: list[dict[str, Any]] = self.module("restore_point_info", **options)["restore_points"]
        return points


def git(checkout: Path, *words: str) -> str:
    """Git, as the tests' own way to look."""
    names = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@x", "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@x"}
    environment = {**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = ["git", "-C", str(checkout), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()


def commit(checkout: Path, content: str) -> str:
    """Commit a new content of ``app.py``."""
    (checkout / "app.py").write_text(content)
    git(checkout, "add", "app.py")
    git(checkout, "commit", "-q", "-m", content)
    return git(checkout, "rev-parse", "HEAD")


def hashes(directory: Path) -> dict[str, str]:
    """Every file below a directory, by its content."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@contextmanager
def transaction(host: Host) -> Iterator[Callable[[str], None]]:
    """A psql session in a transaction of its own, rolled back at the end of the block."""
    server = host.server
    where = ["-h", str(server.sockets), "-p", str(server.port), "-U", "postgres", "-d", host.database]
    command = [str(server.programs / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", *where]
    session = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/", **as_account(server.account)
    )
    assert session.stdin is not None
    assert session.stdout is not None

    def say(words: str) -> None:
        print(f"{words} SELECT 'done';", file=session.stdin, flush=True)
        assert session.stdout is not None
        assert session.stdout.readline() == "done\n"

    try:
        say("BEGIN;")
        yield say
    finally:
        session.stdin.close()
        session.stdout.close()
        session.wait()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment without packages."""
    path = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(path)], check=True)
    return path


@pytest.fixture
def host(
    tmp_path: Path, request: pytest.FixtureRequest, postgres_server: PostgresServer, environment: Path
) -> Iterator[Host]:
    """A whole stack."""
    name = f"rp_{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    postgres_server.psql("postgres", f"CREATE DATABASE {name}")
    postgres_server.psql(name, "CREATE TABLE post (id int PRIMARY KEY, title text)")
    postgres_server.psql(name, "INSERT INTO post SELECT g, 'title ' || g FROM generate_series(1, 500) g")
    host = Host(tmp_path, postgres_server, name)
    host.checkout.mkdir()
    git(host.checkout, "init", "-q", "-b", "main")
    commit(host.checkout, "first")
    (tmp_path / "dot.env").write_text("SECRET=1\n")
    (tmp_path / "dot.env").chmod(0o640)
    (tmp_path / "config.py").write_text("DEBUG = False\n")
    host.packages.symlink_to(environment)
    yield host
    postgres_server.psql("postgres", f"DROP DATABASE {name} WITH (FORCE)")


def test_everything_is_captured_once_and_then_unchanged(host: Host) -> None:
    head = git(host.checkout, "rev-parse", "HEAD")
    before = hashes(host.checkout)
    foretold = host.make("one", check=True, **host.everything)
    assert foretold["changed"], foretold
    assert not (host.base / "state").exists()

    made = host.make("one", **host.everything)
    assert made["changed"], made
    assert not made["failed"]
    assert set(foretold) == set(made)
    assert made["consistent"], made["moved"]
    assert not made["good"]
    assert made["components"] == sorted(
        [f"code:{host.checkout}", f"database:{host.database}", "files:files", f"packages:{host.packages}"]
    )
    assert foretold["components"] == made["components"]

    manifest = host.points / "one" / "manifest.json"
    assert (
        made["sha256"]
        == subprocess.run(["sha256sum", str(manifest)], check=True, capture_output=True, text=True).stdout.split()[0]
    )
    written = json.loads(manifest.read_text())
    facts = {component["kind"]: component["facts"] for component in written["components"]}
    assert facts["code"]["commit"] == head
    after = hashes(host.checkout)
    added = sorted(set(after) - set(before))
    assert added == [f".git/refs/lastgood/points/{head}"]
    assert {path: after[path] for path in before} == before
    assert made["bytes"] == sum(
        path.stat().st_size
        for path in (host.points / "one").rglob("*")
        if path.is_file() and path.parent != manifest.parent
    )

    again = host.make("one", **host.everything)
    assert not again["changed"]
    assert (again["id"], again["sha256"]) == (made["id"], made["sha256"])
    assert not host.make("one", check=True, **host.everything)["changed"]
    assert "login_password" not in manifest.read_text()


def test_the_list_tells_what_a_plan_needs_of_a_database(host: Host) -> None:
    host.server.psql(host.database, "CREATE TABLE alembic_version (version_num text)")
    host.server.psql(host.database, "INSERT INTO alembic_version VALUES ('4f2a')")
    made = host.make("one", stack="blog", host="web1", databases=host.everything["databases"])
    assert not made["failed"], made
    listed = host.listed(verify=True)
    assert [point["name"] for point in listed] == ["one"]
    point = listed[0]
    assert point["verified"] is True
    assert point["manifest_sha256"] == made["sha256"]
    database = point["databases"][host.database]
    count = int(host.server.psql(host.database, "SELECT count(*) FROM post"))
    assert database["tables"] == {"public.alembic_version": 1, "public.post": count}
    assert database["migration_head"] == ["4f2a"]
    assert len(database["schema_fingerprint"]) == 64


def test_a_name_is_never_used_for_something_else(host: Host) -> None:
    before = host.capture("one")
    refused = host.make("one", **{key: host.everything[key] for key in ("stack", "host", "checkouts")})
    assert refused["failed"]
    assert refused["outcome"] == "refused"
    assert "never overwritten" in refused["msg"]
    assert host.listed()[0]["id"] == before["id"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "last_good", "stack": "blog", "files": ["/etc/hostname"]}, "can't be the name"),
        ({"name": "one", "stack": "blog"}, "would be empty"),
        ({"name": "one", "files": ["/etc/hostname"]}, "stack"),
        ({"name": "one", "state": "good", "hosts": {"web1": "x"}}, "does not exist"),
        ({"name": "one", "stack": "blog", "checkouts": [{"path": "/etc"}]}, "/etc"),
        ({"name": "one", "stack": "blog", "files": ["/nowhere/at/all"]}, "/nowhere/at/all"),
    ],
    ids=["reserved name", "nothing", "no stack", "good without one", "no checkout", "no file"],
)
def test_what_can_not_be_captured_is_refused_and_leaves_nothing(
    host: Host, options: dict[str, Any], sentence: str
) -> None:
    foretold = host.module("restore_point", check=True, **options)
    assert not host.points.exists()
    refused = host.module("restore_point", **options)
    assert (foretold["failed"], refused["failed"]) == (True, True)
    assert sentence in refused["msg"]
    assert foretold["msg"] == refused["msg"]
    assert [path.name for path in host.points.glob("*")] in ([], [".lock"])


def test_good_is_written_once_and_only_for_what_was_checked(host: Host) -> None:
    captured = host.capture("one")
    checks = [{"name": "web1: answers", "ok": True, "ms": 3}]
    hosts = {"web1": captured["sha256"], "db1": "ab" * 32}
    refused = host.mark(captured, checks=[*checks, {"name": "db1: tests", "ok": False}])
    assert refused["failed"]
    assert "these checks failed: db1: tests" in refused["msg"]
    assert not (host.points / "one" / "good.json").exists()

    assert host.mark(captured, check=True, hosts=hosts, checks=checks)["good"]
    assert not (host.points / "one" / "good.json").exists()
    marked = host.mark(captured, hosts=hosts, checks=checks, components_by_host={"db1": ["database:blog"]})
    assert marked["changed"]
    record = json.loads((host.points / "one" / "good.json").read_text())
    assert record["hosts"] == hosts
    assert record["checks"] == checks
    assert record["components"] == {"web1": captured["components"], "db1": ["database:blog"]}
    assert record["digest"] == marked["good_digest"]

    assert '+  "name": "two",' in host.ansible("restore_point", "--check", "--diff", name="two", **host.everything)
    again = host.mark(captured, hosts=hosts, checks=checks)
    assert (again["failed"], again["changed"]) == (False, False)
    other = host.mark(captured, hosts={"web1": captured["sha256"]}, checks=checks)
    assert "good already" in other["msg"]
    listed = host.listed()[0]
    assert (listed["good"], listed["good_digest"], listed["good_hosts"]) == (True, record["digest"], hosts)
    assert listed["checks"] == checks


def test_damage_is_listed_refused_and_can_be_removed(host: Host) -> None:
    captured = host.capture("one")
    host.capture("two")
    victim = next(path for path in (host.points / "one").glob("files-*/**/*") if path.is_file())
    content = bytearray(victim.read_bytes())
    content[0] ^= 1
    victim.write_bytes(bytes(content))
    (host.points / "two" / "manifest.json").write_text("{}")

    refused = host.mark(captured)
    assert refused["failed"]
    assert str(victim) in refused["msg"]
    assert {point["name"]: point["verified"] for point in host.listed()} == {"one": None, "two": False}
    listed = {point["name"]: point for point in host.listed(verify=True)}
    assert [point["verified"] for point in listed.values()] == [False, False]
    assert str(victim) in listed["one"]["findings"][0]
    assert "damaged or replaced" in listed["two"]["findings"][0]
    assert set(listed["one"]) == set(listed["two"])
    with pytest.raises(ChecksumMismatch, match="another SHA-256"):
        open_entry(host.base / "state", "one", "files", "files")
    assert open_entry(host.base / "state", "one", "code", str(host.checkout)).facts["path"] == str(host.checkout)

    gone = host.make("two", state="absent")
    assert gone["changed"]
    assert gone["removed"] == ["two"]
    assert [path.name for path in host.points.iterdir() if not path.name.startswith(".")] == ["one"]
    assert not host.make("two", state="absent")["changed"]


def test_what_moved_while_it_was_captured_can_never_be_good(host: Host) -> None:
    options = {key: host.everything[key] for key in ("stack", "host", "checkouts", "databases")}
    with ThreadPoolExecutor(max_workers=1) as pool:
        with transaction(host) as say:
            say("LOCK TABLE post IN ACCESS EXCLUSIVE MODE;")
            making = pool.submit(host.make, "one", **options)
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            wait_until(lambda: making.done() or int(host.server.psql("postgres", waiting)) > 0)
            assert not making.done(), making.result()
            commit(host.checkout, "deployed in between")
        made = making.result()
    assert not made["failed"], made
    assert not made["consistent"]
    assert made["moved"][0].startswith(f"code:{host.checkout} changed while it was captured: ")
    refused = host.mark(made)
    assert "changed while it was captured" in refused["msg"]
    assert refused["outcome"] == "refused"
    assert not host.listed()[0]["good"]


def test_a_capture_that_was_killed_in_the_middle_leaves_no_restore_point(host: Host) -> None:
    options = {key: host.everything[key] for key in ("stack", "host", "checkouts", "databases")}
    dumping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE%'"
    with transaction(host) as say:
        say("LOCK TABLE post IN ACCESS EXCLUSIVE MODE;")
        process = host.start("restore_point", name="one", **options)
        wait_until(lambda: int(host.server.psql("postgres", dumping)) > 0)
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        assert [path.name for path in host.points.glob("[!.]*")] == []
        assert len(list(host.points.glob(".one.partial-*"))) == 1
        assert host.listed() == []
    wait_until(lambda: int(host.server.psql("postgres", dumping)) == 0)
    made = host.make("one", **options)
    assert made["changed"], made
    assert sorted(path.name for path in host.points.iterdir()) == [".lock", "one"]
    assert host.listed(verify=True)[0]["verified"] is True


def test_retention_keeps_the_newest_good_ones_and_lets_go_of_the_refs(host: Host) -> None:
    first = git(host.checkout, "rev-parse", "HEAD")
    marked = [host.mark(host.capture("a"), keep=2)]
    host.capture("never-good")
    marked.append(host.mark(host.capture("b"), keep=2))
    commit(host.checkout, "second")
    third = host.capture("c")
    assert host.mark(third, check=True, keep=2)["removed"] == ["never-good", "a"]
    assert len(host.listed()) == 4
    marked.append(host.mark(third, keep=2))
    assert [result["removed"] for result in marked] == [[], [], ["never-good", "a"]]
    assert [point["name"] for point in host.listed()] == ["c", "b"]
    kept = git(host.checkout, "for-each-ref", "--format=%(objectname)", "refs/lastgood").split()
    assert first in kept
    refused = host.make("c", state="absent")
    assert "is the last good one" in refused["msg"]
    assert host.make("b", state="absent")["removed"] == ["b"]
    assert first not in git(host.checkout, "for-each-ref", "--format=%(objectname)", "refs/lastgood").split()
    assert host.make("c", state="absent", force=True)["removed"] == ["c"]
    assert git(host.checkout, "for-each-ref", "refs/lastgood") == ""


def begin_transaction(host: Host, created: float) -> str:
    """What a rollback of the stack leaves on this host when it begins; returns its id."""
    header = {
        "id": "20260101T000000Z-blog-0001", "stack": "blog", "host": "web1", "hosts": ["web1"],
        "decision_host": "web1", "operator": "somebody", "created": created, "python": sys.executable,
    }  # fmt: skip
    directory = host.base / "state" / "transactions" / str(header["id"])
    directory.mkdir(parents=True)
    (directory / "header.json").write_text(json.dumps(header))
    return str(header["id"])


def test_nothing_is_captured_or_removed_while_a_rollback_of_the_stack_is_open(host: Host) -> None:
    host.mark(host.capture("one"))
    host.mark(host.capture("two"))
    transaction_id = begin_transaction(host, 0)
    for refused in (host.make("three", **host.everything), host.make("one", state="absent")):
        assert refused["failed"]
        assert transaction_id in refused["msg"]
        assert "somebody" in refused["msg"]
    assert [point["name"] for point in host.listed()] == ["two", "one"]


def test_checks_that_were_made_after_a_rollback_began_make_nothing_good(host: Host) -> None:
    captured = host.capture("one")
    transaction_id = begin_transaction(host, time.time())
    refused = host.mark(captured)
    assert refused["failed"]
    assert f"is held by transaction {transaction_id}" in refused["msg"]
    ended = {"outcome": "rolled_back", "at": time.time()}
    (host.base / "state" / "transactions" / transaction_id / "outcome.json").write_text(json.dumps(ended))
    refused = host.mark(captured)
    assert refused["failed"]
    assert f"transaction {transaction_id} began since it was captured" in refused["msg"]
    assert not host.listed()[0]["good"]
