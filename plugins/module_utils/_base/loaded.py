# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What a program loads, and whether anybody but whom it runs as could change that.

Whoever can put another program, or another module, in the place of one that is started has the rights it is started with. So
nothing is started as somebody that a third account could have written: such a start is refused, before it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .accounts import User, user_by_uid
from .errors import Refused
from .paths import opened, resolve

#: Endings of what interpreters load.
_CODE = (".py", ".pyc", ".pth", ".so", ".sh", ".pl", ".rb", ".js", ".php")
#: No interpreter loads anything from there.
_NO_CODE = frozenset([".git", "node_modules"])


def owner_along(path: Path) -> User:
    """Who what a path names belongs to, by its own parts: links of root are followed, and nobody else's is believed.

    What is not there yet belongs to whom the directory around it belongs to.

    :raises Refused: when a link of one account leads to what belongs to another, or there is no such directory.
    """
    try:
        first = resolve(path, follow=False)
        parts = resolve(path).parts[len(first.parts) - 1 :] if first.parts[-1].is_link else first.parts[-1:]
    except FileNotFoundError:
        return _owner_of_what_is_missing(path)
    except OSError as error:
        raise Refused(f"{path} can't be reached: {error.strerror}.") from error
    owners = {one.found.st_uid for one in parts if one.is_link} | {parts[-1].found.st_uid}
    others = sorted(owners - {0})
    if len(others) > 1:
        names = " and ".join(user_by_uid(uid).name for uid in others)
        raise Refused(
            f"{path} is a link of one account that leads to what belongs to another ({names}): say whose it is."
        )
    return user_by_uid(others[0] if others else 0)


def _owner_of_what_is_missing(path: Path) -> User:
    """Of a link that leads nowhere, or of the directory around."""
    try:
        resolved = resolve(path, follow=False) if os.path.lexists(path) else resolve(path.parent)
    except OSError as error:
        raise Refused(f"{path}: {path.parent} can't be read ({error.strerror}): name an existing place.") from error
    return user_by_uid(resolved.found.st_uid)


@contextmanager
def opened_as(path: Path, user: User, *, links: bool = False) -> Iterator[int]:
    """Open a regular file for reading as this account could, without becoming it: threads share what a process may do.

    :param links: only links of a third account are refused, and not that it could put another file there.
    :raises Refused: when a third account could have put it there.
    :raises OSError: when the account may not read it, or it is no regular file; a pipe is not waited for.
    """
    with opened(path) as (handle, resolved):
        resolved.require({user.uid}, f"reading it for {user.name}", links=links)
        directories = [one.found for one in resolved.parts[:-1] if not one.is_link]
        may_read = all(_permits(one, user, 0o1) for one in directories) and _permits(resolved.found, user, 0o4)
        # What only root could have put there, root may be asked to read.
        if os.geteuid() == 0 and user.uid != 0 and resolved.untrusted(()) is not None and not may_read:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        yield handle


def _permits(found: os.stat_result, user: User, right: int) -> bool:
    """What the mode gives this account; the kernel judges by the first of these that fits."""
    if found.st_uid == user.uid:
        return bool(found.st_mode >> 6 & right)
    return bool(found.st_mode >> (3 if found.st_gid in user.groups else 0) & right)


def require_program(program: str, cwd: Path | str | None, uid: int) -> None:
    """Nobody but root and this account could have put another program there. One without a path is found by ``PATH``.

    :raises Refused: with the part of its path that somebody else can change, and who.
    """
    if "/" in program:
        _require(Path(cwd or "/") / program, uid, f"running it as {user_by_uid(uid).name}")


def require_command(argv: Sequence[str], cwd: Path | str, uid: int) -> None:
    """The same for a command that people named: its program, the scripts among its words, and where it works.

    :raises Refused: see `require_program`.
    """
    attempt = f"running {os.path.basename(argv[0])} there as {user_by_uid(uid).name}"
    require_program(argv[0], cwd, uid)
    _require(Path(cwd), uid, attempt)
    for word in argv[1:]:
        path = Path(cwd) / word
        if _is_code(path):
            _require(path, uid, attempt)
    if uid == 0 and Path(cwd) != Path("/"):
        _require_tree(Path(cwd), uid, attempt)


def require_environment(path: Path, uid: int) -> None:
    """The same for all that the interpreter of a Python environment loads from it, and what it names elsewhere.

    :raises Refused: see `require_program`.
    """
    attempt = f"running its interpreter as {user_by_uid(uid).name}"
    _require(path / "bin" / "python", uid, attempt)
    _require_tree(path, uid, attempt)
    for named in _named_elsewhere(path):
        _require(named, uid, attempt)


def _require(path: Path, uid: int, attempt: str) -> None:
    """Of a path that leads nowhere nothing is said: whoever tries to use it will say that."""
    try:
        resolved = resolve(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise Refused(f"{path} can't be reached: {error.strerror}.") from error
    resolved.require({uid}, attempt)


def _require_tree(top: Path, uid: int, attempt: str) -> None:
    """No code below a directory that somebody else can change; other files there are data."""
    known: set[tuple[int, int, int]] = set()
    for entry, found in _code_below(top):
        if stat.S_ISLNK(found.st_mode):
            _require(Path(entry), uid, attempt)
            continue
        rights = (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))
        is_plain = found.st_uid in (0, uid) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        has_list = bool(found.st_mode & stat.S_IWGRP) and "system.posix_acl_access" in os.listxattr(entry)
        if is_plain or (rights in known and not has_list):
            continue
        _require(Path(entry), uid, attempt)
        known.add(rights)  # who is in a group is asked once


def _code_below(top: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Files that interpreters load, links to such, and the directories that lead to some."""
    yielded: set[str] = set()
    for above, directories, files in os.walk(top):
        directories[:] = [name for name in directories if name not in _NO_CODE]
        code = [name for name in files if name.endswith(_CODE)]
        for name in code:
            yield os.path.join(above, name), os.lstat(os.path.join(above, name))
        # What a link to a directory leads to is not walked through, and so it has to be trusted by itself.
        for name in directories:
            if os.path.islink(os.path.join(above, name)):
                yield os.path.join(above, name), os.lstat(os.path.join(above, name))
        while code and above not in yielded and len(above) >= len(str(top)):
            yielded.add(above)
            yield above, os.stat(above)
            above = os.path.dirname(above)  # noqa: PLW2901 - up to the top


def _is_code(path: Path) -> bool:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and (path.name.endswith(_CODE) or bool(found.st_mode & 0o111))


def _named_elsewhere(environment: Path) -> Iterator[Path]:
    """The base interpreter of an environment, and the directories that its ``.pth`` files add."""
    for file in (environment / "pyvenv.cfg", *environment.glob("lib*/python*/site-packages/*.pth")):
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in map(str.strip, lines):
            key, equals, value = line.partition("=")
            if file.name == "pyvenv.cfg":
                if equals and key.strip() == "home":
                    yield Path(value.strip())
            elif line and not line.startswith(("#", "import ", "import\t")) and "\0" not in line:
                yield file.parent / line
