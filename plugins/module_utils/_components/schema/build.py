# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A database with the restore point's schema and the present rows, built as a side database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import VerificationFailed
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import require_checksum
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import owner_code
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.archive import give_to
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.foreign_keys import without_parent
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.layout import table_name
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session, sql
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import name_tag

from ..database.prepare import SideBuild
from .kept_rows import ORPHANS, REASON, KeptRows
from .load import Loaded, load
from .map import KEPT
from .rows import texts
from .sequences import settle
from .staged import STAGE, remember_values


class SchemaBuild(SideBuild):
    """Builds one side database from a plan's facts and a map (see `make_map`)."""

    def restore_definitions(self, mapped: JsonObject) -> None:
        """Everything that needs no present row: types, tables and functions; rows and values that only the restore
        point has. Constraints, indexes and triggers come after the rows.
        """
        label = self.facts["source"]["label"]
        begun = self.context.change(f"Restore the tables of {label}, empty, into database {self.name}")
        with begun, self._definitions() as archive:
            self._run_pg_restore(archive, only=["--section=pre-data"])
        with self.server.connect(self.name) as session:
            code = owner_code.tables_with_code(session)
            owner_code.require_accepted(session, self.server, code, self.facts.get("accept", ()), owner_code.NO_LOGIN)
            if not self.facts["expected"]["inside"]["public_schema"]:
                session.execute("DROP SCHEMA public", attempt=f"Removing schema public from database {self.name}")
            session.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(STAGE)))
            _empty_large_objects(session)
            joined = [move for move in mapped["moves"] if move["back"] and move["key"]]
            wanted = [*(move["old"] for move in joined), *mapped["returning"]]
            if wanted:
                self._restore_rows(wanted)
            for move in joined:
                remember_values(session, move)

    def copy_rows(self, live: str, mapped: JsonObject, snapshot: str, staged: set[str]) -> Loaded:
        """Bring the present rows over, as one snapshot of the live database shows them.

        :param staged: tables that did not go straight when it was tried.
        """
        begun = time.monotonic()
        kept = KeptRows(KEPT + name_tag(self.context.transaction, self.facts["name"]))
        with self.context.change(f"Copy the rows of database {live} into database {self.name}"):
            loaded = load(
                self.context, self.server, (live, self.name), (mapped, snapshot, staged), kept, self.facts["jobs"]
            )
            with self.server.connect(self.name) as session:
                for table in mapped["returning"]:
                    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table["schema"], table["name"]))
                    loaded.rows[table_name(table)] = int(session.value(query))
                keep_orphans(session, mapped, kept, loaded.rows)
        spent = time.monotonic() - begun
        loaded.copy_ms = int(spent * 1000)
        self.context.note(f"Copied the rows of database {live}: {sum(loaded.rows.values()) / spent:,.0f} rows a second")
        return loaded

    def complete(self, sequences: Callable[[], Mapping[str, int | None]]) -> JsonObject:
        """Add constraints, indexes and triggers, gather statistics, set the sequences, and compare the schemas.

        :param sequences: reads where the live database's sequences stand.
        :raises VerificationFailed: when the schema is not the restore point's.
        """
        label, expected = self.facts["source"]["label"], self.facts["expected"]
        begun = time.monotonic()
        adding = self.context.change(f"Add the constraints and indexes of {label} to database {self.name}")
        with adding, self._definitions() as archive:
            self._run_pg_restore(archive, only=["--section=post-data"])
        with self.server.connect(self.name) as session:
            session.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(STAGE)))
            session.show_views(shown=True)  # the server computes statistics with the owners' rights
            session.execute("ANALYZE", attempt=f"Gathering statistics of database {self.name}")
            settle(session, sequences(), expected["inside"]["sequences"])
        wrong = self._compare_schema(expected)
        if wrong:
            raise VerificationFailed(
                f"Database {self.name}, built from {label}, has another schema: {'; '.join(wrong[:10])}"
                f"{' …' if len(wrong) > 10 else ''}."
            )
        return {
            "schema": "different" if self.differences else "equal",
            "schema_differences": self.differences,
            "complete_ms": int((time.monotonic() - begun) * 1000),
        }

    @contextmanager
    def _definitions(self) -> Iterator[Path]:
        """The archive for its definitions only, which stand in one file; that one's checksum is compared."""
        source, user = self.facts["source"], self.server.os_user()
        path = Path(source["path"])
        give_to(path, user)
        require_checksum(path / "toc.dat", source["artefacts"][f"{path.name}/toc.dat"], f"Archive {path}")
        yield path

    def _restore_rows(self, tables: list[JsonObject]) -> None:
        """Restore the rows of some tables of the restore point, and of nothing else."""
        entries, label = self.context.workspace / "entries", self.facts["source"]["label"]
        wanted = {f" TABLE DATA {' '.join(leaf)}" for table in tables for leaf in table["leaves"] or []}
        begun = self.context.change(f"Restore rows of {len(tables)} tables of {label} into database {self.name}")
        with begun, self._archive() as archive:
            listed = [line for line in self.programs.archive_entries(archive) if line.endswith(tuple(wanted))]
            entries.write_text("".join(f"{line}\n" for line in listed), encoding="utf-8")
            give_to(entries, self.server.os_user())
            self._run_pg_restore(archive, only=["--data-only"], listed=entries)


def _empty_large_objects(session: Session) -> None:
    """The archive's definitions name those of the restore point; the present ones come with the rows."""
    session.execute("SELECT lo_unlink(oid) FROM pg_largeobject_metadata", attempt="Removing empty large objects")


def keep_orphans(session: Session, mapped: JsonObject, kept: KeptRows, rows: dict[str, int]) -> None:
    """Move rows without a parent to what is kept, until there are none.

    Looked at are keys that the live database does not promise, and those whose parents have lost rows on the way.

    :param rows: table → rows that came over; lowered by those that are set aside.
    """
    tables = {(table["schema"], table["name"]): table for table in _tables(mapped)}
    # Between tables of an extension keys are the extension's business.
    keys = [key for key in mapped["keys"] if _root(key, "child") in tables]
    unchecked = [key for key in keys if not key["proven"] or _parent_lost(key, tables, kept)]
    while unchecked:
        shrunk = set()
        for key in unchecked:
            child = _root(key, "child")
            count = _move_orphans(session, key, tables[child], kept)
            if count:
                rows[f"{child[0]}.{child[1]}"] = rows.get(f"{child[0]}.{child[1]}", 0) - count
                shrunk.add(child)
        unchecked = [key for key in keys if _root(key, "parent") in shrunk]


def _tables(mapped: JsonObject) -> list[JsonObject]:
    return [*(move["old"] for move in mapped["moves"]), *mapped["returning"]]


def _root(key: JsonObject, side: str) -> tuple[str, str]:
    """The table that the layout knows: a partition may have keys of its own."""
    schema, name = key[f"{side}_root"]
    return schema, name


def _parent_lost(key: JsonObject, tables: Mapping[tuple[str, str], JsonObject], kept: KeptRows) -> bool:
    parent = tables.get(_root(key, "parent"))
    return parent is None or kept.lost_rows(parent)


def _move_orphans(session: Session, key: JsonObject, child: JsonObject, kept: KeptRows) -> int:
    """One key's rows without a parent."""
    attempt = f"Looking for rows without a parent for {key['name']} of {child['schema']}.{child['name']}"
    orphaned_rows = without_parent(key)
    # Counted and not just looked for: hoping for an early one, without an index or statistics yet, the server would compare
    # every row with every other one.
    if not session.value(sql.SQL("SELECT count(*) {}").format(orphaned_rows), attempt=attempt):
        return 0
    columns = [column["name"] for column in child["columns"]]
    place = kept.place(session, child, ORPHANS, [REASON, *columns])
    reason = f"{key['name']}: no such row in {key['parent_schema']}.{key['parent_name']}"
    statement = sql.SQL(
        "WITH gone AS (DELETE {} RETURNING {}), aside AS (INSERT INTO {} SELECT {}, * FROM gone RETURNING 1)"
        " SELECT count(*) FROM aside"
    ).format(orphaned_rows, texts(columns), place, sql.Literal(reason))
    count = int(session.value(statement, attempt=attempt))
    kept.add(child, ORPHANS, count, reason)
    return count
