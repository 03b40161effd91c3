# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``outcome``: one word for the whole, and the table that explains it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.commands import completed
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.outcome import summarize

DOCUMENTATION = r"""
name: outcome
short_description: Tell how a rollback ended
version_added: 0.1.0
description:
  - Puts together what the hosts of a plan reported, into one of the outcomes that the documentation lists, with the
    rows of the final table.
positional: _input, hosts
options:
  _input:
    description: What P(lastgood.rollback.plan#filter) computed; empty when it never came to a plan.
    type: dict
    required: true
  hosts:
    description: Host to what it reported in each phase.
    type: dict
    required: true
  check:
    description: Whether it was only planned.
    type: bool
    default: false
  rehearse:
    description: Whether it was only rehearsed.
    type: bool
    default: false
  accept:
    description: What the rollback may hurt or lose, by name.
    type: list
    elements: str
    default: []
  databases:
    description: The databases of the catalogue, by name.
    type: dict
    default: {}
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Tell how it ended
  ansible.builtin.set_fact:
    ended: "{{ plan | lastgood.rollback.outcome(hosts) }}"
"""

RETURN = r"""
_value:
  description: C(outcome), C(success), C(title), C(tone), C(rows), C(downtime_ms) and C(suggestion), what to run next.
  type: dict
"""


def outcome(
    plan: Mapping[str, Any],
    hosts: Mapping[str, Mapping[str, Any]],
    *,
    check: bool = False,
    rehearse: bool = False,
    accept: Sequence[str] = (),
    databases: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """See the documentation above.

    :raises AnsibleFilterError: when a host reported something that this collection does not know.
    """
    try:
        ended: dict[str, Any] = completed(
            summarize(plan, hosts, check=check, rehearse=rehearse, accept=accept, databases=databases)
        )
    except Unreadable as error:
        raise AnsibleFilterError(error.message) from error
    except KeyError as error:
        raise AnsibleFilterError(f"A host reported something unknown: {error}") from error
    return ended


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"outcome": outcome}
