# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Which way a transaction ends, by rule 3 of docs/protocol.md. Pure; the only place that knows that rule.

``tests/model`` explores the protocol; a test holds this against every state that is reachable there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from .records import KEEP, UNDO


def requested_decision(hosts: Iterable[str], promised: Collection[str] = (), lost: Collection[str] = ()) -> str:
    """What the decision host is asked to write: ``keep`` only where every host is known to have promised.

    :param hosts: that take part.
    :param promised: that are known to have promised, and not to have undone.
    :param lost: that nobody can ask any more: what they had promised can't be known.
    """
    return KEEP if not lost and all(host in promised for host in hosts) else UNDO


def resolved_decision(
    decision: str | None,
    hosts: Iterable[str],
    promised: Collection[str],
    *,
    decision_host_read: bool,
) -> str | None:
    """What recovery makes of a transaction: ``keep``, ``undo``, or None where that is in doubt.

    :param decision: what stands on the decision host; a host that has ended answers by how it ended.
    :param hosts: see `requested_decision`, as for ``promised``.
    :param decision_host_read: false also where its records are damaged, or the host was replaced.
    """
    if not decision_host_read:
        return None
    return decision or requested_decision(hosts, promised)
