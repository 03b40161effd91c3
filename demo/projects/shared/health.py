# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The health report: every check by name, and what it found."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mistune
import psycopg2
from config import ConfigError

HERE = Path(__file__).resolve().parent


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


# Read once: this is the code that runs, which a checkout may have moved away from since.
VERSION = (HERE / "VERSION").read_text(encoding="utf-8").strip()
COMMIT = _commit()


def check_package() -> str:
    """Render one heading, as every page does.

    :raises RuntimeError: when the installed package can't.
    """
    create = getattr(mistune, "create_markdown", None)
    if create is None:
        raise RuntimeError(f"mistune {mistune.__version__} has no create_markdown")
    if "<h1>" not in create()("# Hello"):
        raise RuntimeError(f"mistune {mistune.__version__} renders no heading")
    return f"mistune {mistune.__version__}"


def report(checks: dict[str, Callable[[], object]]) -> tuple[dict[str, Any], int]:
    """Run the checks; the answer's body, and 200 or 503."""
    found: dict[str, str] = {}
    failing: list[str] = []
    for name, check in checks.items():
        try:
            found[name] = str(check())
        except (ConfigError, OSError, RuntimeError, psycopg2.Error) as error:
            failing.append(name)
            # What PostgreSQL says before these words is only where it was asked.
            found[name] = " ".join(str(error).split()).rpartition("failed: ")[2]
    status = "failing" if failing else "ok"
    body = {"status": status, "version": VERSION, "commit": COMMIT, "failing": failing, "checks": found}
    return body, 503 if failing else 200
