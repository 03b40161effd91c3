# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store: whole or not there, found when damaged, never overwritten."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import ChecksumMismatch, LockHeld, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.capture import (
    capture,
    refuse_impossible,
    utc_now,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.manifest import (
    CapturedComponent,
    Good,
    stack_digest,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.store import (
    RestorePoint,
    open_entry,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.writable_store import (
    WritableRestorePoints,
)
from unit.module_utils._restore_points import fake_component
from unit.module_utils._restore_points.fake_component import request


@pytest.fixture
def store(tmp_path: Path) -> WritableRestorePoints:
    """An empty store."""
    return WritableRestorePoints(tmp_path / "state")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A live tree of two files."""
    directory = tmp_path / "live" / "tree"
    (directory / "sub").mkdir(parents=True)
    (directory / "a").write_text("first")
    (directory / "sub" / "b").write_text("second")
    return directory


def listing(directory: Path) -> list[str]:
    """Names in a directory, sorted."""
    return sorted(path.name for path in directory.iterdir())


def make(store: WritableRestorePoints, name: str, tree: Path, stack: str = "blog", **options: Any) -> RestorePoint:
    """Capture a tree."""
    with store.lock("test"):
        return capture(store, request(name, {"path": str(tree), **options}, stack=stack))


def good(store: WritableRestorePoints, point: RestorePoint) -> RestorePoint:
    """Mark it good."""
    hosts = {"web1": point.sha256}
    record = Good(point.manifest.id, stack_digest(hosts), hosts, {"web1": list(point.manifest.keys)}, (), utc_now())
    with store.lock("test"):
        store.mark_good(point, record)
    return store.open(point.manifest.name)


def test_a_capture_is_private_and_complete(store: WritableRestorePoints, tree: Path) -> None:
    point = make(store, "one", tree)
    assert [oct(path.stat().st_mode & 0o777) for path in (store.directory, point.directory)] == ["0o700", "0o700"]
    raw = json.loads((point.directory / "manifest.json").read_text())
    assert (raw["schema"], raw["stack"], raw["host"], raw["consistent"]) == (1, "blog", "web1", True)
    assert raw["notes"] == ["copied a tree"]
    component = raw["components"][0]
    assert sorted(component["artefacts"]) == ["a", "sub/b"]
    sums = subprocess.run(["sha256sum", "a", "sub/b"], cwd=tree, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in sums.splitlines()] == [
        component["artefacts"][name]["sha256"] for name in ("a", "sub/b")
    ]
    assert listing(point.directory) == ["manifest.json", "manifest.json.sha256", "tree-0"]
    assert point.verify() == []


def test_two_captures_of_the_same_have_different_identities(store: WritableRestorePoints, tree: Path) -> None:
    one, two = make(store, "one", tree), make(store, "two", tree)
    assert one.manifest.id != two.manifest.id
    assert one.sha256 != two.sha256
    assert one.manifest.created < two.manifest.created


def test_what_moved_while_it_was_captured_is_named(store: WritableRestorePoints, tree: Path) -> None:
    point = make(store, "one", tree, during="write")
    assert not point.manifest.consistent
    assert point.manifest.moved == (f"tree:{tree} changed while it was captured: new",)


def test_a_capture_that_fails_leaves_nothing(store: WritableRestorePoints, tree: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        make(store, "one", tree, during="fail")
    assert listing(store.directory) == [".lock"]


def test_links_and_pipes_are_not_kept(store: WritableRestorePoints, tree: Path) -> None:
    (tree / "link").symlink_to("/etc/passwd")
    with pytest.raises(Refused, match="neither a file nor a directory"):
        make(store, "one", tree)
    assert store.names() == []


def test_a_name_is_never_overwritten(store: WritableRestorePoints, tree: Path) -> None:
    before = make(store, "one", tree)
    with pytest.raises(OSError, match="one"):
        make(store, "one", tree)
    assert store.open("one").sha256 == before.sha256
    assert store.names() == ["one"]


@pytest.mark.parametrize(
    ("components", "sentence"), [([], "would be empty"), ([{"path": "/a"}, {"path": "/a"}], "tree:/a more than once")]
)
def test_impossible_requests_are_refused(components: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        refuse_impossible(request("one", *components))


@contextmanager
def capture_in_the_middle(store: WritableRestorePoints, name: str, tree: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has copied the tree and now waits."""
    options = json.dumps({"path": str(tree), "during": "wait"})
    process = subprocess.Popen([sys.executable, fake_component.__file__, str(store.state_dir), name, options])
    try:
        while not (tree.parent / "waiting").exists():
            assert process.poll() is None, "the capture ended early"
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_killed_capture_leaves_garbage_only_and_the_next_one_removes_it(
    store: WritableRestorePoints, tree: Path
) -> None:
    with capture_in_the_middle(store, "one", tree) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert store.names() == []
    assert any(".partial-" in name for name in listing(store.directory))
    with store.lock("test"):
        store.sweep()
        capture(store, request("one", {"path": str(tree)}))
    assert listing(store.directory) == [".lock", "one"]
    assert store.open("one").verify() == []


def test_a_second_capture_at_the_same_time_is_refused_and_does_not_disturb(
    store: WritableRestorePoints, tree: Path
) -> None:
    with capture_in_the_middle(store, "one", tree) as process:
        with pytest.raises(LockHeld, match=f"one is being captured .process {process.pid}"):
            make(store, "one", tree)
        assert process.poll() is None
        assert any(".partial-" in name for name in listing(store.directory))


def flip_bit(path: Path, bit: int) -> None:
    """Damage a file without changing its size."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(content))


def test_every_flipped_bit_of_an_artefact_is_found(store: WritableRestorePoints, tree: Path) -> None:
    point = make(store, "one", tree)
    path = point.directory / "tree-0" / "a"
    for bit in range(len("first") * 8):
        flip_bit(path, bit)
        assert point.verify() == [f"{path} has another SHA-256 than when it was captured"]
        flip_bit(path, bit)
    assert point.verify() == []


DAMAGES = {
    "file gone": (lambda point: (point / "tree-0/a").unlink(), "is missing"),
    "file cut off": (lambda point: (point / "tree-0/a").write_text("fir"), "has 3 bytes, not 5"),
    "file added": (lambda point: (point / "tree-0/c").write_text("x"), "is not in its manifest"),
    "directory gone": (lambda point: shutil.rmtree(point / "tree-0"), "is missing"),
    "link in place of a file": (
        lambda point: ((point / "tree-0/a").rename(point.parent / "a"), (point / "tree-0/a").symlink_to("../../a")),
        "neither a file nor a directory",
    ),
    "link in place of a directory": (
        lambda point: ((point / "tree-0").rename(point.parent / ".t"), (point / "tree-0").symlink_to("../.t")),
        "is missing",
    ),
}


@pytest.mark.parametrize(("damage", "finding"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_found_and_the_entry_not_handed_out(
    store: WritableRestorePoints, tree: Path, damage: Any, finding: str
) -> None:
    point = make(store, "one", tree)
    damage(point.directory)
    assert any(finding in sentence for sentence in point.verify())
    with pytest.raises(ChecksumMismatch, match=finding):
        open_entry(store.state_dir, "one", "tree", str(tree))


def test_a_stranger_beside_the_manifest_is_a_finding(store: WritableRestorePoints, tree: Path) -> None:
    point = make(store, "one", tree)
    (point.directory / "stranger").mkdir()
    assert point.verify() == [f"{point.directory / 'stranger'} is not in its manifest"]


def test_an_entry_names_its_files_and_their_checksums(store: WritableRestorePoints, tree: Path) -> None:
    make(store, "one", tree)
    entry = open_entry(store.state_dir, "one", "tree", str(tree))
    assert (entry.directory / "sub" / "b").read_text() == "second"
    assert sorted(entry.artefacts) == ["a", "sub/b"]
    assert entry.facts == {"files": ["a", "b"]}
    with pytest.raises(Refused, match=r"does not contain tree:/nowhere\. It contains: tree:"):
        open_entry(store.state_dir, "one", "tree", "/nowhere")
    with pytest.raises(Refused, match=r"'two' does not exist .* There: one"):
        open_entry(store.state_dir, "two", "tree", str(tree))


def test_damage_of_another_component_does_not_matter_to_an_entry(store: WritableRestorePoints, tree: Path) -> None:
    other = tree.parent / "other"
    shutil.copytree(tree, other)
    with store.lock("test"):
        point = capture(store, request("one", {"path": str(tree)}, {"path": str(other)}))
    (point.directory / "tree-1" / "a").unlink()
    assert open_entry(store.state_dir, "one", "tree", str(tree)).point == "one"
    with pytest.raises(ChecksumMismatch):
        open_entry(store.state_dir, "one", "tree", str(other))


def test_a_restore_point_that_was_renamed_by_hand_is_refused(store: WritableRestorePoints, tree: Path) -> None:
    make(store, "one", tree).directory.rename(store.directory / "two")
    with pytest.raises(ChecksumMismatch, match="moved or copied"):
        store.open("two")


def test_the_last_good_one_is_the_newest_that_is_good_whole_and_contains_what_is_asked_for(
    store: WritableRestorePoints, tree: Path
) -> None:
    other = tree.parent / "other"
    shutil.copytree(tree, other)
    keys = (f"tree:{tree}",)
    make(store, "never-good", tree)
    with pytest.raises(Refused, match="no restore point there was ever marked good"):
        store.last_good(keys)
    good(store, make(store, "old", tree))
    good(store, make(store, "new", tree))
    good(store, make(store, "of-the-other", other))
    make(store, "newest-not-good", tree)
    assert store.last_good(keys).manifest.name == "new"
    flip_bit(store.directory / "new" / "manifest.json", 99)
    assert store.last_good(keys).manifest.name == "old"
    with pytest.raises(Refused, match=f"of-the-other lacks tree:{tree}; old lacks tree:{other}"):
        store.last_good((f"tree:{tree}", f"tree:{other}"))


def test_a_damaged_record_of_being_good_counts_as_not_good(store: WritableRestorePoints, tree: Path) -> None:
    point = good(store, make(store, "one", tree))
    assert point.good is not None
    flip_bit(point.directory / "good.json", 40)
    damaged = store.open("one")
    assert damaged.good is None
    assert "damaged or replaced" in damaged.findings[0]


def test_a_record_of_being_good_does_not_count_for_another_manifest(store: WritableRestorePoints, tree: Path) -> None:
    one, two = good(store, make(store, "one", tree)), make(store, "two", tree)
    for name in ("good.json", "good.json.sha256"):
        shutil.copy(one.directory / name, two.directory / name)
    assert store.open("two").good is None
    assert "written for another manifest" in store.open("two").findings[0]


Released = list[tuple[str, list[dict[str, Any]]]]


@pytest.fixture
def released() -> Released:
    """What was let go, with what stays."""
    return []


@pytest.fixture
def releasing(tmp_path: Path, released: Released) -> WritableRestorePoints:
    """A store that lets go of what it keeps elsewhere."""

    def delete_captured(component: CapturedComponent, needed: list[dict[str, Any]]) -> None:
        released.append((component.key, needed))

    return WritableRestorePoints(tmp_path / "state", delete_captured)


def test_removing_lets_go_and_tells_what_the_others_still_need(
    releasing: WritableRestorePoints, released: Released, tree: Path
) -> None:
    make(releasing, "one", tree)
    make(releasing, "two", tree)
    with releasing.lock("test"):
        releasing.remove("one")
        releasing.remove("two")
    assert released == [(f"tree:{tree}", [{"files": ["a", "b"]}]), (f"tree:{tree}", [])]
    assert listing(releasing.directory) == [".lock"]


def test_nothing_captured_is_deleted_while_it_is_unknown_what_another_one_needs(
    releasing: WritableRestorePoints, released: Released, tree: Path
) -> None:
    make(releasing, "one", tree)
    flip_bit(make(releasing, "two", tree).directory / "manifest.json", 99)
    with releasing.lock("test"):
        releasing.remove("one")
    assert released == []
    assert releasing.names() == ["two"]


def test_a_removal_that_was_cut_short_is_completed_by_the_next_sweep(
    releasing: WritableRestorePoints, released: Released, tree: Path
) -> None:
    point = make(releasing, "one", tree)
    point.directory.rename(releasing.directory / ".one.removed-0000")
    (releasing.directory / ".one.removed-0000" / "tree-0" / "a").unlink()
    with releasing.lock("test"):
        releasing.sweep()
    assert [key for key, _needed in released] == [f"tree:{tree}"]
    assert listing(releasing.directory) == [".lock"]
