# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``typed``: one input with its type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.inputs import InputError, load_inputs
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.inputs import typed as as_type

DOCUMENTATION = r"""
name: typed
short_description: Read one input of this collection's roles with its type
version_added: 0.1.0
description:
  - For inputs that M(lastgood.rollback.read_inputs) does not keep, since they may hold passwords, or templates that are for
    later.
positional: _input, name
options:
  _input:
    description: The value.
    type: raw
    required: true
  name:
    description: The input's name.
    type: str
    required: true
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Count the databases
  ansible.builtin.debug:
    msg: "{{ rollback_databases | lastgood.rollback.typed('rollback_databases') | length }}"
"""

RETURN = r"""
_value:
  description: What the role's argument specs say it is; empty when nothing is given.
  type: raw
"""


def typed(value: Any, name: str) -> Any:
    """See the documentation above.

    :raises AnsibleFilterError: when it can't be what it has to be.
    """
    option = next(role.options[name] for role in load_inputs().values() if name in role.options)
    try:
        return as_type(option, value)
    except InputError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"typed": typed}
