# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``hold_rows``: released holds as rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

DOCUMENTATION = r"""
name: hold_rows
short_description: Tell which holds were released
version_added: 0.1.0
description:
  - Puts together what M(lastgood.rollback.release_hold) did on several hosts.
options:
  _input:
    description: Host to what it registered, with C(__rollback_released).
    type: dict
    required: true
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Count the checkouts
  ansible.builtin.debug:
    msg: "{{ hosts | lastgood.rollback.hold_rows | length }}"
"""

RETURN = r"""
_value:
  description: One row a checkout, with the host, the path, and what was released there.
  type: list
"""


def hold_rows(hosts: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """One row a checkout, also of those that had no hold: the operator named them."""
    return [
        [host, str(result["path"]), f"released the hold of {result['hold']}" if result["hold"] else "was not held"]
        for host, registered in hosts.items()
        for result in registered.get("__rollback_released", {}).get("results", [])
        if "path" in result
    ]


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"hold_rows": hold_rows}
