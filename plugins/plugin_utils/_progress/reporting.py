# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The action of every module that may take long: the module as it is, and meanwhile what it is doing.

See docs/decisions for why the module is neither changed nor called in another way for that. Each module has an action of
its own, and neither a redirect nor a link: for those, ``module_defaults`` of a group, linters and the documentation take all
of these modules for one.
"""

from __future__ import annotations

import copy
import secrets
import shlex
from contextlib import nullcontext
from typing import Any

from ansible import constants
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.utils.display import Display
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import PREFIX, VARIABLE
from ansible_collections.lastgood.rollback.plugins.plugin_utils._planning.commands import completed

from .watch import watched

#: Connections that start a program of their own for each command, so that two commands can be under way at once.
_CONNECTIONS = ("local", "ssh")
_DIRECTORY = "/tmp"  # noqa: S108 - see `read_command`; and the module refuses a name that exists


def read_command(path: str) -> str:
    """A command that prints the module's file, and nothing that somebody else has put there.

    The name stands in the environment of the module's command line, so that others on the host may see it, and be first. What
    is the account's own, a file without another name, and closed to others, only the module can have made.
    """
    own = '-maxdepth 0 -type f -links 1 -perm 600 -user "$(id -u)"'
    return f"find {shlex.quote(path)} {own} -exec cat '{{}}' ';' 2>/dev/null"


class ReportingAction(NormalAction):  # type: ignore[misc]
    """Runs the module of the task, and prints what it is doing once that takes more than a few seconds."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result is the module's own."""
        watch: Any = nullcontext()
        if self._can_be_watched():
            path = f"{_DIRECTORY}/{PREFIX}{secrets.token_hex(16)}"
            self._task.environment = [*(self._task.environment or []), {VARIABLE: path}]
            host, reader, display = (task_vars or {}).get("inventory_hostname", ""), self._reader(), Display()

            def read() -> str:
                # With something to send, no terminal is asked for, as with pipelining.
                printed = reader._low_level_execute_command(read_command(path), in_data=b"\n")
                return str(printed["stdout"])

            def show(line: str) -> None:
                display.display(f"running: [{host}] {line}", color=constants.COLOR_SKIP)

            watch = watched(read, show)
        with watch:
            result: dict[str, Any] = super().run(tmp, task_vars)
        if isinstance(result.get("msg"), str):  # only here it is known what a command has to be typed with
            result["msg"] = completed(result["msg"])
        return result

    def _can_be_watched(self) -> bool:
        hidden = self._task.no_log or self._task.async_val
        return not hidden and self._connection.transport.rpartition(".")[2] in _CONNECTIONS

    def _reader(self) -> ReportingAction:
        """This action with a connection of its own: two threads must not share what one remembers of a command."""
        reader = copy.copy(self)
        reader._connection = copy.copy(self._connection)
        if reader._connection.become:
            reader._connection.set_become_plugin(copy.copy(reader._connection.become))
        return reader
