# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A copy of the live database, on which the project's own downgrade command works."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.accounts import user_by_uid
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import CommandFailed, VerificationFailed
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import require_checksum
from ansible_collections.lastgood.rollback.plugins.module_utils._base.masking import masked_output
from ansible_collections.lastgood.rollback.plugins.module_utils._base.processes import (
    MARKER,
    terminate_leftover_processes,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.progress import show_progress
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import content, schema_text
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.archive import give_to
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.layout import TABLES, table_name
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.migration_heads import (
    migration_head,
    named_version_tables,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.programs import MONEY
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session, sql
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import (
    SideNames,
    application_name,
)

from ..context import Context
from ..database.prepare import SideBuild
from ..database.restore_progress import restore_progress
from ..schema.diff import blocks, unlike
from ..schema.rows import relation
from ..schema.sequences import settle
from .guard import EVERY_S, Watch

#: In the workspace: the archive on its way from the live database to its copy.
COPY = "copy"
#: Fast rather than small: it is gone as soon as it has been read.
COMPRESSION = 1
#: Of a failed command's words.
MOST_LINES, MOST_CHARACTERS = 12, 2_000


def clear(context: Context, name: str) -> None:
    """Remove what a killed call for a database has left on this host: the command's processes, and the archive."""
    terminate_leftover_processes(SideNames.of(context.transaction, name).incoming, 0.0)
    shutil.rmtree(context.workspace / COPY, ignore_errors=True)


class MigrationsBuild(SideBuild):
    """Builds one side database from the live one and the project's downgrade command."""

    def copy(self, reading: Session, snapshot: str) -> None:
        """Bring everything over as one snapshot of the live database shows it.

        :param reading: a session in that database.
        """
        live, archive = self.facts["name"], self.context.workspace / COPY
        archive.mkdir(mode=0o700)
        give_to(archive, self.server.os_user())
        try:
            show_progress(f"Dumping database {live}")
            copying = self.context.change(f"Copy database {live} into database {self.name}")
            with copying, restore_progress(self.server, self.name, None) as meanwhile:
                self.programs.dump(live, archive, snapshot, self.facts["jobs"], compression=COMPRESSION)
                if not reading.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'public'"):
                    with self.server.connect(self.name) as session:
                        session.execute("DROP SCHEMA public", attempt=f"Removing schema public from {self.name}")
                label = f"a copy of database {live}"
                self.programs.restore(self.name, archive, self.facts["jobs"], label, meanwhile, settings=MONEY)
        finally:
            shutil.rmtree(archive, ignore_errors=True)

    def downgrade(self, watch: Watch) -> None:
        """Run the command, as its user; whatever it has started is ended with it.

        :raises VerificationFailed: when it fails or does not end in time, with its last words.
        :raises ReachedLiveDatabase: when it went to the live database.
        """
        wanted, environment = self.facts["command"], self._environment()
        argv = [self._expanded(word) for word in wanted["argv"]]
        attempt = f"Downgrading database {self.name} with {' '.join(argv)} in {wanted['chdir']}"
        run = self.context.run.as_user(user_by_uid(wanted["uid"])).with_env(environment)
        show_progress(attempt)
        with self.context.change(attempt):
            try:
                run.run_named(
                    argv,
                    attempt,
                    cwd=wanted["chdir"],
                    timeout=wanted["timeout"],
                    meanwhile=watch.check,
                    every=EVERY_S,
                )
            except CommandFailed as error:
                # Within the step: the journal must not get its words as they are.
                raise VerificationFailed(
                    f"{attempt} failed, it ended with {error.rc}: {_last_words(error, environment)}\nThe live database "
                    f"{self.facts['name']} was not touched. Try the command on a copy by hand, or use method: rebuild."
                ) from None
            finally:
                terminate_leftover_processes(self.name, 0.0)
                watch.end_all()

    def verify_downgrade(self, session: Session, sequences: Mapping[str, int | None]) -> JsonObject:
        """Look at what the command has left, and make the copy ready to be used.

        :param session: in the copy.
        :param sequences: where the live database's sequences stand.
        :raises VerificationFailed: when it is not the restore point's migration and schema.
        """
        heads = migration_head(session, self.facts.get("migration_tables"))
        label = self.facts["source"]["label"]
        if heads != self.facts["heads"]:
            raise VerificationFailed(
                f"The downgrade command ended without an error, and left database {self.name} at migration "
                f"{', '.join(heads) or 'none'} instead of {', '.join(self.facts['heads'])} of {label}. Did it go to another "
                "database, or not all the way? See migration_command and migration_environment."
            )
        differences = self._differences()
        session.show_views(shown=True)  # the server computes statistics with the owners' rights
        session.execute("ANALYZE", attempt=f"Gathering statistics of database {self.name}")
        settle(session, sequences, {})
        return {
            "schema": "different" if differences else "equal",
            "schema_differences": differences,
            "migration": heads,
        }

    def digest_of(self, database: str) -> str:
        """A database's schema as it is now, as a plan describes it."""
        return schema_text.schema_digest(self.programs, database, content.LOCK_WAIT_MS)

    def _differences(self) -> list[str]:
        """Tables whose columns came back in another order than at the restore point; all else has to be equal.

        :raises VerificationFailed: names what is not.
        """
        source = self.facts["source"]
        require_checksum(Path(source["schema_file"]), source["artefacts"]["schema.sql"], "Captured schema")
        with schema_text.open_schema(Path(source["schema_file"])) as captured:
            then = blocks(captured)
        with schema_text.open_schema(self.context.workspace / "incoming.sql", "w+") as written:
            schema_text.write_schema(self.programs, self.name, written)
            written.seek(0)
            wrong, reordered = unlike(then, blocks(written))
        if wrong:
            raise VerificationFailed(
                f"The downgrade command left database {self.name} with another schema than that of {source['label']}: "
                f"{'; '.join(wrong[:10])}{' …' if len(wrong) > 10 else ''}. Correct the downgrade, or use method: rebuild."
            )
        for difference in reordered:
            self.context.note(f"Schema of database {self.name} against the restore point: {difference}")
        return reordered

    def _expanded(self, text: str) -> str:
        """A word of the command or of its environment, with what is known of the copy in it."""
        heads = self.facts["heads"]
        known = {"database": self.name, "host": self.server.host, "port": str(self.server.port)}
        for name, value in {**known, **({"revision": heads[0]} if len(heads) == 1 else {})}.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def _environment(self) -> dict[str, str]:
        """How the command reaches the copy: libpq's variables, then what the task says."""
        given = self.context.secrets.get("migration_environment") or {}
        return {
            "PGHOST": self.server.host,
            "PGPORT": str(self.server.port),
            "PGDATABASE": self.name,
            **{str(name): self._expanded(str(value)) for name, value in given.items()},
            "PGAPPNAME": command_name(self.context.transaction),
            MARKER: self.name,
        }


def command_name(transaction: str) -> str:
    """What the command's sessions are called on the server, where its driver lets them be."""
    return f"{application_name(transaction)}-downgrade"


@dataclass(frozen=True)
class RowCounts:
    """The rows of a database's tables, their partitions' included: by OID, since a table may be renamed.

    :param versions: tables that say which schema there is; what they hold is no data of people's.
    """

    tables: Mapping[int, tuple[str, int]]
    versions: Collection[str]

    @classmethod
    def of(cls, session: Session, migration_tables: Mapping[str, str] | None) -> RowCounts:
        """Count them."""
        found = {}
        for table in session.rows(TABLES):
            query = sql.SQL("SELECT count(*) FROM {}").format(relation(table))
            rows = int(session.value(query, attempt=f"Counting table {table_name(table)}"))
            found[table["oid"]] = table_name(table), rows
        return cls(found, named_version_tables(session, migration_tables))

    @property
    def rows(self) -> dict[str, int]:
        """By name."""
        return dict(self.tables.values())

    def missing_in(self, after: RowCounts) -> dict[str, int]:
        """Table → rows that it has not any more, under whichever name; of one that was made anew by that."""
        found = {}
        for oid, (name, rows) in self.tables.items():
            _now, left = after.tables.get(oid, (name, after.rows.get(name, 0)))
            if left < rows and name not in self.versions:
                found[name] = rows - left
        return found


class StepTimes:
    """Milliseconds of the steps of one try, by name."""

    def __init__(self) -> None:
        self._spent: dict[str, int] = {}
        self._last = time.monotonic()

    def record(self, name: str) -> None:
        """The time since the last one."""
        now = time.monotonic()
        self._spent[name] = int((now - self._last) * 1000)
        self._last = now

    def to_json(self) -> dict[str, int]:
        """All of them, and their sum: how long writes will stand still."""
        return {**self._spent, "predicted_ms": sum(self._spent.values())}


def _last_words(error: CommandFailed, environment: Mapping[str, str]) -> str:
    output = "\n".join(filter(None, (error.stdout.strip(), error.stderr.strip()))) or "it said nothing"
    lines = masked_output("\n".join(output.splitlines()[-MOST_LINES:]), environment)
    return lines[-MOST_CHARACTERS:]
