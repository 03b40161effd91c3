# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) From the options of ``restore_point`` to the components that are to be captured."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import (
    CAPTURE_OPTIONS,
    COMPONENTS,
    component_class,
)

from .capture import ComponentRequest
from .context import SECRETS, capture_context
from .manifest import CapturedComponent


def requests_from(params: Mapping[str, Any]) -> list[ComponentRequest]:
    """One request for each component that the options name."""
    return [
        _request(kind, options)
        for kind, option in CAPTURE_OPTIONS.items()
        if params[option]
        for options in component_class(kind).capture_options(params[option])
    ]


def delete_captured(component: CapturedComponent, needed: list[JsonObject]) -> None:
    """Delete what a component keeps outside of the store for a restore point that is deleted.

    :param needed: facts of the same component in the restore points that stay.
    """
    if component.kind not in COMPONENTS:
        return
    context = capture_context("removed", Path(os.devnull), [], {})
    # What it was kept for may be gone, with everything in it: then there is nothing to delete.
    with contextlib.suppress(LastGoodError, OSError):
        component_class(component.kind)(context).delete_captured(component.facts, needed)


def _request(kind: str, options: Mapping[str, Any]) -> ComponentRequest:
    return ComponentRequest(
        component=component_class(kind),
        options={name: value for name, value in options.items() if name not in SECRETS},
        passwords={name: options[name] for name in SECRETS if options.get(name)},
    )
