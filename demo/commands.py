# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running programs, as the user that the demo belongs to where that is another one than we are."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: In the environment of every process of the demo: the demo's directory. So that `down` finds what an aborted run left.
MARK = "LASTGOOD_DEMO_PROCESS"


class DemoError(Exception):
    """Something of the demo did not work; the message says what, and what was tried."""


@dataclass(frozen=True)
class User:
    """The account that owns the demo's database, checkouts and processes."""

    name: str
    uid: int
    gid: int

    @property
    def identity(self) -> dict[str, Any]:
        """Arguments of subprocess that make us this user; none when we are it already."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def demo_user() -> User:
    """Ourselves; as root an account without rights, because PostgreSQL refuses to run as root.

    :raises DemoError: when root finds no such account.
    """
    if os.geteuid() != 0:
        entry = pwd.getpwuid(os.geteuid())
        return User(entry.pw_name, entry.pw_uid, entry.pw_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return User(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise DemoError("As root the demo needs the account postgres or nobody, and finds neither. Run it as yourself.")


def environment(home: Path | str = "/", **more: str) -> dict[str, str]:
    """A small environment for programs, so that nobody's own settings have an effect on the demo."""
    kept = {name: os.environ[name] for name in ("PATH", MARK) if name in os.environ}
    return {"PATH": os.defpath, **kept, "HOME": str(home), "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", **more}


def run(
    command: Sequence[str | Path],
    *,
    user: User | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and keep what it says.

    :param user: who runs it; ourselves by default.
    :raises DemoError: (with check) when it can't be started, or ends with another status than 0. Without check, what
        can't be started has the status 127, as in a shell.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=cwd or "/",
            env=dict(env) if env is not None else environment(),
            input=stdin or "",
            capture_output=True,
            text=True,
            check=False,
            **(user.identity if user else {}),
        )
    except OSError as error:
        if check:
            raise DemoError(f"{words[0]} could not be started: {error}") from error
        return subprocess.CompletedProcess(words, 127, "", str(error))
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise DemoError(f"{' '.join(words)} ended with {done.returncode}:\n{said}")
    return done
