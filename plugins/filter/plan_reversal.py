# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``plan_reversal``: from what the hosts remember to a plan that takes a finished rollback back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.records import service_key
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.catalogue import CatalogueError
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning import reversal
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.commands import completed
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.plan import PlanRefused
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.stack import read_stack

DOCUMENTATION = r"""
name: plan_reversal
short_description: Compute who does what to undo a finished rollback
version_added: 0.1.0
description:
  - Takes the plan that a finished rollback was made by, for a new transaction that takes it back as a whole.
  - It fails when the rollback is not named, was not kept, or is not the last one of its stack that stands; it then says
    which one could be undone.
options:
  _input:
    description: Host to what it registered, with what M(lastgood.rollback.transaction_info) found there.
    type: dict
    required: true
  catalogue:
    description: The variables that describe the stack. What has to be checked is looked up there.
    type: dict
    required: true
  groups:
    description: Group to its hosts, as Ansible's variable C(groups).
    type: dict
    required: true
  id:
    description: Id of the transaction to be.
    type: str
    required: true
  undoes:
    description: Id of the rollback to undo.
    type: str
    required: true
  stack:
    description: Name of the stack.
    type: str
    required: true
  rehearse:
    description: Whether everything is only prepared and checked, and then taken away again.
    type: bool
    default: false
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Plan to undo
  ansible.builtin.set_fact:
    plan: >-
      {{ hosts | lastgood.rollback.plan_reversal(
           catalogue, groups, id='20261124T090000Z-blog-0b0b', undoes='20261123T143000Z-blog-7f3a', stack='blog') }}
"""

RETURN = r"""
_value:
  description: A plan as of P(lastgood.rollback.plan#filter), with C(undoes) and without a restore point.
  type: dict
"""


def plan_reversal(
    hosts: Mapping[str, Mapping[str, Any]],
    catalogue: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    *,
    id: str,
    undoes: str,
    stack: str,
    rehearse: bool = False,
) -> dict[str, Any]:
    """See the documentation above.

    :raises AnsibleFilterError: with the reason to refuse.
    """
    try:
        projects = read_stack(catalogue, groups).projects
        known = {name: project.hosts for name, project in projects.items()}
        services: dict[str, set[str]] = {}
        for project in projects.values():
            for host in project.hosts:
                services.setdefault(host, set()).update(service_key(service) for service in project.services)
        return reversal.plan_reversal(hosts, known, services, id=id, undoes=undoes, stack=stack, rehearse=rehearse)
    except (CatalogueError, PlanRefused, Unreadable) as error:
        raise AnsibleFilterError(completed(str(error))) from error


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"plan_reversal": plan_reversal}
