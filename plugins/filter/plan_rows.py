# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``plan_rows``: what would be done and discarded, as rows of a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.outcome import plan_rows

DOCUMENTATION = r"""
name: plan_rows
short_description: Tell what a rollback would do and discard
version_added: 0.1.0
description:
  - Turns what the component modules planned on each host into rows for M(lastgood.rollback.show_table).
options:
  _input:
    description: Host to what it reported in each phase.
    type: dict
    required: true
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Show the plan
  lastgood.rollback.show_table:
    title: Plan
    rows: "{{ hosts | lastgood.rollback.plan_rows }}"
"""

RETURN = r"""
_value:
  description: Rows of cells.
  type: list
"""


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"plan_rows": plan_rows}
