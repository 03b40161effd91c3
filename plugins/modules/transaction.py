#!/usr/bin/python
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry a transaction through its phases on one host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: transaction
short_description: Begin, switch, promise, decide, undo, finish or recover a rollback transaction
version_added: 0.1.0
description:
  - Carries a rollback transaction through its phases on one host. Components are prepared by their own modules,
    which are given the O(id) as their O(ignore:transaction); this module flips all of them in one call.
  - An open transaction is the lock on its stack and on each thing it touches. It is ended by finishing, undoing or
    recovering, never by age.
  - Every state may be asked for again after an interruption and ends in the same place.
extends_documentation_fragment:
  - lastgood.rollback.attributes
options:
  id:
    description: The transaction's id, the same on all of its hosts.
    type: str
    required: true
  state:
    description:
      - V(begin) opens the transaction and so takes the lock. It needs O(stack), O(host), O(hosts) and O(decision_host).
      - V(prepare) prepares, beside the live system, to take back what the finished transaction O(undoes) switched on this
        host, from what that one put aside. In check mode it only plans. It is refused when one of its things was changed by
        somebody else since, or when what it put aside is gone. Components that go to a restore point are prepared by their
        own modules instead.
      - V(arm) starts the dead man's timer, before the first service is stopped. If no call of this transaction comes
        for O(confirm_timeout) seconds, the host undoes its part by itself and starts what ran.
      - V(switch) flips every prepared component of this host.
      - V(promise) inspects the components and promises, durably, never to undo alone. It is refused when one of
        O(checks) failed or after an undo. It disarms the timer.
      - V(decide) records O(decision) on the decision host, once. What was decided first stands, and is returned.
      - V(undo) takes back what was switched and removes what was prepared. After a promise it needs the decision V(undo).
      - V(hold) keeps this host as it is while another can't be undone although O(decision) is V(undo).
        What is switched promises, so that no timer undoes it alone; what is not switched is undone.
      - V(finish) ends the transaction and unlocks. The decision host ends last, when all others are in O(acknowledged).
      - V(recover) ends an interrupted transaction of this host alone, as far as it can be proved to have come.
        A transaction of several hosts is recovered by the playbook C(recover.yml).
    type: str
    required: true
    choices: [begin, prepare, arm, switch, promise, decide, undo, hold, finish, recover]
  stack:
    description: The stack that is locked. For O(state=begin).
    type: str
  host:
    description: This host's name in the inventory. For O(state=begin).
    type: str
  hosts:
    description: All hosts of the plan. For O(state=begin).
    type: list
    elements: str
    default: []
  decision_host:
    description: The host of the plan that keeps the decision. For O(state=begin).
    type: str
  operator:
    description: Who asks for it. Shown to whoever finds the stack locked.
    type: str
  plan:
    description: What the controller planned for all hosts. It is kept for recovery, so it must not hold a secret.
    type: dict
  services:
    description:
      - For O(state=begin), the services of this host that may be stopped, as in M(lastgood.rollback.service_restart).
      - They are kept in a file of their own (mode 0600) until the transaction ends, for whoever starts them again; what of their
        commands is secret stands nowhere else.
    type: list
    elements: dict
    default: []
  undoes:
    description: For O(state=prepare), the id of the finished transaction that is taken back.
    type: str
  accept:
    description: For O(state=prepare), what the switch of a database may hurt, as in M(lastgood.rollback.pg_restore).
    type: list
    elements: str
    default: []
  confirm_timeout:
    description: Seconds without a call after which the dead man's timer undoes.
    type: int
    default: 600
  decision:
    description:
      - For O(state=decide) what is asked for.
      - For O(state=undo), O(state=hold) and O(state=finish) what stands on the decision host; leave it out when it can't be read.
    type: str
    choices: [keep, undo]
  promised:
    description: Hosts that are known to have promised. V(keep) is refused while one of the plan's hosts is missing.
    type: list
    elements: str
    default: []
  checks:
    description: Results of the checks that the promise is based on, each with C(name) and C(ok).
    type: list
    elements: dict
    default: []
  checks_decide:
    description: Whether one of O(checks) that failed refuses the promise. All of them are told in any case.
    type: bool
    default: true
  kinds:
    description: For O(state=undo), only components of these kinds. Databases are undone first on all hosts.
    type: list
    elements: str
    default: []
  reason:
    description: For O(state=undo), why. It goes to the journal.
    type: str
  acknowledged:
    description: For O(state=finish), the hosts that have ended already.
    type: list
    elements: str
    default: []
  keep_days:
    description:
      - For O(state=finish) and O(state=recover), what the stack's transactions keep for looking back is removed this many
        days after they ended. Their journals stay, and the newest one stays whole.
    type: int
    default: 7
  state_id:
    description:
      - The random id that the state directory had when the transaction was begun, as it was returned then. Where it has another
        one now, the host was replaced by another of its name; the call is in doubt and does nothing.
    type: str
  state_ids:
    description: For O(state=arm), the same of all hosts, by host; kept in the journal of each for recovery.
    type: dict
    default: {}
  passwords:
    description:
      - 'Passwords by component, for example C({"database:blog": {"login_password": "…"}}). Needed after the promise only;
        until then they are kept on the host, readable by nobody else.'
    type: dict
    default: {}
  state_dir:
    description: Directory on the host that holds transactions and restore points.
    type: path
    default: /var/lib/lastgood
seealso:
  - module: lastgood.rollback.transaction_info
"""

EXAMPLES = r"""
- name: Begin a transaction on this host
  lastgood.rollback.transaction:
    id: 20261123T143000Z-blog-7f3a
    state: begin
    stack: blog
    host: app1
    hosts: [app1, db1]
    decision_host: db1
    operator: night shift

- name: Flip everything that was prepared on this host
  lastgood.rollback.transaction:
    id: 20261123T143000Z-blog-7f3a
    state: switch

- name: End a transaction of a module that was called on its own and then interrupted
  lastgood.rollback.transaction:
    id: 20261123T143000Z-code-19c2
    state: recover
"""

RETURN = r"""
id:
  description: The transaction's id.
  returned: always
  type: str
  sample: 20261123T143000Z-blog-7f3a
state:
  description:
    - Where the host stands in the protocol.
    - One of V(absent), V(open), V(prepared), V(switched), V(promised), V(undone) and V(finished).
  returned: always
  type: str
  sample: switched
outcome:
  description: How the transaction ended on this host; null while it is open.
  returned: always
  type: str
  sample: rolled_back
decision:
  description: The decision that stands, as far as this host knows it.
  returned: always
  type: str
  sample: keep
components:
  description:
    - Every component of this host with its state as found by looking at it.
    - Empty for the states V(begin), V(arm) and V(decide) of O(state), which touch no component.
  returned: always
  type: list
  elements: dict
  sample: [{component: "code:/srv/blog-core", kind: code, state: switched}]
problem:
  description: Why the components could not be looked at; null when they could. What was asked for is done all the same.
  returned: always
  type: str
  sample: null
prepared:
  description: For O(state=prepare), every component with what is discarded, predicted and noted, as its own module tells it.
  returned: always
  type: list
  elements: dict
  sample: [{component: "code:/srv/blog-core", changed: true, discards: {}, notes: [], disk_bytes: 0}]
switched:
  description: For O(state=switch), the components with the milliseconds each took.
  returned: always
  type: list
  elements: dict
  sample: [{component: "code:/srv/blog-core", ms: 41}]
undone:
  description: For O(state=undo), the components that were taken back by this call.
  returned: always
  type: list
  elements: dict
  sample: []
services:
  description: For O(state=recover), the services that were started again.
  returned: always
  type: list
  elements: dict
  sample: []
journal:
  description: Path of the journal on the host.
  returned: always
  type: str
  sample: /var/lib/lastgood/transactions/20261123T143000Z-blog-7f3a/journal.jsonl
state_id:
  description: The random id of the state directory; null where nothing was ever begun.
  returned: always
  type: str
  sample: 5f0c2d7a9b1e4c3d8a6f7e5d4c3b2a10
"""

from ansible_collections.lastgood.rollback.plugins.module_utils._runners.transaction import run_transaction


def main() -> None:
    """Entry point."""
    run_transaction(
        argument_spec={
            "id": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "required": True,
                "choices": [
                    "begin",
                    "prepare",
                    "arm",
                    "switch",
                    "promise",
                    "decide",
                    "undo",
                    "hold",
                    "finish",
                    "recover",
                ],
            },
            "stack": {"type": "str"},
            "host": {"type": "str"},
            "hosts": {"type": "list", "elements": "str", "default": []},
            "decision_host": {"type": "str"},
            "operator": {"type": "str"},
            "plan": {"type": "dict", "no_log": True},
            "services": {"type": "list", "elements": "dict", "default": [], "no_log": True},
            "undoes": {"type": "str"},
            "accept": {"type": "list", "elements": "str", "default": []},
            "confirm_timeout": {"type": "int", "default": 600},
            "decision": {"type": "str", "choices": ["keep", "undo"]},
            "promised": {"type": "list", "elements": "str", "default": []},
            "checks": {"type": "list", "elements": "dict", "default": []},
            "checks_decide": {"type": "bool", "default": True},
            "kinds": {"type": "list", "elements": "str", "default": []},
            "reason": {"type": "str"},
            "acknowledged": {"type": "list", "elements": "str", "default": []},
            "keep_days": {"type": "int", "default": 7},
            "state_id": {"type": "str"},
            "state_ids": {"type": "dict", "default": {}},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
            "state_dir": {"type": "path", "default": "/var/lib/lastgood"},
        },
        required_if=[
            ("state", "begin", ("stack", "host", "hosts", "decision_host")),
            ("state", "decide", ("decision",)),
            ("state", "prepare", ("undoes",)),
        ],
    )


if __name__ == "__main__":
    main()
