# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Which values of an environment nobody may see, and a program's words without them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

#: Names of environment variables whose values nobody may see.
_SECRET_NAME = re.compile("pass|secret|token|key|credential|auth", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"(?<=://)([^/@\s:]*):([^/@\s]+)(?=@)")
_MASK = "********"


def is_secret(name: str, value: str) -> bool:
    """Whether a variable's value is a secret, by its name or by a login in it."""
    return bool(_SECRET_NAME.search(name)) or ("://" in value and "@" in value)


def without_login(url: str | None) -> str | None:
    """An address as it may be kept and shown: what logs in there is left out, a token in the place of a name too."""
    if url is None:
        return None
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url  # host:path, or a directory
    host, slash, path = rest.partition("/")
    login, _at, where = host.rpartition("@")
    keeps = login if scheme.endswith("ssh") else ""
    name = keeps.partition(":")[0]
    return f"{scheme}://{name}{'@' if name else ''}{where}{slash}{path}"


def masked_output(text: str, environment: Mapping[str, str]) -> str:
    """What a program said, without the secrets of its environment, and without the password of any address."""
    secrets = {value for name, value in environment.items() if is_secret(name, value)}
    secrets |= {match[2] for value in secrets for match in _PASSWORD_IN_URL.finditer(value)}
    return _PASSWORD_IN_URL.sub(rf"\1:{_MASK}", mask_secrets(text, secrets))


def secrets_in(command: Sequence[str]) -> set[str]:
    """What of a command's words is secret, by the option, the name or the header it belongs to, or as a login."""
    found: set[str] = set()
    before = ""
    for word in map(str, command):
        found.update(match[2] for match in _PASSWORD_IN_URL.finditer(word))
        for mark in ("=", ": "):
            name, marked, value = word.partition(mark)
            if marked and _SECRET_NAME.search(name):
                found.add(value)
        if before.startswith("-") and "=" not in before and not word.startswith("-") and _SECRET_NAME.search(before):
            found.add(word)
        before = word
    return found - {""}


def hidden(command: Sequence[str]) -> list[str]:
    """A command's words as they may be kept and shown."""
    secrets = secrets_in(command)
    return [mask_secrets(str(word), secrets) for word in command]


def mask_secrets(text: str, secrets: Iterable[str]) -> str:
    """A text without these secrets."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, _MASK)
    return text
