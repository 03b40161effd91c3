# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``interrupted``: open transactions, put together from all hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.recovery import interrupted

DOCUMENTATION = r"""
name: interrupted
short_description: Find the transactions that recovery has to end
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
    msg: "{{ hosts | lastgood.rollback.interrupted | length }}"
"""

RETURN = r"""
_value:
  description: What was found.
  type: list
"""


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"interrupted": interrupted}
