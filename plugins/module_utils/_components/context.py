# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What the engine lends to a component, and hands it of a restore point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject


class Change(Protocol):
    """Opens a journalled step: ``with change("Rename blog", oid=16384):``.

    The intent, with the facts, is on disk before the block runs; ``done`` (or ``failed``, with the error) after it.
    """

    def __call__(self, what: str, **facts: Any) -> AbstractContextManager[None]:
        """See the class."""


@dataclass(frozen=True)
class Context:
    """What the engine lends to a component.

    :param transaction: the id, e.g. ``20261123T143000Z-blog-7f3a``. Side names are derived from it.
    :param workspace: a directory (0700, ours) for this component's evidence; it exists in prepare and later, and is
        kept as long as undo may be asked for. Never look for it in ``plan``: a plan changes nothing.
    :param run: starts programs; ``run.as_user(owner)`` for the owner of what is touched.
    :param change: journals a step; wrap every change of the live system, and every side object, in one.
    :param note: a line for the human log.
    :param secrets: e.g. ``{"login_password": …}`` or ``{"test_environment": {…}}``; stays in memory and must never
        reach a plan, a log or an argument.
    """

    transaction: str
    workspace: Path
    run: CommandRunner
    change: Change
    note: Callable[[str], None]
    secrets: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state_dir(self) -> Path:
        """The host's state directory; the workspace is ``<state dir>/transactions/<id>/workspace/<component>``."""
        return self.workspace.parents[3]


@dataclass(frozen=True)
class PointEntry:
    """A component's entry in a verified restore point.

    :param directory: where its artefacts lie; every file below it matched its checksum when the entry was handed out.
    :param facts: what `Component.capture` returned.
    :param point: the restore point's name.
    :param artefacts: relative path → SHA-256, to be compared again right before a tool opens a file.
    """

    point: str
    directory: Path
    facts: JsonObject
    artefacts: Mapping[str, str] = field(default_factory=dict)
