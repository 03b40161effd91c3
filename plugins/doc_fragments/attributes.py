# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module declares."""

from __future__ import annotations


class ModuleDocFragment:
    """A module names an attribute itself where its support is another, and the other fragments here before C(DOCUMENTATION)."""

    DOCUMENTATION = r"""
author:
  - the lastgood.rollback authors (@lastgood)
options: {}
attributes:
  check_mode:
    description: Can run in check mode and tells what would change, without changing anything.
    support: full
  diff_mode:
    description: Returns what was before and what is (or would be) after, when in diff mode.
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
  platform:
    description: Operating systems that the module works on.
    platforms: posix
    support: full
"""

    READ_ONLY = r"""
attributes:
  diff_mode:
    support: none
    details: It changes nothing, so there is nothing to compare.
"""

    CONTROLLER = r"""
attributes:
  action:
    description: Runs on the controller; nothing of it is sent to the host.
    support: full
"""
