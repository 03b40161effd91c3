#!/usr/bin/python
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell the history and the state of the transactions of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: transaction_info
short_description: History and state of the rollback transactions of a host
version_added: 0.1.0
description:
  - Lists the transactions of a host, oldest first, each with its journal. For those that are still open every
    component is looked at, so that the state told is what stands, not what was written down.
  - It changes nothing.
extends_documentation_fragment:
  - lastgood.rollback.attributes.read_only
  - lastgood.rollback.attributes
options:
  id:
    description: Only this transaction.
    type: str
  open_only:
    description:
      - Only transactions that have not ended. Their components are not looked at, so that the answer comes at once.
    type: bool
    default: false
  passwords:
    description: 'Passwords by component, for example C({"database:blog": {"login_password": "…"}}).'
    type: dict
    default: {}
  state_dir:
    description: Directory on the host that holds transactions and restore points.
    type: path
    default: /var/lib/lastgood
seealso:
  - module: lastgood.rollback.transaction
"""

EXAMPLES = r"""
- name: Look for transactions that were interrupted
  lastgood.rollback.transaction_info:
    open_only: true
  register: interrupted
"""

RETURN = r"""
transactions:
  description: The transactions, oldest first.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: The transaction's id.
      returned: always
      type: str
      sample: 20261123T143000Z-blog-7f3a
    state:
      description:
        - Where the host stands in the protocol.
        - V(damaged) where its records are not what was written; RV(transactions[].problem) then says what was found by looking.
      returned: always
      type: str
      sample: finished
    phase:
      description: The phase that this host is in, or that was interrupted here; null when it has ended.
      returned: always
      type: str
      sample: switch
    down:
      description: Services that ran before an open transaction and do not run now.
      returned: always
      type: list
      elements: str
      sample: [blog-core]
    outcome:
      description: How it ended; null while it is open.
      returned: always
      type: str
      sample: rolled_back
    stack:
      description: The stack that it locks while it is open; null where only an undo was ever asked for.
      returned: always
      type: str
      sample: blog
    hosts:
      description: All hosts of the plan.
      returned: always
      type: list
      elements: str
      sample: [app1, db1]
    decision_host:
      description: The host that keeps the decision.
      returned: always
      type: str
      sample: db1
    decision:
      description: The decision, on the decision host.
      returned: always
      type: str
      sample: keep
    promised:
      description: Whether this host has promised never to undo alone.
      returned: always
      type: bool
      sample: true
    tombstoned:
      description: Whether this host has undone, so that it will never switch.
      returned: always
      type: bool
      sample: false
    reason:
      description: Why this host has undone; null when it has not.
      returned: always
      type: str
      sample: null
    components:
      description: The components of an open transaction with their state as found by looking.
      returned: always
      type: list
      elements: dict
      sample: []
    evidence:
      description: What preparing each component found, by component; for reports.
      returned: always
      type: dict
      sample: {"database:blog": {verification: {content: equal, tables: 12, rows: 100250}}}
    services:
      description: The services that it stopped, and whether they ran before.
      returned: always
      type: list
      elements: dict
      sample: []
    events:
      description: The journal, oldest first.
      returned: always
      type: list
      elements: dict
      sample: [{at: 1795444200.5, event: begun, what: "Transaction 20261123T143000Z-blog-7f3a began", facts: {}}]
    state_ids:
      description: The random ids that the state directories of all hosts had when the timer was armed, by host.
      returned: always
      type: dict
      sample: {app1: 5f0c2d7a9b1e4c3d8a6f7e5d4c3b2a10}
    problem:
      description: Why the components of an open transaction could not be looked at; null when they could.
      returned: always
      type: str
      sample: null
last_hosts:
  description: The hosts that the newest transaction of each stack knows, by stack.
  returned: always
  type: dict
  sample: {blog: [app1, db1]}
state_id:
  description: The random id of the state directory; null where nothing was ever begun.
  returned: always
  type: str
  sample: 5f0c2d7a9b1e4c3d8a6f7e5d4c3b2a10
"""

from ansible_collections.lastgood.rollback.plugins.module_utils._runners.transaction import run_transaction_info


def main() -> None:
    """Entry point."""
    run_transaction_info(
        argument_spec={
            "id": {"type": "str"},
            "open_only": {"type": "bool", "default": False},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
            "state_dir": {"type": "path", "default": "/var/lib/lastgood"},
        },
    )


if __name__ == "__main__":
    main()
