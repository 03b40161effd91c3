#!/usr/bin/python
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring single files back from a restore point or a backup."""

from __future__ import annotations

DOCUMENTATION = r"""
module: file_restore
short_description: Bring single files back from a restore point or a backup
version_added: 0.1.0
description:
  - Brings files back with content, owner, mode, time and access control list, several as one. When the last one fails, the
    first is put back.
  - Every file is staged beside its place and put there by a rename. What it replaces is kept. Nothing is ever followed
    through a symbolic link, but for directories on the way whose links are root's or of whoever owns what they lead to.
  - A file that git tracks goes back to a commit with M(lastgood.rollback.git_reset) and
    O(lastgood.rollback.git_reset#module:mode=paths), which keeps what it overwrites and knows the index.
  - A file that did not exist when the restore point was made goes away, and is kept aside.
  - Contents are never shown, neither in the result nor in the diff, because configuration files hold passwords. The names
    of changed settings are.
options:
  files:
    description:
      - The files. With O(restore_point) and without this option, all files of the restore point.
    type: list
    elements: dict
    suboptions:
      dest:
        description:
          - Absolute path of the file, without C(..). The file must not be a symbolic link.
        type: path
        required: true
      src:
        description:
          - Backup on the host to bring the file back from, in place of the restore point. Owner and mode stay those of
            O(files[].dest) where that exists.
        type: path
      checksum:
        description:
          - SHA-256 of the backup, with or without the prefix C(sha256:). It is compared before anything is touched.
        type: str
  restore_point:
    description:
      - Name of the restore point that holds the files. V(last_good) is the newest good one that has files.
    type: str
  validate:
    description:
      - Argument list of a command that has to accept each file before any of them is replaced. The word C(%s) stands for
        the staged file. It runs as the owner of the file, without a shell.
      - It is refused where others than that owner and root could change what it loads, as in a directory of another account.
    type: list
    elements: str
    default: []
  allow_unverified:
    description:
      - Accept a backup without a checksum.
    type: bool
    default: false
extends_documentation_fragment:
  - lastgood.rollback.attributes
  - lastgood.rollback.transaction
seealso:
  - module: lastgood.rollback.restore_point
  - module: lastgood.rollback.git_reset
  - module: lastgood.rollback.transaction
"""

EXAMPLES = r"""
- name: Bring the configuration of the last good restore point back
  lastgood.rollback.file_restore:
    restore_point: last_good
    files:
      - dest: /srv/blog-core/.env
      - dest: /srv/blog-core/config.py

- name: Bring one file back from a backup that is known to be whole
  lastgood.rollback.file_restore:
    files:
      - dest: /srv/blog-core/config.py
        src: /srv/backups/config.py
        checksum: sha256:0c9f0b5e2d1f4a8c7b6e5d4c3b2a19080f1e2d3c4b5a69788796a5b4c3d2e1f0
    validate: [python3, -m, py_compile, "%s"]
"""

RETURN = r"""
restored:
  description: Files that were (in check mode, would be) brought back.
  returned: always
  type: list
  elements: str
  sample: [/srv/blog-core/.env]
removed:
  description: Files that did not exist at the restore point, and went (would go) away.
  returned: always
  type: list
  elements: str
  sample: []
backup:
  description: File to the copy of what it held before. Empty in check mode.
  returned: always
  type: dict
  sample:
    /srv/blog-core/.env: /var/lib/lastgood/transactions/20261123T143000Z-files-7f3a/workspace/9c1d/0.before
discards:
  description: Under C(files), each file that is replaced or removed, with the names of the settings that differ.
  returned: always
  type: dict
  sample:
    files:
      - path: /srv/blog-core/.env
        becomes: replaced
        settings: [DATABASE_URL]
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
  description: File to the newest copy of what was replaced.
  returned: always
  type: dict
  sample:
    /srv/blog-core/.env: /var/lib/lastgood/transactions/20261123T143000Z-files-7f3a/workspace/9c1d/0.before
downtime_ms:
  description: Milliseconds that the switch took, when the module was a transaction of its own.
  returned: always
  type: int
  sample: 4
transaction:
  description: Id of the transaction.
  returned: always
  type: str
  sample: 20261123T143000Z-files-7f3a
outcome:
  description: How it ended, when the module was a transaction of its own.
  returned: always
  type: str
  sample: rolled_back
"""

from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import only
from ansible_collections.lastgood.rollback.plugins.module_utils._components.files.component import Files
from ansible_collections.lastgood.rollback.plugins.module_utils._components.files.options import FILES_OPTIONS
from ansible_collections.lastgood.rollback.plugins.module_utils._runners.component import run_component


def main() -> None:
    """Entry point."""
    run_component(only(Files), FILES_OPTIONS, "files")


if __name__ == "__main__":
    main()
