# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is shown while a long step is at work: without a terminal, line by line as it happens, and in ansible-runner's stream."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.postgres_server import PostgresServer

NAME = "growing"
#: Nothing is slow in the live database; the rows take their time where they are restored.
TABLES = [
    "CREATE TABLE small (id int PRIMARY KEY)",
    "INSERT INTO small SELECT generate_series(1, 100)",
    "CREATE TABLE slow (id int PRIMARY KEY, body text, CHECK"
    f" (current_database() = '{NAME}' OR (pg_sleep(0.1) IS NULL) IS NOT NULL))",
    "INSERT INTO slow SELECT id, string_agg(md5(id || 'x' || n), '') FROM generate_series(1, 80) id,"
    " generate_series(1, 500) n GROUP BY id",
]
LINE = re.compile(r"^running: \[(\w+)\] (.*) \((\d+) s\)$")
HOSTS = ("db1", "app1")


@pytest.fixture(scope="module")
def place(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with an inventory, and a database that takes some seconds to be restored."""
    base = tmp_path_factory.mktemp("progress")
    postgres_server.psql("postgres", f"CREATE DATABASE {NAME}")
    postgres_server.psql(NAME, *TABLES)
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {"all": {"hosts": dict.fromkeys(HOSTS), "vars": common}}
    (base / "inventory").mkdir()
    (base / "inventory" / "hosts.yml").write_text(yaml.safe_dump(hosts))
    (base / "project").mkdir()
    yield base
    for name in postgres_server.psql("postgres", f"SELECT datname FROM pg_database WHERE datname ~ '^{NAME}'").split():
        postgres_server.psql("postgres", f"DROP DATABASE {name} WITH (FORCE)")


def playbook(place: Path, *tasks: dict[str, Any]) -> Path:
    """Write one with these tasks, on the first host."""
    play = {"name": "Work", "hosts": HOSTS[0], "gather_facts": False, "tasks": list(tasks)}
    path = place / "project" / "play.yml"
    path.write_text(yaml.safe_dump([play]))
    return path


def play(place: Path, *tasks: dict[str, Any]) -> subprocess.Popen[str]:
    """Start it, without a terminal."""
    command = ["ansible-playbook", "-i", str(place / "inventory"), str(playbook(place, *tasks))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)


def test_a_restore_tells_tables_bytes_rate_and_time_while_it_runs(postgres_server: PostgresServer, place: Path) -> None:
    state = {"state_dir": str(place / "state")}
    point = {"name": "p1", "stack": "blog", "databases": [{"name": NAME, **postgres_server.options}], **state}
    said, _none = play(place, {"name": "Capture", "lastgood.rollback.restore_point": point}).communicate()
    assert "changed=1" in said
    postgres_server.psql(NAME, "DELETE FROM small")
    options = {"name": NAME, "restore_point": "p1", "jobs": 2, **postgres_server.options, **state}
    with play(place, {"name": "Restore", "lastgood.rollback.pg_restore": options}) as process:
        assert process.stdout is not None
        arrived = [(time.monotonic(), line.rstrip("\n")) for line in process.stdout]
    ended = time.monotonic()
    said = "\n".join(line for _at, line in arrived)
    assert process.returncode == 0, said
    assert postgres_server.psql(NAME, "SELECT count(*) FROM small", "SELECT count(*) FROM slow") == "100\n80"

    lines = [(at, found[1], found[2]) for at, line in arrived if (found := LINE.match(line))]
    assert {host for _at, host, _what in lines} == {HOSTS[0]}, said
    restoring = [(at, what) for at, _host, what in lines if what.startswith("Restoring database growing_")]
    assert len(restoring) >= 2, said
    bytes_done = r"[\d.]+ MB of about [\d.]+ MB(, [\d.]+ [kM]B/s(, about \d+ s left)?)?"
    # Between its last row and its end a table is no longer the one that is filled, and not yet one that is done.
    expected = rf"Restoring database \w+: 1 of 2 tables, {bytes_done}(, now public\.slow: \d+ of 80 rows)?"
    assert [what for _at, what in restoring if not re.fullmatch(expected, what)] == []
    assert any(", now public.slow: " in what for _at, what in restoring)
    assert any(" left, " in what for _at, what in restoring)
    # As it happened: the first came long before the end.
    assert ended - restoring[0][0] > 2
    assert len(lines) <= (ended - arrived[0][0]) / 2 + 1


def test_the_lines_are_in_the_stream_of_a_job(place: Path) -> None:
    """What AWX shows is what ansible-runner hands over."""
    checks = {"name": "site", "path": str(place), "commands": [["sleep", "7"], ["true"]]}
    playbook(
        place,
        {"name": "Quick", "lastgood.rollback.health_info": {"projects": [{**checks, "commands": [["true"]]}]}},
        {"name": "Slow", "lastgood.rollback.health_info": {"projects": [checks]}},
    )
    command = ["ansible-runner", "run", str(place), "-p", "play.yml", "--quiet"]
    subprocess.run(command, env={**os.environ, "ANSIBLE_HOME": str(place)}, check=True)
    files = sorted(place.glob("artifacts/*/job_events/*.json"), key=lambda path: int(path.name.partition("-")[0]))
    events = [(raw["event"], raw["stdout"]) for raw in (json.loads(path.read_text()) for path in files)]
    shown = [re.sub(r"\x1b\[[\d;]*m", "", stdout).strip() for kind, stdout in events if kind == "verbose"]
    lines = [found[2] for line in shown if (found := LINE.match(line))]
    assert set(lines) == {"Waiting for 1 of 2 checks: site: sleep 7"}, events
    results = [number for number, (kind, _stdout) in enumerate(events) if kind == "runner_on_ok"]
    first = next(number for number, (_kind, stdout) in enumerate(events) if "Waiting for" in stdout)
    assert first < results[-1]


def test_a_step_whose_result_is_hidden_says_nothing(place: Path) -> None:
    checks = {"name": "site", "path": str(place), "commands": [["sleep", "5"]]}
    hidden = {"name": "Secret", "lastgood.rollback.health_info": {"projects": [checks]}, "no_log": True}
    said, _none = play(place, hidden).communicate()
    assert "ok=1" in said
    assert "running:" not in said
