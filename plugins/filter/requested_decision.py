# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``requested_decision``: say which decision is to be asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._engine.decision import requested_decision as requested

DOCUMENTATION = r"""
name: requested_decision
short_description: Tell which decision is to be asked for
version_added: 0.1.0
description:
  - By the rule that a rollback is kept only where every host of it has promised, and none of them is lost for good.
positional: _input
options:
  _input:
    description: The hosts that take part.
    type: list
    elements: str
    required: true
  promised:
    description: Those that are known to have promised, and not to have undone.
    type: list
    elements: str
    default: []
  lost:
    description: Those that nobody can ask any more.
    type: list
    elements: str
    default: []
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Write the decision
  lastgood.rollback.transaction:
    id: "{{ id }}"
    state: decide
    decision: "{{ ['db1', 'web1'] | lastgood.rollback.requested_decision(promised=['db1', 'web1']) }}"
"""

RETURN = r"""
_value:
  description: V(keep) or V(undo).
  type: str
"""


def requested_decision(hosts: Sequence[str], promised: Sequence[str] = (), lost: Sequence[str] = ()) -> str:
    """See the documentation above."""
    return requested(hosts, promised, lost)


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"requested_decision": requested_decision}
