# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the demo, and its two acts."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import kept
import place as places
import plays
import proof
import stack
from client import Reader, health
from commands import MARK, DemoError
from console import say, step, table, title
from disaster import strike
from place import CORE, Place

POINT = "release-1.2.0"
#: Where the inventory sends the reports to, in the demo's directory.
REPORTS = "logs"


@dataclass(frozen=True)
class Options:
    """What can be said on the command line.

    :param posts: how many posts the database gets.
    :param keep: leave the stack running at the end of an act.
    """

    posts: int
    keep: bool


def up(options: Options) -> int:
    """Build the stack; what an earlier run left behind is removed first."""
    title("A stack of six projects")
    _clean()
    stack.show(stack.build(options.posts))
    return 0


def capture(_options: Options) -> int:
    """Make a restore point, and remember by our own means how the stack is now."""
    place = _there()
    title("A restore point")
    before = proof.snapshot(place)
    status = plays.play(place, "capture", restore_point_name=POINT)
    if status != 0:
        raise DemoError(f"capture.yml ended with {status}.")
    if changed := proof.differences(before, proof.snapshot(place)):
        raise DemoError(f"Making the restore point changed the stack: {', '.join(changed)}.")
    proof.save(place, "good", before)
    step(f"The stack is remembered as {POINT}, and nothing of it has changed")
    return 0


def break_it(_options: Options) -> int:
    """Break the stack, show it, and remember how it is now."""
    place = _there()
    if proof.load(place, "broken"):
        raise DemoError("It is broken already: `make demo-rollback` mends it.")
    title("A bad day")
    strike(place)
    proof.save(place, "broken", proof.snapshot(place))
    answers = health(place)
    say()
    stack.show(place, answers)
    if any(answer.status == 200 for answer in answers.values()):
        raise DemoError("The disaster should have hit every service, and did not.")
    return 0


def rollback(_options: Options) -> int:
    """Go back to the restore point, and prove it by other means than the collection's."""
    place = _there()
    good, broken = _remembered(place)
    title("The rollback")
    with Reader(place.project(CORE)) as reader:
        status = plays.play(place, "multi_rollback", rollback_point="last_good", rollback_components="all")
    if status != 0:
        raise DemoError(f"multi_rollback.yml ended with {status}: {_told(place)}.")
    title("The proof, without the collection")
    now = proof.snapshot(place)
    # What was lying about in a checkout may go on lying there.
    expected, found = proof.without_untracked(good), proof.without_untracked(now)
    proof.show(expected, found)
    say()
    table(("kept", "where"), kept.find(place, broken))
    say()
    stack.show(place)
    say()
    _show_downtime(reader, 200)
    if differing := proof.differences(expected, found):
        raise DemoError(f"Not as it was: {', '.join(differing)}.")
    if status_of_health(place) != 0:
        raise DemoError("Not every service is healthy.")
    proof.forget(place, "broken")
    _where_next(place)
    return 0


def undo(options: Options) -> int:
    """The second act: a rollback that fails its checks after the switch; everything must be as it was before it.

    A stack that was broken by hand before is taken, and left; without one it is built, broken, and removed at the end.
    The status is the playbook's own (which is not 0) when all of that is so, and 1 when anything else happened.
    """
    there = places.load()
    of_its_own = there is None or proof.load(there, "broken") is None
    if of_its_own:
        for act in (up, capture, break_it):
            act(options)
    place = _there()
    title("A rollback that must not succeed")
    say("Somebody demands that a post written after the restore point is still there. Going back can't give that,")
    say("but it shows only when the stack has been switched and started: everything has to be taken back.\n")
    before = proof.snapshot(place)
    if not proof.differences(_remembered(place)[0], before):
        raise DemoError("The stack is not broken, so nothing would be proven.")
    wanted = f"{place.project(CORE).url}/api/posts/{place.posts + 1}"
    with Reader(place.project(CORE)) as reader:
        status = plays.play(
            place,
            "multi_rollback",
            rollback_point="last_good",
            rollback_components="all",
            demo_acceptance=[{"url": wanted, "status": 200}],
        )
    title("The proof, without the collection")
    after = proof.snapshot(place)
    proof.show(before, after)
    say()
    _show_downtime(reader, 200, health(place)[CORE].status)
    told = plays.outcomes(place)
    if status == 0:
        raise DemoError("multi_rollback.yml ended with 0, as if it had gone back.")
    if set(told.values()) != {"undone"}:
        raise DemoError(f"multi_rollback.yml ended with {status}, but not because it was undone: {_told(place)}.")
    if differing := proof.differences(before, after):
        raise DemoError(f"Not as before the attempt: {', '.join(differing)}.")
    say(f"\nThe rollback was tried, failed its checks, and was undone on {', '.join(sorted(told))}.")
    say(f"Everything is as it was before it. As it did not go back, the exit status is the playbook's: {status}.")
    say(f"Its report, logs and journals: {_keep_the_records(place)}")
    if of_its_own and not options.keep:
        down(options)
    return status


def everything(options: Options) -> int:
    """The first act, from nothing to nothing."""
    times: list[tuple[str, str]] = []
    acts: dict[str, Callable[[Options], int]] = {
        "build the stack": up,
        "make a restore point": capture,
        "break it": break_it,
        "roll back, and prove it": rollback,
    }
    for name, act in acts.items():
        began = time.monotonic()
        act(options)
        times.append((name, f"{time.monotonic() - began:.1f} s"))
    records = _keep_the_records(_there())
    if not options.keep:
        down(options)
    title("All done")
    table(("step", "took"), times)
    say(f"\nThe rollback's report, logs and journals: {records}")
    say("To play: `make demo-up`, `make demo-break`, `make demo-rollback`, `make demo-down`.")
    say("The same with a rollback that has to be taken back: `make demo-undo`.")
    return 0


def status(_options: Options) -> int:
    """Show the services; the status tells whether all are healthy."""
    place = _there()
    stack.show(place)
    return status_of_health(place)


def down(_options: Options) -> int:
    """Remove the stack."""
    if not _clean():
        say("There is no demo to remove.")
    return 0


def status_of_health(place: Place) -> int:
    """0 if every service says that it is healthy, else 1."""
    return 0 if all(answer.status == 200 for answer in health(place).values()) else 1


def _clean() -> bool:
    place = places.load()
    if place is None:
        return False
    stack.take_away(place)
    step(f"Ended the demo's processes and removed {place.directory}")
    return True


def _there() -> Place:
    place = places.load()
    if place is None:
        raise DemoError("No demo is there: `make demo-up` builds one.")
    os.environ[MARK] = str(place.directory)
    return place


def _remembered(place: Place) -> tuple[proof.Snapshot, proof.Snapshot]:
    good, broken = proof.load(place, "good"), proof.load(place, "broken")
    if good is None:
        raise DemoError("There is no restore point to go back to: `demo.py capture` makes one.")
    if broken is None:
        raise DemoError("Nothing is broken yet: `make demo-break` does that.")
    return good, broken


def _told(place: Place) -> str:
    told = plays.outcomes(place)
    return ", ".join(f"{host} says {outcome}" for host, outcome in sorted(told.items())) or "no host has a record of it"


def _show_downtime(reader: Reader, *good: int) -> None:
    seconds = reader.away_s(good)
    away = "it did not come back" if seconds is None else f"it did not answer for {seconds:.1f} s"
    counted = ", ".join(f"{status}: {times}" for status, times in sorted(reader.statuses().items()))
    say(f"  A reader asked blog-core {reader.asked} times meanwhile: {away} (answers by status: {counted}).")


def _where_next(place: Place) -> None:
    say("\nWhere to look next:")
    for file in sorted((*place.directory.glob(f"{REPORTS}/*.html"), *place.directory.glob("state/*/rollback.log"))):
        say(f"  {file}")
    say("  .venv/bin/ansible-playbook playbooks/history.yml -i inventory/demo")


def _keep_the_records(place: Place) -> Path:
    """Copy reports, logs and journals to where they outlive the stack, for those who want to read them afterwards."""
    target = places.CLONE / ".cache" / "demo"
    shutil.rmtree(target, ignore_errors=True)
    state = place.directory / "state"
    for pattern in ("*/rollback.log", "*/transactions/*/journal.jsonl", "*/transactions/*/outcome.json"):
        for file in state.glob(pattern):
            copy = target / file.relative_to(state)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    if (place.directory / REPORTS).is_dir():
        shutil.copytree(place.directory / REPORTS, target / REPORTS)
    return target
