# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The schemas of databases as they are now, to be compared with those of restore points."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._components.database.fingerprint import (
    fingerprint_database,
)

from .context import SECRETS, capture_context


def live_schemas(databases: Sequence[Mapping[str, Any]]) -> JsonObject:
    """Database → ``schema_fingerprint`` and ``migration_head`` of what is live, as a restore point has them.

    :raises LastGoodError: when one can't be reached.
    """
    found: JsonObject = {}
    for options in databases:
        passwords = {name: options[name] for name in SECRETS if options.get(name)}
        context = capture_context("look", Path(os.devnull), [], passwords)
        fingerprint = fingerprint_database(context, {name: options[name] for name in options if name not in SECRETS})
        found[options["name"]] = {
            "schema_fingerprint": fingerprint["schema"],
            "migration_head": fingerprint["migration"],
        }
    return found
