# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter ``catalogue_secrets``: what a report must not show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.secrets import catalogue_secrets

DOCUMENTATION = r"""
name: catalogue_secrets
short_description: List the secrets of a catalogue
version_added: 0.1.0
description:
  - Passwords of databases, and those settings of test environments whose names say that they are secret.
positional: _input, projects
options:
  _input:
    description: The stack's databases by name.
    type: dict
    required: true
  projects:
    description: The stack's projects by name.
    type: dict
    default: {}
author:
  - the lastgood.rollback authors (@lastgood)
"""

EXAMPLES = r"""
- name: Count the secrets
  ansible.builtin.debug:
    msg: "{{ rollback_databases | lastgood.rollback.catalogue_secrets(rollback_projects) | length }}"
"""

RETURN = r"""
_value:
  description: The secrets, longest first.
  type: list
"""


def secrets(databases: Mapping[str, Any], projects: Mapping[str, Any] | None = None) -> list[str]:
    """See the documentation above."""
    return catalogue_secrets(databases, projects or {})


class FilterModule:
    """Ansible's way in."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names to functions."""
        return {"catalogue_secrets": secrets}
