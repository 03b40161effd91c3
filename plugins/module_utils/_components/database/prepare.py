# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Building a side database, and verifying it there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import VerificationFailed
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import (
    dump_json,
    require_checksum,
    write_atomic,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import catalogue, content, schema_text
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.archive import (
    verified_source,
    verify_point_archive,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.plain_script import restore_script
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.programs import PgPrograms
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Server, Session
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import INCOMING, Mark, SideNames

from ..context import Context
from .records import note_oid
from .restore import ArchiveRestore
from .restore_progress import restore_progress

#: In the workspace: what the tables held when they were prepared, to know later what was written since.
TABLES_FILE = "tables.json"


class SideBuild:
    """Builds one side database from a plan's facts."""

    def __init__(self, context: Context, server: Server, programs: PgPrograms, facts: JsonObject) -> None:
        self.context = context
        self.server = server
        self.programs = programs
        self.facts = facts
        self.name = SideNames.of(context.transaction, facts["name"]).incoming
        self.differences: list[str] = []

    def create(self, session: Session) -> None:
        """Make the empty database with its mark, and note its OID."""
        limit = self.facts.get("birth_limit", catalogue.NO_LIMIT)
        statement = catalogue.create_statement(self.name, self.facts["properties"], session.version, limit)
        with self.context.change(f"Create database {self.name} from template0", of=self.facts["old_oid"]):
            session.execute(statement, attempt=f"Creating database {self.name}")
            oid = int(session.value("SELECT oid::bigint FROM pg_database WHERE datname = %s", [self.name]))
            note_oid(self.context, oid)
            self.mark(session, ready=False)

    def restore(self) -> int:
        """Restore the archive, verified right before; milliseconds."""
        source = self.facts["source"]
        begun = time.monotonic()
        change = self.context.change(f"Restore {source['label']} into database {self.name}")
        progress = restore_progress(self.server, self.name, self.facts["expected"])
        with change, self._archive() as archive, progress as meanwhile:
            if source["form"] == "plain":
                self._run_script(archive, meanwhile)
            else:
                restore = partial(self._run_pg_restore, archive, meanwhile)
                into = (archive, self.name, restore, meanwhile)
                ArchiveRestore(self.context, self.server, self.programs, self.facts, *into).run()
        return int((time.monotonic() - begun) * 1000)

    def _run_script(self, script: Path, meanwhile: Callable[[], None]) -> None:
        """Plain SQL: with the rights of the database's owner and no more, where that was possible when it was planned."""
        role = self.facts.get("restore_as")
        server = self.server.logged_in_as(role) if role else self.server
        run = self.context.run.as_user(self.server.os_user())
        restore_script(server, self.name, script, run, self.facts["source"]["label"], meanwhile)

    def verify(self) -> JsonObject:
        """Gather statistics, compare everything that is known with what was captured.

        :raises VerificationFailed: lists what does not hold.
        """
        expected: JsonObject | None = self.facts["expected"]
        with self.server.connect(self.name) as session:
            if expected and not expected["inside"]["public_schema"]:
                session.execute("DROP SCHEMA public", attempt=f"Removing schema public from database {self.name}")
            session.show_views(shown=True)  # the server computes statistics with the owners' rights
            session.execute("ANALYZE", attempt=f"Gathering statistics of database {self.name}")
            session.show_views(shown=False)
            begun = time.monotonic()
            inside = content.read_inside(session)
            tables = content.hash_tables(session)
            unknown = content.not_captured(expected or {}, content.read_tables(session))
        write_atomic(self.context.workspace / TABLES_FILE, dump_json(tables))
        wrong = [f"{kind} {key} is not valid" for key, kind in inside["invalid"].items()] if not expected else []
        if expected:
            known = {key: table for key, table in tables.items() if key not in unknown}
            wrong = content.compare_tables(expected["tables"], known) + content.compare_inside(
                expected["inside"], inside
            )
            wrong += self._compare_schema(expected)
        spent = int((time.monotonic() - begun) * 1000)
        if wrong:
            raise VerificationFailed(
                f"Database {self.name}, restored from {self.facts['source']['label']}, is not what was captured: "
                f"{'; '.join(wrong[:10])}{' …' if len(wrong) > 10 else ''}."
            )
        return {
            "content": "equal" if expected else "unknown",
            "schema": "unknown" if not expected else "different" if self.differences else "equal",
            "schema_differences": self.differences,
            "tables": len(tables),
            "rows": sum(table["rows"] for table in tables.values()),
            "sequences": len(inside["sequences"]),
            "extensions": sorted(inside["extensions"]),
            "large_objects": inside["large_objects"],
            "check_ms": spent,
        }

    def apply_properties(self, session: Session) -> list[str]:
        """Give it the live database's owner, grants, settings, labels and limit, and compare.

        :return: sentences on what our role may not set.
        :raises VerificationFailed: when the properties are not as planned.
        """
        wanted = self.facts["properties"]
        with self.context.change(f"Set grants and settings of database {self.name}"):
            left = catalogue.replay_properties(session, self.name, wanted)
        found = catalogue.read_properties(session, self.name)
        if left:
            # They are reported one by one; all else has to be as planned.
            found.update({key: wanted[key] for key in ("settings", "labels")})
        differences = catalogue.compare_properties(wanted, found)
        if differences:
            raise VerificationFailed(f"Database {self.name}: {'; '.join(differences)}.")
        return left

    def extension_differences(self, session: Session) -> list[str]:
        """Sentences on extensions whose version is not the one of the restore point: a dump does not name it."""
        then = self.facts["expected"]["inside"]["extensions"]
        found = session.rows("SELECT extname AS name, extversion AS version FROM pg_extension ORDER BY 1")
        return [
            f"extension {row['name']}: version {row['version']} instead of {then[row['name']]}"
            for row in found
            if row["name"] in then and then[row["name"]] != row["version"]
        ]

    def mark(self, session: Session, *, ready: bool) -> Mark:
        """Say whose it is, and whether it is built to the end. A crash of the server must not take that back."""
        session.execute("SET synchronous_commit = on")
        mark = self._mark(ready)
        session.execute(catalogue.comment_statement(self.name, mark.text()))
        return mark

    def _mark(self, ready: bool) -> Mark:
        facts = self.facts
        name, of, comment = facts["name"], facts["old_oid"], facts["comment"]
        return Mark(self.context.transaction, INCOMING, name, of, ready, comment, id=facts.get("mark", ""))

    def _run_pg_restore(self, archive: Path, meanwhile: Callable[[], None] | None = None, **parts: Any) -> None:
        """Let pg_restore read the source's archive, or the ``parts`` that `PgPrograms.restore` knows.

        What was captured is read with the settings that it was written with.
        """
        written = (self.facts["expected"] or {}).get("settings")
        label = self.facts["source"]["label"]
        self.programs.restore(self.name, archive, self.facts["jobs"], label, meanwhile, settings=written, **parts)

    @contextmanager
    def _archive(self) -> Iterator[Path]:
        """The archive, its checksums compared just now, within reach of pg_restore's account."""
        source, user = self.facts["source"], self.server.os_user()
        path = Path(source["path"])
        if source["artefacts"]:
            verify_point_archive(path, source["artefacts"], user)
            yield path
            return
        with verified_source(path, source["checksum"], user, self.context.workspace / "source") as verified:
            yield verified

    def _compare_schema(self, expected: JsonObject) -> list[str]:
        """What the restored schema lacks or has too much; other texts for the same object are reported only.

        PostgreSQL may write an expression in another, equal way after it was restored, and every statement of the
        archive has succeeded by now.
        """
        with schema_text.open_schema(self.context.workspace / "incoming.sql", "w+") as restored:
            if schema_text.write_schema(self.programs, self.name, restored) == expected["schema"]:
                return []
            restored.seek(0)
            found = schema_text.objects(restored)
        source = self.facts["source"]
        require_checksum(Path(source["schema_file"]), source["artefacts"]["schema.sql"], "Captured schema")
        with schema_text.open_schema(Path(source["schema_file"])) as captured:
            compared = schema_text.compare_objects(schema_text.objects(captured), found)
        self.differences = [f"{kind}: {key}" for kind, keys in compared.items() for key in keys]
        for difference in self.differences:
            self.context.note(f"Schema of database {self.name} against the restore point: {difference}")
        if expected["server_version"] // 10_000 != self.facts["server_version"] // 10_000:
            return []
        return [f"{kind} in the schema: {key}" for kind in ("missing", "added") for key in compared[kind]]
