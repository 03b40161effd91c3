#!/usr/bin/python
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a git checkout back, whole or in part, and lose nothing that git does not have."""

from __future__ import annotations

DOCUMENTATION = r"""
module: git_reset
short_description: Take a git checkout back, whole or in part, and lose nothing
version_added: 0.1.0
description:
  - Moves the branch that is checked out, the index and the worktree back to a commit, or on to the inverse of named
    commits, or brings single files back from a commit.
  - Before that it makes an emergency branch, archives everything that would be overwritten or deleted and git does not have
    (staged, modified, untracked or ignored and in the way, marked skip-worktree), and checks the target in a scratch tree.
  - When the rollback is undone, worktree and index are as before, byte for byte, modes and groups included. Files that
    belong to another account than the checkout, or run as their owner or group, are refused where a reset would replace them.
  - git runs as the owner of the checkout, without hooks and prompts, and without network but for O(deepen). No global
    configuration is written.
  - Refuses what would stop halfway or lose something, such as a merge in progress, somebody else's lock, missing objects
    or filters, or a directory that the owner may not write.
  - A restore point of a checkout is its commit together with the tracked files that differed from it. They come back as
    changes of the worktree.
  - Leaves a hold, because a plain C(git pull) brings the rejected commits back. A deployment can test for it with
    C(git config lastgood.hold), or by the file C(lastgood-hold) in the git directory.
options:
  path:
    description:
      - The top directory of the checkout.
    type: path
    required: true
  to:
    description:
      - Commit, branch or tag to go back to. It is resolved once. Only the commit id is used after that.
      - Exactly one of O(to) and O(restore_point) is needed, but for O(mode=revert), which takes neither.
    type: str
  restore_point:
    description:
      - Name of the restore point to go back to. V(last_good) is the newest good one that contains O(path).
    type: str
  mode:
    description:
      - How to go back. V(reset) moves the branch itself.
      - V(revert) adds commits to the branch that take O(commits) back. They are made in a scratch repository first, so that
        conflicts are found before anything is touched. Local changes of other files stay.
      - V(paths) brings O(paths) back in index and worktree, as C(git restore --staged --worktree) does. The branch and all other
        files stay. Python sources among them have to compile.
    type: str
    choices: [reset, revert, paths]
    default: reset
  deepen:
    description:
      - Fetch the history of a shallow clone from its remote when it lacks the target. The target alone is looked at for the
        plan, outside of the checkout, and the history is fetched when the rollback is prepared. It stays, also when the
        rollback is undone.
      - Without it, such a target is refused.
    type: bool
    default: false
  commits:
    description:
      - With O(mode=revert), the commits to revert, in any order, as names of commits or as ranges C(<after this one>..<up to this
        one>). They have to be part of what is checked out.
      - A range goes along the first parents. A merge in it is reverted as a whole.
      - What has been reverted before is left as it is.
    type: list
    elements: str
    default: []
  mainline:
    description:
      - With O(mode=revert), the parent of each merge that stays, counted from 1. With V(1) what the merge brought to the
        branch is taken back.
    type: int
    default: 1
  paths:
    description:
      - With O(mode=paths), the files and directories to bring back, relative to O(path). No patterns.
      - A file that is tracked now and is not in the commit is removed.
    type: list
    elements: str
    default: []
  owner:
    description:
      - User that git runs as. By default the owner of the directory O(path).
    type: str
  timeout:
    description:
      - Seconds after which a git that has not ended is stopped, together with the filters of the checkout that it runs. What
        was begun is undone then.
      - An undo goes around a git that does not end. It puts back what was archived, and says what is left to do.
    type: int
    default: 600
  python:
    description:
      - Interpreter that compiles, and that stands for the first word C(python) in O(verify.commands). It must be one that
        the owner can run. By default the one that runs this module.
    type: path
  test_environment:
    description:
      - Environment variables for O(verify.commands), for example how they reach a database that is restored aside.
      - They may hold passwords. They are in no journal and no result.
    type: dict
    default: {}
  verify:
    description:
      - What has to hold of the target before anything is touched. It is checked out outside of the checkout for that.
    type: dict
    suboptions:
      compile:
        description:
          - Python files and directories that have to compile, relative to O(path).
        type: list
        elements: str
        default: []
      commands:
        description:
          - Argument lists that have to end with status 0, run in the scratch tree. No shell is involved.
        type: list
        elements: list
        default: []
      timeout:
        description:
          - Seconds after which one of these programs is stopped, which counts as a failure.
        type: int
        default: 600
extends_documentation_fragment:
  - lastgood.rollback.attributes
  - lastgood.rollback.transaction
requirements:
  - git 2.30 or newer on the host
seealso:
  - module: lastgood.rollback.restore_point
  - module: lastgood.rollback.file_restore
  - module: lastgood.rollback.transaction
"""

EXAMPLES = r"""
- name: Bring the code of the last good restore point back
  lastgood.rollback.git_reset:
    path: /srv/blog-core
    restore_point: last_good
    verify:
      compile: [app.py, config.py]

- name: Show which commits a reset to a release would discard
  lastgood.rollback.git_reset:
    path: /srv/blog-core
    to: refs/tags/v1.4.2
  check_mode: true
  diff: true

- name: Take two commits and all of a feature's branch back, and keep what came later
  lastgood.rollback.git_reset:
    path: /srv/blog-core
    mode: revert
    commits: [9b1c33de, release-1.4.1..release-1.4.2]

- name: Bring a damaged file back from what is checked out
  lastgood.rollback.git_reset:
    path: /srv/blog-core
    mode: paths
    to: HEAD
    paths: [config.py]

- name: Go back to a commit whose own tests pass
  lastgood.rollback.git_reset:
    path: /srv/blog-core
    to: 4f1d2c9e
    python: /srv/blog-core/.venv/bin/python
    verify:
      commands:
        - [python, -m, pytest, tests/critical, -q]
    test_environment:
      DATABASE_NAME: blog_test
"""

RETURN = r"""
before:
  description:
    - What was checked out. C(modified) names the tracked files that differed from the commit.
    - With O(mode=paths), C(files) has those that change, with the ids of their content.
  returned: always
  type: dict
  sample:
    commit: 9b1c33de8f6a4c0e9d0a7d2f0f1a2b3c4d5e6f70
    branch: refs/heads/main
    subject: Speed up the workflow page
    tree: 1f7a7a472abf3dd9643fd615f6da379c4acb3e3a
    modified: [config.py]
after:
  description: What is (in check mode, would be) checked out. Same keys as RV(before).
  returned: always
  type: dict
  sample:
    commit: 4f1d2c9e0b7a4c0e9d0a7d2f0f1a2b3c4d5e6f70
    branch: refs/heads/main
    subject: Release 1.4.2
    tree: 83baae61804e65cc73a7201a7252750c76066a30
    modified: []
emergency_ref:
  description: Branch that holds what was checked out before. Empty with O(mode=paths), where the branch stays.
  returned: always
  type: str
  sample: refs/heads/lastgood/20261123T143000Z-blog-7f3a
archive:
  description: Tar file on the host with everything that the reset overwrote or deleted. Empty in check mode.
  returned: always
  type: str
  sample: /var/lib/lastgood/transactions/20261123T143000Z-blog-7f3a/workspace/3f1c/before-1.tar
discarded_commits:
  description: Commits that are no longer part of what is checked out, or were reverted, newest first, at most 1000.
  returned: always
  type: list
  elements: dict
  sample:
    - id: 9b1c33de8f6a4c0e9d0a7d2f0f1a2b3c4d5e6f70
      subject: Speed up the workflow page
      author: A. Developer
      date: "2026-11-23T09:12:44+01:00"
changed_files:
  description: With O(mode=paths), the files whose content changes.
  returned: always
  type: list
  elements: str
  sample: [config.py]
discards:
  description: What people lose sight of, as commits, and as names of files by what they were to git.
  returned: always
  type: dict
  sample: {"modified": ["config.py"]}
can_go_back:
  description: Whether M(lastgood.rollback.transaction) can undo this as a whole once it has finished.
  returned: always
  type: bool
  sample: true
kept_instead:
  description: What stays of what is replaced where it can't, in words; empty where it can.
  returned: always
  type: str
  sample: ""
kept:
  description: Where it is kept. C(commits) is the emergency branch, C(archives) are tar files on the host.
  returned: always
  type: dict
  sample:
    commits: refs/heads/lastgood/20261123T143000Z-blog-7f3a
    archives: [/var/lib/lastgood/transactions/20261123T143000Z-blog-7f3a/workspace/3f1c/before-1.tar]
    hold: git -C /srv/blog-core config lastgood.hold
downtime_ms:
  description: Milliseconds that the switch took, when the module was a transaction of its own.
  returned: always
  type: int
  sample: 61
transaction:
  description: Id of the transaction.
  returned: always
  type: str
  sample: 20261123T143000Z-code-7f3a
outcome:
  description: How it ended, when the module was a transaction of its own.
  returned: always
  type: str
  sample: rolled_back
"""

from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import only
from ansible_collections.lastgood.rollback.plugins.module_utils._components.code.component import Code
from ansible_collections.lastgood.rollback.plugins.module_utils._components.code.options import CODE_OPTIONS
from ansible_collections.lastgood.rollback.plugins.module_utils._runners.component import run_component


def main() -> None:
    """Entry point."""
    run_component(only(Code), CODE_OPTIONS, "code")


if __name__ == "__main__":
    main()
