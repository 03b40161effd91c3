# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Which of a checkout's paths a rollback is about: all of them for a reset, some for the other modes."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused

RESET, REVERT, PATHS = "reset", "revert", "paths"


class Selection:
    """Paths, and all that lies below those that are directories.

    :param read: reads the paths when they are first needed; None for all paths.
    """

    def __init__(self, read: Callable[[], Iterable[str]] | None = None) -> None:
        self._read = read

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return self._read is None

    def covers(self, path: str) -> bool:
        """Whether a path, as git lists it, belongs to the selection."""
        if self.is_all or "." in self._paths:
            return True
        while path:
            if path in self._paths:
                return True
            path = path.rpartition("/")[0]
        return False

    @cached_property
    def _paths(self) -> frozenset[str]:
        return frozenset(self._read() if self._read is not None else ())


ALL = Selection()


def selected_paths(top: Path, wanted: Sequence[str]) -> list[str]:
    """What an operator wrote, relative to the top.

    :raises Refused: for a path that lies elsewhere, or in git's own directory.
    """
    found = []
    for path in wanted:
        inner = posixpath.normpath(posixpath.relpath(path, top) if path.startswith("/") else path)
        if not path or inner.split("/")[0] in ("..", ".git"):
            raise Refused(f"{path!r} is no path of a file in {top}: name files or directories relative to it.")
        found.append(inner)
    return sorted(set(found))
