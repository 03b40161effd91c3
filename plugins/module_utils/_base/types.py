# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A name for the JSON values that cross the borders of this collection."""

from __future__ import annotations

from typing import Any

#: What a manifest, a journal line or a module result is made of.
JsonObject = dict[str, Any]
