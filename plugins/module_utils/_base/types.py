# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Names for the JSON values that cross the borders of this collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Union

#: What a manifest, a journal line or a module result is made of.
Json = Union[None, bool, int, float, str, Sequence[Any], Mapping[str, Any]]
JsonObject = dict[str, Any]
