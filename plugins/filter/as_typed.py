# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``as_typed``: commands in a text as they have to be typed after this run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.commands import completed

DOCUMENTATION = r"""
name: as_typed
short_description: Complete the commands in a text
version_added: 0.1.0
description:
  - Puts the inventory, the vaults and the files of variables of this run into every C(ansible-playbook lastgood.rollback.…) of
    a text, so that it works as it is printed.
options:
  _input:
    description: The text.
    type: str
    required: true
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Say what to run next
  ansible.builtin.debug:
    msg: "{{ 'ansible-playbook lastgood.rollback.recover' | lastgood.rollback.as_typed }}"
"""

RETURN = r"""
_value:
  description: The text with whole commands.
  type: str
"""


def as_typed(text: str) -> str:
    """See the documentation above."""
    return str(completed(str(text)))


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"as_typed": as_typed}
