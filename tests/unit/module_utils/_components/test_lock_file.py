# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locked requirements: what is read, what is refused, and which markers hold."""

from __future__ import annotations

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages.environment import Interpreter
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages.lock_file import (
    Pin,
    marker_holds,
    parse,
    render,
)

PYTHON = Interpreter(
    "cpython", "3.11.7", "cpython-311-x86_64-linux-gnu", "linux-x86_64", "/usr/bin/python3", True, "", ""
)
A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("text", "pins"),
    [
        ("", []),
        ("# only a comment\n\n", []),
        (f"six==1.16.0 --hash=sha256:{A}\n", [Pin("six", "1.16.0", (A,))]),
        (
            f"Zope.Interface == 6.0 \\\n  --hash=sha256:{B} \\\n  --hash=sha256:{A.upper()}\n    # via x\n",
            [Pin("zope-interface", "6.0", (A, B))],
        ),
        (f"uvicorn[standard]==0.30 --hash=sha256:{A}", [Pin("uvicorn", "0.30", (A,))]),
        (f"x==1.0+local.1 --hash=sha256:{A} --hash=md5:00", [Pin("x", "1.0+local.1", (A,))]),
        (
            f'x==1 ; python_version < "3.11" --hash=sha256:{A}\nx==2 ; python_version >= "3.11" --hash=sha256:{B}',
            [Pin("x", "2", (B,))],
        ),
        (
            f"--index-url https://example.invalid\n-i https://x\nsix==1.16.0 --hash=sha256:{A}",
            [Pin("six", "1.16.0", (A,))],
        ),
    ],
)
def test_parse(text: str, pins: list[Pin]) -> None:
    assert parse(text, "lock", PYTHON) == pins
    assert parse(render(pins), "lock", PYTHON) == pins


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"six>=1.16 --hash=sha256:{A}", "line 2.*'name==version"),
        (f"six==1.* --hash=sha256:{A}", "'name==version"),
        ("six==1.16.0", "six==1.16.0 has no --hash"),
        ("six==1.16.0 --hash=md5:00", "has no --hash"),
        ("-e ./project", "'name==version"),
        ("-r other.txt", "'name==version"),
        (f"six @ https://x/six.whl --hash=sha256:{A}", "'name==version"),
        (f"six==1 --hash=sha256:{A}\nSIX==2 --hash=sha256:{B}", "six is listed twice"),
        (f"six==1 ; nonsense(1) --hash=sha256:{A}", "marker"),
    ],
)
def test_what_is_not_locked_is_refused_with_its_line(line: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        parse(f"# first\n{line}\n", "lock", PYTHON)


@pytest.mark.parametrize(
    ("marker", "holds"),
    [
        ('python_version >= "3.9"', True),
        ('python_version < "3.10"', False),
        ('python_full_version == "3.11.7"', True),
        ("sys_platform == 'win32'", False),
        ("'linux' in sys_platform", True),
        ("platform_machine not in 'arm64 aarch64'", True),
        ("implementation_name == 'pypy' or platform_python_implementation == 'CPython'", True),
        ("(os_name == 'nt' or python_version > '3') and sys_platform == 'linux'", True),
        ("extra == 'test'", False),
    ],
)
def test_markers(marker: str, holds: bool) -> None:
    assert marker_holds(marker, "lock", PYTHON) is holds


@pytest.mark.parametrize(
    "marker", ["python_version ~= '3.9'", "__import__('os')", "python_version > '3.11rc1'", "1 < 2", "a == b"]
)
def test_unknown_markers_are_refused(marker: str) -> None:
    with pytest.raises(Refused, match="marker"):
        marker_holds(marker, "lock", PYTHON)
