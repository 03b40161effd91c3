# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Asking a service whether it is ready: by HTTP, by TCP, by a command. Every probe is short; callers repeat it."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.masking import hidden, mask_secrets, secrets_in
from ansible_collections.lastgood.rollback.plugins.module_utils._base.web import ask

#: Seconds that one probe may take; an application that is starting may accept and not answer.
_PROBE_TIMEOUT = 5


@dataclass(frozen=True)
class Ready:
    """What must hold before a service counts as ready; everything that is set must.

    :param url: answers with ``status``, and with ``contains`` in its body.
    :param tcp: ``host:port`` that accepts connections.
    :param command: argument list that ends with 0.
    :param notify: the service notifies its manager itself (systemd ``Type=notify``).
    """

    url: str = ""
    status: int = 200
    contains: str = ""
    tcp: str = ""
    command: tuple[str, ...] = ()
    notify: bool = False

    @property
    def probes(self) -> bool:
        """Whether there is anything to ask the service itself."""
        return bool(self.url or self.tcp or self.command)

    def endpoint(self) -> tuple[str, int] | None:
        """Host and port that it is asked at; nothing when it is not asked over the network."""
        if self.url:
            parts = urlsplit(self.url)
            return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        return _host_and_port(self.tcp) if self.tcp else None

    def missing(self, run: CommandRunner) -> str:
        """Ask once; what is missing, in words, or nothing when all holds."""
        if self.url:
            said = _http(self)
            if said:
                return said
        if self.tcp:
            try:
                socket.create_connection(_host_and_port(self.tcp), timeout=_PROBE_TIMEOUT).close()
            except OSError as error:
                return f"{self.tcp} does not accept connections ({error})"
        if self.command:
            try:
                run.run_named(self.command, "Asking whether it is ready", cwd="/", timeout=_PROBE_TIMEOUT)
            except LastGoodError as error:
                return mask_secrets(error.message, secrets_in(self.command))
        return ""


def parse_ready(raw: Mapping[str, Any] | None, where: str) -> Ready:
    """Read the option ``ready``: ``http`` (a URL, or a dictionary of url, status, contains), ``tcp``, ``command``, ``notify``.

    :raises Refused: for anything else.
    """
    raw = {key: value for key, value in (raw or {}).items() if value not in (None, "", [], False)}
    unknown = sorted(set(raw) - {"http", "tcp", "command", "notify"})
    if unknown:
        raise Refused(f"{where}: 'ready' knows http, tcp, command and notify, not {', '.join(unknown)}.")
    web = raw.get("http") or {}
    web = {"url": web} if isinstance(web, str) else web
    if web and (not isinstance(web, Mapping) or not set(web) <= {"url", "status", "contains"} or "url" not in web):
        raise Refused(f"{where}: 'ready.http' is a URL, or a dictionary of url, status and contains.")
    command = raw.get("command") or []
    if isinstance(command, str):
        raise Refused(f"{where}: 'ready.command' is a list of arguments, not a line for a shell.")
    ready = Ready(
        url=str(web.get("url") or ""),
        status=int(web.get("status") or 200),
        contains=str(web.get("contains") or ""),
        tcp=str(raw.get("tcp") or ""),
        command=tuple(str(word) for word in command),
        notify=bool(raw.get("notify")),
    )
    try:
        endpoint = ready.endpoint()
    except ValueError as error:
        raise Refused(f"{where}: 'ready' has no usable address: {error}.") from error
    if (ready.url and urlsplit(ready.url).scheme not in ("http", "https")) or (endpoint and not endpoint[0]):
        raise Refused(
            f"{where}: {ready.url or ready.tcp!r} is not an address to ask: http://host:port/path or host:port."
        )
    return ready


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.port:
        raise ValueError(f"{text!r} is not host:port")
    return parts.hostname or "", parts.port


def _http(ready: Ready) -> str:
    [url] = hidden([ready.url])
    try:
        answer = ask(ready.url, _PROBE_TIMEOUT, follow=False)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"{url} does not answer ({error})"
    if answer.status != ready.status:
        return f"{url} answers {answer.status} instead of {ready.status}"
    if ready.contains and ready.contains.encode() not in answer.body:
        return f"{url} answers without {ready.contains!r}"
    return ""
