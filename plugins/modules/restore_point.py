#!/usr/bin/python
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Capture what is live on a host, mark the capture good, remove it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_point
short_description: Make, mark good and remove restore points
version_added: 0.1.0
description:
  - A restore point is a named, checksummed capture of databases, git checkouts, configuration files and Python
    environments on one host, made to be rolled back to.
  - It appears whole and synced to the disk, or not at all. It is never overwritten.
  - Everything is described before and after it is copied. Where the two differ the restore point is kept, says what
    moved, and can never become good.
  - It holds configuration and people's data. Its directory can be entered by its owner only; keep it so.
extends_documentation_fragment:
  - lastgood.rollback.attributes
  - lastgood.rollback.databases
options:
  name:
    description:
      - Its name, the same on all hosts of the stack.
      - At most 100 letters, digits, C(.), C(_) and C(-), beginning with a letter or digit. V(last_good) stands for the
        newest good one, and can't be a name.
    type: str
    required: true
  state:
    description:
      - V(present) captures. With a name that exists nothing is captured again, and a different stack or other
        components than it has are refused.
      - V(good) records, once and for all, that the checks of all hosts passed. It verifies every file first.
      - V(absent) removes it, damaged or not.
    type: str
    choices: [present, good, absent]
    default: present
  stack:
    description: The stack that it belongs to. Needed for O(state=present).
    type: str
  host:
    description:
      - This host's name in the inventory, which O(hosts) refers to.
      - The default is the name that the system has for itself.
    type: str
  checkouts:
    description: The git checkouts whose commit is to be kept.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The checkout's directory.
        type: path
        required: true
  files:
    description: Absolute paths of the files to keep, with owner and mode.
    type: list
    elements: path
    default: []
  packages:
    description: The Python environments whose installed set is to be kept, with its wheels.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The environment's directory, or the link that leads to it.
        type: path
        required: true
      imports:
        description: Modules that must be importable in it, now and after a rollback.
        type: list
        elements: str
        default: []
  hosts:
    description:
      - For O(state=good), the SHA-256 of each host's manifest, by host; this host's own among them.
      - Their digest is the identity of the restore point as a whole.
    type: dict
    default: {}
  components_by_host:
    description: For O(state=good), the components that each host captured, by host.
    type: dict
    default: {}
  checks:
    description:
      - For O(state=good), the results that this rests on. Each has at least C(name) and C(ok).
      - One that is not C(ok) makes the module refuse.
    type: list
    elements: dict
    default: []
  keep:
    description:
      - With O(state=good), how many good restore points of the stack stay on this host.
      - Older ones are removed, together with those that never became good and are older still. The newest good one
        always stays, and none is removed while a rollback of the stack is under way.
      - Without it nothing is removed.
    type: int
  force:
    description: With O(state=absent), remove it even if it is the newest good one of its stack.
    type: bool
    default: false
  state_dir:
    description: Directory on the host that holds transactions and restore points.
    type: path
    default: /var/lib/lastgood
requirements:
  - pg_dump, for databases
  - git, for checkouts
seealso:
  - module: lastgood.rollback.restore_point_info
"""

EXAMPLES = r"""
- name: Capture what is live
  lastgood.rollback.restore_point:
    name: before-release-42
    stack: blog
    host: "{{ inventory_hostname }}"
    databases:
      - name: blog
        login_unix_socket: /run/postgresql
        jobs: 4
    checkouts:
      - path: /srv/blog-core
    files:
      - /srv/blog-core/.env
      - /srv/blog-core/config.py
    packages:
      - path: /srv/blog-core/.venv
        imports: [flask]
  register: captured

- name: Mark it good, and keep the ten newest
  lastgood.rollback.restore_point:
    name: before-release-42
    state: good
    hosts:
      web1: "{{ captured.sha256 }}"
    checks:
      - name: blog-core answers
        ok: true
    keep: 10

- name: Remove an old one
  lastgood.rollback.restore_point:
    name: before-release-17
    state: absent
"""

RETURN = r"""
name:
  description: Its name.
  returned: always
  type: str
  sample: before-release-42
id:
  description: Random; tells two restore points apart that had the same name. Null where there is none.
  returned: always
  type: str
  sample: 5f0c8c1e2f0d4b6f9d0a6a3f1c7e8b92
sha256:
  description: SHA-256 of the manifest. Null where there is none, and in check mode before a capture.
  returned: always
  type: str
  sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
bytes:
  description: Size of all that was captured.
  returned: always
  type: int
  sample: 73400320
components:
  description: Key of each component.
  returned: always
  type: list
  elements: str
  sample: ["code:/srv/blog-core", "database:blog"]
consistent:
  description: False when something moved while it was captured.
  returned: always
  type: bool
moved:
  description: Sentences that name what moved.
  returned: always
  type: list
  elements: str
  sample: []
good:
  description: Whether it is marked good.
  returned: always
  type: bool
good_digest:
  description: SHA-256 over the manifests of all hosts; null as long as it is not good.
  returned: always
  type: str
  sample: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
manifest:
  description:
    - The whole description, with the keys of an entry of
      RV(lastgood.rollback.restore_point_info#module:restore_points).
  returned: always
  type: dict
removed:
  description: Names of the restore points that were removed.
  returned: always
  type: list
  elements: str
  sample: [before-release-17]
outcome:
  description: V(refused) when it failed. Nothing of the live system was touched then.
  returned: on failure
  type: str
  sample: refused
"""

from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.login_options import DATABASE_OPTIONS
from ansible_collections.lastgood.rollback.plugins.module_utils._runners.restore_point import run_restore_point


def main() -> None:
    """Entry point."""
    run_restore_point(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "good", "absent"], "default": "present"},
            "stack": {"type": "str"},
            "host": {"type": "str"},
            "databases": {"type": "list", "elements": "dict", "default": [], "options": DATABASE_OPTIONS},
            "checkouts": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"path": {"type": "path", "required": True}},
            },
            "files": {"type": "list", "elements": "path", "default": []},
            "packages": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "imports": {"type": "list", "elements": "str", "default": []},
                },
            },
            "hosts": {"type": "dict", "default": {}},
            "components_by_host": {"type": "dict", "default": {}},
            "checks": {"type": "list", "elements": "dict", "default": []},
            "keep": {"type": "int"},
            "force": {"type": "bool", "default": False},
            "state_dir": {"type": "path", "default": "/var/lib/lastgood"},
        },
        required_if=[("state", "present", ["stack"]), ("state", "good", ["hosts"])],
    )


if __name__ == "__main__":
    main()
