# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's stack for the fault matrix: two projects and their database, broken in every kind of component."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from faults.on_hosts.lab_hold import CLOCK, PLACE
from faults.steps import ALL, Scenario
from lab_stack import INVENTORY, STATE_DIR, Stack

# Of the lab itself: the stack has made them importable.
import deployment  # isort: skip
import snapshots  # isort: skip
from layout import CLONE, DATABASE_HOST, OWNER, LabError  # isort: skip

PART = ("blog_core", "blog_writing")
#: A check of every project fails on a host that has this file.
UNHEALTHY = "/run/lab-unhealthy"
#: All of a host but its control groups.
_INSIDE = ("--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd")
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
_ON_HOSTS = Path(__file__).resolve().parent / "on_hosts"
_PYTHON_PATH = "/usr/lib/python3/dist-packages"
#: What every process of the hosts' Python does first. In most cases nobody asked for something.
_AT_START = f"""\
import os; any(map(os.path.exists, ("/{PLACE}", "/{CLOCK}"))) and __import__("lab_hold").watch()
"""
#: A process that died with the controller goes nowhere.
_GOING_S = 3
_COMMIT = "git -c user.name=Blog -c user.email=blog@example.invalid commit --quiet --all -m 'Report the cache'"
_HARM = {
    "blog_core": 'sed -i \'s/^\\( *\\)"package": check_package,/&\\n\\1"cache": app.extensions["cache"].ping,/\' app.py'
    f" && {_COMMIT} && echo '# another machine' >> .env",
    "blog_writing": "echo '# on the way' >> app.py"
    " && env HOME=/tmp .venv/bin/python -m pip install --quiet --no-cache-dir --no-index"
    " --find-links /opt/lab/wheels mistune==0.8.4 && sed -i 's/^DATABASE_NAME=.*/DATABASE_NAME=blog_staging/' .env",
}
#: What is broken in the database alone.
_SQL = {
    "rows": "UPDATE post_section SET body = md5(body) WHERE id % 3 = 0; DELETE FROM post_section WHERE id % 97 = 1;",
    "columns": "ALTER TABLE post_section ADD COLUMN rank text NOT NULL DEFAULT 'unsorted';"
    " UPDATE alembic_version SET version_num = '0007_section_ranks';",
}
#: What takes ``columns`` back, as a project's own downgrade would, and where it stands on the database's host.
_DOWNGRADE = (
    "BEGIN; ALTER TABLE post_section DROP COLUMN rank;"
    " UPDATE alembic_version SET version_num = '0006_section_positions'; COMMIT;"
)
_MIGRATIONS = {
    "command": ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "downgrade.sql"],
    "chdir": "/srv/blog-migrations",
}
#: A server that crashes finds a sequence up to 32 values further than it was, unless its value was set.
_EXACT_SEQUENCES = (
    "SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, last_value)"
    " FROM pg_sequences WHERE last_value IS NOT NULL"
)


@dataclass(frozen=True)
class StackSnapshot:
    """How everything is, read without the collection.

    :param state: what has to be all new or all old, with the services' answers.
    :param around: names of things beside.
    """

    state: dict[str, str]
    around: frozenset[str]


class Held(NamedTuple):
    """A process that waits.

    :param name: of the step that it waits at.
    :param began: when it was started (`time.monotonic`, in seconds).
    """

    name: str
    began: float


class FaultStack(Stack):
    """The lab's stack, and the means to hold it at a step."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack.lab, stack.podman)
        self._pids: dict[str, int] = {}
        self.all_good: StackSnapshot | None = None
        self.harm = ""
        #: How the last case left everything. Whatever changes after it is the next one's finding.
        self.left: StackSnapshot | None = None

    # -- hosts from outside --------------------------------------------------------------------------------------

    def root(self, host: str) -> Path:
        """A running host's root directory."""
        return Path(f"/proc/{self._pid(host)}/root")

    def on(self, host: str, command: str) -> str:
        """What a command prints that root runs on a host; in a hundredth of the time that SSH would take."""
        return self.on_stdin(host, command, b"")

    def on_stdin(self, host: str, command: str, stdin: bytes) -> str:
        """The same, with something to read."""
        words = ["nsenter", "--target", str(self._pid(host)), *_INSIDE, "sh", "-c", command]
        done = subprocess.run(words, input=stdin, capture_output=True, check=False, env=_ENVIRONMENT)
        if done.returncode != 0:
            raise LabError(f"{host}: {command[:200]} ended with {done.returncode}:\n{done.stderr.decode()[-2000:]}")
        return done.stdout.decode().strip()

    def _psql(self, sql: str, user: str = OWNER) -> str:
        words = f"cd / && sudo -u {user} psql -X -q -A -t -v ON_ERROR_STOP=1 -d {deployment.DATABASE} -f -"
        return self.on_stdin(DATABASE_HOST, words, sql.encode())

    def _pid(self, host: str) -> int:
        """Its first process."""
        known = self._pids.get(host)
        if known is None or not Path(f"/proc/{known}/root").exists():
            known = self._pids[host] = int(self.podman.inspect("container", host)["State"]["Pid"])
        return known

    def install_hold(self) -> None:
        """Let every process of the hosts' Python look whether a step is to be held."""
        for host in self.lab.hosts:
            packages = self.root(host.name) / _PYTHON_PATH.lstrip("/")
            (packages / "lab_hold.py").write_bytes((_ON_HOSTS / "lab_hold.py").read_bytes())
            (packages / "lab_hold.pth").write_text(_AT_START, encoding="utf-8")

    def end_what_was_left(self) -> None:
        """Let go whatever an interrupted run held, recover what it left open, and mend what it broke."""
        self.let_all_go()
        status, said = self.play("recover", **impatient(self))
        assert status == 0, said
        points = self.root(DATABASE_HOST) / STATE_DIR.lstrip("/") / "restore_points"
        if any(points.glob("faults-*")):
            status, said = self.play("multi_rollback", **self.values(ALL))
            assert status == 0, said

    def ask_to_hold(self, wanted: Mapping[str, Mapping[str, int]], but: Collection[str] = ()) -> None:
        """From now on the first process of each host that comes to one of these steps waits there.

        :param wanted: host → name of a step → which of that name, from 1; 0 for any.
        :param but: hosts that are held already, and stay so.
        """
        self.let_all_go(but)
        self._want(wanted, {host.name for host in self.lab.hosts} - set(but))

    def ask_to_hold_again(self, wanted: Mapping[str, Mapping[str, int]]) -> None:
        """The same for whoever is held now, once it was let go."""
        self._want(wanted, self.held())

    def _want(self, wanted: Mapping[str, Mapping[str, int]], hosts: Collection[str]) -> None:
        for host in hosts:
            place = self.root(host) / PLACE
            place.mkdir(exist_ok=True)
            (place / "at.new").write_text(json.dumps(wanted.get(host, {})), encoding="utf-8")
            (place / "at.new").rename(place / "at")

    def held(self) -> dict[str, Held]:
        """The hosts where a process waits, and which one."""
        found = {}
        for host in self.lab.hosts:
            with suppress(OSError):
                found[host.name] = Held(
                    *json.loads((self.root(host.name) / PLACE / "held").read_text(encoding="utf-8"))
                )
        return found

    def let_go(self, host: str, how: str) -> None:
        """Let the process that is held on a host go on, and wait until it does; nothing where it went with the power."""
        place = self.root(host) / PLACE
        if not place.is_dir():
            return
        (place / "go.new").write_text(how, encoding="utf-8")
        (place / "go.new").rename(place / "go")
        deadline = time.monotonic() + _GOING_S
        while (place / "go").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        if (place / "go").exists():
            (place / "held").unlink(missing_ok=True)
            (place / "go").unlink(missing_ok=True)

    def let_all_go(self, but: Collection[str] = ()) -> None:
        """Nobody is held any more, and nothing asked for; but on these hosts."""
        for host in self.lab.hosts:
            if host.name in but:
                continue
            place = self.root(host.name) / PLACE
            for name in ("at", "taken", "held", "go"):
                (place / name).unlink(missing_ok=True)
            if place.is_dir():
                place.rmdir()

    def journals(self, transaction: str) -> dict[str, list[dict[str, Any]]]:
        """What each host wrote down of a transaction."""
        found = {}
        for host in self.lab.hosts:
            file = self.root(host.name) / STATE_DIR.lstrip("/") / "transactions" / transaction / "journal.jsonl"
            if file.exists():
                found[host.name] = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return found

    def transactions(self) -> set[str]:
        """The ids of all transactions on any host."""
        return {
            path.name
            for host in self.lab.hosts
            for path in (self.root(host.name) / STATE_DIR.lstrip("/") / "transactions").glob("2*")
        }

    # -- breaking and looking ------------------------------------------------------------------------------------

    def broken(self, scenario: Scenario) -> StackSnapshot:
        """The stack with a scenario's damage; it is done only where the last one was mended, or was another."""
        snapshot, self.left = self.left or self.full_snapshot(), None
        if not self.is_whole(snapshot):
            if self.harm == scenario.harm:
                return snapshot
            status, said = self.play("multi_rollback", **self.values(ALL))
            assert status == 0, said
        self.damage(scenario.harm)
        return self.full_snapshot()

    def damage(self, harm: str) -> None:
        """Break ``rows`` of a table, or ``columns``, or ``everything``: one thing of every kind."""
        self.harm = harm
        everything = (CLONE / "demo" / "sql" / "disaster.sql").read_text(encoding="utf-8")
        self._psql(_SQL.get(harm, everything))
        self._psql(_EXACT_SEQUENCES)
        if harm != "everything":
            return
        for key, words in _HARM.items():
            project = self.lab.project(key)
            for host in self.lab.hosts_of(key):
                command = f"cd {project.path} && {words}"
                # A unit of type notify is started once it answers.
                self.on(host.name, f"sudo -u {OWNER} sh -c {shlex.quote(command)} && systemctl restart {project.name}")

    def full_snapshot(self) -> StackSnapshot:
        """How everything is now."""
        script = (_ON_HOSTS / "look_at_host.py").read_bytes()

        def one(name: str) -> tuple[str, dict[str, Any]]:
            words = f"python3 -I - {deployment.DATABASE if name == DATABASE_HOST else ''}"
            return name, json.loads(self.on_stdin(name, words, script))

        with ThreadPoolExecutor() as workers:
            found = dict(workers.map(one, [host.name for host in self.lab.hosts]))
        state = {f"{host} {name}": value for host, told in found.items() for name, value in told["state"].items()}
        state.update({f"{name} answers": answer for name, answer in self.answers().items()})
        return StackSnapshot(
            state, frozenset(f"{host} {name}" for host, told in found.items() for name in told["around"])
        )

    def answers(self) -> dict[str, str]:
        """The status of each project's health check, and what it finds wrong."""
        found = {}
        for host, project in snapshots.deployed(self.lab):
            status, failing = snapshots.health(host, project)
            found[f"{host.name} {project.name}"] = f"{status} {' '.join(failing)}".strip()
        return found

    def settled(self, *wanted: Mapping[str, str], seconds: float = 60) -> StackSnapshot:
        """How everything is once all services answer as in one of these states, or the time is over."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            known = {f"{name} answers": answer for name, answer in self.answers().items()}
            if any(known.items() <= state.items() for state in wanted):
                break
            time.sleep(0.3)
        return self.full_snapshot()

    def expected(self, before: StackSnapshot) -> dict[str, str]:
        """All new: what belongs to the part and to the database as it was captured, everything else as before."""
        assert self.all_good is not None
        names = [self.lab.project(key).name for key in PART]
        back = {
            name: value
            for name, value in self.all_good.state.items()
            if name.startswith(DATABASE_HOST) or name.split()[1] in names or name.endswith(" answers")
        }
        return {**before.state, **back}

    def capture(self) -> None:
        """Make the restore point that all cases go back to; somebody's own notes stay beside the code, whatever happens."""
        for key in PART:
            for host in self.lab.hosts_of(key):
                self.on(host.name, f"sudo -u {OWNER} sh -c 'echo ask > {self.lab.project(key).path}/notes.md'")
        place = _MIGRATIONS["chdir"]
        self.on(DATABASE_HOST, f"install --directory --owner {OWNER} {place}")
        self.on_stdin(DATABASE_HOST, f"cat > {place}/downgrade.sql", _DOWNGRADE.encode())
        snapshots.wait_until_healthy(self.lab)
        status, said = self.play("capture", restore_point_name=f"faults-{time.time_ns()}")
        assert status == 0, said
        snapshots.wait_until_healthy(self.lab)
        self.all_good = self.full_snapshot()

    def is_whole(self, snapshot: StackSnapshot) -> bool:
        """Whether everything that would be put back is as it was captured; but for answers, which may take their time."""
        return _but_answers(snapshot.state) == _but_answers(self.expected(snapshot))

    def lost(self, before: StackSnapshot) -> list[str]:
        """What was there before and is not kept anywhere: rows, commits, settings."""
        lost = []
        for key in PART:
            project = self.lab.project(key)
            for host in self.lab.hosts_of(key):
                head = before.state[f"{host.name} {project.name} head"]
                words = f"git -c safe.directory=* -C {project.path} for-each-ref --contains {head}"
                if not self.on(host.name, words):
                    lost.append(f"{host.name} {project.name}: commit {head}")
        mark = f"{DATABASE_HOST} database {deployment.DATABASE} public."
        rows = {name.removeprefix(mark): value for name, value in before.state.items() if name.startswith(mark)}
        now = self._rows(deployment.DATABASE)
        if not any(rows.items() <= {**now, **self._rows(name)}.items() for name in self._databases()):
            lost.append("rows that were replaced")
        return lost

    def _databases(self) -> list[str]:
        sql = "SELECT datname FROM pg_database WHERE datname ~ 'previous|rejected|_tables$'"
        return self._psql(sql, "postgres").splitlines()

    def _rows(self, database: str) -> dict[str, str]:
        """Number and digest of the rows of each table; or of those that a rollback of tables put aside, where it did.

        Beside these, such a database has all tables of the restore point, empty.
        """
        script = (_ON_HOSTS / "look_at_host.py").read_bytes()
        told = json.loads(self.on_stdin(DATABASE_HOST, f"python3 -I - {shlex.quote(database)}", script))["state"]
        whole, aside = f"database {database} public.", f'database {database} lastgood_previous."public.'
        kept = {name[len(aside) :].removesuffix('"'): told[name] for name in told if name.startswith(aside)}
        return kept or {name[len(whole) :]: told[name] for name in told if name.startswith(whole)}

    # -- playing -------------------------------------------------------------------------------------------------

    def values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A scenario's extra variables: with the part, and a check that a fault can make fail."""
        chosen = {"rollback_confirm_timeout": 600, **values}
        failing = chosen.pop("rollback_projects", "")
        known = _catalogue("projects.yml")["rollback_projects"]
        database = _catalogue("stack.yml")["rollback_databases"][deployment.DATABASE]
        databases = {deployment.DATABASE: {**database, "migrations": _MIGRATIONS}}
        projects = {key: {**known[key], "test_environment": {}} for key in PART}
        for project in projects.values():
            http = [project["checks"]["http"][0]]
            if failing == "unhealthy":
                http.append({"url": "http://127.0.0.1:9/nobody-listens", "status": 200})
            # Few and quick ones: what they find is the same in every case but those of the faults that are about them.
            project["checks"] = {"compile": ["app.py"], "commands": [["test", "!", "-e", UNHEALTHY]], "http": http}
        return {**chosen, "rollback_projects": projects, "rollback_databases": databases, **impatient(self)}


def _catalogue(name: str) -> dict[str, Any]:
    """One file of the lab's variables."""
    found: dict[str, Any] = yaml.safe_load((INVENTORY / "group_vars" / "all" / name).read_text(encoding="utf-8"))
    return found


def _but_answers(state: Mapping[str, str]) -> dict[str, str]:
    """What does not depend on how busy the machine is."""
    return {name: value for name, value in state.items() if not name.endswith(" answers")}


def impatient(stack: Stack) -> dict[str, Any]:
    """A host that was cut off is noticed within two seconds instead of fifteen; nothing is compressed on the way to it."""
    options = f"-F none -o UserKnownHostsFile={stack.lab.known_hosts} -o StrictHostKeyChecking=yes"
    return {
        "ansible_ssh_common_args": f"{options} -o ServerAliveInterval=1 -o ServerAliveCountMax=2",
        "ansible_ssh_args": "-o ControlMaster=auto -o ControlPersist=60s",
        "ansible_ssh_timeout": 3,
    }
