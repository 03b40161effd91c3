# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pure parts of packing wheels."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages import wheels
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages.environment import canonical
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages.install import installed


@pytest.mark.parametrize(
    ("script", "portable"),
    [
        (b"#!/srv/app/.venv/bin/python\nimport x\n", b"#!python\nimport x\n"),
        (b"#!/usr/bin/env python3.11\nimport x\n", b"#!python\nimport x\n"),
        (b"#!/a/pythonw -E\nx", b"#!python\nx"),
        (b"#!/bin/sh\n'''exec' \"/a b/bin/python3\" \"$0\" \"$@\"\n' '''\nimport x\n", b"#!python\nimport x\n"),
        (b"#!/bin/sh\necho python\n", b"#!/bin/sh\necho python\n"),
        (b"\x7fELF python", b"\x7fELF python"),
        (b"", b""),
    ],
)
def test_the_first_line_of_a_script_names_no_environment(script: bytes, portable: bytes) -> None:
    assert wheels._portable(script) == portable


@pytest.mark.parametrize(
    ("lines", "tags"),
    [
        ("Wheel-Version: 1.0\nTag: py3-none-any\n", "py3-none-any"),
        ("Tag: py2-none-any\nTag: py3-none-any\n", "py2.py3-none-any"),
        (
            "Tag: cp311-cp311-manylinux_2_17_x86_64\nTag: cp311-cp311-manylinux2014_x86_64\n",
            "cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64",
        ),
    ],
)
def test_tags(lines: str, tags: str) -> None:
    assert wheels._tags(lines) == tags


@pytest.mark.parametrize("name", ["Zope.Interface", "zope_interface", "ZOPE--interface", "zope._-interface"])
def test_canonical_names(name: str) -> None:
    assert canonical(name) == "zope-interface"


def test_packages_are_counted_once_where_one_directory_has_two_names(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in ("flask-3.0.dist-info", "click-8.1.dist-info", "flask"):
        (packages / name).mkdir(parents=True)
    (tmp_path / "lib64").symlink_to("lib")
    assert installed(tmp_path) == 2
