# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report and the log of a rollback that was cut off and recovered: both halves of the story."""

from __future__ import annotations

import json
import time
from pathlib import Path

from support.small_stack import HOSTS, WANTED, SmallStack

ROTATED = "rollback.log.1"


def journal(stack: SmallStack, host: str) -> list[dict[str, object]]:
    """The whole lines of the only transaction's journal."""
    for path in (stack.base / "state" / host / "transactions").glob("2*/journal.jsonl"):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]
    return []


def own_log(stack: SmallStack, host: str) -> list[str]:
    """The lines of a host's own log, those that were rotated away included."""
    base = stack.base / "state" / host
    return [line for name in (ROTATED, "rollback.log") for line in (base / name).read_text("utf-8").splitlines()]


def has(stack: SmallStack, host: str, event: str) -> bool:
    return any(entry["event"] == event for entry in journal(stack, host))


def test_a_kill_and_the_recovery_are_one_story(tmp_path: Path) -> None:
    stack = SmallStack(tmp_path)
    stack.damage()
    process = stack.start("multi_rollback", **WANTED)
    while not has(stack, "web1", "switched"):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not stack.logs.exists()

    first_half = {host: len(journal(stack, host)) for host in HOSTS}
    for host in HOSTS:
        log = stack.base / "state" / host / "rollback.log"
        log.rename(log.with_name(ROTATED))
    done = stack.play("recover")
    assert done.returncode == 0, done.stdout
    assert [stack.settings(number).read_text() for number in (1, 2)] == ["MODE=broken\n", "MODE=broken\n"]

    report = stack.report()
    assert report["outcome"] == "recovered"
    for host in HOSTS:
        written = journal(stack, host)
        assert len(written) > first_half[host] > 0
        told = [(each["at"], each["event"], each["what"]) for each in report["events"] if each["host"] == host]
        assert told == [(entry["at"], entry["event"], entry["what"]) for entry in written]
    assert [each["at"] for each in report["events"]] == sorted(each["at"] for each in report["events"])
    phases = {host["host"]: [span["phase"] for span in host["phases"]] for host in report["timeline"]["hosts"]}
    assert phases["web1"][0] == "prepare"
    assert "undo" in phases["web1"]
    execute = next(item for item in report["checklist"] if item["key"] == "execute")
    assert execute["state"] == "failed"

    log = (stack.logs / "rollback.log").read_text(encoding="utf-8").splitlines()
    own = [
        line.replace(" - ROLLBACK - ", f" - ROLLBACK - {host}: ").replace(f"{host}: FAILED: ", f"FAILED: {host}: ")
        for host in HOSTS
        for line in own_log(stack, host)
    ]
    assert set(log) <= set(own)
    assert len(log) == sum(entry["event"] != "intent" for host in HOSTS for entry in journal(stack, host))
