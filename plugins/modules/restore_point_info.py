#!/usr/bin/python
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the restore points of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_point_info
short_description: List restore points, and verify them
version_added: 0.1.0
description:
  - Lists the restore points of a host, newest first. A manifest is compared with its checksum before it is read.
  - Damaged ones are listed with what is wrong with them.
  - It changes nothing.
extends_documentation_fragment:
  - lastgood.rollback.attributes.read_only
  - lastgood.rollback.attributes
  - lastgood.rollback.databases
options:
  name:
    description: Only this restore point. The list is empty when there is none of this name.
    type: str
  verify:
    description: Read every file and compare its checksum. This takes as long as reading the dumps does.
    type: bool
    default: false
  state_dir:
    description: Directory on the host that holds transactions and restore points.
    type: path
    default: /var/lib/lastgood
seealso:
  - module: lastgood.rollback.restore_point
"""

EXAMPLES = r"""
- name: Find damaged restore points
  lastgood.rollback.restore_point_info:
    verify: true
  register: all_of_them

- name: Fail if one is damaged
  ansible.builtin.assert:
    that: all_of_them.restore_points | rejectattr('verified') | length == 0
"""

RETURN = r"""
live:
  description:
    - Of each of O(databases), what is live now, to compare with C(databases) of a restore point.
    - Code that goes back without its database has to find the schema that it was written for.
  returned: always
  type: dict
  sample: {blog: {schema_fingerprint: 3b1f…, migration_head: 0006_section_positions}}
restore_points:
  description: The restore points, newest first; damaged ones that tell no date come last.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      returned: always
      type: str
      sample: before-release-42
    id:
      description: Random; null when its manifest can't be trusted.
      returned: always
      type: str
      sample: 5f0c8c1e2f0d4b6f9d0a6a3f1c7e8b92
    created:
      description: When it was captured, in UTC.
      returned: always
      type: str
      sample: "2026-11-23T14:30:00.000000Z"
    stack:
      description: The stack that it belongs to.
      returned: always
      type: str
      sample: blog
    host:
      description: The host's name in the inventory when it was captured.
      returned: always
      type: str
      sample: web1
    collection:
      description: Version of this collection that captured it.
      returned: always
      type: str
      sample: 0.1.0
    components:
      description: Key of each component.
      returned: always
      type: list
      elements: str
      sample: ["code:/srv/blog-core", "database:blog"]
    contents:
      description: Kind, name, directory, number of files and bytes of each component.
      returned: always
      type: list
      elements: dict
    databases:
      description:
        - By database, what a plan compares with what is live.
          These are C(schema_fingerprint), C(migration_head) and C(tables), the number of rows by table.
      returned: always
      type: dict
    bytes:
      description: Size of all that was captured.
      returned: always
      type: int
      sample: 73400320
    manifest_sha256:
      description: SHA-256 of its manifest.
      returned: always
      type: str
      sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    consistent:
      description: False when something moved while it was captured.
      returned: always
      type: bool
    moved:
      description: Sentences that name what moved.
      returned: always
      type: list
      elements: str
    good:
      description: Whether the checks passed on all hosts of the stack.
      returned: always
      type: bool
    good_digest:
      description: SHA-256 over the manifests of all hosts, the identity of the restore point as a whole.
      returned: always
      type: str
      sample: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    good_hosts:
      description: SHA-256 of each host's manifest, by host.
      returned: always
      type: dict
    good_components:
      description: The components that it is good for, by host.
      returned: always
      type: dict
    checks:
      description: The results that its being good rests on.
      returned: always
      type: list
      elements: dict
    tools:
      description: What the programs it was made with say of their version.
      returned: always
      type: dict
    platform:
      description: The system that it was made on.
      returned: always
      type: dict
    notes:
      description: What the components said while they were captured.
      returned: always
      type: list
      elements: str
    verified:
      description:
        - Whether everything matched its checksum.
        - Null when O(verify) was not asked for and nothing is known to be wrong.
      returned: always
      type: bool
    findings:
      description: Sentences that say what is wrong with it.
      returned: always
      type: list
      elements: str
"""

from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.login_options import DATABASE_OPTIONS
from ansible_collections.lastgood.rollback.plugins.module_utils._runners.restore_point_info import (
    run_restore_point_info,
)


def main() -> None:
    """Entry point."""
    run_restore_point_info(
        argument_spec={
            "name": {"type": "str"},
            "databases": {"type": "list", "elements": "dict", "default": [], "options": DATABASE_OPTIONS},
            "verify": {"type": "bool", "default": False},
            "state_dir": {"type": "path", "default": "/var/lib/lastgood"},
        },
    )


if __name__ == "__main__":
    main()
