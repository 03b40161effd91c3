# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The messages of a rollback: who gets which, when, and what is in them. Pure, but for the templates it reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.text import one_line
from ansible_collections.lastgood.rollback.plugins.plugin_utils._report.render import render

from .spool import Message

KINDS = ("notice", "status", "postmortem")
TITLES = {"notice": "Notice at once", "status": "Status within the hour", "postmortem": "Post-mortem within 24 hours"}
_SUBJECTS = {
    "notice": "{headline}: {stack}",
    "status": "Status: {stack} {outcome}",
    "postmortem": "Post-mortem: {stack}",
}


@dataclass(frozen=True)
class Audience:
    """Who gets messages.

    :param contacts: mail addresses of the contacts: they get all messages.
    :param stakeholders: mail addresses of all others: status and post-mortem.
    :param webhooks: names of webhooks: they get the first message, and the status.
    """

    contacts: Sequence[str] = ()
    stakeholders: Sequence[str] = ()
    webhooks: Sequence[str] = ()


@dataclass(frozen=True)
class Papers:
    """What the messages are made of.

    :param report: the report as JSON.
    :param page: the report's HTML file, for the attachment.
    :param postmortem: the prefilled post-mortem, a Markdown file.
    :param templates: the directory of the role notify's templates.
    """

    report: Mapping[str, Any]
    page: Path
    postmortem: Path
    templates: Path


def messages(papers: Papers, audience: Audience, delays: Mapping[str, float], now: float) -> Iterator[Message]:
    """All messages of one rollback.

    :param delays: kind → seconds from now until it is due.
    """
    for kind in KINDS:
        mails = [*audience.contacts, *(audience.stakeholders if kind != "notice" else ())]
        targets = [("mail", to) for to in dict.fromkeys(mails)]
        targets += [("webhook", name) for name in (audience.webhooks if kind != "postmortem" else ())]
        for target in targets:
            yield _message(papers, kind, target, now + delays[kind], now)


def _message(papers: Papers, kind: str, target: tuple[str, str], due: float, now: float) -> Message:
    report, (channel, to) = papers.report, target
    values = {"kind": kind, "title": TITLES[kind], "postmortem": papers.postmortem.name}
    mail = channel == "mail"
    attachments = {"notice": [papers.page], "status": [papers.page], "postmortem": [papers.postmortem, papers.page]}
    subject = _SUBJECTS[kind].format(
        headline=report["headline"], stack=report["stack"], outcome=report["outcome"].replace("_", " ")
    )
    return Message(
        name=f"{report['id']}.{kind}.{hashlib.sha256(':'.join(target).encode()).hexdigest()[:12]}",
        transaction=report["id"],
        kind=kind,
        channel=channel,
        to=to,
        subject=one_line(subject),
        text=render("mail.txt.j2", report, papers.templates, now, **values),
        html=render("mail.html.j2", report, papers.templates, now, **values) if mail else "",
        attachments=tuple(str(path) for path in attachments[kind]) if mail else (),
        facts=_facts(report, kind),
        due=due,
    )


def _facts(report: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """What a program wants to know."""
    names = ("id", "stack", "outcome", "success", "headline", "summary", "operator", "began", "ended", "downtime_ms")
    return {"kind": kind, **{name: report[name] for name in names}, "causes": list(report["causes"])}


def delivery(message: Message, *, sent: bool, when: str) -> dict[str, Any]:
    """What the report says of a message.

    :param when: the time that it is due, for people.
    """
    failed = not sent and bool(message.error)
    detail = "" if sent else f"{message.error}; again after {when}" if failed else f"due at {when}"
    return {
        "what": TITLES.get(message.kind, message.kind),
        "kind": message.kind,
        "to": message.to,
        "sent": sent,
        "failed": failed,
        "detail": detail,
    }
