# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Who we are, and acting as the owner of what is touched.

A switch runs as root where it must, and drops to each owner for the work itself, so that no file changes hands and no
link of an ordinary user leads root astray.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import Refused


@dataclass(frozen=True)
class User:
    """An account of this host: numeric ids, all of its groups, and its home."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def user_by_uid(uid: int) -> User:
    """The account with this number; a number without an account is a usable, nameless user."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return User(name=str(uid), uid=uid, gid=uid, groups=(uid,), home="/")
    return _from_entry(entry)


def user_by_name(name: str) -> User:
    """The account of this name.

    :raises Refused: when this host has none.
    """
    try:
        return _from_entry(pwd.getpwnam(name))
    except KeyError as error:
        raise Refused(f"User {name!r} does not exist on this host: name an existing owner.") from error


def _from_entry(entry: pwd.struct_passwd) -> User:
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return User(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, groups=groups, home=entry.pw_dir)


def me() -> User:
    """The effective user of this process."""
    return user_by_uid(os.geteuid())


def owner_of(path: Path) -> User:
    """The owner of a file or directory (of a link itself, not of what it names).

    :raises OSError: when the path can't be read.
    """
    return user_by_uid(path.lstat().st_uid)


@contextmanager
def acting_as(user: User | None) -> Iterator[None]:
    """Do the file work of a ``with`` block with the rights of this user, then become root again.

    Changes nothing for ``None``, for the user that we are already, and for anybody but root (who could not change
    anyway: the operating system then decides what is allowed). The process must have a single thread.
    """
    if user is None or os.geteuid() != 0 or user.uid == 0:
        yield
        return
    saved_groups, saved_gid = os.getgroups(), os.getegid()
    os.setgroups(list(user.groups))
    os.setegid(user.gid)
    os.seteuid(user.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(saved_gid)
        os.setgroups(saved_groups)
