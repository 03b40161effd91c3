#!/usr/bin/python
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin ``send_messages``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: send_messages
short_description: Queue the messages of a rollback, and send those that are due
version_added: 0.1.0
description:
  - Mails to the contacts at once, a status to all stakeholders within the hour, a post-mortem within 24 hours; webhooks of
    Slack, Mattermost and others.
  - Each message waits as a file in a directory until it is delivered. What can't be delivered does not fail the task; it is
    returned, and tried again the next time.
  - A message may arrive twice when the controller dies right after it was taken; both then have the same C(Message-ID).
extends_documentation_fragment:
  - lastgood.rollback.attributes.controller
  - lastgood.rollback.attributes
attributes:
  diff_mode:
    support: none
    details: Messages are not compared.
options:
  spool:
    description: The directory of the messages. It is made for its owner alone, and holds no password and no webhook's address.
    type: path
    required: true
  report:
    description: A report as JSON, as M(lastgood.rollback.write_report) wrote it. Without it, only what is due is sent.
    type: path
  templates:
    description: The directory of the templates of the messages.
    type: path
  contacts:
    description: Who is told at once; C(primary), C(secondary) and C(tertiary), each with C(name), C(role), C(email).
    type: dict
    default: {}
  stakeholders:
    description: Mail addresses of those who get the status and the post-mortem too.
    type: list
    elements: str
    default: []
  mail:
    description: The mail server. Without a C(host) no mail is queued.
    type: dict
    default: {}
    suboptions:
      host:
        description: Its name.
        type: str
      port:
        description: Its port; by default 587 for C(starttls), 465 for C(tls), 25 for C(none).
        type: int
      security:
        description: How the connection is protected.
        type: str
        choices: [starttls, tls, none]
        default: starttls
      sender:
        description: The address that the mails come from.
        type: str
      sender_name:
        description: The name that they come from.
        type: str
      username:
        description: Who to log in as; without it, nobody logs in.
        type: str
      password:
        description: With what.
        type: str
      ca_cert:
        description: A file of certificates to trust, instead of the system's.
        type: path
      timeout:
        description: Seconds to wait for the server.
        type: int
        default: 15
  webhooks:
    description: Where else to tell it.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What it is called in the report.
        type: str
      kind:
        description: What it understands; a generic one gets the facts as JSON.
        type: str
        choices: [slack, mattermost, generic]
        default: generic
      url:
        description: Its address, which is a secret.
        type: str
      headers:
        description: Headers to send, such as C(Authorization).
        type: dict
  status_after:
    description: Seconds until the status is due.
    type: int
    default: 3600
  postmortem_after:
    description: Seconds until the post-mortem is due.
    type: int
    default: 86400
  cancel:
    description: A transaction whose status and post-mortem are not to be sent any more.
    type: str
  schedule:
    description:
      - Let a timer of systemd on the controller send what waits, as long as anything does. It runs the playbook
        C(notify_retry) with the inventory, the vault's password files and the files of extra variables of this play; other
        extra variables are not taken over, since they may be secret.
      - An account other than root needs to linger for that (C(loginctl enable-linger)).
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Send what is due
  lastgood.rollback.send_messages:
    spool: /srv/reports/spool
    mail:
      host: mail.example.com
      sender: rollback@example.com
"""

RETURN = r"""
deliveries:
  description: What became of each message.
  returned: always
  type: list
  elements: dict
  sample: [{what: Notice at once, kind: notice, to: operations@example.com, sent: true, failed: false, detail: ""}]
cancelled:
  description: The messages that were cancelled.
  returned: always
  type: list
  elements: str
  sample: []
not_scheduled:
  description: Why no timer sends what waits; empty when one does, when nothing waits, and when none was asked for.
  returned: always
  type: str
  sample: there is no systemd here
postmortem:
  description: The prefilled post-mortem.
  returned: when O(report) is given
  type: str
  sample: /srv/reports/20261123T143000Z-blog-7f3a.postmortem.md
"""
