# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The module ``health_info``: projects in, results out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._checks.health import check_projects
from ansible_collections.lastgood.rollback.plugins.module_utils._services import control

from .run import hide_only, hide_secrets_of, run_guarded


def run_health_info(*, argument_spec: Mapping[str, Any]) -> NoReturn:
    """The main of ``health_info``."""
    module = AnsibleModule(argument_spec=dict(argument_spec), supports_check_mode=True)
    projects = module.params["projects"]
    hide_only(module, [project["services"] for project in projects])
    checks = [command for project in projects for command in project["commands"]]
    hide_secrets_of(module, [*checks, *control.commands_of([one for each in projects for one in each["services"]])])
    run_guarded(module, lambda: _result(module.params))


def _result(params: Mapping[str, Any]) -> JsonObject:
    checks = check_projects(params["projects"], CommandRunner(), params["timeout"])
    return {"changed": False, "healthy": all(check["ok"] for check in checks), "checks": checks}
