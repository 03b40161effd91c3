#!/usr/bin/python
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop, start and restart services in the order of what they require, and wait until they are ready."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_restart
short_description: Stop, start or restart services in dependency order, and wait until they are ready
version_added: 0.1.0
description:
  - Stops services before what they require, and starts them after it. Those that do not depend on each other go at the
    same time.
  - A start is over when the service answers as O(services[].ready) says, from the process that was started, and has then
    gone on running for its soak time without a restart. A crash loop is recognised at the second crash, and the
    service's last lines are in the message. A port that a stopped service's process still holds is a failure.
  - With O(transaction), a stop writes down which services ran, and a start leaves those alone that were down on purpose.
  - A service that is missing or masked, a circle of requirements, or a manager that can't be reached is refused before
    anything is stopped.
options:
  services:
    description: The services.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name of the unit (C(.service) may be left out) or of supervisor's program, as C(group:program) where the two
            differ.
        type: str
        required: true
      manager:
        description:
          - What manages it. V(process) is one that nothing manages and that is known by its O(services[].pid_file) alone.
        type: str
        choices: [systemd, supervisor, process]
        default: systemd
      scope:
        description: Whether the unit is the system's or a user's. Only for V(systemd).
        type: str
        choices: [system, user]
        default: system
      user:
        description:
          - The account whose systemd runs a unit of scope V(user), or which a V(process) has and its O(services[].command)
            runs as. By default the one that the task runs as.
        type: str
      config:
        description:
          - Configuration file of supervisor, where the way to it is read. By default C(/etc/supervisor/supervisord.conf)
            or C(/etc/supervisord.conf).
        type: path
      pid_file:
        description:
          - Absolute path of the file in which the process writes its number. Only for V(process), which needs it.
          - A process counts only if it started before the file was written, and has the account O(services[].user). A file
            that names another user's process which started later is stale. Where only one of both is wrong, it is
            refused before anything is stopped.
          - So is a file that others than root and O(services[].user) can change.
        type: path
      command:
        description:
          - Program and arguments that start the process, put it into the background and end with 0. Only for V(process),
            which needs it. It sees a clean environment; what more it needs can be given with C(env NAME=value).
          - It is refused where others than root and O(services[].user) could change the program, or O(services[].chdir).
        type: list
        elements: str
        default: []
      chdir:
        description: Working directory of O(services[].command). Only for V(process). By default the root directory.
        type: path
      log:
        description: Log file of the process, whose last lines are told when it fails. Only for V(process).
        type: path
      requires:
        description:
          - Names of services in the list that start before this one and stop after it. A name that is not in the list is
            refused, unless the module is a part of a O(transaction), which orders the others.
        type: list
        elements: str
        default: []
      ready:
        description:
          - What must hold before it counts as ready; all that is set must. Without it, its manager's word.
        type: dict
        suboptions:
          http:
            description:
              - URL that must answer 200, or a dictionary of C(url), C(status) and C(contains). Redirects are not followed.
            type: raw
          tcp:
            description: C(host:port) that must accept connections.
            type: str
          command:
            description: Program and arguments that must end with 0.
            type: list
            elements: str
          notify:
            description: The unit tells systemd itself (C(Type=notify)), so that systemd's word is enough.
            type: bool
            default: false
      timeout:
        description: Seconds from the order to start until it must be ready.
        type: float
        default: 60
      stop_timeout:
        description: Seconds from the order to stop until it is killed.
        type: float
        default: 90
      soak:
        description: Seconds that it must go on running unchanged after it was ready. All services soak together, at the end.
        type: float
        default: 1
  state:
    description: What to do. V(restarted) stops all of them before the first is started.
    type: str
    choices: [stopped, started, restarted]
    default: restarted
extends_documentation_fragment:
  - lastgood.rollback.attributes
  - lastgood.rollback.transaction
attributes:
  idempotent:
    support: partial
    details: V(restarted) restarts every time.
seealso:
  - module: lastgood.rollback.transaction
"""

EXAMPLES = r"""
- name: Restart core and what depends on it
  lastgood.rollback.service_restart:
    services:
      - name: blog-core
        ready:
          http: http://127.0.0.1:5000/api/health
      - name: blog-planning
        requires: [blog-core]
        ready:
          http:
            url: http://127.0.0.1:5001/api/health
            contains: '"status":"ok"'
        soak: 5

- name: Restart a process that nothing manages
  lastgood.rollback.service_restart:
    services:
      - name: blog-structuring
        manager: process
        user: blog
        pid_file: /srv/blog-structuring/run/gunicorn.pid
        command: [.venv/bin/gunicorn, --daemon, --pid, run/gunicorn.pid, "app:app"]
        chdir: /srv/blog-structuring
        ready:
          tcp: 127.0.0.1:8000

- name: Stop a program under supervisor, as part of a larger rollback
  lastgood.rollback.service_restart:
    services:
      - name: blog-core
        manager: supervisor
        config: /etc/supervisor/supervisord.conf
    state: stopped
    transaction: 20261123T143000Z-blog-7f3a
"""

RETURN = r"""
services:
  description: What happened to each service, in the order given.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
    manager:
      description: Its manager.
      type: str
    ran_before:
      description: Whether it was meant to run before it was first stopped.
      type: bool
    stopped_at:
      description: When it was told to stop, in seconds since the epoch. Null when it was down.
      type: float
    ready_at:
      description: When it was ready, in seconds since the epoch. Null when it was not started, or is no more ready than before.
      type: float
    pid:
      description: Its main process. Null when it was not started.
      type: int
    waited_ms:
      description: Milliseconds from the order to start until it was ready.
      type: int
  sample:
    - name: blog-core
      manager: systemd
      ran_before: true
      stopped_at: 1795444200.1
      ready_at: 1795444202.4
      pid: 4711
      waited_ms: 850
downtime_ms:
  description: Milliseconds from the first stop to the last service being ready, when both happened in this call.
  returned: always
  type: int
  sample: 2300
"""

from ansible_collections.lastgood.rollback.plugins.module_utils._runners.services import run_services

READY = {
    "http": {"type": "raw"},
    "tcp": {"type": "str"},
    "command": {"type": "list", "elements": "str", "no_log": True},
    "notify": {"type": "bool", "default": False},
}
SERVICE = {
    "name": {"type": "str", "required": True},
    "manager": {"type": "str", "choices": ["systemd", "supervisor", "process"], "default": "systemd"},
    "scope": {"type": "str", "choices": ["system", "user"], "default": "system"},
    "user": {"type": "str"},
    "config": {"type": "path"},
    "pid_file": {"type": "path"},
    "command": {"type": "list", "elements": "str", "default": [], "no_log": True},
    "chdir": {"type": "path"},
    "log": {"type": "path"},
    "requires": {"type": "list", "elements": "str", "default": []},
    "ready": {"type": "dict", "options": READY},
    "timeout": {"type": "float", "default": 60},
    "stop_timeout": {"type": "float", "default": 90},
    "soak": {"type": "float", "default": 1},
}


def main() -> None:
    """Entry point."""
    run_services(
        argument_spec={
            "services": {"type": "list", "elements": "dict", "required": True, "options": SERVICE},
            "state": {"type": "str", "choices": ["stopped", "started", "restarted"], "default": "restarted"},
        }
    )


if __name__ == "__main__":
    main()
