# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``capture_outcome``: how a capture ended, as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.commands import completed
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report import capture_outcome as _capture_outcome

DOCUMENTATION = r"""
name: capture_outcome
short_description: Tell how a capture ended
version_added: 0.1.0
description:
  - Puts together what the hosts of a stack reported while a restore point was made, for M(lastgood.rollback.show_table).
positional: _input, name, stack
options:
  _input:
    description: Host to what it registered.
    type: dict
    required: true
  name:
    description: The restore point's name.
    type: str
    required: true
  stack:
    description: The stack's name.
    type: str
    required: true
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Show what was captured
  lastgood.rollback.show_table:
    title: "{{ captured.title }}"
    rows: "{{ captured.rows }}"
    tone: "{{ captured.tone }}"
  vars:
    captured: "{{ hosts | lastgood.rollback.capture_outcome('monday', 'blog') }}"
"""

RETURN = r"""
_value:
  description:
    - C(outcome), C(title), C(tone), C(rows), C(suggestion), and C(good), whether the restore point can be gone back to as the
      last good one.
  type: dict
"""


def capture_outcome(hosts: Mapping[str, Mapping[str, Any]], name: str, stack: str) -> dict[str, Any]:
    """See the documentation above.

    :raises AnsibleFilterError: with the host, and the place in what it reported that is not understood.
    """
    try:
        ended: dict[str, Any] = completed(_capture_outcome.capture_outcome(hosts, name, stack))
    except Unreadable as error:
        raise AnsibleFilterError(error.message) from error
    return ended


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"capture_outcome": capture_outcome}
