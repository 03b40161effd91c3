#!/usr/bin/python
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin ``write_report``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: write_report
short_description: Write the report of a rollback, and its lines of the log
version_added: 0.1.0
description:
  - Makes one self-contained HTML page, the same as JSON and as Markdown, from what all hosts said of a transaction, and
    appends the lines of all their journals to C(rollback.log), each once however often it is called.
  - Whatever the hosts say is shown as text.
extends_documentation_fragment:
  - lastgood.rollback.attributes.controller
  - lastgood.rollback.attributes
attributes:
  diff_mode:
    support: none
    details: A report is new each time.
  idempotent:
    support: partial
    details: The files are written anew; the log only gains what it does not have.
options:
  plan:
    description: The transaction's plan.
    type: dict
    required: true
  outcome:
    description: What P(lastgood.rollback.outcome#filter) returned.
    type: dict
    required: true
  hosts:
    description: Host to what it reported in each phase, with the journal that M(lastgood.rollback.transaction_info) read.
    type: dict
    required: true
  templates:
    description: The directory of the templates.
    type: path
    required: true
  dest:
    description: The directory on the controller that the files are written to; it is made when it is missing.
    type: path
    required: true
  contacts:
    description: Who is told of a rollback; C(primary), C(secondary) and C(tertiary), each with C(name), C(role), C(email).
    type: dict
    default: {}
  deliveries:
    description: What became of the messages, as M(lastgood.rollback.send_messages) returned it.
    type: list
    elements: dict
    default: []
  secrets:
    description: Texts that are blotted out wherever a tool may have printed one.
    type: list
    elements: str
    default: []
  keep_days:
    description: How many days what was replaced is kept at least.
    type: int
    default: 7
"""

EXAMPLES = r"""
- name: Write the report
  lastgood.rollback.write_report:
    plan: "{{ plan }}"
    outcome: "{{ plan | lastgood.rollback.outcome(hosts) }}"
    hosts: "{{ hosts }}"
    templates: "{{ role_path }}/templates"
    dest: /srv/reports
"""

RETURN = r"""
html:
  description: The page.
  returned: always
  type: str
  sample: /srv/reports/20261123T143000Z-blog-7f3a.html
json:
  description: The same for programs.
  returned: always
  type: str
  sample: /srv/reports/20261123T143000Z-blog-7f3a.json
md:
  description: The same as Markdown.
  returned: always
  type: str
  sample: /srv/reports/20261123T143000Z-blog-7f3a.md
log:
  description: The log of all rollbacks.
  returned: always
  type: str
  sample: /srv/reports/rollback.log
lines:
  description: The lines of this transaction in the log.
  returned: always
  type: list
  elements: str
  sample: ["2026-11-23 14:30:05 - ROLLBACK - db1: Prepared database:blog"]
"""
