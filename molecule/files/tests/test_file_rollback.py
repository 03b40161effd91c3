# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that were named have their content again, and no other file was touched."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from testinfra.host import Host

PATH = "/srv/blog-images"
NOTES = "notes-for-monday.md"
GIT = f"sudo -u blog git -C {PATH}"
FILES = ("README.md", "config.py")


@pytest.mark.parametrize("name", FILES)
def test_content_is_that_of_the_commit(name: str, on: Callable[[str], Host]) -> None:
    host = on("lab-app2")
    committed = host.check_output(f"{GIT} show HEAD:{name} | sha256sum").split()[0]
    file = host.file(f"{PATH}/{name}")
    assert file.sha256sum == committed
    assert (file.user, file.mode) == ("blog", 0o644)


def test_no_other_file_was_touched(on: Callable[[str], Host]) -> None:
    # The notes were written with the damage: whatever changed since is newer.
    words = r"find . \( -name .git -o -name .venv -o -name __pycache__ \) -prune -o -type f -cnewer %s -print"
    changed = on("lab-app2").check_output(f"cd {PATH} && {words}", NOTES)
    assert sorted(changed.split()) == sorted(f"./{name}" for name in FILES)


def test_what_stood_beside_them_is_still_there(on: Callable[[str], Host]) -> None:
    assert on("lab-app2").file(f"{PATH}/{NOTES}").contains("harbour pictures")
    assert on("lab-app2").check_output(f"{GIT} status --porcelain") == f"?? {NOTES}"
