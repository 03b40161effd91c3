# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``report_rows``: what became of the report, for the final table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

DOCUMENTATION = r"""
name: report_rows
short_description: Tell what became of the report
version_added: 0.1.0
description:
  - Rows for the final table, where the report is, and what could not be written or sent.
positional: _input, id
options:
  _input:
    description: Host to what it registered.
    type: dict
    required: true
  id:
    description: The transaction; what was registered of another one is passed over.
    type: str
    required: true
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Show where the report is
  lastgood.rollback.show_table:
    title: Rolled back
    rows: "{{ hosts | lastgood.rollback.report_rows(plan.id) }}"
"""

RETURN = r"""
_value:
  description: Rows of two cells.
  type: list
"""


def report_rows(hosts: Mapping[str, Mapping[str, Any]], id: str) -> list[list[str]]:
    """See the documentation above."""
    paths = [told["report_written"]["html"] for told in hosts.values() if "html" in told.get("report_written", {})]
    failures = [told["__rollback_report_failure"] for told in hosts.values() if told.get("__rollback_report_failure")]
    rows = [["Report", path] for path in paths if Path(path).stem == id]
    return rows + [["Report", f"not complete: {failure}"] for failure in failures]


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"report_rows": report_rows}
