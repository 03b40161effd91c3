# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import IO

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import (
    copy_durably,
    create_once,
    write_atomic,
    write_whole,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._components.files.location import (
    apply_properties,
    inspect_open,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.writable_store import (
    WritableRestorePoints,
)


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


class Recorder:
    """The order of what is synced and of what gets its name, as the disk would see it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        link, rename, replace = os.link, os.rename, os.replace

        def fsync(handle: int) -> None:
            path = os.readlink(f"/proc/self/fd/{handle}")
            self.calls.append(("sync", f"{path} of {os.fstat(handle).st_size}" if os.path.isfile(path) else path))

        def named(real: Callable[..., None]) -> Callable[..., None]:
            def call(source: str, to: str, **words: object) -> None:
                real(source, to, **words)
                self.calls.append(("name", str(to)))

            return call

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "sync", lambda: self.calls.append(("sync", "everything")))
        for name, real in (("link", link), ("rename", rename), ("replace", replace)):
            monkeypatch.setattr(os, name, named(real))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _what in self.calls]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


@pytest.mark.parametrize(
    "write",
    [create_once, write_atomic, lambda path, content: copy_durably(BytesIO(content), path)],
    ids=["once", "atomic", "copy"],
)
def test_content_is_on_the_disk_before_its_name_and_the_name_before_the_answer(
    tmp_path: Path, recorder: Recorder, write: Callable[[Path, bytes], object]
) -> None:
    write(tmp_path / "record", b"12345")
    assert recorder.kinds == ["sync", "name", "sync"]
    assert recorder.calls[0][1].endswith(" of 5")
    assert recorder.calls[1:] == [("name", str(tmp_path / "record")), ("sync", str(tmp_path))]


def test_a_restore_point_is_on_the_disk_before_it_appears(tmp_path: Path, recorder: Recorder) -> None:
    store = WritableRestorePoints(tmp_path)
    with store.lock("a test"), store.building("good") as partial:
        (partial / "code").mkdir()
        (partial / "code" / "bundle").write_bytes(b"1234567")
        recorder.calls.clear()
    (appears,) = [number for number, call in enumerate(recorder.calls) if call[0] == "name"]
    before, after = recorder.calls[:appears], recorder.calls[appears + 1 :]
    places = [what.replace(str(partial), "") for _kind, what in before]
    assert places == ["/code/bundle of 7", "/code", ""]
    assert ("sync", str(store.directory)) in after


def test_owner_mode_and_content_of_a_restored_file_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is set is set before the last sync."""
    calls = []
    for name in ("fchown", "fchmod", "utime", "fsync"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *words, _name=name, _real=real, **more: (calls.append(_name), _real(*words, **more))
        )
    (tmp_path / "file").write_bytes(b"")
    handle = os.open(tmp_path / "file", os.O_RDWR)
    apply_properties(handle, replace(inspect_open(handle), mode=0o640))
    os.close(handle)
    assert calls[-1] == "fsync" and "fchmod" in calls
