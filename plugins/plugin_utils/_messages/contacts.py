# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Who gets messages of a rollback: three contacts with a role each. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: The contacts of the runbook, and the role that each has unless another is named.
ROLES = {"primary": "System administrator", "secondary": "Development lead", "tertiary": "Project manager"}
KEYS = ("name", "role", "email")

#: Deliberately less than the RFC allows: what is refused here could not be distinguished from an injected header or recipient.
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")


class ContactsRefused(ValueError):
    """The contacts can't be used.

    :param reasons: all of them.
    """

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__(" ".join(reasons))


def is_address(text: Any) -> bool:
    """Whether this is one plain mail address."""
    return isinstance(text, str) and _ADDRESS.fullmatch(text) is not None and ".." not in text


def parse_contacts(raw: Any) -> list[dict[str, str]]:
    """The contacts in their order, each with ``kind``, ``name``, ``role`` and ``email``; empty when none are named.

    :param raw: ``rollback_contacts``: kind (primary, secondary, tertiary) → ``name``, ``role``, ``email``.
    :raises ContactsRefused: with all that is wrong.
    """
    if not raw:
        return []
    if not isinstance(raw, Mapping):
        raise ContactsRefused([f"rollback_contacts must map {', '.join(ROLES)} to a contact each; not {raw!r}."])
    reasons = [f"rollback_contacts has no kind {kind!r}: use {', '.join(ROLES)}." for kind in raw if kind not in ROLES]
    found = []
    for kind, role in ROLES.items():
        contact = raw.get(kind)
        if contact is None:
            reasons.append(f"rollback_contacts.{kind} is missing.")
            continue
        mistakes = _mistakes_in(kind, contact)
        reasons += mistakes
        if not mistakes:
            found.append(
                {"kind": kind, "name": contact["name"], "role": contact.get("role") or role}
                | {"email": contact["email"]}
            )
    if reasons:
        raise ContactsRefused(reasons)
    return found


def _mistakes_in(kind: str, contact: Any) -> list[str]:
    where = f"rollback_contacts.{kind}"
    if not isinstance(contact, Mapping):
        return [f"{where} must have a name and an email."]
    reasons = [f"{where}.{key} is not known: use {', '.join(KEYS)}." for key in contact if key not in KEYS]
    name = contact.get("name")
    if not isinstance(name, str) or not name.strip() or _CONTROL.search(name):
        reasons.append(f"{where}.name must be text on one line.")
    role = contact.get("role", "")
    if not isinstance(role, str) or _CONTROL.search(role):
        reasons.append(f"{where}.role must be text on one line.")
    if not is_address(contact.get("email")):
        reasons.append(f"{where}.email must be one mail address; not {contact.get('email')!r}.")
    return reasons
