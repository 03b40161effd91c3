# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) How long writes will stand still, told from a short reading of the live tables. Changes nothing."""

from __future__ import annotations

from ansible_collections.lastgood.rollback.plugins.module_utils._postgres import Session
from ansible_collections.lastgood.rollback.plugins.module_utils._types import JsonObject

#: Locks, a new schema and its comparison, the switch; and for each table its statements.
FIXED_MS, TABLE_MS = 1_500, 12


def predict_ms(session: Session, mapped: JsonObject) -> int:
    """Milliseconds from the first lock to the switch."""
    del session
    moves = mapped["moves"]
    rows = sum(move["live"]["rows"] for move in moves)
    return int(FIXED_MS + TABLE_MS * len(moves) + rows * 0.002)
