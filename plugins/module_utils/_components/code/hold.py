# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The hold: what a rolled back checkout says to whoever would deploy the rejected commits again.

It is said twice, for deployments of any kind: in the checkout's own configuration, and by a file in its git directory.
"""

from __future__ import annotations

from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, acting_as
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import write_atomic

from .git import Git

KEY = "lastgood.hold"


class Hold:
    """The hold of one checkout.

    :param git: the checkout, as its owner.
    :param git_dir: its git directory (of a linked worktree, its own one).
    """

    def __init__(self, git: Git, git_dir: Path, owner: User) -> None:
        self.file = git_dir / "lastgood-hold"
        self._git = git
        self._owner = owner

    def read(self) -> str | None:
        """The transaction that left it, or nothing."""
        return self._git.config(KEY)

    def text(self) -> str | None:
        """What the file says, or nothing."""
        try:
            with acting_as(self._owner):
                return self.file.read_text(errors="backslashreplace")
        except FileNotFoundError:
            return None

    def leave(self, transaction: str, why: str) -> None:
        """Leave it, in the name of a transaction."""
        with acting_as(self._owner):
            write_atomic(self.file, f"{transaction}\n{why}\n".encode(), mode=0o644)
        self._git.text("config", "--local", KEY, transaction, attempt=f"Writing the hold of {self._git.path}")

    def release(self) -> None:
        """Take it away; nothing happens where there is none."""
        if self.read() is not None:
            arguments = ("config", "--local", "--unset-all", KEY)
            self._git.text(*arguments, attempt=f"Releasing the hold of {self._git.path}")
        with acting_as(self._owner):
            self.file.unlink(missing_ok=True)
