# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``capture_plan``: from a catalogue to what one host captures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.catalogue import CatalogueError, Stack
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.kinds.registry import PROJECT_KINDS
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.stack import read_stack

DOCUMENTATION = r"""
name: capture_plan
short_description: Compute what a host captures of a stack
version_added: 0.1.0
description:
  - Reads the catalogue of a stack and picks what belongs to one host. These are the databases that name it as their
    host, and checkouts, files and environments of the projects whose group it is in.
  - It fails, with all mistakes of the catalogue together, before anything is looked at.
positional: _input, host, groups
options:
  _input:
    description: The variables C(rollback_stack), C(rollback_databases), C(rollback_projects) and C(rollback_hooks).
    type: dict
    required: true
  host:
    description: The host's name in the inventory.
    type: str
    required: true
  groups:
    description: Ansible's C(groups).
    type: dict
    required: true
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Show what this host captures
  ansible.builtin.debug:
    msg: "{{ catalogue | lastgood.rollback.capture_plan(inventory_hostname, groups) }}"
"""

RETURN = r"""
_value:
  description:
    - C(databases), C(checkouts), C(files) and C(packages) as M(lastgood.rollback.restore_point) takes them, C(projects)
      as M(lastgood.rollback.health_info) takes them, C(checked), the same with their services, and
      C(hosts), all that hold a part of the stack.
    - It holds the passwords that the catalogue holds.
  type: dict
"""


def capture_plan(raw: Mapping[str, Any], host: str, groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """See the documentation above.

    :raises AnsibleFilterError: with all mistakes of the catalogue.
    """
    try:
        stack = read_stack(raw, groups)
    except CatalogueError as error:
        raise AnsibleFilterError(str(error)) from error
    return part_of(stack, host)


def part_of(stack: Stack, host: str) -> dict[str, Any]:
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


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"capture_plan": capture_plan}
