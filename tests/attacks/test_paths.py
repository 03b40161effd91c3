# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever can change a part of a path is known, by whatever right; all components judge by this."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import pytest
from accounts import Account
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.paths import resolve


@pytest.fixture
def file(arena: Path) -> Path:
    """A file of root, in a directory of root."""
    (arena / "place").mkdir()
    (arena / "place/file").write_text("root's\n")
    (arena / "place/file").chmod(0o644)
    return arena / "place/file"


def by_owner(place: Path, attacker: Account) -> None:
    os.chown(place, attacker.uid, -1)


def by_group(place: Path, attacker: Account) -> None:
    os.chown(place, -1, attacker.gid)
    place.chmod(0o2775)


def by_membership(place: Path, attacker: Account) -> None:
    """Of a group that others own: it lists its members."""
    attacker.join("games")
    shutil.chown(place, group="games")
    place.chmod(0o775)


def by_list(place: Path, attacker: Account) -> None:
    """user::rwx user:attacker:rwx group::r-x mask::rwx other::r-x in the kernel's own form."""
    none = 0xFFFFFFFF
    entries = [(1, 7, none), (2, 7, attacker.uid), (4, 5, none), (0x10, 7, none), (0x20, 5, none)]
    raw = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(place, "system.posix_acl_access", raw)


@pytest.mark.parametrize("right", [by_owner, by_group, by_membership, by_list])
def test_who_may_put_another_thing_there_is_a_stranger(file: Path, attacker: Account, right: object) -> None:
    resolve(file).require(set(), "using it")
    right(file.parent, attacker)
    attacker.run("mv", file, f"{file}.old")  # it can indeed
    attacker.write(file, "the attacker's\n")
    attacker.run("mv", "-f", f"{file}.old", file)
    part = resolve(file).untrusted(set())
    assert part is not None and part.path == file.parent
    assert attacker.uid in part.writers
    others = part.writers - {attacker.uid}  # of the machine's own accounts, where the group has some
    with pytest.raises(Refused, match=f"{file.parent} can be changed by {attacker.name}: using it is refused"):
        resolve(file).require(others, "using it")
    resolve(file).require({attacker.uid, *others}, "using it")


def test_a_link_of_somebody_is_told_whatever_it_leads_to(file: Path, attacker: Account, victim: Account) -> None:
    link = attacker.home / "link"
    attacker.run("ln", "-s", file.parent, link)
    with pytest.raises(Refused, match=f"{link} on the way is a link of {attacker.name}"):
        resolve(link / "file").require({victim.uid}, "using it", links=True)
    resolve(link / "file").require({attacker.uid}, "using it", links=True)


def test_in_a_sticky_directory_everybody_changes_only_what_is_theirs(file: Path, attacker: Account) -> None:
    file.parent.chmod(0o1777)
    resolve(file).require(set(), "using it")
    planted = attacker.write(file.parent / "planted", "the attacker's\n")
    with pytest.raises(Refused, match=f"{planted} can be changed by {attacker.name}"):
        resolve(planted).require(set(), "using it")
