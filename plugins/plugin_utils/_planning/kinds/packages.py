# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The kind ``packages``: what is installed in a project's Python environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.catalogue import Project
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.fields import ABSOLUTE

from .base import ProjectKind


class Packages(ProjectKind):
    """See the module's docstring."""

    name = "packages"
    title = "Packages"
    keys = {"packages": ABSOLUTE}
    capture_option = "packages"

    def value(self, project: Project) -> str | None:
        """The environment's path."""
        return project.packages

    def entry(self, project: Project) -> str | None:
        """The environment's path."""
        return project.packages

    def captured(self, projects: Sequence[Project]) -> list[Any]:
        """Each environment once, with the imports of all projects that share it."""
        imports: dict[str, list[str]] = {}
        for project in projects:
            if project.packages is not None:
                known = imports.setdefault(project.packages, [])
                known += [module for module in project.checks.get("imports", ()) if module not in known]
        return [{"path": path, "imports": modules} for path, modules in imports.items()]
