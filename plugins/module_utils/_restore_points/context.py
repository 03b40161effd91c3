# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What a component gets that is captured, or only inspected: nothing to journal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import Context

#: Options that reach the component's context only.
SECRETS = ("login_password",)


def capture_context(name: str, workspace: Path, notes: list[str], passwords: Mapping[str, str]) -> Context:
    """What a component needs while nothing of the live system changes, and so nothing is journalled.

    :param name: of the restore point.
    :param notes: takes what the component says.
    """
    return Context(
        transaction=f"restore-point-{name}",
        workspace=workspace,
        run=CommandRunner(),
        change=_unjournalled,
        note=notes.append,
        secrets=passwords,
    )


@contextmanager
def _unjournalled(what: str, **facts: Any) -> Iterator[None]:
    yield
