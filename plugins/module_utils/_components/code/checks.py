# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What can be known before a reset: each check refuses, naming the object, the cause and the way out."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, acting_as, me
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from ..context import PointEntry
from .archive import Worktree
from .git import Git, Head, Layout, parents_of
from .record import SUBMODULE, Survey
from .selection import Selection

#: As much as is read of the attributes that are in no commit.
_ATTRIBUTES_BYTES = 1_000_000
#: What git leaves in its directory while something is going on → how people call it.
OPERATIONS = {
    "MERGE_HEAD": "merge",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase or am",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "sequencer": "cherry-pick or revert of several commits",
    "BISECT_LOG": "bisect",
}


def require_owner(path: Path, owner: User) -> None:
    """Only root can act as somebody else."""
    if owner.uid != os.geteuid() and os.geteuid() != 0:
        raise Refused(
            f"{path} belongs to {owner.name}, and this runs as {me().name}: become root or {owner.name}, "
            f"or name owner: {me().name} if this account may write all of it."
        )


def require_quiet(layout: Layout, head: Head) -> None:
    """No operation in progress, and nobody else's lock."""
    for name, operation in OPERATIONS.items():
        if (layout.git_dir / name).exists():
            raise Refused(f"{layout.top}: a {operation} is in progress ({name}): finish or abort it first.")
    for lock in lock_files(layout, head.branch):
        if lock.exists():
            raise Refused(
                f"{layout.top}: {lock} exists: git is at work there, or was killed. Wait for it, or remove the file "
                "when no git process is left."
            )


def require_merged(git: Git) -> None:
    """No conflicts, which a reset would throw away half solved."""
    unmerged = [one.path for one in git.changes() if one.staged == "U"]
    if unmerged:
        raise Refused(f"{git.path}: {unmerged[0]!r} has conflicts that are not resolved: resolve them first.")


def require_alone(git: Git, layout: Layout, head: Head) -> None:
    """No other worktree has the branch checked out: it would find itself on another commit than its files are of."""
    for path, branch in git.worktrees():
        if branch == head.branch and branch is not None and Path(path).resolve() != layout.top:
            raise Refused(
                f"{layout.top}: {branch} is also checked out in {path}, which a rollback of the branch would leave "
                "behind: check out another branch in one of the two first."
            )


def lock_files(layout: Layout, branch: str | None) -> list[Path]:
    """The locks that a reset takes."""
    locks = [layout.git_dir / name for name in ("index.lock", "HEAD.lock", "ORIG_HEAD.lock")]
    return locks + ([layout.common_dir / f"{branch}.lock"] if branch else [])


def resolve_commit(git: Git, layout: Layout, to: str | None, point: PointEntry | None) -> str:
    """Turn the options into a commit id, once and for all.

    :raises Refused: when nothing, or more than one thing, is meant by it.
    """
    if (to is None) == (point is None):
        raise Refused(f"{layout.top}: name either the commit to go back to, or a restore point.")
    return resolve_name(git, layout, wanted_name(to, point), point)


def wanted_name(to: str | None, point: PointEntry | None) -> str:
    """How the commit is called that is to be gone back to."""
    return str(point.facts["commit"]) if point is not None else str(to)


def resolve_name(git: Git, layout: Layout, name: str, point: PointEntry | None = None) -> str:
    """Turn one name into a commit id.

    :raises Refused: see `resolve_commit`.
    """
    if not name or name.startswith("-") or any(ord(letter) <= ord(" ") for letter in name):
        raise Refused(f"{name!r} can't be the name of a commit, branch or tag.")
    branch, tag = (git.resolve(f"refs/{kind}/{name}") for kind in ("heads", "tags"))
    if branch and tag and branch != tag:
        raise Refused(
            f"{layout.top}: {name!r} is a branch ({branch[:12]}) and a tag ({tag[:12]}): "
            f"say refs/heads/{name} or refs/tags/{name}."
        )
    commit = git.resolve(name)
    if commit is None:
        where = f" (of restore point {point.point})" if point is not None else ""
        hint = (
            "The clone is shallow: set deepen to true, so that prepare fetches its history, or do it (git fetch --unshallow)."
            if layout.shallow
            else "Fetch it, or name another one."
        )
        raise Refused(f"{layout.top} has no commit {name!r}{where}. {hint}")
    return commit


def resolve_reverts(git: Git, layout: Layout, head: Head, wanted: Sequence[str], mainline: int) -> list[JsonObject]:
    """The commits that a list of names and ranges means, newest first, as `make_reverts` takes them.

    A range goes along the first parents: a merge in it is reverted as a whole, and the commits that it brought with it.
    """
    chosen: set[str] = set()
    for name in wanted:
        since, dots, until = str(name).partition("..")
        if "..." in str(name) or (dots and not (since and until)):
            raise Refused(f"{layout.top}: {name!r} is no range of commits: write <after this one>..<up to this one>.")
        if dots:
            first, last = resolve_name(git, layout, since), resolve_name(git, layout, until)
            found = git.revisions("--first-parent", last, f"^{first}")
            if not found:
                raise Refused(f"{layout.top}: {name!r} is an empty range: write it from the older to the newer one.")
            chosen.update(found)
        else:
            chosen.add(resolve_name(git, layout, str(name)))
    ordered = [commit for commit in git.revisions("--topo-order", head.commit) if commit in chosen]
    if len(ordered) < len(chosen):
        other = sorted(chosen.difference(ordered))[0]
        raise Refused(f"{layout.top}: {other} is not part of what is checked out ({head.commit}): nothing to revert.")
    return [_revert(git, layout, commit, mainline) for commit in ordered]


def _revert(git: Git, layout: Layout, commit: str, mainline: int) -> JsonObject:
    _itself, *parents = git.revisions("--no-walk", "--parents", commit)[0].split(" ")
    merge = len(parents) > 1
    if merge and not 1 <= mainline <= len(parents):
        raise Refused(f"{layout.top}: merge {commit} has {len(parents)} parents, so mainline can't be {mainline}.")
    return {
        "commit": commit,
        "subject": git.commit(commit).subject,
        "mainline": mainline if merge else 0,
        "parent": parents[mainline - 1] if merge else None,
    }


def require_paths(git: Git, commit: str, paths: Iterable[str]) -> None:
    """Each path is in the commit, or is tracked now."""
    known = [row[3] for row in git.tree_paths(commit)] + [line.split("\t", 1)[1] for line in git.listed()]
    for path in paths:
        if path != "." and not any(one == path or one.startswith(f"{path}/") for one in known):
            raise Refused(f"{git.path}: {path!r} is neither in {commit} nor tracked now: git can't bring it back.")


def require_room(git: Git, tree: Iterable[tuple[str, str, int, str]], selected: Selection) -> None:
    """No tracked path that is not selected is where a directory of one that is selected has to be."""
    if selected.is_all:
        return
    others = {path for path in (line.split("\t", 1)[1] for line in git.listed()) if not selected.covers(path)}
    for _mode, _blob, _size, path in tree:
        in_the_way = others.intersection(parents_of(path)) if selected.covers(path) else None
        if in_the_way:
            raise Refused(
                f"{git.path}: {in_the_way.pop()!r} is tracked now and stands where {path!r} would come back: name it, too."
            )


def require_objects(git: Git, commit: str) -> None:
    """Everything that a checkout of the commit reads is there."""
    missing = git.missing_objects(commit)
    if missing:
        raise Refused(
            f"{git.path}: {len(missing)} objects of commit {commit} are missing, the first is {missing[0]}: a reset "
            "would stop halfway. Fetch them (git fetch --refetch), or repair the repository (git fsck)."
        )


def require_filters(
    git: Git, trees: Iterable[Iterable[tuple[str, str, int, str]]], layout: Layout, owner: User
) -> None:
    """Required filters (as of large file storage) have programs that the owner can run.

    :param trees: of the target, and of what an undo goes back to.
    """
    blobs = {
        blob: path for tree in trees for _mode, blob, _size, path in tree if path.rpartition("/")[2] == ".gitattributes"
    }
    texts = [git.text("cat-file", "blob", blob, attempt=f"Reading {path}") for blob, path in blobs.items()]
    with (
        acting_as(owner),
        suppress(OSError),
        (layout.common_dir / "info" / "attributes").open(errors="replace") as more,
    ):
        texts.append(more.read(_ATTRIBUTES_BYTES))
    for name in sorted({name for text in texts for name in re.findall(r"\bfilter=(\S+)", text)}):
        if git.is_set(f"filter.{name}.required"):
            command = git.config(f"filter.{name}.process") or git.config(f"filter.{name}.smudge")
            with acting_as(owner):
                missing = _missing_program(command, layout.top)
            if missing is not None:
                raise Refused(
                    f"{git.path}: the filter {name!r} is needed, whose program {missing} is not there for {owner.name}: a "
                    "reset, or its undo, would stop halfway. Install it first."
                )


def _missing_program(command: str | None, top: Path) -> str | None:
    """What a filter's command would start and can't; nothing also where only a shell could tell."""
    if not command:
        return "(none configured)"
    try:
        program = shlex.split(command)[0]
    except (ValueError, IndexError):
        return None
    if any(letter in program for letter in "$`=(;&|"):
        return None
    place = str(top / program) if "/" in program else program
    return None if shutil.which(place, path=os.environ.get("PATH")) else program


def require_submodules(git: Git, worktree: Worktree, commit: str, selected: Selection) -> list[JsonObject]:
    """The populated submodules that have to follow: path, where each is now, and where it goes.

    :raises Refused: when one can't follow without loss.
    """
    differences = [one for one in git.index_against(commit) if selected.covers(one.path)]
    state = {one.path: one.submodule for one in git.changes()}
    moves = []
    for one in differences:
        if SUBMODULE not in (one.commit_mode, one.index_mode):
            continue
        where = f"{git.path}: submodule {one.path}"
        populated = worktree.lstat(f"{one.path}/.git") is not None
        if populated and any(other.path.startswith(f"{one.path}/") for other in differences):
            raise Refused(f"{where} is replaced by files in the target: move the submodule's directory away first.")
        if one.commit_mode != SUBMODULE:
            continue  # git leaves its directory where it is
        if not populated:
            if one.index_mode != SUBMODULE:
                raise Refused(f"{where} is in the target and not here: git submodule update --init {one.path} first.")
            continue
        if state.get(one.path, "N...")[2:] not in ("..", ".U"):
            raise Refused(f"{where} has changes that are not committed: commit or remove them first.")
        inner = Git(git.runner, git.path / one.path)
        head = inner.head()
        if inner.resolve(one.commit_blob) is None:
            raise Refused(f"{where} lacks the commit {one.commit_blob} that the target needs: fetch it there first.")
        moves.append({"path": one.path, "before": head.commit, "branch": head.branch, "target": one.commit_blob})
    return moves


def require_space(git: Git, tree: Iterable[tuple[str, str, int, str]], surveyed: Survey) -> int:
    """Bytes that the reset writes; there has to be room for them."""
    written = set(surveyed.writes)
    needed = sum(size for _mode, _blob, size, path in tree if path in written)
    free = shutil.disk_usage(git.path).free
    if needed > free:
        raise Refused(f"{git.path}: the reset writes {needed} bytes, and only {free} are free: make room first.")
    return needed
