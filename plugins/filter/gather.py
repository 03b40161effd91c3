# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``gather``: what hosts registered, as one mapping."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

DOCUMENTATION = r"""
name: gather
short_description: Collect what hosts registered
version_added: 0.1.0
description:
  - Takes variables of several hosts out of C(hostvars), leaving out what a host never registered.
positional: _input, hosts, names
options:
  _input:
    description: Ansible's C(hostvars).
    type: dict
    required: true
  hosts:
    description: The hosts.
    type: list
    elements: str
    required: true
  names:
    description: Names of variables.
    type: list
    elements: str
    required: true
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Collect a result
  ansible.builtin.set_fact:
    found: "{{ hostvars | lastgood.rollback.gather(ansible_play_hosts, ['points']) }}"
"""

RETURN = r"""
_value:
  description: Host to name to value.
  type: dict
"""


def gather(hostvars: Mapping[str, Any], hosts: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """See the documentation above."""
    return {host: {name: hostvars[host][name] for name in names if name in hostvars[host]} for host in hosts}


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"gather": gather}
