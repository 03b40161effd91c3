# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) git, as the owner of a checkout: no hooks, no prompts, no network, nothing global written.

Paths are strings in the file system's encoding (``os.fsdecode``), so that names that are not UTF-8 survive.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, Refused

NO_OBJECT = "0" * 40

#: For every call. The owner's own configuration stays in force (filters, line ends); these come after it and win.
SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",  # it may name a program
    "core.fsync": "added,reference",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",  # submodules are moved one by one, after their own checks
    "protocol.allow": "never",  # a partial clone would fetch in the middle of a reset
    "status.renames": "false",
    "advice.detachedHead": "false",
}
ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_AUTHOR_NAME": "lastgood",
    "GIT_AUTHOR_EMAIL": "lastgood@localhost",
    "GIT_COMMITTER_NAME": "lastgood",
    "GIT_COMMITTER_EMAIL": "lastgood@localhost",
}


@dataclass(frozen=True)
class Layout:
    """Where a checkout keeps its things. ``git_dir`` is this worktree's own, ``common_dir`` is shared by worktrees."""

    top: Path
    git_dir: Path
    common_dir: Path
    shallow: bool


@dataclass(frozen=True)
class Head:
    """What is checked out: the commit, and the full name of the branch (``None`` when detached)."""

    commit: str
    branch: str | None


@dataclass(frozen=True)
class Commit:
    """One commit, for people. ``date`` is ISO 8601 with the author's offset."""

    id: str
    subject: str
    author: str
    date: str
    tree: str


@dataclass(frozen=True)
class Change:
    """One line of ``--raw`` or of ``status``.

    :param staged: one letter, ``.`` when the index equals the commit.
    :param worktree: one letter, ``.`` when the worktree equals the index.
    :param submodule: ``N...``, or ``S<c><m><u>`` for a submodule with a new commit, modifications, untracked files.
    """

    path: str
    staged: str
    worktree: str
    submodule: str
    blob: str


@dataclass(frozen=True)
class TreeChange:
    """A path where the index differs from a commit: ids and octal modes (``000000`` where there is nothing)."""

    path: str
    commit_mode: str
    index_mode: str
    commit_blob: str
    index_blob: str


class Git:
    """One checkout, through the program ``git``.

    :param run: starts the program, as the owner of the checkout.
    :param path: the top directory.
    :param trust: accept a directory that belongs to somebody else than the user who runs git (named by the operator).
    """

    def __init__(self, run: CommandRunner, path: Path, *, trust: bool = False) -> None:
        self._settings = {**SETTINGS, **({"safe.directory": str(path)} if trust else {})}
        self.path = path
        self.runner = run
        self._runner = run.with_env({**ENVIRONMENT, **settings_environment(self._settings.items())})

    def with_env(self, env: Mapping[str, str]) -> Git:
        """The same checkout with more environment, e.g. ``GIT_INDEX_FILE``."""
        other = copy.copy(self)
        other._runner = self._runner.with_env(env)
        return other

    def online(self, more: Iterable[tuple[str, str]] = (), limit: float | None = None) -> Git:
        """The same checkout, where it may speak to remotes.

        :param more: settings besides, such as how a remote is reached.
        :param limit: seconds that a program may take, if it may take longer here.
        """
        allowed = [(key, value) for key, value in self._settings.items() if key != "protocol.allow"]
        other = self.with_env(settings_environment([*allowed, *more]))
        other._runner = other._runner.limited(max(limit or 0.0, other._runner.timeout))
        return other

    def raw(self, *arguments: str, attempt: str, stdin: bytes | None = None) -> bytes:
        """Run and return the output, byte for byte."""
        with tempfile.TemporaryFile() as output:
            self._runner.run(["git", "-C", str(self.path), *arguments], attempt, stdin=stdin, stdout=output)
            output.seek(0)
            return output.read()

    def text(self, *arguments: str, attempt: str) -> str:
        """Run and return the output without its last line end."""
        return os.fsdecode(self.raw(*arguments, attempt=attempt)).rstrip("\n")

    def records(self, *arguments: str, attempt: str, stdin: bytes | None = None) -> list[str]:
        """Run a command whose output ends each record with a NUL byte (``-z``)."""
        return [os.fsdecode(part) for part in self.raw(*arguments, attempt=attempt, stdin=stdin).split(b"\0")[:-1]]

    def succeeds(self, *arguments: str, attempt: str) -> bool:
        """Run for the exit status alone."""
        argv = ["git", "-C", str(self.path), *arguments]
        return self._runner.run(argv, attempt, check=False).rc == 0

    # -- reading

    def layout(self) -> Layout:
        """Where things are.

        :raises Refused: when this is no checkout, a bare repository, or not the top of a checkout.
        """
        arguments = ("--is-shallow-repository", "--absolute-git-dir", "--git-common-dir", "--show-toplevel")
        try:
            found = self.text("rev-parse", *arguments, attempt=f"Reading the checkout {self.path}")
            shallow, git_dir, common, top_line = found.split("\n")
        except CommandFailed as error:
            if "work tree" in error.stderr:
                raise Refused(
                    f"{self.path} is a bare repository, or a git directory: there is no worktree to roll back."
                ) from error
            raise Refused(f"{self.path} is not a git checkout that can be read: {error.stderr.strip()}") from error
        except ValueError as error:
            raise Refused(f"{self.path}: a path with a line end in it can't be handled.") from error
        top = Path(top_line)
        if top != self.path.resolve():
            raise Refused(f"{self.path} is not the top of a checkout: that is {top}. Name the top directory.")
        return Layout(top, Path(git_dir), (self.path / common).resolve(), shallow == "true")

    def head(self) -> Head:
        """What is checked out.

        :raises Refused: when there is no commit yet.
        """
        arguments = ("rev-parse", "--revs-only", "HEAD^{commit}", "--symbolic-full-name", "HEAD")
        found = self.text(*arguments, attempt=f"Reading what is checked out in {self.path}").split("\n")
        if len(found) != 2:
            raise Refused(f"{self.path} has no commit yet (or a branch named HEAD): there is nothing to roll back.")
        return Head(found[0], found[1] if found[1] != "HEAD" else None)

    def resolve(self, ref: str, kind: str = "commit") -> str | None:
        """The id that a name resolves to now, or nothing."""
        done = self._runner.run(
            ["git", "-C", str(self.path), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{{kind}}}"],
            f"Resolving {ref!r} in {self.path}",
            check=False,
        )
        return done.stdout.strip() if done.rc == 0 else None

    def commit(self, commit: str) -> Commit:
        """Describe one commit."""
        return self.commits([commit, "--no-walk"])[0]

    def commits(self, revisions: Sequence[str], limit: int = 1000) -> list[Commit]:
        """Commits, newest first; ``revisions`` as for ``git log``, from ids only."""
        form = "--format=%H%x00%s%x00%an%x00%aI%x00%T"
        arguments = ("log", "-z", form, f"--max-count={limit}", *revisions, "--")
        fields = self.raw(*arguments, attempt=f"Listing commits of {self.path}").decode("utf-8", "replace").split("\0")
        return [Commit(*fields[at : at + 5]) for at in range(0, len(fields) - 4, 5)]

    def worktrees(self) -> list[tuple[str, str | None]]:
        """The worktrees that share this repository: where each is, and its branch."""
        found: list[tuple[str, str | None]] = []
        listed = self.text("worktree", "list", "--porcelain", attempt=f"Listing the worktrees of {self.path}")
        for line in listed.split("\n"):
            word, _blank, value = line.partition(" ")
            if word == "worktree":
                found.append((value, None))
            elif word == "branch":
                found[-1] = (found[-1][0], value)
        return found

    def changes(self) -> list[Change]:
        """Tracked paths whose index or worktree differs from HEAD."""
        arguments = (
            "status",
            "--porcelain=v2",
            "-z",
            "--no-renames",
            "--untracked-files=no",
            "--ignore-submodules=none",
        )
        return parse_status(self.records(*arguments, attempt=f"Reading the status of {self.path}"))

    def untracked(self) -> list[str]:
        """Untracked paths that are not ignored; a directory full of them counts as one, with a slash at its end."""
        arguments = ("ls-files", "-z", "--others", "--exclude-standard", "--directory", "--no-empty-directory")
        return self.records(*arguments, attempt=f"Listing untracked files of {self.path}")

    def index_against(self, commit: str) -> list[TreeChange]:
        """Paths where the index differs from a commit."""
        return self._against(commit, "--cached")

    def worktree_against(self, commit: str) -> list[TreeChange]:
        """Tracked paths where the worktree differs from a commit; what was never added has no id."""
        return self._against(commit)

    def _against(self, commit: str, *options: str) -> list[TreeChange]:
        arguments = ("diff-index", *options, "--raw", "-z", "--no-renames", "--no-abbrev", "--ignore-submodules=none")
        attempt = f"Comparing {self.path} with {commit}"
        return parse_raw(self.records(*arguments, commit, "--", attempt=attempt))

    def revisions(self, *arguments: str) -> list[str]:
        """What ``rev-list`` lists, from ids only."""
        listed = self.text("rev-list", *arguments, "--", attempt=f"Listing commits of {self.path}")
        return listed.split("\n") if listed else []

    def changed_between(self, before: str, after: str) -> list[str]:
        """Paths in which two commits differ."""
        arguments = (
            "diff-tree",
            "-r",
            "--name-only",
            "-z",
            "--no-renames",
            "--ignore-submodules=none",
            before,
            after,
            "--",
        )
        return self.records(*arguments, attempt=f"Comparing {before} with {after} in {self.path}")

    def listed(self) -> list[str]:
        """The index, one line a path: mark, mode, id, stage, and the path after a tab."""
        return self.records("ls-files", "-s", "-v", "-z", attempt=f"Reading the index of {self.path}")

    def hidden(self) -> list[str]:
        """Tracked paths whose changes git does not report: marked skip-worktree or assume-unchanged."""
        listed = self.records("ls-files", "-v", "-z", attempt=f"Reading the index of {self.path}")
        return [line[2:] for line in listed if line[0] == "S" or line[0].islower()]

    def ignored(self, paths: Iterable[str]) -> set[str]:
        """Those of the paths that are ignored."""
        # The prefix keeps a name that begins with a colon from being read as a pattern.
        given = b"".join(b"./" + os.fsencode(path) + b"\0" for path in paths)
        if not given:
            return set()
        try:
            arguments = ("check-ignore", "-z", "--stdin", "--no-index")
            return {path[2:] for path in self.records(*arguments, attempt="Asking what is ignored", stdin=given)}
        except CommandFailed as error:
            if error.rc == 1:  # none of them
                return set()
            raise

    def missing_objects(self, commit: str) -> list[str]:
        """Ids of the objects that a checkout of this commit would need, and that are not here."""
        arguments = ("rev-list", "--objects", "--no-walk", "--missing=print", commit)
        listed = self.text(*arguments, attempt=f"Looking for the objects of {commit} in {self.path}")
        return [line[1:] for line in listed.split("\n") if line.startswith("?")]

    def tree_paths(self, commit: str) -> list[tuple[str, str, int, str]]:
        """All of a commit's paths: mode, id, bytes (0 for a submodule), path."""
        listed = self.records(
            "ls-tree", "-r", "-l", "-z", "--full-tree", commit, attempt=f"Listing the files of {commit}"
        )
        rows = []
        for line in listed:
            facts, path = line.split("\t", 1)
            mode, _kind, object_id, size = facts.split()
            rows.append((mode, object_id, int(size) if size != "-" else 0, path))
        return rows

    def config(self, name: str) -> str | None:
        """The value in force, or nothing."""
        argv = ["git", "-C", str(self.path), "config", "--get", name]
        done = self._runner.run(argv, f"Reading {name} of {self.path}", check=False)
        return done.stdout.rstrip("\n") if done.rc == 0 else None

    def is_set(self, name: str) -> bool:
        """Whether a switch is on, in any of git's words for that."""
        argv = ["git", "-C", str(self.path), "config", "--type=bool", "--get", name]
        return self._runner.run(argv, f"Reading {name} of {self.path}", check=False).stdout.strip() == "true"

    def settings(self, pattern: str) -> list[tuple[str, str]]:
        """The checkout's own settings whose keys match."""
        arguments = ["git", "-C", str(self.path), "config", "--local", "--null", "--get-regexp", pattern]
        done = self._runner.run(arguments, f"Reading settings of {self.path}", check=False)
        pairs = (record.partition("\n") for record in done.stdout.split("\0")[:-1])
        return [(key, value) for key, _end, value in pairs]

    def ref(self, name: str) -> str | None:
        """The id that a full ref name holds, or nothing; tags are not followed."""
        done = self._runner.run(
            ["git", "-C", str(self.path), "rev-parse", "--verify", "--quiet", "--end-of-options", name],
            f"Reading {name} of {self.path}",
            check=False,
        )
        return done.stdout.strip() if done.rc == 0 else None

    # -- writing

    def show_hidden(self, paths: Iterable[str]) -> None:
        """Take the marks skip-worktree and assume-unchanged away."""
        given = b"".join(os.fsencode(path) + b"\0" for path in paths)
        for mark in ("--no-skip-worktree", "--no-assume-unchanged") if given else ():
            self.raw("update-index", mark, "-z", "--stdin", attempt=f"Unmarking files of {self.path}", stdin=given)

    def reset_hard(self, commit: str) -> None:
        """Make branch, index and worktree equal to a commit."""
        self.text("reset", "--hard", "--quiet", commit, "--", attempt=f"Resetting {self.path} to {commit}")

    def reset_keep(self, commit: str) -> bool:
        """Make branch, index and worktree equal to a commit, looking only at files that the commit changes.

        :returns: false when git did not do it, as when one of those is not as HEAD has it.
        """
        arguments = ("reset", "--keep", "--quiet", commit, "--")
        return self.succeeds(*arguments, attempt=f"Resetting {self.path} to {commit}, changed files kept")

    def restore_paths(self, commit: str, against: Sequence[TreeChange], others: Iterable[str] = ()) -> None:
        """Make paths equal to a commit's, in index and worktree.

        :param against: where the index differs from the commit.
        :param others: more paths that the index has.
        """
        # What lies below a path that is a file in the commit goes with its directory, and git knows it no more by then.
        files = {one.path for one in against if int(one.commit_mode)}
        names = {one.path for one in against}.union(others)
        paths = sorted(name for name in names if files.isdisjoint(parents_of(name)))
        given = b"".join(os.fsencode(path) + b"\0" for path in paths)
        arguments = (
            "--staged",
            "--worktree",
            "--ignore-skip-worktree-bits",
            "--pathspec-from-file=-",
            "--pathspec-file-nul",
        )
        if given:
            attempt = f"Bringing files of {commit} back to {self.path}"
            literal = self.with_env({"GIT_LITERAL_PATHSPECS": "1"})
            literal.raw("restore", f"--source={commit}", *arguments, attempt=attempt, stdin=given)

    def move_head(self, commit: str) -> None:
        """Let the branch that is checked out name another commit; index and worktree stay."""
        self.text("reset", "--soft", "--quiet", commit, "--", attempt=f"Moving {self.path} to {commit}")

    def create_ref(self, name: str, commit: str) -> None:
        """Make a ref; nothing happens when it holds this commit already.

        :raises CommandFailed: when it holds another one.
        """
        if self.ref(name) != commit:
            self.text("update-ref", name, commit, NO_OBJECT, attempt=f"Creating {name} in {self.path}")

    def delete_ref(self, name: str, holding: str | None = None) -> None:
        """Remove a ref; nothing happens when it is not there.

        :param holding: only if it holds this: by its name alone nothing is known to be ours.
        """
        found = self.ref(name)
        if found is not None and holding in (None, found):
            arguments = ("update-ref", "-d", name, found)
            self.text(*arguments, attempt=f"Removing {name} from {self.path}")


def parents_of(path: str) -> list[str]:
    """``a/b/c`` → ``a``, ``a/b``."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]


def settings_environment(settings: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Configuration for one process and its children, by environment: no file is written."""
    pairs = list(settings)
    env = {"GIT_CONFIG_COUNT": str(len(pairs))}
    for number, (key, value) in enumerate(pairs):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    return env


def parse_status(records: Sequence[str]) -> list[Change]:
    """Read ``git status --porcelain=v2 -z --no-renames``; unmerged paths have ``U`` as their staged letter."""
    changes = []
    for record in records:
        if record.startswith("1 "):
            _one, letters, submodule, _mode_head, _mode_index, _mode_worktree, _head, blob, path = record.split(" ", 8)
            changes.append(Change(path, letters[0], letters[1], submodule, blob))
        elif record.startswith("u "):
            fields = record.split(" ", 10)
            changes.append(Change(fields[10], "U", "U", fields[2], NO_OBJECT))
    return changes


def parse_raw(records: Sequence[str]) -> list[TreeChange]:
    """Read ``git diff-index --raw -z --no-renames``: a record of facts, then one with the path."""
    changes = []
    for facts, path in zip(records[::2], records[1::2]):
        commit_mode, index_mode, commit_blob, index_blob, _letter = facts[1:].split(" ")
        changes.append(TreeChange(path, commit_mode, index_mode, commit_blob, index_blob))
    return changes
