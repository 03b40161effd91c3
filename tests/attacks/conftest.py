# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the attacks share: a place that everybody can reach, and real accounts in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from accounts import Account, made
from integration.conftest import built_modules, make_context, site
from support.postgres_server import postgres_server

__all__ = ["built_modules", "make_context", "postgres_server", "site"]


def pytest_sessionstart() -> None:
    """An attack by ourselves on ourselves shows nothing: it needs root as the victim, and other accounts."""
    if os.geteuid() != 0:
        pytest.exit("tests/attacks makes real accounts, and needs root: run them as root, or leave them out", 2)


@pytest.fixture
def arena() -> Iterator[Path]:
    """A directory of root that everybody can pass through; its path holds no link, and is short."""
    directory = Path(tempfile.mkdtemp(prefix="lastgood-arena-")).resolve()
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def attacker(arena: Path) -> Iterator[Account]:
    """An account without rights, which has a home in the arena."""
    with made(arena / "attacker") as account:
        yield account


@pytest.fixture
def victim(arena: Path) -> Iterator[Account]:
    """Another account without rights, with a home of its own."""
    with made(arena / "victim") as account:
        yield account
