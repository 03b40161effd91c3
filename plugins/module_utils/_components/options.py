# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What can be asked of a kind of component, the same for its own module and within a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ComponentOptions:
    """The options of a module that is about one kind of component, or about several ways to go back in one thing.

    :param argument_spec: as ``AnsibleModule`` takes it, without `COMMON_SPEC`.
    :param secrets: options that reach the component's context and nothing else.
    :param kind_option: the option that names the kind, for a module with several.
    :param constraints: ``required_if``, ``mutually_exclusive`` and so on.
    """

    argument_spec: Mapping[str, Any]
    secrets: tuple[str, ...] = ()
    kind_option: str = ""
    constraints: Mapping[str, Any] = field(default_factory=dict)
