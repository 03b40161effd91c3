# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``check_proposal``: a verdict proposes what was planned, or says why it proposes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.commands import completed
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.check import planned

DOCUMENTATION = r"""
name: check_proposal
short_description: Leave a proposal out of a verdict when its plan was refused
version_added: 0.1.0
description:
  - Compares what P(lastgood.rollback.check_summary#filter) proposes with what became of a plan of it, and adds to the command
    what it would be asked for.
positional: _input, hosts
options:
  _input:
    description: The verdict.
    type: dict
    required: true
  hosts:
    description: Host to C(__check_refusal), the reason where its part of the plan was refused, and what each component would do.
    type: dict
    required: true
  accept:
    description: What the rollback may hurt or lose, by name, as it was planned with.
    type: list
    elements: str
    default: []
  databases:
    description: The databases of the catalogue, by name.
    type: dict
    default: {}
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Leave out what would be refused
  ansible.builtin.set_fact:
    verdict: "{{ verdict | lastgood.rollback.check_proposal(refusals) }}"
"""

RETURN = r"""
_value:
  description: The verdict.
  type: dict
"""


def check_proposal(
    verdict: Mapping[str, Any],
    hosts: Mapping[str, Mapping[str, Any]],
    *,
    accept: Sequence[str] = (),
    databases: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """See the documentation above.

    :raises AnsibleFilterError: with the host, and the place in what it reported that is not understood.
    """
    try:
        found: dict[str, Any] = completed(planned(verdict, hosts, accept, databases))
    except Unreadable as error:
        raise AnsibleFilterError(error.message) from error
    return found


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"check_proposal": check_proposal}
