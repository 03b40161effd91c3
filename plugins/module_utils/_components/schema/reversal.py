# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) The reversal of a schema's rollback: the database as it was is retained whole, as after any switch."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject

from ..database.records import read_json
from ..database.reversal import DatabaseReversal
from ..database.state import DatabaseState
from ..plan import Plan
from .component import LOADED_FILE
from .written import written_later


class SchemaReversal(DatabaseReversal):
    """See `DatabaseReversal`; what was written since is known by the ages of rows."""

    kind = "schema"

    def _written_after(self, current: DatabaseState, then: Plan, workspace: Path, warnings: list[str]) -> JsonObject:
        loaded = read_json(workspace / LOADED_FILE)
        if loaded is None:
            warnings.append(f"What was written to {then.name} since is not counted: it is not known what was there.")
            return {}
        found = written_later(self.context, current.server, then.name, loaded)
        if "unknown" in found:
            warnings.append(f"Tables of {then.name} could not be compared: {found['unknown']}")
            return {}
        counted = {name: row for name, row in found.items() if isinstance(row, dict)}
        return {"written": counted, "not_compared": sorted(set(found) - set(counted))}


class MigrationsReversal(SchemaReversal):
    """The same after a downgrade."""

    kind = "migrations"
