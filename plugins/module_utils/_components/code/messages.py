# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A checkout in words: what people would lose sight of, what they should know, and who changed it since."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from ..context import PointEntry
from .checkout import Checkout
from .git import Commit, Head, Layout
from .record import Survey
from .selection import RESET, REVERT
from .target import Target

#: How many names a description shows; the archives hold all of them.
SHOWN = 200


def discards(surveyed: Survey, commits: list[Commit]) -> JsonObject:
    """What people would lose sight of; only what there is."""
    found: JsonObject = {
        "commits": [{"id": one.id, "subject": one.subject, "author": one.author, "date": one.date} for one in commits]
    }
    for why in ("staged", "modified", "hidden", "untracked", "ignored"):
        found[why] = shown(surveyed.paths(why))
    return {label: things for label, things in found.items() if things}


def warnings_of(layout: Layout, head: Head, target: Target, point: PointEntry | None) -> tuple[str, ...]:
    """What an operator should know of a move from this head to the target."""
    warnings = []
    if target.mode == REVERT and target.after != head.commit:
        warnings.append(
            f"{layout.top}: the reverts are in this checkout only. Push them, or the next deployment brings the rejected "
            "changes back; until then a hold is left there, and git config lastgood.hold tells it."
        )
    elif target.after != head.commit:
        warnings.append(
            f"{layout.top}: a plain git pull brings the rejected commits back. A hold is left there: a deployment can "
            "test for it with git config lastgood.hold."
        )
    if target.facts["history"]:
        warnings.append(
            f"{layout.top} is a shallow clone: its history is fetched from {target.facts['history']['remote']} in prepare, "
            "and not all commits that are discarded can be listed before that."
        )
    if head.branch is None:
        warnings.append(f"{layout.top} is on no branch (detached HEAD), and stays so.")
    if point is not None and target.mode == RESET and point.facts.get("branch") != head.branch:
        warnings.append(
            f"{layout.top} was on {point.facts.get('branch') or 'no branch'} at the restore point and is on "
            f"{head.branch or 'no branch'} now: the latter is moved back."
        )
    return tuple(warnings)


def foreign(checkout: Checkout, workspace: Path) -> str:
    """Why an undo leaves the checkout alone: how it was found, how it should be, and where the rest is kept."""
    try:
        head = checkout.git.head()
        now = f"is at {head.commit} ({head.branch or 'detached'})"
    except (Refused, CommandFailed) as error:
        now = f"can't be read ({error.message})"
    return (
        f"{checkout.top} {now}; before it was at {checkout.before.commit} ({checkout.before.branch or 'detached'}) "
        f"and the rollback took {'it' if checkout.selected.is_all else 'some of its files'} to {checkout.target}: "
        "somebody changed it since. It was left alone; what was replaced is kept "
        f"{' and '.join([*map('as {}'.format, checkout.side_refs[:1]), f'in {workspace}'])}."
    )


def shown(paths: Iterable[str]) -> list[str]:
    """For people, and for JSON: bytes that are no text are shown as escapes, and a long list is cut."""
    listed = [os.fsencode(path).decode("utf-8", "backslashreplace") for path in paths]
    rest = len(listed) - SHOWN
    return listed[:SHOWN] + ([f"… and {rest} more"] if rest > 0 else [])
