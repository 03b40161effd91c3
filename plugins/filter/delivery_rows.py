# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``delivery_rows``: what became of messages, for a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

DOCUMENTATION = r"""
name: delivery_rows
short_description: Tell what became of messages
version_added: 0.1.0
description:
  - Rows for M(lastgood.rollback.show_table).
options:
  _input:
    description: The C(deliveries) that M(lastgood.rollback.send_messages) returned.
    type: list
    elements: dict
    required: true
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Show what became of the messages
  lastgood.rollback.show_table:
    title: Messages
    rows: "{{ deliveries | lastgood.rollback.delivery_rows }}"
"""

RETURN = r"""
_value:
  description: Rows of three cells.
  type: list
"""


def delivery_rows(deliveries: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """See the documentation above."""
    return [[each["what"], each["to"], "sent" if each["sent"] else each["detail"]] for each in deliveries]


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"delivery_rows": delivery_rows}
