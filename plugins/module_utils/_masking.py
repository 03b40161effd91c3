# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Which values of an environment nobody may see, and a program's words without them."""

from __future__ import annotations

import re
from collections.abc import Mapping

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


def masked(text: str, environment: Mapping[str, str]) -> str:
    """What a program said, without the secrets of its environment, and without the password of any address."""
    secrets = {value for name, value in environment.items() if is_secret(name, value)}
    secrets |= {match[2] for value in secrets for match in _PASSWORD_IN_URL.finditer(value)}
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, _MASK)
    return _PASSWORD_IN_URL.sub(rf"\1:{_MASK}", text)
