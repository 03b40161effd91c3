# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Who holds a TCP port on this machine, from ``/proc``: an answer on a port proves nothing about who gave it."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.processes import all_pids, open_files

from .managers.base import parent_of

_LISTEN = "0A"


def is_local(host: str) -> bool:
    """Whether an address is one of this machine (in our own network namespace)."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_can_bind(family, address) for family, _type, _protocol, _name, address in found)


def listening(port: int) -> set[int]:
    """The inodes of all sockets that listen on a port, whatever the address."""
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in (line.split() for line in lines):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(int(fields[9]))
    return found


def pids_with_sockets(inodes: Iterable[int], among: Iterable[int] | None = None) -> set[int]:
    """The processes that hold any of these sockets, as far as we may see that.

    :param among: only these processes; all by default.
    """
    wanted = {f"socket:[{inode}]" for inode in inodes}
    pids = all_pids() if among is None else among
    return {pid for pid in pids if wanted & open_files(pid)} if wanted else set()


def family(pid: int) -> set[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for one in all_pids():
        children.setdefault(parent_of(one), []).append(one)
    found, waiting = set(), [pid]
    while waiting:
        one = waiting.pop()
        found.add(one)
        waiting.extend(children.get(one, []))
    return found


def same_program(one: int, other: int) -> bool:
    """Whether two processes run the same program as the same user."""
    try:
        paths = [Path(f"/proc/{pid}") for pid in (one, other)]
        programs = {str((path / "exe").readlink()) for path in paths}
        return len(programs) == 1 and len({path.stat().st_uid for path in paths}) == 1
    except OSError:
        return False


def described(pids: Iterable[int]) -> str:
    """``process 4711 (python app.py)`` for a message; without secrets as far as a command line may hold one."""
    words = []
    for pid in sorted(pids):
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", errors="replace").split("\0")
        except OSError:
            argv = []
        words.append(f"process {pid} ({' '.join(argv[:2]).strip() or 'unknown'})")
    return ", ".join(words)


def _can_bind(family_: int, address: tuple[object, ...]) -> bool:
    with socket.socket(family_, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(address)
        except OSError:
            return False
    return True
