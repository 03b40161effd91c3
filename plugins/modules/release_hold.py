#!/usr/bin/python
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the hold of a checkout away that a rollback left there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_hold
short_description: Let a checkout that was rolled back be deployed to again
version_added: 0.1.0
description:
  - A rollback of a checkout leaves a hold there, because a plain C(git pull) brings the rejected commits back. A deployment
    tests for it, by C(git config lastgood.hold) or by the file C(lastgood-hold) in the git directory, and stops.
  - Once the rejected commits are mended or reverted in the remote, this takes the hold away. It changes nothing else.
options:
  path:
    description:
      - The top directory of the checkout.
    type: path
    required: true
  owner:
    description:
      - User that git runs as. By default the owner of the directory O(path).
    type: str
  state_dir:
    description:
      - Directory on the host that holds transactions. Nothing is released while one that has the checkout is open.
    type: path
    default: /var/lib/lastgood
extends_documentation_fragment:
  - lastgood.rollback.attributes
requirements:
  - git 2.30 or newer on the host
seealso:
  - module: lastgood.rollback.git_reset
"""

EXAMPLES = r"""
- name: Let the mended project be deployed again
  lastgood.rollback.release_hold:
    path: /srv/blog-core
"""

RETURN = r"""
path:
  description: The checkout.
  returned: always
  type: str
  sample: /srv/blog-core
hold:
  description: Id of the transaction that left the hold. Empty when there was none.
  returned: always
  type: str
  sample: 20261123T143000Z-blog-7f3a
text:
  description: What the file C(lastgood-hold) said.
  returned: always
  type: str
  sample: |
    20261123T143000Z-blog-7f3a
    This checkout was rolled back from 9b1c33de to 4f1d2c9e.
"""

from ansible_collections.lastgood.rollback.plugins.module_utils._runners.release_hold import run_release_hold


def main() -> None:
    """Entry point."""
    run_release_hold(
        argument_spec={
            "path": {"type": "path", "required": True},
            "owner": {"type": "str"},
            "state_dir": {"type": "path", "default": "/var/lib/lastgood"},
        },
    )


if __name__ == "__main__":
    main()
