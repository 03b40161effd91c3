# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A catalogue read with what all kinds of components bring to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.catalogue import Stack, parse_catalogue

from .kinds.registry import PROJECT_KEYS, PROJECT_KINDS


def read_stack(raw: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> Stack:
    """See `parse_catalogue`."""
    return parse_catalogue(raw, groups, PROJECT_KEYS)


def captured_by(stack: Stack, host: str) -> dict[str, Any]:
    """What one host captures; everything is empty for a host that holds no part of the stack."""
    projects = [project for project in stack.projects.values() if host in project.hosts]
    databases = [database for database in stack.databases.values() if database.host == host]
    return {
        "hosts": list(stack.hosts),
        "databases": [{**database.options, "name": database.name} for database in databases],
        **{kind.capture_option: kind.captured(projects) for kind in PROJECT_KINDS if kind.capture_option},
        "projects": [project.health for project in projects],
        "checked": [{**project.health, "services": [dict(each) for each in project.services]} for project in projects],
    }
