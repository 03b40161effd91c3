# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The reset itself, and what git does not do with it: hidden files, submodules, byte code, permissions."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import acting_as
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.paths import Tree

from .archive import FILE, LINK, Entry, Worktree
from .checkout import Checkout
from .git import Git, Head
from .record import Record, modified, stale_bytecode
from .restore import remove_bytecode, restore
from .scratch_repository import make_reverts, make_scratch_repository


def reset_checkout(checkout: Checkout, commit: str, head: str, current: Record | None = None) -> None:
    """``reset --hard``, also over changed files that git is set not to look at: on those alone it would give up.

    Where only some paths are selected, those become the commit's, and the branch moves without the others.

    :param current: a record of worktree and index as they are. Where nothing in it differs from HEAD, git need not look at
        every file once more: that costs as much as the reset itself.
    """
    with _umask_of(checkout.top):
        as_head = current is not None and not any(entry.is_work for entry in current.entries)
        if as_head and checkout.selected.is_all and checkout.git.reset_keep(commit):
            return
        if current is None or any(entry.why in ("hidden", "staged") for entry in current.entries):
            _show_hidden(checkout, commit)
        if checkout.selected.is_all:
            checkout.git.reset_hard(commit)
            return
        against = [one for one in checkout.git.index_against(commit) if checkout.selected.covers(one.path)]
        changed = (one.path for one in modified(checkout.git, checkout.selected) if one.staged != "D")
        checkout.git.restore_paths(commit, against, changed)
        if checkout.git.head().commit != head:
            checkout.git.move_head(head)


def _show_hidden(checkout: Checkout, commit: str) -> None:
    marked = set(filter(checkout.selected.covers, checkout.git.hidden()))
    if marked and checkout.selected.is_all:
        marked.intersection_update(one.path for one in checkout.git.index_against(commit))
    with acting_as(checkout.owner):
        worktree = Worktree(checkout.top)
        there = sorted(path for path in marked if worktree.lstat(path) is not None)
    checkout.git.show_hidden(there)


def commit_reverts(checkout: Checkout) -> None:
    """Make the reverts once more, for good; the plan has named the commit that comes out."""
    facts = checkout.facts
    with checkout.scratch.made() as scratch:
        repository = make_scratch_repository(
            checkout.git, Path(facts["common_dir"]), scratch, checkout.owner, keep=True
        )
        made, _reverted = make_reverts(
            repository, checkout.top, checkout.before.commit, facts["reverts"], facts["date"]
        )
    if made != checkout.target:
        raise LastGoodError(
            f"{checkout.top}: the reverts came out as {made}, planned was {checkout.target}: plan again."
        )


def move_submodule(checkout: Checkout, path: str, commit: str, branch: str | None) -> None:
    """Check out without overwriting anything: it was clean when this was planned."""
    git = Git(checkout.run, checkout.top / path)
    target = branch.rpartition("refs/heads/")[2] if branch and git.resolve(branch) == commit else commit
    detach = () if target != commit else ("--detach",)
    arguments = ("checkout", "--quiet", "--no-overwrite-ignore", *detach, target, "--")
    if git.head() != Head(commit, branch):
        git.text(*arguments, attempt=f"Moving the submodule {path} of {checkout.top} to {commit}")


def tidy(checkout: Checkout, record: Record) -> None:
    """Take compiled files of other versions away, and keep the permissions that people gave to a file."""
    with acting_as(checkout.owner):
        stale = stale_bytecode(Worktree(checkout.top), record.sources)
        remove_bytecode(checkout.top, stale)
        with Tree(checkout.top) as tree:
            for entry in record.entries:
                found = tree.lstat(entry.path) if entry.kind == FILE else None
                if found is not None and stat.S_ISREG(found.st_mode):
                    _keep_permissions(tree, entry)


def _keep_permissions(tree: Tree, entry: Entry) -> None:
    handle = tree.open(entry.path)
    try:
        now = stat.S_IMODE(os.fstat(handle).st_mode)
        wanted = _permissions(entry.mode, now)
        if wanted != now:
            os.fchmod(handle, wanted)
    finally:
        os.close(handle)


def keep_ignored(checkout: Checkout, record: Record) -> None:
    """Put back what the reset deleted and the target ignores: an ``.env`` that was committed since, for example.

    What the target says is none of its business is not the rollback's either, and what runs needs it.
    """
    with acting_as(checkout.owner):
        worktree = Worktree(checkout.top)
        removed = {
            entry.path: entry
            for entry in record.entries
            if entry.kind in (FILE, LINK)
            and entry.why != "bytecode"
            and worktree.lstat(entry.path) is None
            and worktree.obstacle(entry.path) is None
        }
    ignored = checkout.git.ignored(sorted(removed))
    if ignored:
        parents = [entry for entry in record.entries if any(path.startswith(f"{entry.path}/") for path in ignored)]
        kept = sorted({*parents, *(removed[path] for path in ignored)}, key=lambda entry: entry.path)
        restore(checkout.top, kept, checkout.recorder.archive_of(record), checkout.owner)


def _permissions(old: int, new: int) -> int:
    """Who may read and write stays as it was; what may be executed is the commit's."""
    kept = old & 0o666
    return kept | (kept & 0o444) >> 2 if new & 0o100 else kept


@contextmanager
def _umask_of(top: Path) -> Iterator[None]:
    """New files get the permissions that the checkout's directory suggests, whatever umask root has here."""
    saved = os.umask(~top.stat().st_mode & 0o777 | 0o002)
    try:
        yield
    finally:
        os.umask(saved)
