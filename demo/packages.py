# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python environments, made and read by uv: fast, and with the index that this machine is set up for."""

from __future__ import annotations

import os
from pathlib import Path

from commands import run
from place import CLONE, Place
from programs import tool

#: uv does not read pip's settings; a machine that has only these still gets its packages from where it should.
_FROM_PIP = {
    "UV_DEFAULT_INDEX": "PIP_INDEX_URL",
    "UV_INDEX": "PIP_EXTRA_INDEX_URL",
    "SSL_CERT_FILE": "PIP_CERT",
}


def new_environment(place: Place, path: Path) -> None:
    """Make an empty environment (with pip, as people's own have)."""
    _uv("venv", "--quiet", "--seed", "--python", place.python, path)


def install(place: Place, environment: Path, *requirements: str) -> None:
    """Install requirements (or ``-r FILE``) into an environment.

    :raises DemoError: when uv can't.
    """
    # Copied, not linked: the files get another owner, and linked ones would change it in uv's cache as well.
    linked = "copy" if place.user.identity else "hardlink"
    _uv("pip", "install", "--quiet", "--link-mode", linked, "--python", environment / "bin" / "python", *requirements)


def installed(environment: Path) -> str:
    """The exact set in an environment, as requirement lines."""
    return _uv("pip", "freeze", "--python", environment / "bin" / "python")


def _uv(*words: str | Path) -> str:
    env = dict(os.environ)
    for name, other in _FROM_PIP.items():
        if name not in env and other in env:
            env[name] = env[other]
    # Nothing of the demo stays behind outside of the clone, not even a cache.
    env.setdefault("UV_CACHE_DIR", str(CLONE / ".cache" / "uv"))
    env["UV_PYTHON_DOWNLOADS"] = "never"
    return run([tool("uv"), *words], env=env).stdout
