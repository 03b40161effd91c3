# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``plan``: from a catalogue to who does what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.catalogue import CatalogueError
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.commands import completed
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.kinds.code import code_options
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.plan import (
    PlanRefused,
    Request,
    make_plan,
    parse_kinds,
)
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.stack import read_stack

DOCUMENTATION = r"""
name: plan
short_description: Compute who does what in a rollback
version_added: 0.1.0
description:
  - Reads the catalogue of a stack and computes the part of every host.
  - It fails, with all mistakes and all refusals together, before anything is touched.
positional: _input, groups
options:
  _input:
    description: The variables C(rollback_stack), C(rollback_databases), C(rollback_projects) and C(rollback_hooks).
    type: dict
    required: true
  groups:
    description: Ansible's C(groups).
    type: dict
    required: true
  id:
    description: Id of the transaction to be.
    type: str
    required: true
  point:
    description: Name of a restore point, or V(last_good).
    type: str
  components:
    description: V(all), or the kinds of components to put back.
    type: list
    elements: str
    required: true
  only:
    description: Only these projects.
    type: list
    elements: str
  decision_host:
    description: The host that keeps the decision. Chosen when left out.
    type: str
  source:
    description: A file on its host, to restore one database from in place of a restore point.
    type: str
  checksum:
    description: The SHA-256 of O(source), as V(sha256:0123…).
    type: str
  allow_unverified:
    description: Restore O(source) without a checksum.
    type: bool
    default: false
  database:
    description: The database that O(source) is restored into, or that has the O(tables). Not needed when there is only one.
    type: str
  tables:
    description: The tables, for the component V(tables).
    type: list
    elements: str
  commits:
    description: Commits of one project's checkout to revert, in place of a restore point.
    type: list
    elements: str
  mainline:
    description: The parent of merges among O(commits) that stays.
    type: int
    default: 1
  files:
    description: Single files of one project's checkout to bring back.
    type: list
    elements: str
  rehearse:
    description: Whether everything is only prepared and checked, and then taken away again.
    type: bool
    default: false
  to:
    description: A commit of one project's checkout, in place of a restore point.
    type: str
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Show the plan
  ansible.builtin.debug:
    msg: "{{ catalogue | lastgood.rollback.plan(groups, id='20261123T143000Z-blog-7f3a', components=['all']) }}"
"""

RETURN = r"""
_value:
  description:
    - The plan, with C(hosts), C(decision_host), the number of C(waves), and for each host in C(of) its databases,
      projects, services by wave and checks.
  type: dict
"""


def plan(
    raw: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    *,
    id: str,
    components: Sequence[str],
    point: str | None = None,
    only: Sequence[str] | None = None,
    decision_host: str | None = None,
    source: str | None = None,
    checksum: str | None = None,
    allow_unverified: bool = False,
    database: str | None = None,
    tables: Sequence[str] | None = None,
    commits: Sequence[str] | None = None,
    mainline: int = 1,
    files: Sequence[str] | None = None,
    to: str | None = None,
    rehearse: bool = False,
) -> dict[str, Any]:
    """See the documentation above.

    :raises AnsibleFilterError: with all mistakes of the catalogue, or all reasons to refuse.
    """
    try:
        stack = read_stack(raw, groups)
        file = {"path": source, "checksum": checksum or None, "allow_unverified": allow_unverified} if source else None
        chosen = (parse_kinds(components), tuple(only or ()), decision_host or None)
        code = code_options(commits or [], mainline, files or [], to or None)
        request = Request(
            id,
            point or None,
            *chosen,
            source=file,
            database=database or None,
            tables=tuple(tables or ()),
            code=code,
            rehearse=rehearse,
        )
        return make_plan(stack, request)
    except (CatalogueError, PlanRefused) as error:
        raise AnsibleFilterError(completed(str(error))) from error


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"plan": plan}
