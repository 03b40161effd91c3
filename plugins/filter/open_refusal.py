# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``open_refusal``: say which transaction of a stack is still open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning import open_transactions
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.commands import completed

DOCUMENTATION = r"""
name: open_refusal
short_description: Tell which transaction of a stack is still open
version_added: 0.1.0
description:
  - Puts together what M(lastgood.rollback.transaction_info) found on several hosts, whatever it was registered as.
positional: _input, stack
options:
  _input:
    description: Host to what it registered.
    type: dict
    required: true
  stack:
    description: Name of the stack.
    type: str
    required: true
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Refuse while a transaction is open
  ansible.builtin.assert:
    that: (hosts | lastgood.rollback.open_refusal('blog')) == ''
"""

RETURN = r"""
_value:
  description: Sentences with phase, owner, what is down and the command that goes on; empty when none is open.
  type: str
"""


def open_refusal(hosts: Mapping[str, Mapping[str, Any]], stack: str) -> str:
    """See the documentation above.

    :raises AnsibleFilterError: with the host, and the place in what it reported that is not understood.
    """
    try:
        return str(completed(open_transactions.open_refusal(hosts, stack)))
    except Unreadable as error:
        raise AnsibleFilterError(error.message) from error


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"open_refusal": open_refusal}
