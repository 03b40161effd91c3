# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``check_summary``: what checks found on all hosts, as one verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.catalogue import CatalogueError
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.commands import completed
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.stack import read_stack
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.check import summarize

DOCUMENTATION = r"""
name: check_summary
short_description: Tell whether a stack is healthy, and which playbook answers what is wrong
version_added: 0.1.0
description:
  - Puts together what M(lastgood.rollback.health_info) and M(lastgood.rollback.pg_integrity_info) found on all hosts of a
    stack, with the rows of a table and the command lines to run next.
positional: _input, catalogue, groups, here
options:
  _input:
    description: Host to what it registered.
    type: dict
    required: true
  catalogue:
    description: The variables C(rollback_stack), C(rollback_databases), C(rollback_projects) and C(rollback_hooks).
    type: dict
    required: true
  groups:
    description: Ansible's C(groups).
    type: dict
    required: true
  here:
    description: The hosts that could be asked.
    type: list
    elements: str
    required: true
  point:
    description: The restore point to suggest.
    type: str
    default: last_good
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Put the checks together
  ansible.builtin.set_fact:
    verdict: "{{ hosts | lastgood.rollback.check_summary(catalogue, groups, ansible_play_hosts) }}"
"""

RETURN = r"""
_value:
  description:
    - C(healthy), C(title), C(tone), C(rows), C(findings), C(suggestions), and the first of them as C(suggestion).
    - Each finding has C(host), C(kind), C(severity), C(object) and C(detail).
  type: dict
"""


def check_summary(
    hosts: Mapping[str, Mapping[str, Any]],
    catalogue: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    here: Sequence[str],
    point: str = "last_good",
) -> dict[str, Any]:
    """See the documentation above.

    :raises AnsibleFilterError: with all mistakes of the catalogue.
    """
    try:
        stack = read_stack(catalogue, groups)
    except CatalogueError as error:
        raise AnsibleFilterError(str(error)) from error
    verdict: dict[str, Any] = completed(summarize(stack, hosts, here, point))
    return verdict


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"check_summary": check_summary}
