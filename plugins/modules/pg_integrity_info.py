#!/usr/bin/python
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look whether a PostgreSQL database is whole, and tell; never fail for a database that is not."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_integrity_info
short_description: Check whether a PostgreSQL database is whole
version_added: 0.1.0
description:
  - Finds what PostgreSQL itself does not tell. Rows that refer to nothing although their foreign key is marked valid,
    sequences that will hand out numbers that are taken, invalid indexes, constraints that were never proven, damaged pages.
  - With O(restore_point) it compares rows, content and schema with what was captured.
  - What is wrong is a result in RV(findings), not a failed task. A database that can't be reached is a finding, too.
  - It changes nothing. Its transactions are read-only, it waits 2 seconds for a lock, and ends after O(timeout). What it
    could not look at is in RV(not_checked).
  - The catalogue is read first, then rows, then pages; small tables before large ones. It reads every row of every table,
    some of them several times.
options:
  name:
    description: The database.
    type: str
    required: true
  tables:
    description:
      - Only these tables, as V(schema.table) or V(table) of the schema C(public), without quotes, and their partitions.
        Foreign keys in both directions are looked at. Schema, sequences and extensions are not compared with the restore
        point then.
      - All tables when empty. A name that is of no table is an error.
    type: list
    elements: str
    default: []
  checks:
    description:
      - Only these checks. All of them when empty.
      - V(indexes) finds indexes that are invalid, or not kept up to date.
      - V(triggers) finds disabled triggers, and foreign keys that are not enforced because theirs are disabled.
      - V(sequences) finds sequences whose next value is already in use in the column that they are for.
      - V(constraints) finds constraints that are NOT VALID or not enforced, and rows that break a check constraint.
        Constraints that call other functions than built-in immutable ones are left out, because these would run with the
        rights of O(login_user).
      - V(orphans) finds rows without a parent, for every foreign key.
      - V(rows) counts every table by reading all of its pages.
      - V(comparison) compares with O(restore_point); every difference is an error. It takes the place of V(rows) then.
      - V(pages) checks heap and B-tree pages, those of the system catalogue as well, through the extension C(amcheck) if it
        is installed in the database, and the role may use it.
    type: list
    elements: str
    choices: [indexes, triggers, sequences, constraints, orphans, rows, comparison, pages]
    default: []
  restore_point:
    description: Compare with this restore point on the host. V(last_good) is the newest good one with the database.
    type: str
  timeout:
    description: Seconds that all checks together may take.
    type: int
    default: 300
  state_dir:
    description: Directory on the host that holds transactions and restore points.
    type: path
    default: /var/lib/lastgood
extends_documentation_fragment:
  - lastgood.rollback.attributes.read_only
  - lastgood.rollback.attributes
  - lastgood.rollback.postgres
seealso:
  - module: lastgood.rollback.health_info
  - module: lastgood.rollback.pg_restore
"""

EXAMPLES = r"""
- name: Check a database, for at most ten minutes
  lastgood.rollback.pg_integrity_info:
    name: blog
    timeout: 600
  register: integrity

- name: Stop if it is not whole
  ansible.builtin.assert:
    that: integrity.healthy
    fail_msg: "{{ integrity.findings | selectattr('severity', 'equalto', 'error') | map(attribute='detail') | join('; ') }}"

- name: Look for orphans around one table only
  lastgood.rollback.pg_integrity_info:
    name: blog
    tables: [post_section]
    checks: [orphans]

- name: Compare with the last known good state
  lastgood.rollback.pg_integrity_info:
    name: blog
    restore_point: last_good
    checks: [comparison]
"""

RETURN = r"""
name:
  description: The database.
  returned: always
  type: str
  sample: blog
healthy:
  description: False when there is a finding of severity C(error).
  returned: always
  type: bool
  sample: false
complete:
  description: Whether everything that was asked for was looked at. What was not is in RV(not_checked).
  returned: always
  type: bool
  sample: true
findings:
  description: What is wrong, in the order of the checks.
  returned: always
  type: list
  elements: dict
  contains:
    check:
      description: The check that found it, as in O(checks), or C(connection).
      returned: always
      type: str
      sample: orphans
    severity:
      description: C(error) for what is wrong, C(warning) for what somebody should know.
      returned: always
      type: str
      sample: error
    object:
      description: What it is about, a table, a table and its constraint, an index, a sequence, the database.
      returned: always
      type: str
      sample: public.post_section post_section_post_id_fkey
    detail:
      description: A sentence.
      returned: always
      type: str
      sample: "3 rows refer to nothing: public.post_section (post_id) → public.post (id)"
    count:
      description: How many rows, values or damaged places.
      returned: when it can be counted
      type: int
      sample: 3
    query:
      description: A query that lists the rows.
      returned: for rows that break a constraint
      type: str
not_checked:
  description: What was not looked at, each with C(check), C(object) and C(reason).
  returned: always
  type: list
  elements: dict
  sample: [{"check": "pages", "object": "all tables", "reason": "the extension amcheck is not installed in this database"}]
tables:
  description:
    - The tables with rows of their own, with the number of C(rows); with O(restore_point) also a C(hash) of the content, and
      whether both are C(equal) to what was captured.
  returned: always
  type: dict
  sample: {"public.post": {"rows": 100, "hash": "0f343b0931126a20f133d67c2b018a3b", "equal": true}}
ms:
  description: Milliseconds that it took.
  returned: always
  type: int
  sample: 812
"""

from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.login_options import LOGIN_SPEC
from ansible_collections.lastgood.rollback.plugins.module_utils._runners.integrity import CHECKS, run_pg_integrity_info


def main() -> None:
    """Entry point."""
    run_pg_integrity_info(
        argument_spec={
            "name": {"type": "str", "required": True},
            "tables": {"type": "list", "elements": "str", "default": []},
            "checks": {"type": "list", "elements": "str", "choices": list(CHECKS), "default": []},
            "restore_point": {"type": "str"},
            "timeout": {"type": "int", "default": 300},
            "state_dir": {"type": "path", "default": "/var/lib/lastgood"},
            **LOGIN_SPEC,
        },
    )


if __name__ == "__main__":
    main()
