# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``history_rows``: past transactions as rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.commands import completed
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report import recovery

DOCUMENTATION = r"""
name: history_rows
short_description: Tell past rollbacks
version_added: 0.1.0
description:
  - Puts together what M(lastgood.rollback.transaction_info) found on several hosts.
positional: _input
options:
  _input:
    description: Host to what it registered.
    type: dict
    required: true
  accept:
    description: What an undo may hurt, by name, as it was planned with.
    type: list
    elements: str
    default: []
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Count
  ansible.builtin.debug:
    msg: "{{ hosts | lastgood.rollback.history_rows | length }}"
"""

RETURN = r"""
_value:
  description: What was found.
  type: list
"""


def history_rows(hosts: Mapping[str, Mapping[str, Any]], *, accept: Sequence[str] = ()) -> list[list[str]]:
    """See the documentation above."""
    rows: list[list[str]] = completed(recovery.history_rows(hosts, accept))
    return rows


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"history_rows": history_rows}
