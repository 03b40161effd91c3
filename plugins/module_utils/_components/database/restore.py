# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Filling a side database from an archive, with nobody's code run by anybody else.

First all definitions, which run no code. Then it is looked which tables call code of their owners when rows come in. The
rows of these, and checks that were made apart, go through sessions that are logged in as their owners; all else is left to
pg_restore, as many tables at a time as it may take.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import write_atomic
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import owner_code
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.archive import give_to
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.plain_script import (
    dump_statements,
    send_script,
)
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.programs import PgPrograms
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Server, Session
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.sql_script import SqlScript

from ..context import Context

DEFINITIONS, ROWS, REST = "--section=pre-data", "--section=data", "--section=post-data"
#: ``4021; 0 16423 TABLE DATA public post keeper``
CHECK = "CHECK CONSTRAINT"
ROLES = (
    "SELECT rolname AS name FROM pg_roles WHERE NOT rolsuper AND rolname <> session_user ORDER BY length(rolname) DESC"
)
ENTRY = re.compile(r"\d+; \d+ \d+ (TABLE DATA|CHECK CONSTRAINT) (.*)")


@dataclass(frozen=True)
class ArchiveRestore:
    """One restore of an archive into an empty database.

    :param facts: of the plan.
    :param restore: lets pg_restore fill the database, from all of the archive or from the parts that are named.
    :param meanwhile: called about every second.
    """

    context: Context
    server: Server
    programs: PgPrograms
    facts: JsonObject
    archive: Path
    database: str
    restore: Callable[..., None]
    meanwhile: Callable[[], None]

    def run(self) -> None:
        """All of it.

        :raises Refused: when code would run with other rights than its owner's, and that was not accepted.
        """
        accepted = self.facts.get("accept", ())
        self.restore(only=[DEFINITIONS])
        lines = self.programs.archive_entries(self.archive)
        with self.server.connect(self.database) as session:
            found = self._tables_with_code(session, lines)
            by_owner = [] if owner_code.ACCEPT in accepted else found
            unreached = owner_code.without_login(self.server, by_owner)
            owner_code.require_accepted(session, self.server, unreached, accepted, owner_code.login_advice(unreached))
            roles = [row["name"] for row in session.rows(ROLES)]
        owned = {line: owner for line in lines if (owner := _owner(line, by_owner, roles))}
        if not by_owner:
            self.restore(only=[ROWS, REST])
            return
        rest = [line for line in lines if line not in owned]
        self.restore(only=[ROWS], listed=self._listed(rest))
        for owner in sorted(set(owned.values())):
            self._restore_as([line for line in lines if owned.get(line) == owner], owner)
        self.restore(only=[REST], listed=self._listed(rest))

    def _tables_with_code(self, session: Session, lines: Sequence[str]) -> list[owner_code.Code]:
        """The tables with code, checks included that the archive adds after the rows: tried while there is no row yet."""
        label = self.facts["source"]["label"]
        checks = [line for line in lines if (match := ENTRY.match(line)) and match[1] == CHECK]
        session.execute("BEGIN")
        if checks:
            with self._script(checks) as script:
                for statement in dump_statements(SqlScript(script, label)):
                    session.execute(statement.text, attempt=f"Trying the checks of {label}")
        session.execute("SET LOCAL search_path = pg_catalog")
        found = owner_code.tables_with_code(session)
        session.execute("ROLLBACK")
        return found

    def _restore_as(self, lines: Sequence[str], owner: str) -> None:
        """Send what pg_restore makes of these entries through a session of their owner."""
        label, written = self.facts["source"]["label"], (self.facts["expected"] or {}).get("settings")
        self.context.note(f"Bringing {len(lines)} parts of {label} into database {self.database} as {owner}")
        with self._script(lines) as script:
            send_script(self.server.logged_in_as(owner), self.database, script, label, self.meanwhile, written)

    @contextmanager
    def _script(self, lines: Sequence[str]) -> Iterator[IO[bytes]]:
        """What pg_restore makes of entries."""
        with tempfile.TemporaryFile(dir=self.context.workspace) as script:
            self.programs.archive_script(self.archive, self._listed(lines), script)
            script.seek(0)
            yield script

    def _listed(self, lines: Sequence[str]) -> Path:
        listed = self.context.workspace / "entries"
        write_atomic(listed, "".join(f"{line}\n" for line in lines).encode())
        give_to(listed, self.programs.run.user)
        return listed


def _owner(line: str, by_owner: Sequence[owner_code.Code], roles: Sequence[str]) -> str | None:
    """The role that an entry has to be brought by; None where that may be ours.

    :param by_owner: the tables with code: their rows, and if there are any, all checks that were made apart.
    :param roles: those that may be owners and are no superusers, the longest names first.
    """
    match = ENTRY.match(line)
    if match is None or not by_owner:
        return None
    if match[1] == CHECK:
        return next((role for role in roles if match[2].endswith(f" {role}")), None)
    return next((code.owner for code in by_owner if f"{match[2]} ".startswith(f"{code.schema} {code.name} ")), None)
