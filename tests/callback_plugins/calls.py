# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For tests: writes down what a playbook did, one JSON line each, into the file named by LASTGOOD_TEST_CALLS."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: calls
type: notification
short_description: Module calls, failures and the artefacts of a playbook
description: Every call of a module on a host with its time, every failed task, and what set_stats left.
"""

_call_module = ActionBase._execute_module


def _write(**facts: Any) -> None:
    """Appended in one piece: the processes that work for the hosts write at the same time."""
    line = json.dumps(facts, default=str) + "\n"
    handle = os.open(os.environ["LASTGOOD_TEST_CALLS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def _counted(self: ActionBase, *words: Any, **options: Any) -> Any:
    """Where Ansible reaches a host, below every kind of task; results of tasks don't tell how many calls they took."""
    began = time.time()
    variables = options.get("task_vars") or {}
    try:
        return _call_module(self, *words, **options)
    finally:
        arguments = options.get("module_args") or self._task.args
        _write(
            kind="call",
            host=variables.get("inventory_hostname"),
            module=options.get("module_name") or self._task.action,
            state=arguments.get("state"),
            began=began,
            ended=time.time(),
        )


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """See DOCUMENTATION."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "calls"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **options)
        ActionBase._execute_module = _counted

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """A task begins on all hosts."""
        _write(kind="task", name=task.get_name(), at=time.time())

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task failed on a host."""
        _write(kind="failed", host=result.host.get_name(), task=result.task.get_name(), msg=result.result.get("msg"))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The playbook came to its end."""
        _write(kind="artefacts", data=stats.custom.get("_run", {}))
