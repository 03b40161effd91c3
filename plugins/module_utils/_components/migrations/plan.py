# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Planning a schema's rollback by the project's own downgrade command: what is refused before it is ever run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import User, acting_as, me, user_by_name
from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import DEFAULT_PATH
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.loaded import owner_along, require_command
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import catalogue

from ..context import Context, PointEntry
from ..plan import Plan
from ..schema.diff import unlike
from ..schema.plan import SchemaPlanner, make_schema_plan

DEFAULT_TIMEOUT_S = 600
GROWS_WITH = (
    "the whole database, and what the downgrade does: writes stand still while it is copied and the command works on the "
    "copy, readers go on. This is the copy alone; prepare measures both"
)
#: How the words of a rebuild are called here: nothing is kept beside the data, and nothing comes from the restore point.
DISCARDED = {
    "kept_tables": "downgraded_tables",
    "kept_columns": "downgraded_columns",
    "changed_types": "downgraded_types",
    "returning_tables": "remade_tables",
    "returning_columns": "remade_columns",
    "unknown_columns": "remade_columns",
}


def make_migrations_plan(context: Context, options: Mapping[str, Any], point: PointEntry | None) -> Plan:
    """Look at both schemas and at the command, refuse what can't work. Runs nothing and changes nothing.

    :raises Refused: see the sentences.
    """
    return make_schema_plan(context, options, point, MigrationsPlanner)


class MigrationsPlanner(SchemaPlanner):
    """The plan of a schema's rollback, with the project's own command in place of the restore point's definitions."""

    def plan(self, name: str) -> Plan:
        """Put everything together."""
        heads: list[str] = self.source.facts.get("inside", {}).get("migration") or []
        environment = self.context.secrets.get("migration_environment") or {}
        command = planned_command(self.options, heads, environment, f"{self.source.label} of database {name}")
        plan = super().plan(name)
        return replace(
            plan,
            kind="migrations",
            facts={**plan.facts, "command": command, "heads": heads},
            downtime={**plan.downtime, "grows_with": GROWS_WITH},
        )

    def _properties(self, name: str, live: catalogue.DatabaseRow | None) -> JsonObject:
        """The live database's own, all of them: it is what is copied."""
        properties = super()._properties(name, live)
        if live is None:
            return properties
        now = catalogue.read_properties(self.session, name)
        return {**properties, **{key: now[key] for key in catalogue.CONTENT_PROPERTIES}}

    def _discards(self, name: str, inside: JsonObject | None) -> tuple[JsonObject, bool]:
        """What the downgrade has to drop, or to make again; and whether there is nothing to downgrade.

        :raises Refused: when the live database's migration is not known, or is the restore point's and the schema is not.
        """
        rebuilt, _equal = super()._discards(name, inside)
        discards: JsonObject = {word: [] for word in DISCARDED.values()}
        for word, names in rebuilt.items():
            if word in DISCARDED:
                discards[DISCARDED[word]] += names
        heads = inside["migration"] if inside else []
        if not heads:
            raise Refused(
                f"Database {name} has no migration in a table of a known migration tool, so there is nothing to downgrade from: "
                "name it with migration_tables, or use method: rebuild."
            )
        if heads != self.source.facts["inside"]["migration"]:
            return discards, False
        wrong, _reordered = unlike(*self.found["both"])
        if wrong:
            raise Refused(
                f"Database {name} is at migration {', '.join(heads)} already, that of {self.source.label}, but its schema is "
                f"another: {'; '.join(wrong[:5])}{' …' if len(wrong) > 5 else ''}. No downgrade can change that: use "
                "method: rebuild."
            )
        return discards, True

    def _size(self) -> int:
        """The copy, and the archive that it is made from."""
        return 2 * super()._size()


def planned_command(
    options: Mapping[str, Any], heads: Sequence[str], environment: Mapping[str, Any], label: str
) -> JsonObject:
    """What is to be run, as whom and where; nothing of it is run.

    :raises Refused: names what is missing.
    """
    argv = [str(word) for word in options.get("migration_command") or []]
    if not argv or not options.get("migration_chdir"):
        lacks = "migration_command" if not argv else "migration_chdir"
        raise Refused(
            f"method: migrations of database {options['name']} runs the project's own downgrade command, and {lacks} is not given"
            ": name the command as a list, such as [.venv/bin/alembic, downgrade, '{revision}'], and the directory of the "
            f"checkout (in a catalogue as command and chdir of rollback_databases.{options['name']}.migrations)."
        )
    if not heads:
        raise Refused(
            f"{label} has no migration in a table of a known migration tool, so it is not known how far to downgrade: name it "
            "with migration_tables, use method: rebuild, or another restore point."
        )
    if len(heads) > 1 and any("{revision}" in word for word in argv):
        raise Refused(
            f"{label} has {len(heads)} migration heads ({', '.join(heads)}), and '{{revision}}' stands for one: name a command "
            "that goes back to all of them, or use method: rebuild."
        )
    chdir = Path(str(options["migration_chdir"]))
    if not chdir.is_absolute() or not chdir.is_dir():
        raise Refused(
            f"migration_chdir {chdir} is not the absolute path of a directory on this host: the project's checkout has to be on "
            "the host that acts on the database. Deploy it there, or use method: rebuild."
        )
    user = _user(options, chdir)
    _require_program(argv[0], chdir, user, str(environment.get("PATH") or os.environ.get("PATH") or DEFAULT_PATH))
    require_command(argv, chdir, user.uid)
    timeout = int(options.get("migration_timeout") or DEFAULT_TIMEOUT_S)
    if timeout < 1:
        raise Refused(f"migration_timeout must be at least one second, not {timeout}.")
    return {"argv": argv, "chdir": str(chdir), "uid": user.uid, "timeout": timeout}


def _user(options: Mapping[str, Any], chdir: Path) -> User:
    named = options.get("migration_user")
    user = user_by_name(str(named)) if named else owner_along(chdir)
    if os.geteuid() not in (0, user.uid):
        raise Refused(
            f"The downgrade command in {chdir} is to be run as {user.name}, and this runs as {me().name}: become root or "
            f"{user.name}, or say migration_user: {me().name}."
        )
    return user


def _require_program(program: str, chdir: Path, user: User, path: str) -> None:
    with acting_as(user):
        if "/" in program:
            found = os.access(chdir / program, os.X_OK, effective_ids=True) and (chdir / program).is_file()
        else:
            found = shutil.which(program, path=path) is not None
    if not found:
        hint = " The command must be a list: [program, argument, …]." if " " in program else ""
        raise Refused(
            f"The downgrade command's program {program!r} can't be run by {user.name} in {chdir}: it is not there, or may not "
            f"be executed.{hint} Correct migration_command, or install it."
        )
