# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollback costs for each host, and how often a host is called while services are down: on the lab's real hosts."""

from __future__ import annotations

import json
import os
import resource
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from built_modules import CALLBACK_PLUGINS
from lab_stack import INVENTORY, Stack, lab_is_up

# Of the lab itself: the stack has made them importable.
import snapshots  # isort: skip
import machines  # isort: skip
from deployment import psql  # isort: skip
from layout import DATABASE_HOST, OWNER, Host  # isort: skip

#: Application hosts that take part; the database's host comes on top.
SIZES = tuple(int(word) for word in os.environ.get("LASTGOOD_HOSTS", "4,8,16,32").split(","))
#: Projects on one host.
PROJECTS = (1, 3, 6)
_COMMIT = "git -c user.name=Blog -c user.email=blog@example.invalid commit --quiet --all -m 'Add a remark'"


@dataclass(frozen=True)
class Run:
    """One rollback of everything.

    :param seconds: by the clock, on which whatever else the machine does shows.
    :param work: seconds of its processors, of the controller and of all hosts.
    :param down: how often each host was called between the first stop and the last start.
    """

    seconds: float
    work: float
    down: Mapping[str, int]

    @property
    def most(self) -> int:
        """The calls of the application host that was called most often."""
        return max(number for host, number in self.down.items() if host != DATABASE_HOST)


@pytest.fixture(autouse=True)
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where every call of a module is written down."""
    file = tmp_path / "calls.jsonl"
    monkeypatch.setenv("ANSIBLE_CALLBACK_PLUGINS", str(CALLBACK_PLUGINS))
    monkeypatch.setenv("ANSIBLE_CALLBACKS_ENABLED", "calls")
    monkeypatch.setenv("ANSIBLE_FORKS", str(max(SIZES) + 1))
    monkeypatch.setenv("LASTGOOD_TEST_CALLS", str(file))
    return file


def catalogue(keys: Sequence[str]) -> dict[str, Any]:
    """These projects, which start together and have few and quick checks: what is measured is the flow."""
    text = (INVENTORY / "group_vars" / "all" / "projects.yml").read_text(encoding="utf-8")
    known = yaml.safe_load(text)["rollback_projects"]
    found = {}
    for key in keys:
        checks = {"compile": ["app.py"], "http": known[key]["checks"]["http"][:1]}
        found[key] = {**known[key], "requires": [], "test_environment": {}, "checks": checks}
    return found


def capture(stack: Stack, keys: Sequence[str]) -> None:
    """Make the restore point that `rolled_back` goes to."""
    name = f"benchmark-{time.time_ns()}"
    status, said = stack.play("capture", restore_point_name=name, rollback_projects=catalogue(keys))
    assert status == 0, said


def damage(stack: Stack, keys: Sequence[str]) -> None:
    """One commit and one line of the settings of each project on each host, and some rows."""

    def one(host: Host) -> None:
        for key in (key for key in host.projects if key in keys):
            words = f"echo '# remark' >> app.py && {_COMMIT} && echo '# another machine' >> .env"
            stack.on(host.name, f'cd {stack.lab.project(key).path} && sudo -u {OWNER} sh -c "{words}"')

    machines.on_all(stack.lab.applications, one)
    psql(stack.lab, "UPDATE post SET summary = 'damaged' WHERE id % 3 = 0;")


def rolled_back(stack: Stack, calls: Path, keys: Sequence[str]) -> Run:
    """Break it all, roll it back, and prove that it is back."""
    good = stack.snapshot()
    damage(stack, keys)
    assert snapshots.differences(good, stack.snapshot())
    calls.unlink(missing_ok=True)
    began, idle = time.monotonic(), work(stack)
    said, _none = (process := stack.rollback(rollback_projects=catalogue(keys))).communicate()
    seconds, worked = time.monotonic() - began, work(stack) - idle
    assert process.returncode == 0, said
    assert snapshots.differences(good, stack.snapshot()) == []
    return Run(seconds, worked, while_down(calls))


def work(stack: Stack) -> float:
    """The seconds of processors that our own children and the hosts of a stack have used so far."""
    ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (
        ours.ru_utime
        + ours.ru_stime
        + sum(_work_of(stack.podman.inspect("container", host.name)) for host in stack.lab.hosts)
    )


def _work_of(container: Mapping[str, Any]) -> float:
    """From its control group, of either version."""
    lines = Path(f"/proc/{container['State']['Pid']}/cgroup").read_text(encoding="ascii").splitlines()
    groups = {line.split(":")[1]: line.split(":")[2].partition("/init.scope")[0] for line in lines}
    for kinds, group in groups.items():
        if "cpuacct" in kinds.split(","):
            return int(Path(f"/sys/fs/cgroup/cpuacct{group}/cpuacct.usage").read_text(encoding="ascii")) / 1e9
    stat = Path(f"/sys/fs/cgroup{groups['']}/cpu.stat").read_text(encoding="ascii")
    return int(stat.split()[1]) / 1e6


def while_down(calls: Path) -> Counter[str]:
    """The calls of modules between the first stop and the last start, by host."""
    found = [json.loads(line) for line in calls.read_text(encoding="utf-8").splitlines()]
    found = [call for call in found if call["kind"] == "call"]
    armed = max(call["ended"] for call in found if call["state"] == "arm")
    began = min(call["began"] for call in found if call["state"] == "stopped" and call["began"] > armed)
    services = [call["ended"] for call in found if call["module"].endswith("service_restart")]
    return Counter(call["host"] for call in found if began <= call["began"] < max(services))


def test_the_cost_of_a_host_does_not_grow_with_their_number(calls: Path, tmp_path: Path) -> None:
    runs: dict[int, Run] = {}
    with lab_is_up(hosts=max(SIZES), posts=200) as whole:
        assert len(whole.lab.applications) >= max(SIZES), "another lab is up: make lab-down ends it"
        capture(whole, [project.key for project in whole.lab.projects])
        for size in SIZES:
            stack = part_of(whole, size, tmp_path / str(size))
            keys = [project.key for project in stack.lab.projects if stack.lab.hosts_of(project.key)]
            runs[size] = rolled_back(stack, calls, keys)
    show(runs)
    first, last = runs[SIZES[0]], runs[SIZES[-1]]
    assert last.work / SIZES[-1] <= 1.2 * first.work / SIZES[0]
    assert {run.most for run in runs.values()} == {first.most}


def show(runs: Mapping[int, Run]) -> None:
    """The table of `docs/lab.md`."""
    (smallest, first), *_others = runs.items()
    print("\n| application hosts | processor seconds | a host | of the first | seconds | calls of a host while down |")
    print("|---|---|---|---|---|---|")
    for size, run in runs.items():
        each = run.work / size
        ratio = each / (first.work / smallest)
        print(f"| {size} | {run.work:.0f} | {each:.1f} | {ratio:.2f} | {run.seconds:.0f} | {run.most} |")


def part_of(whole: Stack, size: int, directory: Path) -> Stack:
    """The same lab, as if it had only its first hosts."""
    directory.mkdir()
    (directory / "ssh").symlink_to(whole.lab.directory / "ssh")
    lab = replace(whole.lab, directory=directory, hosts=(whole.lab.hosts[0], *whole.lab.applications[:size]))
    lab.write()
    return Stack(lab, whole.podman)


def test_a_host_is_called_as_often_whatever_the_number_of_its_projects(calls: Path) -> None:
    runs: dict[int, Run] = {}
    with lab_is_up(hosts=1, posts=200) as stack:
        (host,) = stack.lab.applications
        for number in PROJECTS:
            keys = host.projects[:number]
            capture(stack, keys)
            runs[number] = rolled_back(stack, calls, keys)
    print("\n| projects on the host | calls of it while down | seconds |\n|---|---|---|")
    for number, run in runs.items():
        print(f"| {number} | {run.most} | {run.seconds:.0f} |")
    assert len({run.most for run in runs.values()}) == 1
