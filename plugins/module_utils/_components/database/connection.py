# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The cluster that a task names, and PostgreSQL's own programs for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.programs import PgPrograms
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Server
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import application_name

from ..context import Context


def open_server(context: Context, options: Mapping[str, Any]) -> Server:
    """The cluster that the options (or a plan's facts) name, with the password of this run."""
    return Server.from_options(
        options, context.secrets.get("login_password") or "", application_name(context.transaction)
    )


def find_programs(context: Context, server: Server, major: int, bin_dir: str | None) -> PgPrograms:
    """The client programs for a server (see `PgPrograms.find`)."""
    return PgPrograms.find(context.run, server, major, bin_dir)
