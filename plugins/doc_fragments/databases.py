# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option that names databases with how to reach them."""

from __future__ import annotations


class ModuleDocFragment:
    """Wording for O(databases)."""

    DOCUMENTATION = r"""
options:
  databases:
    description: Databases, each with how to reach it.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The database's name.
        type: str
        required: true
      login_host:
        description: Host of the server; empty for a unix socket.
        type: str
        default: ''
      login_port:
        description: Port of the server.
        type: int
        default: 5432
      login_user:
        description: Role to connect as.
        type: str
        default: postgres
      login_password:
        description: Its password; never given to a program as an argument.
        type: str
      login_unix_socket:
        description: Directory of the server's unix socket.
        type: str
        default: ''
      login_db:
        description: Database to connect to for what is done to others.
        type: str
        default: postgres
      ssl_mode:
        description: Whether, and how strictly, the connection is encrypted.
        type: str
        choices: [allow, disable, prefer, require, verify-ca, verify-full]
        default: prefer
      ca_cert:
        description: File with the certificate of the authority that the server's must be signed by.
        type: path
      connect_params:
        description: More connection parameters, by the names that libpq has for them.
        type: dict
        default: {}
      session_role:
        description: Role to switch to after connecting.
        type: str
      jobs:
        description: How many connections dump at the same time.
        type: int
        default: 4
      migration_tables:
        description:
          - Tables that say which schema there is, and the column of each that tells how far it is. They go back
            with the schema, not with the rows.
          - Those of Alembic, Django, Flyway, Rails, golang-migrate, Sqitch, Liquibase and yoyo are known.
        type: dict
        default: {}
      bin_dir:
        description: Directory of pg_dump and pg_restore. The default is the newest on this host that fits the server.
        type: path
"""
