# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A part of a test in namespaces of its own: with a small disk, or without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def unshared(*kinds: str) -> list[str]:
    """The words in front of a command that give it its own ``mount`` or ``net`` namespaces; without root, as its root."""
    mapped = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *mapped, *(f"--{kind}" for kind in kinds)]


def run_module(name: str, *words: str | Path, kinds: tuple[str, ...]) -> str:
    """Run a module of the tests there; what it prints."""
    command = [*unshared(*kinds), sys.executable, "-W", "error", "-m", f"support.{name}", *map(str, words)]
    path = os.pathsep.join(str(ROOT / part) for part in ("collections", "tests"))
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
