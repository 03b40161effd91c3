# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of where an installed package came from."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages.environment import (
    Distribution,
    read_origin,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("raw", "origin"),
    [
        ({}, ""),
        ({"url": "file:///srv/app", "dir_info": {}}, ""),
        ({"url": "file:///tmp/six.whl", "archive_info": {"hash": "sha256=00"}}, ""),
        ({"url": "file:///srv/my%20app", "dir_info": {"editable": True}}, "editable, /srv/my app"),
        (
            {"url": "https://example.org/app.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
            f"git+https://example.org/app.git@{COMMIT}",
        ),
        (
            {"url": "https://me:hunter2@example.org/app.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
            f"git+https://example.org/app.git@{COMMIT}",
        ),
    ],
)
def test_what_tells_packages_of_one_version_apart(raw: dict[str, Any], origin: str) -> None:
    """Never with the password that an address may hold."""
    assert Distribution("app", "1.0", None, *read_origin(raw)).origin == origin  # type: ignore[arg-type]
