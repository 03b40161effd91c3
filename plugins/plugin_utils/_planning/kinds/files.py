# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The kind ``files``: a project's configuration files; also files of a checkout are discarded in these words."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.catalogue import Project
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.fields import PATHS

from .base import Discard, ProjectKind


def file_paths(project: Project) -> tuple[str, ...]:
    """Absolute ones; the catalogue may have them relative to the checkout."""
    listed = project.components.get("files", ())
    return tuple(posixpath.normpath(posixpath.join(project.path, file)) for file in listed)


def _files(_subject: str, files: list[Mapping[str, Any]]) -> Iterator[str]:
    for file in files:
        settings = f" ({', '.join(file['settings'])})" if file.get("settings") else ""
        yield f"{file['path']} is {file['becomes']}{settings}"


class Files(ProjectKind):
    """See the module's docstring."""

    name = "files"
    title = "Files"
    undo_needs_kept = False  # a file may have been absent
    discards = {"files": Discard([{"path": str, "becomes": str, "settings?": (None, [str])}], _files)}
    keys = {"files": PATHS}
    nothing: ClassVar[Any] = []
    capture_option = "files"

    def value(self, project: Project) -> list[dict[str, str]]:
        """As ``file_restore`` takes them."""
        return [{"dest": file} for file in file_paths(project)]

    def entry(self, project: Project) -> str | None:
        """All files of a host are one entry."""
        return "files" if file_paths(project) else None

    def captured(self, projects: Sequence[Project]) -> list[Any]:
        """Each file once."""
        return list(dict.fromkeys(file for project in projects for file in file_paths(project)))
