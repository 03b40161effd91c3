# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What of old transactions of a stack is removed, and when. Their small records stay: the history."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Unreadable

from .records import Records, all_records

_DAY_S = 86400.0


def prune(state_dir: Path, stack: str, keep_days: int) -> list[str]:
    """Remove the workspaces of the stack's transactions that ended more than ``keep_days`` ago, but of the newest.

    A transaction that has ended here needs its workspace no more; its header, journal, decision and outcome stay, so
    that whoever asks for the decision later is answered.

    :returns: the ids that something was removed of.
    :raises OSError: when something can't be removed.
    """
    ended = [records for records in all_records(state_dir) if _ended_at(records, stack) is not None]
    ended.sort(key=lambda records: _ended_at(records, stack) or 0.0)
    pruned = []
    for records in ended:  # of an end that was cut short
        records.forget_services()
    for records in ended[:-1]:
        if (_ended_at(records, stack) or 0.0) > time.time() - keep_days * _DAY_S:
            continue
        payload = records.directory / "payload.zip"
        large = [path for name in ("workspace", "plans") if (path := records.directory / name).exists()]
        if not large and not payload.exists():
            continue
        payload.unlink(missing_ok=True)
        for path in large:
            shutil.rmtree(path)
        records.journal.note(f"Removed what transaction {records.id} had kept for {keep_days} days")
        pruned.append(records.id)
    return pruned


def _ended_at(records: Records, stack: str) -> float | None:
    """When it ended (seconds since the epoch); None while it is open, for another stack, or where only its name is that of one.

    A copy that somebody has made of a transaction's directory holds what has the name of that one: it stays.
    """
    try:
        header, outcome = records.header(), records.outcome
    except Unreadable:  # nothing is known of it, so all of it stays
        return None
    if header is None or (header.stack, header.id) != (stack, records.id) or outcome is None:
        return None
    return float(outcome["at"])
