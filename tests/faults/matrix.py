# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All cases of the fault matrix, and the page of their results.

python -m faults.matrix            every fault that can hurt a step, at every distinct step; goes on where it was ended
python -m faults.matrix --minutes N   as many as there is time for
python -m faults.matrix --again    forget earlier results first
python -m faults.matrix --labs 2   in two labs at once: while one waits for a host that was cut off, the other works

Asked to end (Ctrl-C, SIGTERM), it carries the cases that run to their end: what they broke is mended.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock

from built_modules import share_built_modules
from faults.case import NOT_REACHED, Result, play_case
from faults.cases import Case, Left, Recordings, all_cases
from faults.kinds import FAULTS
from faults.stack import FaultStack
from faults.steps import SCENARIOS, Scenario, Step, steps_of
from lab_stack import ROOT, Stack, lab_is_up

# Of the lab itself: the stack has made it importable.
from layout import lab_directory  # isort: skip

PAGE = ROOT / "docs" / "faults.md"
#: Of all runs, one line each; kept with the sources, so that the next run goes on, wherever it is.
RESULTS = ROOT / "tests" / "faults" / "results.jsonl"


def recorded(stack: FaultStack, scenario: Scenario) -> list[Step]:
    """The steps of a scenario, from the journals of a run that nothing happens to."""
    stack.broken(scenario)
    known = stack.transactions()
    status, said = stack.play(scenario.playbook, **stack.values(scenario.values))
    if (status == 0) != scenario.succeeds:
        raise AssertionError(f"{scenario.name} ended with {status}: {said}")
    (transaction,) = stack.transactions() - known
    return list(steps_of(stack.journals(transaction)))


def read_results() -> dict[tuple[str, str], Result]:
    """The results of earlier runs, by case."""
    if not RESULTS.exists():
        return {}
    rows = (json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines())
    return {(result.fault, result.label): result for result in map(Result.from_json, rows)}


def page(results: Mapping[tuple[str, str], Result], cases: Sequence[Case]) -> str:
    """docs/faults.md."""
    ended = list(results.values())
    failed = [result for result in ended if result.problems]
    minutes = sum(result.seconds for result in ended) / 60
    commits = list(dict.fromkeys(result.commit for result in ended))
    wanted = results.keys() | {case.key for case in cases}
    lines = [
        "# Faults",
        "",
        "Written by `make faults`: a real rollback on lab hosts ([lab](lab.md)) is held at one step of one host's journal,",
        "a fault happens, what it broke is mended, one recovery is run. Then everything is read again without the",
        "collection, and compared: rows, trees, packages, files and the answers of all services must be all new or all",
        "old, on every host, and nothing may be left or lost. The steps come from the journals of runs without a fault.",
        "Other cases happen to the same run where it comes by their steps: on other hosts at the same time, to modules that",
        "go on without their controller, while it undoes, and while it is recovered; up to six faults in a run, and the same",
        "questions at its end.",
        "",
        f"{len(ended)} of {len(wanted)} cases were run, in {minutes:.0f} minutes, on commits {', '.join(commits)}:"
        f" {len(ended) - len(failed)} held, {len(failed)} did not. Each step comes once before any comes twice.",
        "",
        "| fault | cases | all old | all new | neither, or something left | seconds a case |",
        "|---|---|---|---|---|---|",
    ]
    for fault in FAULTS:
        mine = [result for result in ended if result.fault == fault.name]
        good = [result for result in mine if not result.problems]
        old, new = (sum(result.ended == word for result in good) for word in ("old", "new"))
        mean = sum(result.seconds for result in mine) / max(len(mine), 1)
        lines.append(f"| {fault.name} | {len(mine)} | {old} | {new} | {len(mine) - len(good)} | {mean:.0f} |")
    lines += [
        "",
        "Per step: `o` all old, `n` all new, `!` failed, `.` not tried yet, empty where the fault can't hurt.",
    ]
    for name, labels in _sections(results, cases).items():
        lines += ["", f"## {name.capitalize()}", ""]
        lines += ["| step | " + " | ".join(fault.name for fault in FAULTS) + " |", "|---" * (len(FAULTS) + 1) + "|"]
        for label in labels:
            keys = ((fault.name, label) for fault in FAULTS)
            marks = (_mark(results.get(key)) if key in wanted else "" for key in keys)
            lines.append(f"| `{label}` | " + " | ".join(marks) + " |")
    for result in failed:
        lines += ["", f"**{result.fault}**, `{result.label}` ({result.host}):", ""]
        lines += [f"- {problem[:300]}" for problem in result.problems]
    return "\n".join(lines) + "\n"


def _sections(results: Mapping[tuple[str, str], Result], cases: Sequence[Case]) -> dict[str, list[str]]:
    """The labels of each scenario's steps, in their order; last of all those that only some runs have."""
    found: dict[str, dict[str, None]] = {}
    for case in cases:
        found.setdefault(case.scenario.name, {})[case.step.label] = None
    known = {label for labels in found.values() for label in labels}
    found["in some runs only"] = {label: None for _fault, label in results if label not in known}
    return {name: list(labels) for name, labels in found.items() if labels}


def _mark(result: Result | None) -> str:
    if result is None:
        return "."
    return "!" if result.problems else result.ended[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was not yet run; 0 when every case that was run held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--labs", type=int, default=1)
    parser.add_argument("--only", default="", help="part of a case's scenario, fault or step")
    given = parser.parse_args(arguments)
    if given.again:
        RESULTS.unlink(missing_ok=True)
    is_over = _end(given.minutes)
    with ExitStack() as labs, ThreadPoolExecutor(given.labs) as workers:
        plain = [labs.enter_context(lab_is_up(directory=place)) for place in _places(given.labs)]
        share_built_modules(Path(labs.enter_context(TemporaryDirectory(prefix="built-modules-"))))
        stacks = list(workers.map(captured, plain))
        recordings = _recordings(stacks, workers)
        cases = list(all_cases(recordings))
        failed = {key for key, result in read_results().items() if result.problems}
        left, lock = Left(_in_turn(cases, given.only), recordings, failed), Lock()
        ends = {workers.submit(_play_some, stack, left, lock, cases, is_over): stack for stack in stacks}
        for end in as_completed(ends):
            if end.exception():
                print(f"No more cases in {ends[end].lab.directory}: {end.exception()}", flush=True)
    broken = any(end.exception() for end in ends)
    return 1 if broken or any(result.problems for result in read_results().values()) else 0


def _end(minutes: float) -> Callable[[], bool]:
    """Whether the time is over, or somebody has asked for the end."""
    deadline, asked = time.monotonic() + 60 * minutes, Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_signal: asked.set())
    return lambda: asked.is_set() or time.monotonic() > deadline


def _play_some(stack: FaultStack, left: Left, lock: Lock, cases: Sequence[Case], is_over: Callable[[], bool]) -> None:
    """Play cases in one lab, beside others that take from the same ones, until none is left or it is over."""
    while not is_over() and (case := left.next(stack.harm)):
        results = play_case(stack, case, None if case.key in left.alone else left)
        if results[0].problems == (NOT_REACHED,) and left.put_off(case):
            continue
        with lock:
            note(results, cases)
        if results[0].problems:
            # The next case would fail of it as well.
            stack.end_what_was_left()
            stack.left = None


def _recordings(stacks: Sequence[FaultStack], workers: ThreadPoolExecutor) -> Recordings:
    """The steps of every scenario; each lab records some."""

    def some(number: int) -> dict[Scenario, list[Step]]:
        return {one: recorded(stacks[number], one) for one in SCENARIOS[number :: len(stacks)]}

    found = dict(chain.from_iterable(part.items() for part in workers.map(some, range(len(stacks)))))
    return {one: found[one] for one in SCENARIOS}


def _places(count: int) -> list[Path]:
    """The directories of so many labs: the usual one, and others beside it."""
    first = lab_directory()
    return [first, *(first.with_name(f"{first.name}-{number}") for number in range(2, count + 1))]


def captured(plain: Stack) -> FaultStack:
    """A lab with the means to hold its hosts, and with a restore point."""
    stack = FaultStack(plain)
    stack.install_hold()
    stack.end_what_was_left()
    stack.capture()
    # The first rollback makes a link of an environment that was a directory: its steps come once in the life of a lab.
    stack.broken(SCENARIOS[0])
    status, said = stack.play(SCENARIOS[0].playbook, **stack.values(SCENARIOS[0].values))
    assert status == 0, said
    return stack


def note(results: Sequence[Result], cases: Sequence[Case]) -> None:
    """Add results to those of earlier runs, and write the page anew."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True, capture_output=True, check=True
    ).stdout.strip()
    with RESULTS.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(replace(result, commit=commit).to_json()) + "\n" for result in results)
    PAGE.write_text(page(read_results(), cases), encoding="utf-8")
    for result in results:
        word = ("failed" if result.problems else result.ended) + "+" * len(result.before)
        print(f"{word:<9}{result.seconds:>6.1f} s  {result.fault}  {result.label}", flush=True)


def _in_turn(cases: Sequence[Case], only: str) -> list[Case]:
    """Those that have not held yet, far apart in the rollback and of another fault each time: a short run sees of all.

    What failed comes first, then steps that no fault has happened at; the steps of an undo last, since others' runs come by.
    """
    results = read_results()
    known = {key for key, result in results.items() if not result.problems}
    left = [case for case in cases if case.key not in known and only in " ".join((case.scenario.name, *case.key))]
    random.Random(len(FAULTS)).shuffle(left)
    seen, first = {label for _fault, label in known}, []
    for case in chain.from_iterable(_by_fault(left)):
        if case.step.label not in seen:
            seen.add(case.step.label)
            first.append(case)
    failed = [case for case in left if case.key in results]
    rest = sorted(chain.from_iterable(_by_fault(left)), key=lambda case: not case.scenario.succeeds)
    return list(dict.fromkeys([*failed, *first, *rest]))


def _by_fault(cases: Sequence[Case]) -> Iterator[list[Case]]:
    """Turns, with one case of each fault in each."""
    of_each = [[case for case in cases if case.fault is fault] for fault in FAULTS]
    for turn in zip_longest(*of_each):
        yield [case for case in turn if case is not None]


if __name__ == "__main__":
    sys.exit(main())
