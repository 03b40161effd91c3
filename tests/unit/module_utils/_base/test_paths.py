# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths by their parts: where they lead, and who could let them lead elsewhere. Other accounts: tests/attacks."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.paths import ANYBODY, Tree, opened, resolve

US = {os.geteuid()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Directories, files and links; no link leads to it, whatever the machine's temporary directory is."""
    place = tmp_path.resolve()
    (place / "a/b").mkdir(parents=True)
    (place / "a/b/file").write_text("content\n")
    (place / "a/b/file").chmod(0o644)
    for name, target in {
        "down": "a/b",
        "absolute": str(place / "a"),
        "a/up": "../a/./b",
        "chain": "absolute/up",
        "self": ".",
        "to_file": "down/file",
        "nowhere": "missing",
        "round": "round",
    }.items():
        (place / name).symlink_to(target)
    return place


@pytest.mark.parametrize(
    ("asked", "links"),
    [
        ("a/b/file", []),
        ("a/b/../b/file", []),
        ("down/file", ["down"]),
        ("chain/file", ["chain", "absolute", "a/up"]),
        ("to_file", ["to_file", "down"]),
        ("self/a/../self/a/b/file", ["self", "self"]),
    ],
)
def test_a_path_is_followed_as_the_kernel_does_and_its_links_are_told(
    place: Path, asked: str, links: list[str]
) -> None:
    resolved = resolve(place / asked)
    assert resolved.path == place / "a/b/file"
    assert os.path.samestat(resolved.found, (place / asked).stat())
    assert [part.path for part in resolved.parts if part.is_link] == [place / name for name in links]
    assert resolved.parts[0].path == Path("/")


@pytest.mark.parametrize("asked", ["self", "a/..", "a/b/../..", "absolute/.."])
def test_a_way_that_ends_by_going_back_ends_with_that_directory(place: Path, asked: str) -> None:
    resolved = resolve(place / asked)
    assert resolved.path == place == resolved.parts[-1].path
    assert os.path.samestat(resolved.found, place.stat())


def test_a_last_link_can_be_looked_at_itself(place: Path) -> None:
    resolved = resolve(place / "absolute/up", follow=False)
    assert resolved.path == place / "a/up"
    assert resolved.parts[-1].is_link
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        opened(place / "absolute/up", follow=False).__enter__()


@pytest.mark.parametrize(
    ("asked", "number"), [("nowhere", errno.ENOENT), ("round", errno.ELOOP), ("a/b/file/x", errno.ENOTDIR)]
)
def test_a_way_that_leads_nowhere_is_an_error_of_the_system(place: Path, asked: str, number: int) -> None:
    with pytest.raises(OSError) as caught:
        resolve(place / asked)
    assert caught.value.errno == number


def test_files_are_opened_and_pipes_and_directories_are_not_waited_for(place: Path) -> None:
    os.mkfifo(place / "pipe")
    with opened(place / "to_file") as (handle, resolved):
        assert os.read(handle, 100) == b"content\n"
        assert os.path.samestat(os.fstat(handle), resolved.found)
    for name in ("pipe", "a"):
        with pytest.raises(OSError, match="is no regular file"):
            opened(place / name).__enter__()
    with opened(place / "down", os.O_RDONLY | os.O_DIRECTORY) as (handle, _way):
        assert os.listdir(handle) == ["file"]


@pytest.mark.parametrize(
    ("mode", "writers"),
    [
        (0o755, US),
        (0o775, US | {ANYBODY}),
        (0o757, {ANYBODY}),
        (0o1777, US),
        (0o1770, US),
    ],
)
def test_a_directory_is_changed_by_those_whom_its_mode_lets(place: Path, mode: int, writers: set[int]) -> None:
    if os.geteuid() == 0:
        os.chown(place / "a", -1, 4_000_000)  # no group of this host: nobody can say who is in it
    elif mode == 0o775:
        writers = US
    (place / "a").chmod(mode)
    [part] = [part for part in resolve(place / "a/b/file").parts if part.path == place / "a"]
    assert part.writers == frozenset(writers - {0})
    untrusted = resolve(place / "a/b/file").untrusted(US)
    assert (untrusted.path if untrusted else None) == (place / "a" if ANYBODY in writers else None)


def test_who_could_is_named_with_what_to_do(place: Path) -> None:
    (place / "a").chmod(0o777)
    with pytest.raises(Refused) as caught:
        resolve(place / "down/file").require(US, "running it")
    (place / "a").chmod(0o755)
    assert str(caught.value).startswith(
        f"{place}/down/file: {place}/a can be changed by anybody: running it is refused."
    )
    resolve(place / "down/file").require(US, "running it")


def test_below_a_tree_no_link_is_a_way(place: Path) -> None:
    with Tree(place) as tree:
        handle = tree.open("a/b/file")
        assert os.read(handle, 100) == b"content\n"
        os.close(handle)
        found = tree.lstat("a/b/file")
        assert found is not None and os.path.samestat(found, (place / "a/b/file").stat())
        link = tree.lstat("down")
        assert link is not None and os.path.samestat(link, (place / "down").lstat())
        for path in ("down/file", "absolute/b/file", "missing", "a/b/file/x"):
            assert tree.lstat(path) is None, path
        for path in ("down/file", "to_file", "missing", "a"):
            with pytest.raises(OSError):
                tree.open(path)


def test_a_tree_goes_on_from_its_handle_when_its_path_leads_elsewhere(place: Path) -> None:
    with Tree(place / "a") as tree:
        (place / "a").rename(place / "old")
        (place / "a").symlink_to("/")
        assert tree.lstat("b/file") is not None
        assert tree.lstat("etc") is None


def test_no_handle_is_left_open(place: Path) -> None:
    def handles() -> list[str]:
        return sorted(os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if name.isdigit()
                      and os.path.lexists(f"/proc/self/fd/{name}"))  # fmt: skip

    before = handles()
    for asked in ("chain/file", "a/..", "nowhere", "round"):
        try:
            resolve(place / asked)
        except OSError:
            assert asked in ("nowhere", "round")
    with Tree(place) as tree:
        tree.lstat("a/b/file")
        tree.lstat("down/file")
        with pytest.raises(OSError):
            tree.open("a")
    assert handles() == before
