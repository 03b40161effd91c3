# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``undo_offers``: which rollbacks may be undone as a whole now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.reversal import undoable

DOCUMENTATION = r"""
name: undo_offers
short_description: Find the rollbacks that may be undone now
version_added: 0.1.0
description:
  - Puts together what M(lastgood.rollback.transaction_info) found on several hosts.
options:
  _input:
    description: Host to what it registered.
    type: dict
    required: true
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Count
  ansible.builtin.debug:
    msg: "{{ hosts | lastgood.rollback.undo_offers | length }}"
"""

RETURN = r"""
_value:
  description: What was found.
  type: list
"""


def undo_offers(hosts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """See the documentation above."""
    return [name for names in undoable(hosts).values() for name in names]


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"undo_offers": undo_offers}
