# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The options of ``file_restore``, and of the kind ``files`` within a transaction."""

from __future__ import annotations

from ..options import ComponentOptions

FILES_OPTIONS = ComponentOptions(
    argument_spec={
        "files": {
            "type": "list",
            "elements": "dict",
            "options": {
                "dest": {"type": "path", "required": True},
                "src": {"type": "path"},
                "checksum": {"type": "str"},
            },
        },
        "restore_point": {"type": "str"},
        "validate": {"type": "list", "elements": "str", "default": [], "no_log": True},
        "allow_unverified": {"type": "bool", "default": False},
    },
    constraints={"required_one_of": [("files", "restore_point")]},
)
