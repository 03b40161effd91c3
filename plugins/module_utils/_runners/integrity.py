# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The module ``pg_integrity_info``: options in, findings out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._checks.integrity.compare import open_captured
from ansible_collections.lastgood.rollback.plugins.module_utils._checks.integrity.run import (
    CHECKS,
    CheckRequest,
    inspect,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Server

from .run import nothing_touched, run_guarded


def run_pg_integrity_info(*, argument_spec: Mapping[str, Any]) -> NoReturn:
    """The main of ``pg_integrity_info``."""
    module = AnsibleModule(argument_spec=dict(argument_spec), supports_check_mode=True)
    run_guarded(module, lambda: _result(module.params), failed=nothing_touched)


def _result(params: Mapping[str, Any]) -> JsonObject:
    server = Server.from_options(params, params["login_password"] or "", "lastgood check")
    point = params["restore_point"]
    request = CheckRequest(
        name=params["name"],
        tables=tuple(params["tables"]),
        checks=tuple(check for check in CHECKS if check in (params["checks"] or CHECKS)),
        timeout_s=params["timeout"],
        captured=open_captured(Path(params["state_dir"]), point, params["name"]) if point else None,
        bin_dir=params["bin_dir"],
    )
    return {"changed": False, "name": request.name, **inspect(server, request)}
