#!/usr/bin/python
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that projects really work, and tell; never fail for a check that does."""

from __future__ import annotations

DOCUMENTATION = r"""
module: health_info
short_description: Run health checks of projects and return each result
version_added: 0.1.0
description:
  - Asks health endpoints, looks at services, imports modules in a project's environment and runs its critical tests, all
    projects of a host in one call. A check that fails is a result with C(ok=false), not a failed task.
  - It changes nothing, as far as the commands that it is given change nothing.
extends_documentation_fragment:
  - lastgood.rollback.attributes.read_only
  - lastgood.rollback.attributes
options:
  projects:
    description: The projects to check.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What to call it in the results.
        type: str
        required: true
      path:
        description: The checkout. Commands run in it, as its owner.
        type: path
        required: true
      python:
        description: The interpreter that stands for C(python) as the first word of a command, and that imports.
        type: path
      http:
        description: Endpoints, each with C(url), the C(status) it must answer (200) and a text that it C(contains).
        type: list
        elements: dict
        default: []
        suboptions:
          url:
            description: The address.
            type: str
            required: true
          status:
            description: The status that it must answer.
            type: int
            default: 200
          contains:
            description: A text that the answer must contain.
            type: str
      imports:
        description: Modules that must import.
        type: list
        elements: str
        default: []
      services:
        description: Services that must run and be ready, each as M(lastgood.rollback.service_restart) takes them.
        type: list
        elements: dict
        default: []
      commands:
        description:
          - Commands that must end with 0, each a list of arguments. They run as whom the project's directory belongs to.
          - A command is refused where others than that account and root could change its program, a script among its
            arguments, or the directory.
          - What of the arguments is secret by its name is shown nowhere.
        type: list
        elements: list
        default: []
  timeout:
    description: Seconds that each single check may take.
    type: int
    default: 60
seealso:
  - module: lastgood.rollback.service_restart
"""

EXAMPLES = r"""
- name: Check a project
  lastgood.rollback.health_info:
    projects:
      - name: blog-core
        path: /srv/blog-core
        python: /srv/blog-core/.venv/bin/python
        http:
          - url: http://127.0.0.1:5000/api/health
            contains: '"status": "ok"'
        imports: [flask]
        commands:
          - [python, -m, unittest, discover, tests/critical]
  register: health
"""

RETURN = r"""
healthy:
  description: True when every check held.
  returned: always
  type: bool
  sample: true
checks:
  description: The results, in the order of the projects.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Project and check.
      returned: always
      type: str
      sample: "blog-core: http://127.0.0.1:5000/api/health"
    ok:
      description: Whether it held.
      returned: always
      type: bool
      sample: true
    detail:
      description: What was found.
      returned: always
      type: str
      sample: "200"
    ms:
      description: How long it took, in milliseconds.
      returned: always
      type: int
      sample: 12
"""

from ansible_collections.lastgood.rollback.plugins.module_utils._runners.health import run_health_info


def main() -> None:
    """Entry point."""
    run_health_info(
        argument_spec={
            "projects": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "path": {"type": "path", "required": True},
                    "python": {"type": "path"},
                    "http": {
                        "type": "list",
                        "elements": "dict",
                        "default": [],
                        "options": {
                            "url": {"type": "str", "required": True},
                            "status": {"type": "int", "default": 200},
                            "contains": {"type": "str"},
                        },
                    },
                    "imports": {"type": "list", "elements": "str", "default": []},
                    "services": {"type": "list", "elements": "dict", "default": [], "no_log": True},
                    "commands": {"type": "list", "elements": "list", "default": [], "no_log": True},
                },
            },
            "timeout": {"type": "int", "default": 60},
        },
    )


if __name__ == "__main__":
    main()
