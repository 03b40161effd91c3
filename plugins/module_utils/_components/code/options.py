# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The options of ``git_reset``, and of the kind ``code`` within a transaction."""

from __future__ import annotations

from ..options import ComponentOptions

CODE_OPTIONS = ComponentOptions(
    argument_spec={
        "path": {"type": "path", "required": True},
        "to": {"type": "str"},
        "restore_point": {"type": "str"},
        "mode": {"type": "str", "choices": ["reset", "revert", "paths"], "default": "reset"},
        "deepen": {"type": "bool", "default": False},
        "commits": {"type": "list", "elements": "str", "default": []},
        "mainline": {"type": "int", "default": 1},
        "paths": {"type": "list", "elements": "str", "default": []},
        "owner": {"type": "str"},
        "timeout": {"type": "int", "default": 600},
        "python": {"type": "path"},
        "test_environment": {"type": "dict", "default": {}, "no_log": True},
        "verify": {
            "type": "dict",
            "options": {
                "compile": {"type": "list", "elements": "str", "default": []},
                "commands": {"type": "list", "elements": "list", "default": [], "no_log": True},
                "timeout": {"type": "int", "default": 600},
            },
        },
    },
    secrets=("test_environment",),
    constraints={
        "mutually_exclusive": [("to", "restore_point")],
        "required_if": [
            ("mode", "reset", ("to", "restore_point"), True),
            ("mode", "paths", ("to", "restore_point"), True),
        ],
    },
)
