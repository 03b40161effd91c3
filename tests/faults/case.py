# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One case of the matrix: a rollback held at a step, a fault, a recovery, and a look at what came of it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from faults.kinds import Fault, Moment
from faults.stack import FaultStack, Look, impatient
from faults.steps import Scenario, Step
from lab_stack import STATE_DIR

_ENVIRONMENTS = r"/\.venv\.lastgood(/\.gitignore|/(previous-)?[0-9a-f]{8})?$"
#: Kept on purpose, and named in the reports: what was replaced, and what was written to a database that was rejected.
_KEPT = {
    "new": re.compile(rf"refs/heads/lastgood/|_previous$|_lastgood_\w+_tables$|{_ENVIRONMENTS}"),
    "old": re.compile(r"_rejected$"),
    "": re.compile(rf"refs/heads/lastgood/|_previous$|_rejected$|{_ENVIRONMENTS}"),
}
#: What any killed module leaves to the cleaning of temporary files: Ansible's own payload, and the line of progress.
_TEMPORARY = re.compile(r" /tmp/(ansible_lastgood\.|\.lastgood-[0-9a-f]{32}$)")
_PLAY_S = 600.0


@dataclass(frozen=True)
class Result:
    """How a case ended.

    :param ended: ``old``, ``new``, or nothing when it was neither.
    :param problems: why the case failed; empty when it did not.
    :param commit: of the collection that it happened to.
    """

    fault: str
    label: str
    host: str
    occurrence: int
    play: str
    recovery: str
    ended: str
    seconds: float
    problems: tuple[str, ...]
    commit: str = ""

    def to_json(self) -> dict[str, Any]:
        """A plain JSON object."""
        return asdict(self)


def play_case(stack: FaultStack, scenario: Scenario, step: Step, fault: Fault) -> Result:
    """Carry a case out. The stack is broken before; afterwards it is broken or whole."""
    began = time.monotonic()
    before = stack.broken(scenario)
    new = stack.expected(before)
    stack.ask_to_hold(step)
    moment = Moment(stack, stack.start(scenario.playbook, **stack.values(scenario.values)), step)
    held = _hit(moment, fault)
    said, _none = moment.controller.communicate(timeout=_PLAY_S)
    if held:
        fault.mend(moment)
    stack.let_all_go()
    recovery = stack.play("recover", **impatient(stack))
    succeeded = moment.controller.returncode == 0
    after = stack.left = stack.settled(new, before.state)
    ended = "new" if after.state == new else "old" if after.state == before.state else ""
    problems = [] if held else ["the step was not reached"]
    if not (fault.silences or _outcome(said)):
        problems.append("the playbook told no outcome")
    if recovery[0] != 0:
        problems.append(f"recovery ended with {recovery[0]}")
    if succeeded and ended != "new":
        problems.append("the playbook ended with 0, and yet not all is new")
    problems += [] if ended else _mixture(before.state, new, after.state)
    problems += [f"left: {name}" for name in _left(before, after, ended)]
    problems += [f"lost: {name}" for name in stack.lost(before)] if ended == "new" else []
    result = Result(
        fault=fault.name,
        label=step.label,
        host=step.host,
        occurrence=step.occurrence,
        play=_outcome(said) or f"ended with {moment.controller.returncode}",
        recovery=_outcome(recovery[1]) or ("nothing to recover" if recovery[0] == 0 else "failed"),
        ended=ended,
        seconds=round(time.monotonic() - began, 1),
        problems=tuple(problems),
    )
    if problems:
        _keep(stack, result, said, recovery[1])
    return result


def _hit(moment: Moment, fault: Fault) -> bool:
    """Let the fault happen when the step is held; false when it is never reached."""
    if not _wait_until_held(moment):
        return False
    fault.strike(moment)
    moment.stack.let_go(moment.step, "die" if fault.dies else "on")
    return True


def _wait_until_held(moment: Moment) -> bool:
    deadline = time.monotonic() + _PLAY_S
    while not moment.stack.holds(moment.step):
        if moment.controller.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _outcome(said: str) -> str:
    found = re.findall(r'"?rollback_outcome"?: "?(\w+)', said)
    return found[-1] if found else ""


def _mixture(old: Mapping[str, str], new: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """What is new, what is old, and what is neither."""
    problems = []
    for name in sorted({*old, *new, *found}):
        now, was, wanted = found.get(name), old.get(name), new.get(name)
        if was == wanted == now:
            continue
        word = "new" if now == wanted else "old" if now == was else f"neither: {now!r}, old {was!r}, new {wanted!r}"
        problems.append(f"{name}: {word}")
    return problems


def _left(before: Look, after: Look, ended: str) -> list[str]:
    left = (name for name in after.around - before.around if not _TEMPORARY.search(name))
    return sorted(name for name in left if not _KEPT[ended].search(name))


def _keep(stack: FaultStack, result: Result, said: str, recovery_said: str) -> None:
    """What is needed to find out why, beside the lab's own files."""
    top = stack.lab.directory / "failed" / f"{time.time_ns()}"
    top.mkdir(parents=True)
    (top / "play.txt").write_text(said, encoding="utf-8")
    (top / "recovery.txt").write_text(recovery_said, encoding="utf-8")
    (top / "result.txt").write_text("\n".join([str(result), *result.problems]), encoding="utf-8")
    newest = max(stack.transactions(), default="")
    for host in stack.lab.hosts:
        journal = stack.root(host.name) / STATE_DIR.lstrip("/") / "transactions" / newest / "journal.jsonl"
        if journal.exists():
            (top / f"{host.name}.jsonl").write_bytes(journal.read_bytes())
