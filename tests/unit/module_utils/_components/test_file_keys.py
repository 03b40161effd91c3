# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of settings are found in configuration files, and nothing that could be a secret is taken for a name."""

from __future__ import annotations

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._components.files.plan import settings_of

KEY = """-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASC: BKcwggSjAgEAAoIBAQC7
secretpart=notaname
-----END PRIVATE KEY-----
"""


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("SECRET_KEY=x\n# COMMENT=y\nexport DEBUG = 1\n", {"SECRET_KEY", "DEBUG"}),
        ("DEBUG = False\ndef f():\n    return 1\n", {"DEBUG"}),
        ("workers: 4\n  timeout: 30\n- name: web\n", {"workers", "timeout", "name"}),
        ('{"password": "x"}\n"user": "y"\n', {"user"}),
        ("dGhpcyBpcyBhIHNlY3JldA==\nc2VjcmV0=\n", set()),
        (KEY + "AFTER=1\n", {"AFTER"}),
        ("", set()),
    ],
)
def test_only_names_of_settings_are_found(text: str, names: set[str]) -> None:
    assert set(settings_of(text)) == names


def test_values_are_told_apart_by_digest_alone() -> None:
    first, second = settings_of("PASSWORD=hunter2\n"), settings_of("PASSWORD=hunter3\n")
    assert first != second
    assert "hunter2" not in str(first)
    assert settings_of("A=1\nA=2\n") != settings_of("A=2\n")
