# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``no_undo_refusal``: say what of a rollback can't be undone as a whole, unless that is accepted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning import no_undo

DOCUMENTATION = r"""
name: no_undo_refusal
short_description: Tell what of a rollback can't be undone as a whole
version_added: 0.1.0
description:
  - Looks in what the component modules planned on each host for changes that have no way back once the rollback has finished.
positional: _input
options:
  _input:
    description: Host to what it reported in each phase.
    type: dict
    required: true
  accept:
    description: What the rollback may hurt or lose, by name.
    type: list
    elements: str
    default: []
  databases:
    description: The databases of the catalogue, by name; each may have an C(accept) of its own.
    type: dict
    default: {}
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Refuse what can't be undone as a whole
  ansible.builtin.assert:
    that: (hosts | lastgood.rollback.no_undo_refusal(accept=[])) == ''
"""

RETURN = r"""
_value:
  description: A sentence that names it, what is kept instead, and how to allow it; empty when there is nothing to ask for.
  type: str
"""


def no_undo_refusal(
    hosts: Mapping[str, Mapping[str, Any]], *, accept: Sequence[str] = (), databases: Mapping[str, Any] | None = None
) -> str:
    """See the documentation above.

    :raises AnsibleFilterError: with the host, and the place in what it reported that is not understood.
    """
    try:
        return no_undo.no_undo_refusal(hosts, accept, databases or {})
    except Unreadable as error:
        raise AnsibleFilterError(error.message) from error


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"no_undo_refusal": no_undo_refusal}
