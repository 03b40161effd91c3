# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps what Python compiles of the modules that Ansible sends, so that a host compiles each of them once.

Python keeps nothing of what it compiles out of an archive; that is a third of the time of a module's call.
"""

from __future__ import annotations

import marshal
import os
import zipimport
from _imp import source_hash
from types import CodeType

#: Open to all users; files appear there whole or not at all.
PLACE = "/var/cache/lab-compiled"

_compile = zipimport._compile_source


def keep() -> None:
    """From now on, take from there what is to be compiled."""
    zipimport._compile_source = _compiled


def _compiled(path: str, source: bytes) -> CodeType:
    """What `zipimport` would compile; files of the same content share the name of the first."""
    kept = f"{PLACE}/{source_hash(0, source).hex()}"
    if os.path.exists(kept):
        with open(kept, "rb") as file:
            return marshal.load(file)
    code = _compile(path, source)
    try:
        with open(f"{kept}.{os.getpid()}", "wb") as file:
            marshal.dump(code, file)
        os.rename(file.name, kept)
    except OSError:
        pass  # no room, or not for this user: it is compiled again the next time
    return code
