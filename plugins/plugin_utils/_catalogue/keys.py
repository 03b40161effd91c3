# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Which keys a catalogue may have, and what their values must be."""

from __future__ import annotations

from .fields import (
    ABSOLUTE,
    COMMANDS,
    COUNT,
    FLAG,
    MAPPING,
    MAPPINGS,
    OPTIONAL_TEXT,
    PATHS,
    SECONDS,
    SECRET_MAPPING,
    SECRET_TEXT,
    TEXT,
    TEXTS,
    URL_OR_MAPPING,
    Kind,
    one_of,
)

#: The variables themselves.
CATALOGUE_KEYS: dict[str, Kind] = {
    "rollback_stack": TEXT,
    "rollback_databases": MAPPING,
    "rollback_projects": MAPPING,
    "rollback_hooks": MAPPING,
}
#: A database: its host, and options as the modules have them.
DATABASE_KEYS: dict[str, Kind] = {
    "host": TEXT,
    "login_host": OPTIONAL_TEXT,
    "login_port": COUNT,
    "login_user": TEXT,
    "login_password": SECRET_TEXT,
    "login_unix_socket": OPTIONAL_TEXT,
    "login_db": TEXT,
    "ssl_mode": one_of("allow", "disable", "prefer", "require", "verify-ca", "verify-full"),
    "ca_cert": ABSOLUTE,
    "connect_params": SECRET_MAPPING,
    "session_role": TEXT,
    "jobs": COUNT,
    "bin_dir": ABSOLUTE,
    "migrations": SECRET_MAPPING,
    "migration_tables": MAPPING,
    "accept": TEXTS,
}
#: How a database's own migrations are taken back.
MIGRATION_KEYS: dict[str, Kind] = {
    "command": TEXTS,
    "chdir": ABSOLUTE,
    "user": TEXT,
    "environment": SECRET_MAPPING,
    "timeout": COUNT,
}
#: A project; the kinds of components bring theirs.
PROJECT_KEYS: dict[str, Kind] = {
    "group": TEXT,
    "path": ABSOLUTE,
    "owner": TEXT,
    "services": MAPPINGS,
    "checks": MAPPING,
    "requires": TEXTS,
    "test_environment": SECRET_MAPPING,
    "git_timeout": COUNT,
}
#: A service, as ``service_restart`` has it.
SERVICE_KEYS: dict[str, Kind] = {
    "name": TEXT,
    "manager": one_of("systemd", "supervisor", "process"),
    "scope": one_of("system", "user"),
    "config": ABSOLUTE,
    "user": TEXT,
    "pid_file": ABSOLUTE,
    "command": TEXTS,
    "chdir": ABSOLUTE,
    "log": ABSOLUTE,
    "requires": TEXTS,
    "ready": MAPPING,
    "timeout": SECONDS,
    "stop_timeout": SECONDS,
    "soak": SECONDS,
}
READY_KEYS: dict[str, Kind] = {"http": URL_OR_MAPPING, "tcp": TEXT, "command": TEXTS, "notify": FLAG}
CHECK_KEYS: dict[str, Kind] = {"compile": PATHS, "imports": TEXTS, "commands": COMMANDS, "http": MAPPINGS}
HTTP_KEYS: dict[str, Kind] = {"url": TEXT, "status": COUNT, "contains": TEXT}
HOOK_KEYS: dict[str, Kind] = {"before_stop": MAPPINGS, "around_switch": MAPPINGS, "after_start": MAPPINGS}
HOOK_ENTRY_KEYS: dict[str, Kind] = {"name": TEXT, "host": TEXT, "command": TEXTS, "after": TEXTS}
