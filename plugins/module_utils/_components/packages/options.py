# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The options of ``venv_restore``, and of the kind ``packages`` within a transaction."""

from __future__ import annotations

from ..options import ComponentOptions

PACKAGES_OPTIONS = ComponentOptions(
    argument_spec={
        "path": {"type": "path", "required": True},
        "restore_point": {"type": "str"},
        "requirements": {"type": "path"},
        "wheelhouse": {"type": "path"},
        "imports": {"type": "list", "elements": "str", "default": []},
        "python": {"type": "path"},
        "installer": {"type": "str", "choices": ["auto", "uv", "pip"], "default": "auto"},
        "owner": {"type": "str"},
    },
    constraints={
        "mutually_exclusive": [("restore_point", "requirements"), ("restore_point", "wheelhouse")],
        "required_one_of": [("restore_point", "requirements")],
    },
)
