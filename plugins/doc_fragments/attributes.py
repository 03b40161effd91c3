# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wording of the attributes that every module declares."""

from __future__ import annotations


class ModuleDocFragment:
    """C(DOCUMENTATION) names the attributes; each module states its own support."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and tells what would change, without changing anything.
  diff_mode:
    description: Returns what was before and what is (or would be) after, when in diff mode.
  idempotent:
    description: A second run with the same options changes nothing.
  platform:
    description: Operating systems that the module works on.
    platforms: posix
    support: full
"""
