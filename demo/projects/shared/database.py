# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database that all projects share."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2
import psycopg2.extras
from config import Config

#: The migration that this code was written for.
SCHEMA_VERSION = "0006_section_positions"


def query(config: Config, sql: str, *values: object) -> list[dict[str, Any]]:
    """Rows of a query; a connection for each keeps the example short.

    :raises psycopg2.Error: when the database can't be reached or does not understand.
    """
    connection = psycopg2.connect(
        dbname=config.database_name, host=config.database_host, user=config.database_user, connect_timeout=3
    )
    with closing(connection), connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute(sql, values)
        return [dict(row) for row in cursor.fetchall()]


def check_schema(config: Config) -> str:
    """The migration head, if it is the expected one.

    :raises RuntimeError: when the schema is another one than this code needs.
    """
    found = query(config, "SELECT version_num FROM alembic_version")[0]["version_num"]
    if found != SCHEMA_VERSION:
        raise RuntimeError(f"schema {found}, expected {SCHEMA_VERSION}")
    return str(found)
