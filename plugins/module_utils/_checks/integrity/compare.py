# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) A live database compared with what a restore point captured of it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.lastgood.rollback.plugins.module_utils._base.command import CommandRunner
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import ChecksumMismatch, Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.files import sha256_file
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import content
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import schema_text as schemas
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.programs import PgPrograms
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Server
from ansible_collections.lastgood.rollback.plugins.module_utils._restore_points.store import find_component

from .session import ERROR, CatalogueSession, Scope, full_name

CHECK = "comparison"


@dataclass(frozen=True)
class Captured:
    """What a restore point knows of a database.

    :param facts: as the component ``database`` captured them.
    :param schema_sha256: of the schema file.
    """

    point: str
    facts: JsonObject
    schema_file: Path
    schema_sha256: str


def open_captured(state_dir: Path, restore_point: str, database: str) -> Captured:
    """Read the manifest, which is small and has its own checksum; the dump is not needed to compare.

    :raises Refused: as `find_component` does.
    :raises ChecksumMismatch: when its manifest is not what was captured.
    """
    point, component = find_component(state_dir, restore_point, f"database:{database}")
    directory = point.directory / component.directory
    return Captured(
        point.manifest.name, component.facts, directory / "schema.sql", component.artefacts["schema.sql"].sha256
    )


def compare_rows(catalogue: CatalogueSession, scope: Scope, captured: Captured, wanted: Sequence[str]) -> None:
    """Count and hash each table, the small ones first, and compare; what is in one of both only is a finding as well."""
    then: JsonObject = captured.facts["tables"]
    keys = {content.table_key(table) for table in scope.filled}
    names = {full_name(name) for name in wanted}
    for key in sorted(set(then) - keys):
        if not names or key in names:
            catalogue.add_finding(
                CHECK, ERROR, key, f"The table is missing; {captured.point} has it", count=then[key]["rows"]
            )
    unknown = content.not_captured(captured.facts, scope.filled)
    for table in (table for table in scope.filled if content.table_key(table) not in unknown):
        _compare_table(catalogue, table, then.get(content.table_key(table)), captured.point)


def _compare_table(catalogue: CatalogueSession, table: JsonObject, then: JsonObject | None, point: str) -> None:
    key = content.table_key(table)
    now = catalogue.try_to(CHECK, key, lambda: content.hash_table(catalogue.session, table))
    if now is None:
        return
    catalogue.tables[key] = {**now, "equal": now == then}
    if then is None:
        catalogue.add_finding(CHECK, ERROR, key, f"The table is not of {point}", count=now["rows"])
    elif now["rows"] != then["rows"]:
        said = f"There are {now['rows']} rows instead of {then['rows']}"
        catalogue.add_finding(CHECK, ERROR, key, said, count=abs(now["rows"] - then["rows"]))
    elif now["hash"] != then["hash"]:
        catalogue.add_finding(CHECK, ERROR, key, f"There are as many rows as in {point}, with other content")


def compare_definitions(
    catalogue: CatalogueSession, captured: Captured, server: Server, bin_dir: str | None, name: str
) -> None:
    """Compare the schema, sequences, extensions and the migration; it is about the database as a whole."""
    own = captured.facts["inside"].get("migration_tables")
    inside = catalogue.try_to(CHECK, f"database {name}", lambda: content.read_inside(catalogue.session, own))
    if inside is not None:
        for said in content.compare_inside(captured.facts["inside"], inside):
            catalogue.add_finding(CHECK, ERROR, f"database {name}", said)
        # What older versions of this collection have captured knows of Alembic alone.
        comparable = own is not None or captured.facts["inside"]["migration"]
        if comparable and inside["migration"] != captured.facts["inside"]["migration"]:
            heads = [", ".join(facts["migration"]) or "none" for facts in (inside, captured.facts["inside"])]
            catalogue.add_finding(
                CHECK, ERROR, f"database {name}", f"The migration is {heads[0]} instead of {heads[1]}"
            )
    catalogue.try_to(CHECK, f"schema of {name}", lambda: _compare_schema(catalogue, captured, server, bin_dir, name))


def _compare_schema(
    catalogue: CatalogueSession, captured: Captured, server: Server, bin_dir: str | None, name: str
) -> None:
    try:
        programs = PgPrograms.find(CommandRunner(), server, catalogue.session.version // 10_000, bin_dir)
    except Refused as error:
        catalogue.skip(CHECK, f"schema of {name}", error.message)
        return
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape", newline="\n") as now:
        digest = schemas.write_schema(programs, name, now, timeout=max(catalogue.left_s, 1.0))
        if digest == captured.facts["schema"]:
            return
        if sha256_file(captured.schema_file) != captured.schema_sha256:
            raise ChecksumMismatch(f"{captured.schema_file} has another SHA-256 than when it was captured.")
        now.seek(0)
        with schemas.open_schema(captured.schema_file) as then:
            differences = schemas.compare_objects(schemas.objects(then), schemas.objects(now))
    descriptions = {"missing": "is missing", "added": "was not there", "changed": "is defined otherwise"}
    for kind, words in descriptions.items():
        for what in differences[kind]:
            catalogue.add_finding(CHECK, ERROR, what, f"Compared with {captured.point}, it {words}")
    if not any(differences.values()):
        catalogue.add_finding(CHECK, ERROR, f"schema of {name}", f"It is not the schema of {captured.point}")
