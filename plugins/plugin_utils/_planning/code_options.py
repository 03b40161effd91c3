# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) How code goes back other than as a whole to a restore point: named commits, single files, a commit. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def code_options(commits: Sequence[str], mainline: int, files: Sequence[str], to: str | None) -> dict[str, Any] | None:
    """The options of ``git_reset`` that it comes down to, and ``words`` for titles; None when nothing of it is asked for."""
    if not (commits or files or to):
        return None
    mode = "revert" if commits else "paths" if files else "reset"
    return {
        "mode": mode,
        "commits": list(commits),
        "mainline": mainline,
        "paths": list(files),
        "to": to,
        "words": f"what was without {', '.join(commits)}" if commits else ", ".join(files),
    }


def code_refusals(
    code: Mapping[str, Any], *, point: str | None, kinds: Sequence[str], only: Sequence[str], projects: Sequence[str]
) -> list[str]:
    """Why this can't be asked for."""
    reasons = []
    asked = {"rollback_commits": code["commits"], "rollback_files": code["paths"], "rollback_to": code["to"]}
    named = [name for name, value in asked.items() if value]
    if tuple(kinds) != ("code",):
        reasons.append(
            f"{' and '.join(named)} belong to code, but {', '.join(kinds)} are asked for: run lastgood.rollback.code_rollback "
            "or lastgood.rollback.file_rollback."
        )
    if len(only) != 1 and len(projects) != 1:
        reasons.append(
            f"{' and '.join(named)} are of one project's checkout: name it with -e rollback_only=… "
            f"({', '.join(projects)})."
        )
    if code["commits"] and (code["paths"] or code["to"] or point):
        reasons.append(
            "rollback_commits are reverted: neither rollback_files, rollback_to nor rollback_point go with them."
        )
    elif code["to"] and point:
        reasons.append(f"Both a commit ({code['to']}) and a restore point ({point}) are named to go back to: name one.")
    return reasons
