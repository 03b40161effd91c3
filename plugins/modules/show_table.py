#!/usr/bin/python
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin ``show_table``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: show_table
short_description: Print a short table that a tired person can read
version_added: 0.1.0
description:
  - Prints rows of cells in columns, on the controller, also in AWX's job output.
extends_documentation_fragment:
  - lastgood.rollback.attributes.read_only
  - lastgood.rollback.attributes.controller
  - lastgood.rollback.attributes
options:
  title:
    description: What stands above the table.
    type: str
    required: true
  rows:
    description: Lists of cells. A cell of several lines goes on below itself.
    type: list
    elements: list
    required: true
  tone:
    description: Colour, where there are colours.
    type: str
    choices: [bad, good, plain, warning]
    default: plain
"""

EXAMPLES = r"""
- name: Show the outcome
  lastgood.rollback.show_table:
    title: Rolled back
    rows:
      - [Downtime, 4.1 s]
      - [Report, logs/report.html]
"""

RETURN = r"""
table:
  description: The table as text.
  returned: always
  type: str
  sample: "Rolled back\n-----------\nDowntime  4.1 s"
"""
