# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What distinguishes a database from another one, and its schema from another one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.catalogue import (
    read_properties,
    system_identifier,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.migration_heads import migration_head
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.schema_text import schema_digest

from ..context import Context
from .connection import find_programs, open_server


def fingerprint_database(context: Context, options: Mapping[str, Any]) -> JsonObject:
    """Identity, schema, migration head and properties: what must not change while a stack is being captured.

    Rows are not looked at, so that people may go on writing.
    """
    name = str(options["name"])
    server = open_server(context, options)
    with server.connect(name) as session:
        programs = find_programs(context, server, session.version // 10_000, options.get("bin_dir"))
        properties = json.dumps(read_properties(session, name), sort_keys=True)
        return {
            "system": system_identifier(session, server.where),
            "oid": session.value("SELECT oid::bigint FROM pg_database WHERE datname = %s", [name]),
            "schema": schema_digest(programs, name),
            "migration": migration_head(session, options.get("migration_tables")),
            "properties": hashlib.sha256(properties.encode()).hexdigest(),
        }
