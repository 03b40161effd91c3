# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The options of ``pg_restore``, and of all ways to go back in a database within a transaction."""

from __future__ import annotations

from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.login_options import LOGIN_SPEC

from ..options import ComponentOptions

PG_RESTORE_OPTIONS = ComponentOptions(
    argument_spec={
        "name": {"type": "str", "required": True},
        "scope": {"type": "str", "choices": ["database", "tables", "schema"], "default": "database"},
        "tables": {"type": "list", "elements": "str", "default": []},
        "orphans": {"type": "str", "choices": ["fail", "keep_aside"], "default": "fail"},
        "lock_timeout": {"type": "int", "default": 10},
        "renames": {"type": "dict", "default": {}},
        "method": {"type": "str", "choices": ["rebuild", "migrations"], "default": "rebuild"},
        "migration_command": {"type": "list", "elements": "str", "default": []},
        "migration_chdir": {"type": "path"},
        "migration_user": {"type": "str"},
        "migration_environment": {"type": "dict", "default": {}, "no_log": True},
        "migration_timeout": {"type": "int", "default": 600},
        "nulls": {"type": "str", "choices": ["set_aside", "default"], "default": "set_aside"},
        "conversion_settings": {"type": "dict", "default": {}},
        "max_rows_set_aside": {"type": "int"},
        "migration_tables": {"type": "dict", "default": {}},
        "restore_point": {"type": "str"},
        "source": {"type": "path"},
        "checksum": {"type": "str", "no_log": False},
        "allow_unverified": {"type": "bool", "default": False},
        "jobs": {"type": "int", "default": 4},
        "keep_previous": {"type": "int", "default": 1},
        "accept": {
            "type": "list",
            "elements": "str",
            "choices": [
                "slots",
                "subscriptions",
                "standbys",
                "workers",
                "other_database",
                "rows_set_aside",
                "owner_code",
                "no_undo",
            ],
            "default": [],
        },
        "compare_timeout": {"type": "int", "default": 30},
        **LOGIN_SPEC,
    },
    secrets=("login_password", "migration_environment"),
    kind_option="scope",
    constraints={
        "mutually_exclusive": [("restore_point", "source"), ("restore_point", "checksum")],
        "required_one_of": [("restore_point", "source")],
        "required_if": [("scope", "tables", ("tables",)), ("scope", "schema", ("restore_point",))],
    },
)
