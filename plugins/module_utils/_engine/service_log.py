# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What a transaction's journal says of the stopping and starting of services."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.lastgood.rollback.plugins.module_utils._base.shape import require

from .records import Records

#: How the log says what happened to services, and to those that have no time in it.
_LOG_TEXTS = {"stopped": ("Stopped", "already down"), "started": ("Started, and ready", "no more ready than before")}


def log_services(records: Records, event: str, times: Mapping[str, float | None]) -> None:
    """Journal that services were stopped or started; downtime is computed from these.

    :param times: when each stopped, or was ready (epoch seconds); None where it was down already, or is no more ready than
        before.
    """
    known = {name: at for name, at in times.items() if at is not None}
    others = sorted(times.keys() - known.keys())
    if times:
        words, exception = _LOG_TEXTS[event]
        text = f"{words}: {', '.join(known) or 'none'}" + (f"; {exception}: {', '.join(others)}" if others else "")
        records.journal.write(event, text, services=known, others=others)


def started_again(records: Records) -> set[str]:
    """Names of the services that were started since everything is back: they run on nothing that was taken back."""
    found: set[str] = set()
    undone = False
    for entry in records.journal.entries():
        undone = undone or entry["event"] == "undone"
        if undone and entry["event"] == "started":
            facts = require(entry.get("facts"), {"services": {str: float}, "others": [str]}, records.place(entry))
            found.update(facts["services"], facts["others"])
    return found
