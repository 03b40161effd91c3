# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that every module of a component shares."""

from __future__ import annotations


class ModuleDocFragment:
    """Wording for O(transaction) and O(state_dir)."""

    DOCUMENTATION = r"""
options:
  transaction:
    description:
      - Id of the open transaction that this component takes part in.
      - With it the module only prepares, beside the live system.
        The switch is left to M(lastgood.rollback.transaction).
      - Without it the module is a transaction of its own, from prepare to verify,
        with the same journal and the same guarantees.
    type: str
  state_dir:
    description:
      - Directory on the host that holds transactions and restore points.
    type: path
    default: /var/lib/lastgood
"""
