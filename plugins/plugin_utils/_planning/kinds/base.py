# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What the controller has to know of a kind of component; one file here says it for each. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.catalogue import Project
from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.fields import Kind as Field


def as_it_comes(subject: str, value: Any) -> Iterator[str]:
    """The words for what no kind has words for."""
    entries = value if isinstance(value, (list, tuple)) else [value] if value else []
    for entry in entries:
        yield f"{subject}: {entry}"


@dataclass(frozen=True)
class Discard:
    """How one subject of ``discards`` of a component's plan is put into words.

    :param shape: the types of its value.
    :param lines: from the subject and its value to one line a commit, table, package or file.
    :param rank: what is lower is listed before, whatever order a journal has given it.
    """

    shape: Any
    lines: Callable[[str, Any], Iterator[str]] = as_it_comes
    rank: int = 9


class Kind:
    """What is so of every kind.

    The order of display and in plans is that of the registry.
    """

    #: The word for it, in ``rollback_components`` and in the keys of components.
    name: ClassVar[str]
    #: What its section of a report is called, before the component's name.
    title: ClassVar[str]
    #: Whether ``rollback_components`` may name it; else it is how one that may is carried out.
    can_be_chosen: ClassVar[bool] = True
    #: Whether ``all`` has it.
    in_all: ClassVar[bool] = True
    #: Whether an undo is impossible when nothing is kept of what was replaced.
    undo_needs_kept: ClassVar[bool] = True
    #: What its plans discard, by subject; of what is missing here the words are the value as it comes.
    discards: ClassVar[Mapping[str, Discard]] = {}
    #: What it counts of what it keeps, in words.
    counts: ClassVar[Mapping[str, str]] = {}


class DatabaseKind(Kind):
    """A way to go back in a database; one at a time is asked for."""

    #: Whether it goes back in every database of the stack, and so in the schema; else in tables, which are named.
    in_every_database: ClassVar[bool] = True


class ProjectKind(Kind, ABC):
    """A part of a project."""

    #: What the catalogue has of it in a project: keys, and what their values must be.
    keys: ClassVar[Mapping[str, Field]] = {}
    #: Whether it has to fit the schema of a database that stays as it is.
    fits_schema: ClassVar[bool] = False
    #: The option of ``restore_point`` that it is captured by; empty for a kind that is not captured.
    capture_option: ClassVar[str] = ""

    @abstractmethod
    def value(self, project: Project) -> Any:
        """What the plan of a host has of a project under the kind's name."""

    #: The same for a project of which the kind is not asked for.
    nothing: ClassVar[Any] = None

    def entry(self, project: Project) -> str | None:
        """The name of the entry of a restore point that it needs to go back; None for none."""
        return None

    def captured(self, projects: Sequence[Project]) -> list[Any]:
        """What the option of ``restore_point`` is given for the projects of a host."""
        return []
