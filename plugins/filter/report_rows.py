# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``report_rows``: what became of the report, for the final table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    paths = [facts["report_written"]["html"] for facts in hosts.values() if "html" in facts.get("report_written", {})]
    failures = [
        facts["__rollback_report_failure"] for facts in hosts.values() if facts.get("__rollback_report_failure")
    ]
    unsent = [facts["__rollback_notify_failure"] for facts in hosts.values() if facts.get("__rollback_notify_failure")]
    deliveries = [each for facts in hosts.values() for each in facts.get("__rollback_deliveries", [])]
    rows = [["Report", path] for path in paths if Path(path).stem == id]
    rows += [["Report", f"not complete: {failure}"] for failure in failures]
    if deliveries:
        rows.append(["Messages", _counted(deliveries)])
    reasons = [facts["__rollback_not_scheduled"] for facts in hosts.values() if facts.get("__rollback_not_scheduled")]
    rows += [
        ["", f"No timer sends what is due later, since {reason}: let notify_retry.yml run on a schedule"]
        for reason in reasons
    ]
    rows += [["Messages", f"none: {failure}"] for failure in unsent]
    return rows


def _counted(deliveries: Sequence[Mapping[str, Any]]) -> str:
    """How many were sent; whom it could not be sent to; what is yet to come."""
    failed = [f"{each['to']} ({each['detail']})" for each in deliveries if each["failed"]]
    sent = sum(bool(each["sent"]) for each in deliveries)
    words = [f"{sent} sent", f"{len(deliveries) - sent - len(failed)} due later"]
    if failed:
        words.append(f"{len(failed)} to be tried again: {'; '.join(failed)}")
    return ", ".join(words)


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"report_rows": report_rows}
