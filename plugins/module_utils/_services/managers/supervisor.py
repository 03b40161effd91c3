# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Programs under supervisor, through its own XML-RPC interface: structured states instead of the lines that
``supervisorctl`` prints. The way to it is read from supervisor's own configuration file."""

from __future__ import annotations

import base64
import configparser
import functools
import http.client
import os
import re
import socket
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.loaded import opened_as, owner_along
from ansible_collections.lastgood.rollback.plugins.module_utils._base.paths import resolve

from .base import DOWN, FAILED, RUNNING, STARTING, STOPPING, ServiceStatus

#: Seconds for one call; orders are given without waiting for the program.
_TIMEOUT = 30
_MOST_CONFIG = 1024 * 1024
_BAD_NAME = 10
_STATES = {
    "STOPPED": DOWN,
    "STARTING": STARTING,
    "RUNNING": RUNNING,
    "BACKOFF": STARTING,
    "STOPPING": STOPPING,
    "EXITED": DOWN,
    "FATAL": FAILED,
    "UNKNOWN": FAILED,
}


@dataclass(frozen=True)
class Address:
    """Where supervisor listens: a socket's path or ``host:port``, and the password it wants (never printed)."""

    path: str = ""
    host: str = ""
    port: int = 0
    authorization: str = ""

    def __repr__(self) -> str:
        return f"Address({self.path or f'{self.host}:{self.port}'})"


class Supervisor:
    """One supervisor.

    :param config: its configuration file.
    :raises Refused: when that can't be read, or names no way to supervisor.
    """

    def __init__(self, config: Path) -> None:
        self._config = config
        self._address = read_address(config)

    def status(self, name: str) -> ServiceStatus:
        """What it knows of a program."""
        try:
            return read_info(self.call("getProcessInfo", name))
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != _BAD_NAME:
                raise self.error(f"looking at {name}", fault.faultString) from fault
            known = ", ".join(self._names()) or "none"
            return ServiceStatus(DOWN, problem=f"supervisor has no such program in {self._config} (it has: {known})")

    def _names(self) -> list[str]:
        found: Any = self.call("getAllProcessInfo")
        return [one["name"] if one["name"] == one["group"] else f"{one['group']}:{one['name']}" for one in found]

    def call(self, method: str, *arguments: Any) -> Any:
        """One call, on a connection of its own: threads do not share any.

        :raises xmlrpc.client.Fault: when supervisor refuses.
        :raises LastGoodError: when it does not answer.
        """
        transport = _Transport(self._address)
        try:
            with xmlrpc.client.ServerProxy("http://supervisor", transport=transport) as proxy:
                return functools.reduce(getattr, ["supervisor", method], proxy)(*arguments)
        except xmlrpc.client.ProtocolError as error:
            raise self.error(method, f"it answered {error.errcode} {error.errmsg}") from error
        except (OSError, http.client.HTTPException) as error:
            raise self.error(method, f"{error.__class__.__name__}: {error}. Is it running?") from error

    def error(self, what: str, why: str) -> LastGoodError:
        """A failure of supervisor, for a person."""
        return LastGoodError(f"Supervisor at {self._address} (from {self._config}), {what}: {why}")


def read_info(info: Mapping[str, Any]) -> ServiceStatus:
    """The status from what ``getProcessInfo`` returns."""
    word, pid = str(info["statename"]), int(info["pid"])
    state = _STATES.get(word, FAILED)
    if word == "EXITED" and info["exitstatus"] != 0:
        state = FAILED  # it did not end on purpose, and its manager leaves it at that
    said = f": {info['spawnerr']}" if info["spawnerr"] else ""
    return ServiceStatus(
        state=state,
        pid=pid,
        process=f"{pid}:{info['start']}" if pid else "",
        ended=str(info["stop"]) if word in ("BACKOFF", "EXITED", "FATAL") else "",
        detail=f"{word}{said}",
    )


def read_address(config: Path) -> Address:
    """The way to supervisor from the section ``unix_http_server`` or ``inet_http_server`` of its configuration.

    :raises Refused: when the file can't be read, or has neither.
    """
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", " #"), strict=False)
    owner = owner_along(config)
    try:
        # Who could put another file there gains nothing by it: nothing of it is shown, and no variable of ours is put in.
        with opened_as(config, owner, links=True) as handle, os.fdopen(os.dup(handle), encoding="utf-8") as stream:
            parser.read_string(stream.read(_MOST_CONFIG))
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"The configuration of supervisor, {config}, can't be read: {error}") from error
    except configparser.Error as error:  # its message shows the line, which may be anything
        kind = error.__class__.__name__
        raise Refused(f"The configuration of supervisor, {config}, can't be read: it is none ({kind}).") from None

    environment = os.environ if resolve(config).untrusted({os.geteuid()}) is None else {}

    def option(section: str, key: str) -> str:
        value = parser.get(section, key, fallback="").strip()
        return _expanded(value, config, environment)

    section = "unix_http_server" if parser.has_option("unix_http_server", "file") else "inet_http_server"
    user, password = option(section, "username"), option(section, "password")
    token = base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""
    authorization = f"Basic {token}" if token else ""
    if section == "unix_http_server":
        return Address(path=str(config.parent / option(section, "file")), authorization=authorization)
    where = urlsplit(f"//{option(section, 'port').replace('*', '127.0.0.1')}")
    if not where.port:
        raise Refused(
            f"{config} has neither [unix_http_server] nor [inet_http_server]: there is no way to this supervisor."
        )
    return Address(host=where.hostname or "127.0.0.1", port=where.port, authorization=authorization)


def _expanded(value: str, config: Path, environment: Mapping[str, str]) -> str:
    """``%(here)s``, ``%(host_node_name)s`` and ``%(ENV_X)s``, as supervisor expands them."""
    known = {"here": str(config.parent.absolute()), "host_node_name": socket.gethostname()}
    known.update({f"ENV_{name}": text for name, text in environment.items()})
    return re.sub(r"%\((\w+)\)s", lambda found: known.get(found[1], found[0]), value)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, address: Address) -> None:
        headers = [("Authorization", address.authorization)] if address.authorization else []
        super().__init__(headers=headers)
        self._address = address

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """One connection for one call; `close` ends it."""
        connection = (
            _SocketConnection(self._address.path)
            if self._address.path
            else http.client.HTTPConnection(self._address.host, self._address.port, timeout=_TIMEOUT)
        )
        self._connection = (host, connection)
        return connection


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        """Connect to a socket of the file system."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self._path)
