# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Queue the messages of a rollback, and send those that are due."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible import context
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import create_once
from ansible_collections.lastgood.rollback.plugins.plugin_utils._messages.contacts import (
    ContactsRefused,
    is_address,
    parse_contacts,
)
from ansible_collections.lastgood.rollback.plugins.plugin_utils._messages.delivery import (
    WEBHOOKS,
    ConfigurationRefused,
    NotDelivered,
    Postman,
    call_webhook,
)
from ansible_collections.lastgood.rollback.plugins.plugin_utils._messages.later import (
    asks_somebody,
    sending_command,
    sending_environment,
)
from ansible_collections.lastgood.rollback.plugins.plugin_utils._messages.messages import (
    KINDS,
    Audience,
    Papers,
    delivery,
    messages,
)
from ansible_collections.lastgood.rollback.plugins.plugin_utils._messages.schedule import Schedule
from ansible_collections.lastgood.rollback.plugins.plugin_utils._messages.spool import Message, Spool
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.render import render
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.text import clock


class ActionModule(ActionBase):
    """Runs on the controller alone."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Queue, cancel or send; what can't be delivered is reported and kept, and is no failure of the task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, given = self.validate_argument_spec(
            argument_spec={
                "spool": {"type": "path", "required": True},
                "mail": {"type": "dict", "default": {}, "no_log": True},
                "webhooks": {"type": "list", "elements": "dict", "default": [], "no_log": True},
                "report": {"type": "path"},
                "templates": {"type": "path"},
                "contacts": {"type": "dict", "default": {}},
                "stakeholders": {"type": "list", "elements": "str", "default": []},
                "status_after": {"type": "int", "default": 3600},
                "postmortem_after": {"type": "int", "default": 86400},
                "cancel": {"type": "str"},
                "schedule": {"type": "bool", "default": True},
            },
            required_together=[["report", "templates"]],
        )
        result.update(changed=False, deliveries=[], cancelled=[], postmortem=None, not_scheduled="")
        if self._task.check_mode:
            return result
        try:
            _check(given)
            spool = Spool(Path(given["spool"]).absolute())
            with spool.locked():
                result.update(_work(given, spool))
        except (ConfigurationRefused, ContactsRefused) as error:
            raise AnsibleActionFail(str(error)) from error
        except OSError as error:
            raise AnsibleActionFail(f"Messages can't be kept in {given['spool']}: {error.strerror}.") from error
        return result


def _check(given: Mapping[str, Any]) -> None:
    """Refuse what can never be delivered, all of it together.

    :raises ConfigurationRefused: naming it, without any secret.
    """
    wrong = [
        f"{address!r} in notify_stakeholders is not one mail address."
        for address in given["stakeholders"]
        if not is_address(address)
    ]
    for number, webhook in enumerate(given["webhooks"], 1):
        missing = [key for key in ("name", "url") if not isinstance(webhook.get(key), str)]
        if missing:
            wrong.append(f"notify_webhooks, number {number}: {' and '.join(missing)} missing.")
        if webhook.get("kind", "generic") not in WEBHOOKS:
            wrong.append(f"notify_webhooks, number {number}: kind must be one of {', '.join(WEBHOOKS)}.")
    if wrong:
        raise ConfigurationRefused(" ".join(wrong))


def _work(given: Mapping[str, Any], spool: Spool) -> dict[str, Any]:
    cancelled = spool.cancel(given["cancel"], KINDS[1:]) if given["cancel"] else []
    papers = _papers(given)
    if papers is not None:
        _queue(given, spool, papers)
    sent = _send(given, spool)
    transaction = papers.report["id"] if papers else None
    deliveries = [delivery(each, sent=True, when="") for each in sent]
    if transaction is not None:
        deliveries = [
            delivery(each, sent=True, when="") for each in spool.delivered() if each.transaction == transaction
        ]
    deliveries += [
        delivery(each, sent=False, when=clock(each.due))
        for each in spool.waiting()
        if transaction in (None, each.transaction)
    ]
    return {
        "changed": bool(sent or cancelled or papers),
        "deliveries": sorted(deliveries, key=lambda each: (KINDS.index(each["kind"]), each["to"])),
        "cancelled": [each.name for each in cancelled],
        "postmortem": str(papers.postmortem) if papers else None,
        "not_scheduled": _schedule(spool) if given["schedule"] else "",
    }


def _schedule(spool: Spool) -> str:
    """Let what waits be sent by itself; returns why it will not be."""
    due = [message.due for message in spool.waiting()]
    if due and asks_somebody(context.CLIARGS):
        return "a vault password was typed, and nobody will be there to type it"
    return Schedule(spool.directory, sending_command(spool.directory, context.CLIARGS), sending_environment()).keep(due)


def _papers(given: Mapping[str, Any]) -> Papers | None:
    if not given["report"]:
        return None
    path = Path(given["report"]).absolute()
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationRefused(f"{path} is not a report: {error}") from error
    return Papers(report, path.with_suffix(".html"), path.with_suffix(".postmortem.md"), Path(given["templates"]))


def _queue(given: Mapping[str, Any], spool: Spool, papers: Papers) -> None:
    now = time.time()
    # What people have written into it since stays.
    text = render("postmortem.md.j2", papers.report, papers.templates, now)
    create_once(papers.postmortem, text.encode(), 0o640)
    contacts = parse_contacts(given["contacts"])
    by_mail = bool(given["mail"].get("host"))
    audience = Audience(
        contacts=[contact["email"] for contact in contacts] if by_mail else [],
        stakeholders=given["stakeholders"] if by_mail else [],
        webhooks=[webhook["name"] for webhook in given["webhooks"]],
    )
    delays = {"notice": 0, "status": given["status_after"], "postmortem": given["postmortem_after"]}
    for message in messages(papers, audience, delays, now):
        spool.add(message)


def _send(given: Mapping[str, Any], spool: Spool) -> list[Message]:
    """Try all that is due; returns what was delivered."""
    sent = []
    postman = Postman(given["mail"]) if given["mail"].get("host") else None
    try:
        for message in (each for each in spool.waiting() if each.due <= time.time()):
            try:
                _deliver(message, postman, given["webhooks"])
            except NotDelivered as error:
                spool.update(message.failed(str(error), time.time()))
            else:
                spool.done(message)
                sent.append(message)
    finally:
        if postman is not None:
            postman.close()
    return sent


def _deliver(message: Message, postman: Postman | None, webhooks: Sequence[Mapping[str, Any]]) -> None:
    if message.channel == "webhook":
        call_webhook(message, webhooks)
    elif postman is None:
        raise NotDelivered("No mail server is configured: set notify_mail.host.")
    else:
        postman.deliver(message)
