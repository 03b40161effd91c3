# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The module ``restore_point_info``: which restore points there are, and how databases are now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.describe import describe, nothing
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.live_schemas import live_schemas
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.store import RestorePoints

from .run import run_guarded


def run_restore_point_info(*, argument_spec: Mapping[str, Any]) -> NoReturn:
    """The main of ``restore_point_info``."""
    module = AnsibleModule(argument_spec=dict(argument_spec), supports_check_mode=True)
    run_guarded(module, lambda: _info(module.params))


def _info(params: Mapping[str, Any]) -> JsonObject:
    store = RestorePoints(Path(params["state_dir"]))
    names: Sequence[str] = [name for name in store.names() if params["name"] in (None, name)]
    points = [_described(store, name, verify=params["verify"]) for name in names]
    points.sort(key=lambda point: (point["created"] or "", point["name"]), reverse=True)
    return {"changed": False, "restore_points": points, "live": live_schemas(params["databases"])}


def _described(store: RestorePoints, name: str, *, verify: bool) -> JsonObject:
    """One entry of the list; what is damaged is described by what is wrong with it."""
    try:
        point = store.open(name)
        findings = [*point.findings, *(point.verify() if verify else [])]
    except (Refused, OSError) as error:
        return {**nothing(name), "verified": False, "findings": [str(error)]}
    verified = None if not verify and not findings else not findings
    return {**describe(point), "verified": verified, "findings": findings}
