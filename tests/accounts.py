# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real accounts without rights, made by a test and removed by it."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: The status with which useradd, userdel and their like end while another one of them holds /etc/passwd.
_LOCKED = {1, 10}


@dataclass(frozen=True)
class Account:
    """An account of this machine, in no group but its own until it joins one.

    :param home: a directory of its own that it can reach.
    """

    name: str
    uid: int
    gid: int
    home: Path

    @property
    def identity(self) -> dict[str, Any]:
        """Keywords of subprocess that start a program as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": os.getgrouplist(self.name, self.gid)}

    @property
    def environment(self) -> dict[str, str]:
        """What a program of this account sees."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "USER": self.name, "LC_ALL": "C.UTF-8"}

    def join(self, group: str) -> None:
        """Become a member of a group of this machine, for as long as the account exists."""
        _patiently(["usermod", "--append", "--groups", group, self.name])

    def run(self, *argv: str | Path, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a program as this account, in its home."""
        words = list(map(str, argv))
        options = {"cwd": self.home, "env": self.environment, "text": True, "capture_output": True, **more}
        done = subprocess.run(words, check=False, **self.identity, **options)
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return done

    @contextlib.contextmanager
    def running(self, *argv: str | Path, **more: Any) -> Iterator[subprocess.Popen[str]]:
        """A program of this account for the time of a ``with`` block."""
        options = {"cwd": self.home, "env": self.environment, "text": True, "stdout": subprocess.PIPE, **more}
        process = subprocess.Popen(list(map(str, argv)), **self.identity, **options)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def write(self, path: Path, content: str, mode: int = 0o644) -> Path:
        """Write a file as this account."""
        self.run(
            "sh",
            "-c",
            'mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1"',
            "sh",
            path,
            f"{mode:o}",
            input=content,
        )
        return path


@contextlib.contextmanager
def made(home: Path) -> Iterator[Account]:
    """An account for the time of a ``with`` block; nothing runs as it any more afterwards.

    :param home: made, and given to the account; its parents must let everybody through.
    """
    name = f"lastgood-test-{secrets.token_hex(4)}"
    _patiently(["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(home), name])
    try:
        entry = pwd.getpwnam(name)
        home.mkdir(mode=0o755)
        os.chown(home, entry.pw_uid, entry.pw_gid)
        yield Account(name, entry.pw_uid, entry.pw_gid, home)
    finally:
        subprocess.run(["pkill", "-KILL", "--uid", name], check=False)  # an account of ours, and of nobody else
        _patiently(["userdel", name])


def _patiently(argv: Sequence[str]) -> None:
    for _attempt in range(100):
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        if done.returncode not in _LOCKED:
            break
        time.sleep(0.1)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
