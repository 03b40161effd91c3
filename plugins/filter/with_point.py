# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``with_point``: choose one that is good on every host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.commands import completed
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.plan import PlanRefused
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.plan import with_point as add_point

DOCUMENTATION = r"""
name: with_point
short_description: Add to a plan the restore point that it goes back to
version_added: 0.1.0
description:
  - Chooses the restore point by name, or the newest good one that holds every component asked for on every host.
  - It fails, with what each candidate lacks, when there is none to go back to.
positional: _input, points
options:
  _input:
    description: What P(lastgood.rollback.plan#filter) computed.
    type: dict
    required: true
  points:
    description: Host to what it registered, with what M(lastgood.rollback.restore_point_info) found there.
    type: dict
    required: true
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Choose the restore point
  ansible.builtin.set_fact:
    chosen: "{{ plan | lastgood.rollback.with_point(points) }}"
"""

RETURN = r"""
_value:
  description: The plan, with C(point).
  type: dict
"""


def with_point(plan: Mapping[str, Any], points: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """See the documentation above.

    :raises AnsibleFilterError: with all reasons to refuse.
    """
    try:
        return add_point(plan, points)
    except PlanRefused as error:
        raise AnsibleFilterError(completed(str(error))) from error


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"with_point": with_point}
