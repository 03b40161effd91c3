# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the module ``transaction``, and print what it is doing while it takes long."""

from __future__ import annotations

from ansible_collections.lastgood.rollback.plugins.plugin_utils._progress.reporting import ReportingAction


class ActionModule(ReportingAction):
    """See the module's documentation."""
