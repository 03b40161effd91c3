# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``settled``: a transaction whose decision host is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.recovery import settled

DOCUMENTATION = r"""
name: settled
short_description: Settle a transaction whose decision host is lost, by what finished elsewhere
version_added: 0.1.0
description:
  - Goes by what M(lastgood.rollback.transaction_info) found on the hosts that are left.
positional: _input, entry, lost
options:
  _input:
    description: Host to what it registered.
    type: dict
    required: true
  entry:
    description: One of what P(lastgood.rollback.interrupted#filter) returns.
    type: dict
    required: true
  lost:
    description: The host that is lost; nothing where none is.
    type: str
    required: true
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Settle
  ansible.builtin.debug:
    msg: "{{ hosts | lastgood.rollback.settled(interrupted[0], 'db1') }}"
"""

RETURN = r"""
_value:
  description: The transaction, with the decision and the plan of the hosts that are left.
  type: dict
"""


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"settled": settled}
