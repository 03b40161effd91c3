# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads when the operating system refuses something that nobody foresaw."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import os_error_message


def test_a_full_disk_says_what_to_do() -> None:
    with pytest.raises(OSError) as caught, Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")
    assert os_error_message(caught.value) == "No space left on device: make room on this host, then try again."


def test_a_file_is_named_where_the_system_names_it(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        (tmp_path / "gone").read_bytes()
    assert os_error_message(caught.value) == f"{tmp_path}/gone: No such file or directory."


def test_an_error_without_a_number_is_told_as_it_is() -> None:
    assert os_error_message(OSError("not a gzip file")) == "not a gzip file."
