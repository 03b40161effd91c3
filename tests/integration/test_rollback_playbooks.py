# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks over a real stack when all goes well: what they put back, and what they leave alone."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.play import environment
from support.rollback_stack import ALL, CORE, HOSTS, POINT, STAGE, RollbackStack

#: Core stands alone, all others need it.
WAVES = 2


@dataclass(frozen=True)
class Job:
    """What a job template's run leaves.

    :param artefacts: what a workflow's next job gets.
    :param calls: the module calls on hosts, as the callback plugin ``calls`` saw them.
    """

    status: str
    said: str
    artefacts: Mapping[str, Any]
    calls: Sequence[Mapping[str, Any]]


def run_job(stack: RollbackStack, playbook: str, **values: Any) -> Job:
    """Run a playbook as AWX does: ansible-runner, with a project, an inventory and variables in a private directory."""
    private = stack.site.base / "job"
    (private / "env").mkdir(parents=True)
    (private / "project").symlink_to(stack.site.clone)
    (private / "inventory").symlink_to(stack.site.clone / "inventory" / "demo")
    calls = private / "calls.jsonl"
    env = environment(stack.site, calls)
    shown = {name: value for name, value in env.items() if name.startswith(("ANSIBLE_", "LASTGOOD_"))}
    (private / "env" / "envvars").write_text(json.dumps(shown), encoding="utf-8")
    (private / "env" / "extravars").write_text(
        json.dumps({"report_dest": str(stack.site.base / "logs"), **values}), encoding="utf-8"
    )
    program = stack.site.python.parent / "ansible-runner"
    command = [str(program), "run", str(private), "-p", f"playbooks/{playbook}.yml", "--ident", "1", "--quiet"]
    env["PATH"] = f"{program.parent}:{env['PATH']}"
    subprocess.run(command, env=env, cwd=stack.site.base, check=False, stdin=subprocess.DEVNULL, timeout=600)
    kept = private / "artifacts" / "1"
    events = [json.loads(path.read_text(encoding="utf-8")) for path in (kept / "job_events").glob("*.json")]
    stats = next(event for event in events if event["event"] == "playbook_on_stats")
    records = [json.loads(line) for line in calls.read_text(encoding="utf-8").splitlines()]
    return Job(
        (kept / "status").read_text(encoding="utf-8"),
        (kept / "stdout").read_text(encoding="utf-8"),
        stats["event_data"]["artifact_data"]["lastgood"],
        [record for record in records if record["kind"] == "call"],
    )


@pytest.fixture(scope="module")
def job(captured_stack: RollbackStack) -> Job:
    """One run of the main playbook over the broken stack."""
    if captured_stack.site.snapshot() == captured_stack.good:
        captured_stack.damage()
    return run_job(captured_stack, "multi_rollback", **ALL)


def test_a_job_template_ends_successful_and_tells_how(captured_stack: RollbackStack, job: Job) -> None:
    assert job.status == "successful", job.said
    assert captured_stack.site.snapshot() == captured_stack.good
    assert set(captured_stack.health().values()) == {200}
    assert job.artefacts["outcome"] == "rolled_back"
    for host in HOSTS:
        transaction = captured_stack.state(host) / "transactions" / job.artefacts["id"]
        outcome = json.loads((transaction / "outcome.json").read_text(encoding="utf-8"))
        assert outcome["outcome"] == "rolled_back"
    assert job.artefacts["downtime_ms"] > 0


def test_while_services_are_down_a_host_is_called_no_more_than_it_must(job: Job) -> None:
    down = [call for call in job.calls if call["module"].endswith("service_restart") and call["began"] > switch(job)]
    stops = [call for call in job.calls if call["state"] == "stopped" and call["began"] > armed(job)]
    began, ended = min(call["began"] for call in stops), max(call["ended"] for call in down)
    counted = Counter(call["host"] for call in job.calls if began <= call["began"] < ended)
    assert counted.keys() == set(HOSTS)
    assert max(counted.values()) <= 1 + 2 * WAVES
    assert counted["demo_db"] == 1
    switches = Counter(call["host"] for call in job.calls if call["state"] == "switch")
    assert set(switches.values()) == {1}


def armed(job: Job) -> float:
    """When the last timer was armed."""
    return max(call["ended"] for call in job.calls if call["state"] == "arm")


def switch(job: Job) -> float:
    """When the last host was told to switch."""
    return max(call["began"] for call in job.calls if call["state"] == "switch")


@pytest.mark.at_length
def test_configuration_alone(healthy: RollbackStack) -> None:
    """What it puts back `test_small_rollbacks` shows, and which services it restarts the next test here."""
    healthy.damage("files")
    pids = healthy.pids()
    ended = healthy.play("config_rollback", rollback_point="last_good", rollback_only=STAGE)
    assert ended.status == 0, ended.said
    assert ended.outcome == "rolled_back"
    assert healthy.site.snapshot() == healthy.good
    assert {name for name, pid in healthy.pids().items() if pid != pids[name]} == {"blog-writing"}


def test_one_project_leaves_the_others_alone(healthy: RollbackStack) -> None:
    healthy.damage("files", "packages")
    note = healthy.path(CORE) / "notes-for-monday.md"
    note.write_text("Look at the cache.\n", encoding="utf-8")
    pids = healthy.pids()
    try:
        ended = healthy.play("project_rollback", rollback_point=POINT, rollback_only=STAGE)
        assert ended.status == 0, ended.said
        assert ended.outcome == "rolled_back"
        assert healthy.site.snapshot() == healthy.good
        assert {name for name, pid in healthy.pids().items() if pid != pids[name]} == {"blog-writing"}
        assert note.exists()
    finally:
        note.unlink()


def test_blog_core_rollback(healthy: RollbackStack) -> None:
    """Everything that needs core stops before it and starts after it, as supervisor itself wrote down."""
    healthy.damage("code")
    log = healthy.site.directory / "log" / "supervisord.log"
    begins, pids = log.stat().st_size, healthy.pids()
    ended = healthy.play("project_rollback", rollback_point=POINT, rollback_only=CORE)
    assert ended.status == 0, ended.said
    assert healthy.site.snapshot() == healthy.good
    assert {name for name, pid in healthy.pids().items() if pid != pids[name]} == set(pids)
    lines = log.read_bytes()[begins:].decode().splitlines()
    stopped = [line.split("stopped: ")[1].split()[0] for line in lines if "stopped: " in line]
    spawned = [line.split("spawned: '")[1].split("'")[0] for line in lines if "spawned: " in line]
    assert (stopped[-1], spawned[0]) == ("blog-core", "blog-core")
    assert set(stopped) == set(spawned) == set(pids)
    assert set(healthy.health().values()) == {200}


def hooks(stack: RollbackStack) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    """Hooks that write down when they run, and where."""
    told = stack.site.base / "hooks"
    told.unlink(missing_ok=True)

    def hook(name: str, host: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "host": host, "command": tell(name), **more}

    def tell(name: str) -> list[str]:
        return ["/bin/sh", "-c", f'echo "{name} $LASTGOOD_TRANSACTION" >> {told}']

    return told, {
        "before_stop": [hook("drain", "demo_core")],
        "around_switch": [hook("pause", "demo_db", after=tell("resume"))],
        "after_start": [hook("refill", "demo_core")],
    }


def heard(told: Path, transaction: str) -> list[str]:
    """The hooks in the order of their running; one that was repeated counts once."""
    lines = [line.split() for line in told.read_text(encoding="utf-8").splitlines()]
    assert {line[1] for line in lines} == {transaction}
    return list(dict.fromkeys(line[0] for line in lines))


def test_database_and_code_in_an_emergency_with_hooks(healthy: RollbackStack) -> None:
    healthy.damage("database", "code")
    told, chosen = hooks(healthy)
    values = {"rollback_point": "last_good", "rollback_only": CORE, "rollback_hooks": chosen}
    ended = healthy.play("emergency_rollback", **values)
    assert ended.status == 0, ended.said
    assert healthy.site.snapshot() == healthy.good
    assert heard(told, ended.artefacts["id"]) == ["drain", "pause", "resume", "refill"]


def test_hooks_are_taken_back_with_the_rollback(healthy: RollbackStack) -> None:
    healthy.damage("database")
    before = healthy.site.snapshot()
    told, chosen = hooks(healthy)
    chosen["around_switch"][0]["command"] = ["/bin/false"]
    ended = healthy.play("full_rollback", rollback_point="last_good", rollback_hooks=chosen)
    assert ended.status == 2, ended.said
    assert ended.outcome == "undone"
    assert heard(told, ended.artefacts["id"]) == ["drain", "resume", "refill"]
    assert healthy.site.snapshot() == before
