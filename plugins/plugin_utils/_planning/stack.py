# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A catalogue read with what all kinds of components bring to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.plugin_utils._catalogue.catalogue import Stack, parse_catalogue

from .kinds.registry import PROJECT_KEYS


def read_stack(raw: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> Stack:
    """See `parse_catalogue`."""
    return parse_catalogue(raw, groups, PROJECT_KEYS)
