# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) This host's own record of the databases that its transactions have retained.

Anybody who may make databases can give one a name and a comment as ours have them. So neither says whose a database is:
it is one of ours if everything that was written down here before it was renamed agrees with what is there now.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base import files
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.catalogue import DatabaseRow, timeline
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.side_names import Mark, name_tag

from ..context import Context
from ..plan import Plan

#: Below the state directory.
DIRECTORY = "databases"
#: In the workspace: the OID of the side database.
INCOMING_FILE = "incoming.json"
#: A database is made with a connection limit in this range, in the same statement, and by that is known until its OID is
#: written down: a limit can't be guessed, and is as good as none.
LEAST_LIMIT, LIMITS = 2**30, 2**30


def new_identity() -> dict[str, object]:
    """Facts of a plan by which the databases that it makes and retains are known."""
    return {"mark": secrets.token_hex(16), "birth_limit": LEAST_LIMIT + secrets.randbelow(LIMITS)}


def note_oid(context: Context, oid: int) -> None:
    """Write down the OID of the side database that was made just now."""
    files.write_atomic(context.workspace / INCOMING_FILE, files.dump_json({"oid": oid}))


def noted_oid(context: Context) -> int | None:
    """What `note_oid` wrote last."""
    noted = read_json(context.workspace / INCOMING_FILE)
    return int(noted["oid"]) if noted else None


def is_side_of(context: Context, plan: Plan, database: DatabaseRow, role: str) -> bool:
    """Whether a database under a name of this transaction is the one that this transaction has made.

    Killed between its creation and the note of its OID, it still has the limit that it was made with.
    """
    if database.oid == noted_oid(context):
        return True
    if "birth_limit" in plan.facts:
        return bool(database.limit == plan.facts["birth_limit"])
    mark = database.mark  # planned by version 0.1.0 before it kept these facts
    return database.comment is None or (mark is not None and mark.lastgood == context.transaction and mark.role == role)


def read_json(path: Path) -> JsonObject | None:
    """A JSON object from the workspace; None when it was never written."""
    try:
        value: JsonObject = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return value


@dataclass(frozen=True)
class Record:
    """What was written down of one database before it was retained.

    :param transaction: the one that retains it.
    :param role: ``previous``, ``rejected`` or ``tables``.
    :param of: the live database's name.
    :param name: the name that it is retained under.
    :param mark: the random id in its comment.
    :param timeline: the cluster's; another one means that the cluster was restored or promoted since.
    :param at: server time, in seconds since 1970.
    """

    transaction: str
    role: str
    of: str
    name: str
    system: str
    timeline: int
    oid: int
    owner: str
    mark: str
    at: float

    def is_of(self, database: DatabaseRow) -> bool:
        """Whether this is the database, by everything that is known."""
        if database.mark is None:
            return False
        mark = database.mark
        found = [database.oid, database.name, database.owner, mark.id, mark.role]
        return bool(found == [self.oid, self.name, self.owner, self.mark, self.role])


def remember(context: Context, session: Session, plan: Plan, database: DatabaseRow, name: str, mark: Mark) -> None:
    """Write down, durably, that a database is about to be retained under a name, with a mark."""
    record = Record(
        transaction=context.transaction,
        role=mark.role,
        of=plan.name,
        name=name,
        system=str(plan.facts["system"]),
        timeline=timeline(session),
        oid=database.oid,
        owner=database.owner,
        mark=mark.id,
        at=mark.at,
    )
    directory = context.state_dir / DIRECTORY
    files.ensure_private_directory(directory)
    files.write_atomic(
        directory / f"{name_tag(context.transaction, plan.name)}-{mark.role}.json", files.dump_json(asdict(record))
    )


def records_of(context: Context, plan: Plan) -> list[tuple[Path, Record]]:
    """Everything that is written down for a plan's database in its cluster; what can't be understood is named."""
    found = []
    for path in sorted((context.state_dir / DIRECTORY).glob("*.json")):
        record = _read(path)
        if record is None:
            context.note(f"{path} can't be understood: it is passed over, and the database that it is of stays")
        elif (record.of, record.system) == (plan.name, plan.facts["system"]):
            found.append((path, record))
    return found


def forget(path: Path) -> None:
    """Remove a record: its database is gone."""
    path.unlink(missing_ok=True)
    files.fsync_directory(path.parent)


def _read(path: Path) -> Record | None:
    kinds: dict[str, Any] = {"oid": int, "timeline": int, "at": (int, float)}
    try:
        raw = json.loads(path.read_bytes())
        values = {each.name: raw[each.name] for each in fields(Record)}
    except (KeyError, TypeError, ValueError):
        return None
    return Record(**values) if all(isinstance(values[name], kinds.get(name, str)) for name in values) else None
