# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The options that lead to a PostgreSQL server, the same for every module that has them."""

from __future__ import annotations

from typing import Any

#: Documented by the fragments ``postgres`` and ``databases``; read by ``Server.from_options``.
LOGIN_SPEC: dict[str, Any] = {
    "login_host": {"type": "str", "default": ""},
    "login_port": {"type": "int", "default": 5432},
    "login_user": {"type": "str", "default": "postgres"},
    "login_password": {"type": "str", "no_log": True},
    "login_unix_socket": {"type": "str", "default": ""},
    "login_db": {"type": "str", "default": "postgres"},
    "ssl_mode": {
        "type": "str",
        "choices": ["allow", "disable", "prefer", "require", "verify-ca", "verify-full"],
        "default": "prefer",
    },
    "ca_cert": {"type": "path"},
    "connect_params": {"type": "dict", "default": {}},
    "session_role": {"type": "str"},
    "bin_dir": {"type": "path"},
}
#: How a database is named and reached; documented by ``restore_point``.
DATABASE_OPTIONS: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "jobs": {"type": "int", "default": 4},
    "migration_tables": {"type": "dict", "default": {}},
    **LOGIN_SPEC,
}
