# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Carrying messages: mail by SMTP, webhooks by HTTP. Errors are reported without any secret."""

from __future__ import annotations

import json
import mimetypes
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.utils import format_datetime, formataddr, localtime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from ansible.module_utils.urls import ConnectionError as UrlConnectionError
from ansible.module_utils.urls import SSLValidationError, open_url
from ansible_collections.lastgood.rollback.plugins.module_utils._base.text import one_line

from .contacts import is_address
from .spool import Message

SECURITIES = ("starttls", "tls", "none")
WEBHOOKS = ("slack", "mattermost", "generic")
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_MOST_ATTACHED_BYTES = 5_000_000


class ConfigurationRefused(ValueError):
    """Nothing can be delivered this way; says all that is wrong."""


class NotDelivered(Exception):
    """A message could not be delivered; says why, for people."""


class Postman:
    """Delivers mails over one connection, opened for the first of them; a server that is down is asked once.

    :param settings: ``host``, ``port``, ``security``, ``sender``, ``sender_name``, ``username``, ``password``, ``ca_cert``,
        ``timeout`` (s).
    :raises ConfigurationRefused: for settings that can't work.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.security = str(settings.get("security") or "starttls")
        self.settings = settings
        mistakes = []
        if self.security not in SECURITIES:
            mistakes.append(f"notify_mail.security must be one of {', '.join(SECURITIES)}; not {self.security!r}.")
        if not is_address(settings.get("sender")):
            mistakes.append(f"notify_mail.sender must be one mail address; not {settings.get('sender')!r}.")
        if mistakes:
            raise ConfigurationRefused(" ".join(mistakes))
        self._server: smtplib.SMTP | None = None
        self._unusable = ""

    def deliver(self, message: Message) -> None:
        """Send one mail.

        :raises NotDelivered: when the server is down, refuses, or the recipient is not one plain address.
        """
        if not is_address(message.to):
            raise NotDelivered(f"{message.to!r} is not one mail address.")
        mail = compose(message, str(self.settings["sender"]), str(self.settings.get("sender_name") or ""))
        server = self._connect()
        try:
            server.send_message(mail, from_addr=str(self.settings["sender"]), to_addrs=[message.to])
        except (smtplib.SMTPException, OSError) as error:
            if isinstance(error, smtplib.SMTPServerDisconnected) or not isinstance(error, smtplib.SMTPException):
                self._server = None  # the next mail may have more luck with a new connection
            raise NotDelivered(f"{self._address()} did not take the mail: {_error_text(error)}") from error

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._server is not None:
            with suppress(smtplib.SMTPException, OSError):
                self._server.quit()

    def _connect(self) -> smtplib.SMTP:
        if self._unusable:
            raise NotDelivered(self._unusable)
        if self._server is None:
            try:
                self._server = self._open()
            except (smtplib.SMTPException, OSError) as error:
                self._unusable = f"{self._address()} can't be used: {_error_text(error)}"
                raise NotDelivered(self._unusable) from error
        return self._server

    def _open(self) -> smtplib.SMTP:
        host, port, timeout = str(self.settings["host"]), self._port(), float(self.settings.get("timeout") or 15)
        context = ssl.create_default_context(cafile=self.settings.get("ca_cert") or None)
        if self.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=timeout, context=context)
        else:
            server = smtplib.SMTP(host, port, timeout=timeout)
        try:
            if self.security == "starttls":
                server.starttls(context=context)
            if self.settings.get("username"):
                server.login(str(self.settings["username"]), str(self.settings.get("password") or ""))
        except (smtplib.SMTPException, OSError):
            server.close()
            raise
        return server

    def _port(self) -> int:
        return int(self.settings.get("port") or _PORTS[self.security])

    def _address(self) -> str:
        return f"{self.settings['host']}:{self._port()}"


def compose(message: Message, sender: str, sender_name: str = "") -> EmailMessage:
    """The mail; a header with a line break is refused by the standard library, and none is let through to it."""
    mail = EmailMessage()
    mail["From"] = formataddr((one_line(sender_name), sender))
    mail["To"] = message.to
    mail["Subject"] = one_line(message.subject)
    mail["Date"] = format_datetime(localtime())
    # The same for every attempt, so that a mail that was taken twice can be recognized.
    mail["Message-ID"] = f"<{message.name}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    if message.html:
        mail.add_alternative(message.html, subtype="html")
    for path in (Path(name) for name in message.attachments):
        try:
            data = path.read_bytes()
        except OSError:
            continue  # thrown away meanwhile; what matters is in the text
        if len(data) <= _MOST_ATTACHED_BYTES:
            kind = mimetypes.guess_type(path.name)[0] or "text/markdown"
            main, _slash, sub = kind.partition("/")
            mail.add_attachment(data, maintype=main, subtype=sub, filename=path.name)
    return mail


def call_webhook(message: Message, webhooks: Sequence[Mapping[str, Any]], timeout: float = 15) -> None:
    """Post to the webhook of the message's name.

    :param webhooks: each with ``name``, ``kind``, ``url`` and perhaps ``headers``.
    :raises NotDelivered: when there is none of that name any more, or it does not answer with success.
    """
    webhook = next((each for each in webhooks if each.get("name") == message.to), None)
    if webhook is None:
        raise NotDelivered(f"There is no webhook {message.to!r} in notify_webhooks any more.")
    headers = {"Content-Type": "application/json", **(webhook.get("headers") or {})}
    try:
        data = json.dumps(payload(message, str(webhook.get("kind", "generic"))))
        open_url(
            str(webhook["url"]), method="POST", data=data, headers=headers, timeout=timeout, follow_redirects="none"
        )
    except HTTPError as error:
        raise NotDelivered(f"Webhook {message.to} answered {error.code}.") from error
    except (OSError, UrlConnectionError, SSLValidationError, ValueError) as error:
        # Its words may hold the URL, and that is a secret.
        reason = getattr(error, "reason", None)
        words = reason.strerror if isinstance(reason, OSError) and reason.strerror else error.__class__.__name__
        raise NotDelivered(f"Webhook {message.to} can't be reached: {words}.") from error


def payload(message: Message, kind: str) -> dict[str, Any]:
    """What a webhook is sent: Slack and Mattermost show text as it is, once their marks are taken out of it."""
    if kind == "generic":
        return {"event": "rollback", **message.facts, "text": message.text}
    text = message.text
    for mark, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(mark, entity)
    if kind == "mattermost":
        # Only a block of code is free of its Markdown, mentions included.
        return {"text": "```\n" + message.text.replace("```", "'''") + "\n```"}
    return {"text": f"```{text.replace('```', chr(39) * 3)}```", "mrkdwn": True}


def _error_text(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        response = (
            error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        )
        return one_line(f"{error.smtp_code} {response}")
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return one_line(
            "; ".join(f"{code} {response.decode('utf-8', 'replace')}" for code, response in error.recipients.values())
        )
    return one_line(getattr(error, "strerror", None) or str(error) or error.__class__.__name__)
