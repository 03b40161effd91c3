# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of every module that talks to PostgreSQL, named as in community.postgresql."""

from __future__ import annotations


class ModuleDocFragment:
    """Wording for the connection options."""

    DOCUMENTATION = r"""
options:
  login_host:
    description:
      - Host of the server. Empty for a unix socket.
    type: str
    default: ''
  login_port:
    description: Port of the server; on a unix socket it is a part of the socket's name.
    type: int
    default: 5432
  login_user:
    description:
      - Role to connect as. A superuser, or the owner of the database with C(CREATEDB) and C(pg_signal_backend).
      - On a unix socket root becomes the system user of this name, or else the socket's owner, so that peer
        authentication works without C(become_user).
    type: str
    default: postgres
  login_password:
    description: Its password. It is never given to a program as an argument and never written to the journal.
    type: str
  login_unix_socket:
    description:
      - Directory of the server's unix socket, where O(login_host) is empty. The usual places are tried without it.
    type: str
    default: ''
  login_db:
    description: Database to connect to for everything that is done to another one.
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
    description:
      - More connection parameters, by the names that libpq has for them. The command-line tools get them, too.
      - No secrets. They are refused, because connection parameters are journalled.
    type: dict
    default: {}
  session_role:
    description: Role to switch to after connecting, in the command-line tools as well.
    type: str
  bin_dir:
    description:
      - Directory of C(pg_dump) and C(pg_restore). By default those of the server's own major version on this host, else
        of the next newer one.
    type: path
requirements:
  - psycopg2 on the host that the module runs on
  - C(pg_dump) and C(pg_restore) there, not older than the server
attributes:
  action_group:
    description: Use C(group/lastgood.rollback.postgresql) in C(module_defaults) to set these options once.
    membership: [lastgood.rollback.postgresql]
    support: full
"""
