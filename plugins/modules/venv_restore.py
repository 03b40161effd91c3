#!/usr/bin/python
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a Python environment back to an exact set of packages."""

from __future__ import annotations

DOCUMENTATION = r"""
module: venv_restore
short_description: Take a Python environment back to an exact set of packages
version_added: 0.1.0
description:
  - Builds a new environment beside the present one, from the wheels of a restore point or from a locked requirements
    file, compares its set, tries imports in it, and then lets the live path lead to it in one step. Needs no package
    registry when the wheels are there.
  - Afterwards O(path) is a link into C(<path>.lastgood/). A plain directory is adopted on first use. It moves to
    C(<path>.lastgood/previous-<id>) in the same step, and undoing puts it back. Its console scripts go on naming
    C(<path>/bin/python) while it is aside.
  - In a checkout, ignore the environment as C(.venv) rather than C(.venv/). The latter does not match a link.
  - Files of no package and the base interpreter are not part of the set.
  - A package in editable mode comes back in editable mode. Its code is where it was installed from, and goes back with
    that checkout. A package from a repository comes back at its commit, without the repository.
  - Everything is run as the environment's owner.
options:
  path:
    description:
      - The environment, a link or a plain directory. It may be broken or missing.
    type: path
    required: true
  restore_point:
    description:
      - Name of the restore point that holds the wanted set. V(last_good) is the newest good one that contains O(path).
      - Exactly one of O(restore_point) and O(requirements) is needed.
    type: str
  requirements:
    description:
      - Requirements file on the host, every line locked to one version with its SHA-256 hashes, as
        C(uv pip compile --generate-hashes) and C(pip-compile --generate-hashes) write it.
    type: path
  wheelhouse:
    description:
      - Directory on the host with the wheels for O(requirements). Only those whose content has a listed hash are used.
      - Without it the package index that the installer is configured for has to answer while this is prepared.
    type: path
  imports:
    description:
      - Modules that must be importable in the new environment. They are imported in one fresh process.
      - By default those that the restore point was captured with.
    type: list
    elements: str
    default: []
  python:
    description:
      - Base interpreter for the new environment, of the version series and ABI that the wheels were captured with.
      - By default the one that the captured (or present) environment was made with.
    type: path
  installer:
    description:
      - Tool that installs. V(auto) takes C(uv) where the owner can run it, else C(pip) from the wheels, from the base
        interpreter, or from the present environment.
    type: str
    choices: [auto, uv, pip]
    default: auto
  owner:
    description:
      - User that the environment is built by and belongs to. By default the owner of the present environment, or of the
        directory around it where there is none.
    type: str
extends_documentation_fragment:
  - lastgood.rollback.attributes
  - lastgood.rollback.transaction
seealso:
  - module: lastgood.rollback.restore_point
  - module: lastgood.rollback.transaction
"""

EXAMPLES = r"""
- name: Bring the packages of the last good restore point back
  lastgood.rollback.venv_restore:
    path: /srv/blog-core/.venv
    restore_point: last_good
    imports: [flask, psycopg2]

- name: Show what would change for a locked set
  lastgood.rollback.venv_restore:
    path: /srv/blog-core/.venv
    requirements: /srv/blog-core/requirements.lock
    wheelhouse: /srv/wheels
  check_mode: true
  diff: true

- name: Only build and try the environment, as part of a larger rollback
  lastgood.rollback.venv_restore:
    path: /srv/blog-core/.venv
    restore_point: before-migration
    transaction: 20261123T143000Z-blog-7f3a
"""

RETURN = r"""
environment:
  description: The directory that was built, empty when nothing was.
  returned: always
  type: str
  sample: /srv/blog-core/.venv.lastgood/3fa94c1e
installer:
  description: The tool that installed, empty when nothing was.
  returned: always
  type: str
  sample: uv (/usr/local/bin/uv)
added:
  description: Packages that come back.
  returned: always
  type: list
  elements: str
  sample: ["idna==3.7"]
removed:
  description: Packages that go.
  returned: always
  type: list
  elements: str
  sample: ["iniconfig==2.0.0"]
changed_packages:
  description: Packages that change their version.
  returned: always
  type: list
  elements: dict
  sample: [{"name": "six", "before": "1.17.0", "after": "1.16.0"}]
discards:
  description: Under C(packages), what is installed now and will not be, as C(name==version).
  returned: always
  type: dict
  sample: {"packages": ["iniconfig==2.0.0", "six==1.17.0"]}
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
  description: Under C(environment), where the replaced environment is kept.
  returned: always
  type: dict
  sample: {"environment": "/srv/blog-core/.venv.lastgood/previous-3fa94c1e"}
downtime_ms:
  description: Milliseconds that the switch took, when the module was a transaction of its own.
  returned: always
  type: int
  sample: 2
transaction:
  description: Id of the transaction.
  returned: always
  type: str
  sample: 20261123T143000Z-packages-7f3a
outcome:
  description: How it ended, when the module was a transaction of its own.
  returned: always
  type: str
  sample: rolled_back
"""

from ansible_collections.lastgood.rollback.plugins.module_utils._components.base import only
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages.component import Packages
from ansible_collections.lastgood.rollback.plugins.module_utils._components.packages.options import PACKAGES_OPTIONS
from ansible_collections.lastgood.rollback.plugins.module_utils._runners.component import run_component


def main() -> None:
    """Entry point."""
    run_component(only(Packages), PACKAGES_OPTIONS, "packages")


if __name__ == "__main__":
    main()
