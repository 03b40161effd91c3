# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The kind ``code``: a project's checkout, as a whole to a restore point, or to what is named: commits, files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.catalogue import Project

from .base import Discard, ProjectKind


def _commits(_subject: str, commits: list[Mapping[str, Any]]) -> Iterator[str]:
    for commit in commits:
        yield f"commit {commit['id'][:9]} {commit['subject']} ({commit['author']}, {commit['date'][:10]})"


class Code(ProjectKind):
    """See the module's docstring."""

    name = "code"
    title = "Checkout"
    fits_schema = True
    undo_needs_kept = False
    discards = {"commits": Discard([{"id": str, "subject": str, "author": str, "date": str}], _commits)}
    capture_option = "checkouts"

    def value(self, project: Project) -> str:
        """The checkout's path."""
        return project.path

    def entry(self, project: Project) -> str:
        """Every project has a checkout."""
        return project.path

    def captured(self, projects: Sequence[Project]) -> list[Any]:
        """One checkout a project."""
        return [{"path": project.path} for project in projects]


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
    if tuple(kinds) != (Code.name,):
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
