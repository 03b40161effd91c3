# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``database_passwords``: component to password."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.plan import passwords

DOCUMENTATION = r"""
name: database_passwords
short_description: Collect the passwords that a transaction needs
version_added: 0.1.0
description:
  - Takes the passwords of the named databases out of the catalogue, as M(lastgood.rollback.transaction) takes them.
positional: _input, names
options:
  _input:
    description: The variable C(rollback_databases).
    type: dict
    required: true
  names:
    description: Names of databases.
    type: list
    elements: str
    required: true
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Count the passwords
  ansible.builtin.debug:
    msg: "{{ rollback_databases | lastgood.rollback.database_passwords([\"blog\"]) | length }}"
"""

RETURN = r"""
_value:
  description: Component to its passwords; empty when none is needed.
  type: dict
"""


def database_passwords(databases: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, str]]:
    """See the documentation above.

    :raises AnsibleFilterError: when the catalogue is not a mapping.
    """
    if not isinstance(databases, Mapping):
        raise AnsibleFilterError("rollback_databases must be a mapping of names.")
    return passwords(databases, names)


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"database_passwords": database_passwords}
