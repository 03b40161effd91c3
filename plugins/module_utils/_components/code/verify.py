# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The target of a code rollback, checked out in a scratch tree: does it compile, and do its own commands succeed?

The scratch tree lies outside of the checkout, and has no ``.env`` and no configuration of the live project above it:
a test that looks for those in its parents must not find the live database.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, acting_as
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import (
    CommandFailed,
    Refused,
    VerificationFailed,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.masking import hidden, mask_secrets, secrets_in
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import show_progress

from .git import Git

DEFAULT_TIMEOUT_S = 600


class ScratchDirectory:
    """A private directory of the owner, named by the plan, that is gone when the transaction is over."""

    def __init__(self, path: Path, owner: User) -> None:
        self.path = path
        self.owner = owner

    @contextmanager
    def made(self) -> Iterator[Path]:
        """Make it anew, and remove it when the work in it is over.

        :raises Refused: when somebody else has put something in its place.
        """
        self.remove()
        with acting_as(self.owner):
            try:
                self.path.mkdir(mode=0o700)
            except FileExistsError as error:
                raise Refused(f"{self.path} belongs to somebody else: remove it, then try again.") from error
        try:
            yield self.path
        finally:
            self.remove()

    def remove(self) -> None:
        """Remove it, if it is ours."""
        with acting_as(self.owner):
            try:
                found = self.path.lstat()
            except FileNotFoundError:
                return
            if found.st_uid == os.geteuid():
                shutil.rmtree(self.path)


def check_out(git: Git, commit: str, scratch: Path) -> Path:
    """Write the commit's files below ``scratch/tree``, without a trace in the repository."""
    tree = scratch / "tree"
    with_index = git.with_env({"GIT_INDEX_FILE": str(scratch / "index")})
    arguments = (f"--work-tree={tree}", "read-tree", "--reset", "-u", commit)
    with_index.text(*arguments, attempt=f"Checking out {commit} in {tree}")
    return tree


def verify_tree(tree: Path, run: CommandRunner, options: Mapping[str, Any], python: str) -> list[str]:
    """Compile, then run the commands; what was done, one line each.

    :raises VerificationFailed: with the words of the first check that did not hold.
    """
    timeout = float(options.get("timeout") or DEFAULT_TIMEOUT_S)
    done = []
    compiled = list(options.get("compile") or [])
    for path in compiled:
        if not (tree / path).exists():
            raise VerificationFailed(f"The target has no {path}, which was to be compiled.")
    if compiled:
        _check(run, [python, "-m", "compileall", "-q", "-f", *compiled], tree, timeout)
        done.append(f"compiled {' '.join(compiled)}")
    for command in options.get("commands") or []:
        argv = [python if word == "python" and number == 0 else str(word) for number, word in enumerate(command)]
        _check(run, argv, tree, timeout)
        done.append(f"ran {' '.join(hidden(argv))}")
    return done


def _check(run: CommandRunner, argv: Sequence[str], tree: Path, timeout: float) -> None:
    attempt = f"Checking the target with {' '.join(hidden(argv))}"
    show_progress(attempt)
    try:
        run.run_named(argv, attempt, cwd=tree, timeout=timeout)
    except CommandFailed as error:
        output = "\n".join(filter(None, (error.stdout.strip(), error.stderr.strip())))[-2000:]
        output = mask_secrets(output, secrets_in(argv))
        raise VerificationFailed(
            f"{attempt} ended with {error.rc}: {output or 'it said nothing'}\nThe live checkout was not touched."
        ) from error
