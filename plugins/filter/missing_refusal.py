# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``missing_refusal``: say which hosts of a stack are missing in the inventory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning import open_transactions

DOCUMENTATION = r"""
name: missing_refusal
short_description: Tell which hosts of a stack are missing in the inventory
version_added: 0.1.0
description:
  - Compares the hosts that the stack's newest transaction and restore points know with those of the inventory.
positional: _input, stack, here
options:
  _input:
    description: Host to what it registered.
    type: dict
    required: true
  stack:
    description: Name of the stack.
    type: str
    required: true
  here:
    description: All hosts that hold a part of the stack by this inventory.
    type: list
    elements: str
    required: true
  accepted:
    description: Hosts that are known to be gone.
    type: list
    elements: str
  point:
    description: The restore point that is gone back to.
    type: str
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Refuse when a host is missing
  ansible.builtin.assert:
    that: (hosts | lastgood.rollback.missing_refusal('blog', ['app1', 'db1'])) == ''
"""

RETURN = r"""
_value:
  description: A sentence that names them; empty when none is missing.
  type: str
"""


def missing_refusal(
    hosts: Mapping[str, Mapping[str, Any]],
    stack: str,
    here: Sequence[str],
    *,
    accepted: Sequence[str] = (),
    point: str | None = None,
) -> str:
    """See the documentation above.

    :raises AnsibleFilterError: with the host, and the place in what it reported that is not understood.
    """
    try:
        return open_transactions.missing_refusal(hosts, stack, here, accepted, point or "")
    except Unreadable as error:
        raise AnsibleFilterError(error.message) from error


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"missing_refusal": missing_refusal}
