# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The module ``release_hold``: a checkout in, what was released out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._components.code.checkout import open_checkout
from ansible_collections.lastgood.rollback.plugins.module_utils._components.code.hold import Hold
from ansible_collections.lastgood.rollback.plugins.module_utils._engine.lock import refuse_if_held

from .run import nothing_touched, run_guarded


def run_release_hold(*, argument_spec: Mapping[str, Any]) -> NoReturn:
    """The main of ``release_hold``."""
    module = AnsibleModule(argument_spec=dict(argument_spec), supports_check_mode=True)
    run_guarded(
        module,
        lambda: _result(module.params, check=module.check_mode),
        failed=nothing_touched,
    )


def _result(params: Mapping[str, Any], *, check: bool) -> JsonObject:
    git, layout, owner = open_checkout(CommandRunner(), params)
    refuse_if_held(Path(params["state_dir"]), "", None, [f"checkout:{layout.top}"])
    hold = Hold(git, layout.git_dir, owner)
    transaction, text = hold.read(), hold.text()
    held = transaction is not None or text is not None
    if held and not check:
        hold.release()
    name = transaction or (text or "").partition("\n")[0] or None
    return {
        "changed": held,
        "path": str(layout.top),
        "hold": name,
        "text": text,
        "diff": {"before": _shown(name), "after": _shown(None)},
    }


def _shown(hold: str | None) -> str:
    return json.dumps({"hold": hold}) + "\n"
