# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print a short table that a tired person can read."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.table import render_table

_COLORS = {"good": "green", "bad": "red", "plain": None, "warning": "yellow"}


class ActionModule(ActionBase):
    """Prints through Display: ``debug`` would show the lines of a table as one string with backslashes."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Print the table and return its text."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "title": {"type": "str", "required": True},
                "rows": {"type": "list", "elements": "list", "required": True},
                "tone": {"type": "str", "choices": sorted(_COLORS), "default": "plain"},
            }
        )
        for row in arguments["rows"]:
            if not row:
                raise AnsibleActionFail("Each row of the table needs at least one cell.")
        display = Display()
        text = render_table(arguments["title"], arguments["rows"], display.columns)
        display.display(f"\n{text}\n", color=_COLORS[arguments["tone"]])
        result.update(changed=False, table=text)
        return result
