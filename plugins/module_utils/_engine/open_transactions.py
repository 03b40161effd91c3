# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What an open transaction means for whoever meets it: how far it is, and which services are down because of it."""

from __future__ import annotations

import time

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Unreadable
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._services import status

from .records import Header, HostState, Records

RECOVER = "ansible-playbook lastgood.rollback.recover -e rollback_id="


def phase(records: Records) -> str:
    """The phase that this host is in, or that was interrupted here."""
    state = records.state()
    if state is HostState.UNDONE:
        return "undo"
    if state is HostState.PROMISED:
        return "decide"
    if state is HostState.SWITCHED:
        started = any(entry["event"] == "started" for entry in records.journal.entries())
        return "verify" if started or not records.services() else "start"
    if records.switch_begun():
        return "switch"
    return "stop" if records.services() else "prepare"


def down(records: Records) -> list[str]:
    """Services that ran before this transaction and do not run now, found by inspection; one that can't be inspected counts."""
    found = []
    for service in records.services():
        if service["ran_before"] and not _runs(service):
            found.append(str(service["name"]))
    return found


def _runs(service: JsonObject) -> bool:
    try:
        return status.runs(service["options"], CommandRunner())
    except (LastGoodError, OSError):
        return False


def _situation(records: Records) -> str:
    """How far it is and what is down; of a journal that can't be read nothing is concluded."""
    try:
        left = ", ".join(down(records))
        return f"in its phase {phase(records)}{f'; down because of it: {left}' if left else ''}"
    except Unreadable:
        return "with records that can't be read"


def held_by(records: Records, header: Header, what: str) -> str:
    """Who holds this, since when, how far that one is, what is down because of it, and the command that goes on."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(header.created))
    return (
        f"{what} is held by transaction {header.id}, begun {since} by {header.operator} and still open on "
        f"{header.host}, {_situation(records)}. "
        f"Wait for it; if nobody runs it any more: {RECOVER}{header.id}"
    )
