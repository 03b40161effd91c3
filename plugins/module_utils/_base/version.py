# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The version of this collection, for what outlives a release: manifests."""

from __future__ import annotations

#: The same as in galaxy.yml.
COLLECTION_VERSION = "0.1.0"
