# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
from io import BytesIO
from pathlib import Path
from typing import IO

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._files import copy_durably, write_whole


def half(stream: IO[bytes]) -> None:
    """What happens on a full disk."""
    stream.write(b"half of it")
    stream.flush()
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_could_not_be_written_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "new", half)
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_replaced_stays(tmp_path: Path) -> None:
    (tmp_path / "known").write_bytes(b"all of it")
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "known", half)
    assert [path.name for path in tmp_path.iterdir()] == ["known"]
    assert (tmp_path / "known").read_bytes() == b"all of it"


def test_a_copy_is_whole_and_private(tmp_path: Path) -> None:
    source = BytesIO(b"read already, " + bytes(3_000_000))
    source.read(14)
    copy_durably(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == bytes(3_000_000)
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600


def test_a_copy_that_fails_is_not_there(tmp_path: Path) -> None:
    with (tmp_path / "source").open("wb") as source, pytest.raises(OSError, match="read"):
        copy_durably(source, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
