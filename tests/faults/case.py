# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A case of the matrix: a rollback held at a step, a fault, a recovery, and a look at what came of it.

Other cases that its run comes by may be carried out with it, on other hosts at the same time, or later: then each fault
happens to what those before have left.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from faults.cases import Case, Left
from faults.kinds import Moment
from faults.stack import FaultStack, Held, StackSnapshot, impatient
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
NOT_REACHED = "the step was not reached"
#: For how long a host that is held waits for others, which do their part of the same task.
_TOGETHER_S = 3.0
#: Between looks for somebody who is held. More of them would cost processor time that the hosts, on the same machine, could use.
_LOOK_S = 0.05
#: How many faults may happen to one rollback and its recoveries.
_MOST = 6


@dataclass(frozen=True)
class Result:
    """How a case ended.

    :param ended: ``old``, ``new``, or nothing when it was neither.
    :param seconds: of its run, shared among all cases of this.
    :param problems: why the case failed; empty when it did not.
    :param commit: of the collection that it happened to.
    :param before: what had happened to the same run before, as fault and step.
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
    before: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Result:
        """From a plain JSON object."""
        return cls(**{**row, "problems": tuple(row["problems"]), "before": tuple(row.get("before", ()))})

    def to_json(self) -> dict[str, Any]:
        """A plain JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class _Run:
    """A playbook that has ended, and what happened to it."""

    status: int
    said: str
    struck: tuple[Case, ...]

    @property
    def problem(self) -> str:
        """Nothing, when it told how it ended, or could not."""
        silenced = any(case.fault.silences for case in self.struck)
        told = _outcome(self.said) or "Nothing to recover" in self.said
        return "" if silenced or told else "a playbook told no outcome"


def play_case(stack: FaultStack, case: Case, left: Left | None = None) -> list[Result]:
    """Carry a case out. The stack is broken before; afterwards it is broken or whole.

    :param left: others, of which a few are carried out when the run comes by their steps.
    """
    began = time.monotonic()
    before = stack.broken(case.scenario)
    new = stack.expected(before)
    most = _MOST if left else 1
    runs = [_play(stack, case.scenario.playbook, stack.values(case.scenario.values), case, left, most)]
    while len(runs) == 1 or runs[-1].struck:
        room = most - sum(len(run.struck) for run in runs)
        runs.append(_play(stack, "recover", impatient(stack), None, left, room))
    stack.let_all_go()
    after = stack.left = stack.settled(new, before.state)
    ended = "new" if after.state == new else "old" if after.state == before.state else ""
    problems = [] if runs[0].struck else [NOT_REACHED]
    problems += [run.problem for run in runs[:-1] if run.problem]
    if runs[-1].status != 0:
        problems.append(f"recovery ended with {runs[-1].status}")
    if runs[0].status == 0 and ended != "new":
        problems.append("the playbook ended with 0, and yet not all is new")
    problems += [] if ended else _mixture(before.state, new, after.state)
    problems += [f"left: {name}" for name in _left(before, after, ended)]
    problems += [f"lost: {name}" for name in stack.lost(before)] if ended == "new" else []
    struck = [one for run in runs for one in run.struck] or [case]
    results = [
        Result(
            fault=one.fault.name,
            label=one.step.label,
            host=one.step.host,
            occurrence=one.step.occurrence,
            play=_outcome(runs[0].said) or f"ended with {runs[0].status}",
            recovery=_outcome(runs[-1].said) or ("nothing to recover" if runs[-1].status == 0 else "failed"),
            ended=ended,
            seconds=round((time.monotonic() - began) / len(struck), 1),
            problems=tuple(problems),
            before=tuple(", ".join(earlier.key) for earlier in struck[:number]),
        )
        for number, one in enumerate(struck)
    ]
    if problems:
        _keep(stack, results, runs)
    return results


def _play(
    stack: FaultStack, playbook: str, values: Mapping[str, Any], case: Case | None, left: Left | None, room: int
) -> _Run:
    """Run a playbook to its end, let the case happen to it, and then others that it comes by; mend what they broke.

    Modules go on without their controller: those of a playbook that was silenced may be held while the next one runs.

    :param room: for how many cases.
    """
    struck: list[Case] = []
    silenced: list[Case] = []
    if case:
        stack.ask_to_hold({case.step.host: {case.step.name: case.step.occurrence}})
    elif left and room:
        stack.ask_to_hold(left.wanted(struck), but=stack.held())
    began = time.monotonic()
    controller = stack.start(playbook, **values)
    # All the time: a playbook with more to say than a pipe holds would wait for somebody who reads it.
    with ThreadPoolExecutor(1) as reader:
        told = reader.submit(controller.communicate)
        while len(struck) < room and (held := _held(stack, controller, left, [*struck, case] if case else struck)):
            now = {case.step.host: case} if case and case.step.host in held else {}
            case = None
            for host in held.keys() - now.keys():
                known, alone = [*struck, *now.values()], held[host].began < began
                if left and len(known) < room and (one := left.take(host, held[host].name, known, alone)):
                    now[host] = one
            _strike(stack, controller, now)
            struck += now.values()
            silenced = [one for one in now.values() if one.fault.silences]
            if left and silenced and len(struck) < room:
                stack.ask_to_hold_again(left.wanted(silenced))
            for host in held:
                stack.let_go(host, "die" if host in now and now[host].fault.dies else "on")
            if silenced:
                break
            if left and len(struck) < room:
                stack.ask_to_hold(left.wanted(struck))
        try:
            said, _none = told.result(_PLAY_S)
        except TimeoutError:
            controller.kill()
            raise
    to_mend = [one for one in struck if one.fault.mend]
    if to_mend or not silenced:
        # A host does not come up while somebody holds what it undoes at its start.
        stack.let_all_go()
    for one in to_mend:
        one.fault.mend(Moment(stack, controller, one.step))
    return _Run(controller.returncode, said, tuple(struck))


def _strike(stack: FaultStack, controller: subprocess.Popen[str], now: Mapping[str, Case]) -> None:
    """Let it happen to all hosts while they are held; what ends the controller comes last."""
    for one in sorted(now.values(), key=lambda one: one.fault.silences):
        one.fault.strike(Moment(stack, controller, one.step))


def _held(
    stack: FaultStack, controller: subprocess.Popen[str], left: Left | None, struck: Sequence[Case]
) -> dict[str, Held]:
    """The hosts that are held; none when the playbook ends before.

    While the first of them waits, others may come to steps that something is left for: they are held as well.

    :param struck: what has happened to the playbook, or is going to.
    """
    deadline = time.monotonic() + _PLAY_S
    while not (held := stack.held()):
        if controller.poll() is not None or time.monotonic() > deadline:
            return {}
        time.sleep(_LOOK_S)
    if left:
        stack.ask_to_hold(left.wanted(struck), but=held)
        deadline = time.monotonic() + _TOGETHER_S
        while len(stack.held()) < len(stack.lab.hosts) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
    held = stack.held()
    stack.let_all_go(but=held)
    return held


def _outcome(said: str) -> str:
    found = re.findall(r'"?lastgood"?:.*?"?outcome"?: "?(\w+)', said, re.DOTALL)
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


def _left(before: StackSnapshot, after: StackSnapshot, ended: str) -> list[str]:
    """What is there that was not before; but for what is kept on purpose."""
    left = (name for name in after.around - before.around if not _TEMPORARY.search(name))
    return sorted(name for name in left if not _KEPT[ended].search(name))


def _keep(stack: FaultStack, results: Sequence[Result], runs: Sequence[_Run]) -> None:
    """What is needed to find out why, beside the lab's own files."""
    top = stack.lab.directory / "failed" / f"{time.time_ns()}"
    top.mkdir(parents=True)
    for number, run in enumerate(runs):
        (top / (f"recovery-{number}.txt" if number else "play.txt")).write_text(run.said, encoding="utf-8")
    (top / "result.txt").write_text("\n".join([*map(str, results), *results[0].problems]), encoding="utf-8")
    newest = max(stack.transactions(), default="")
    for host in stack.lab.hosts:
        journal = stack.root(host.name) / STATE_DIR.lstrip("/") / "transactions" / newest / "journal.jsonl"
        if journal.exists():
            (top / f"{host.name}.jsonl").write_bytes(journal.read_bytes())
