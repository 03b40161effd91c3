#!/usr/bin/python
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin ``read_inputs``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: read_inputs
short_description: Read the inputs of a role of this collection with their types
version_added: 0.1.0
description:
  - Every input becomes what the role's argument specs say, from wherever it comes; a list also from names with commas, on
    lines, or JSON; a truth value also from text.
  - An empty text, V(null) and V(None) are as if nothing had been given, and do not hide what an inventory has.
  - What can't be taken is refused with all mistakes together; among them text that was read as a number or a date, and
    variables whose names begin like inputs of this collection but are none.
extends_documentation_fragment:
  - lastgood.rollback.attributes.read_only
  - lastgood.rollback.attributes.controller
  - lastgood.rollback.attributes
options:
  role:
    description: The role, without the collection's name.
    type: str
    required: true
  entry_point:
    description: The task file that is begun with; its argument specs say what is required.
    type: str
    default: main
  new_names:
    description: Inputs that give something its name; a name that would be read as anything but text is refused.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Read the inputs
  lastgood.rollback.read_inputs:
    role: rollback
    entry_point: commits
  register: __rollback_inputs
"""

RETURN = r"""
rollback_rehearse:
  description: Each input of the role by its name, but for those that may hold passwords.
  returned: with O(role=rollback)
  type: bool
  sample: false
"""
