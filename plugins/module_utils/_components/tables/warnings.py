# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What an operator should know before tables are rolled back: neighbours, views, subscribers, triggers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.user_code import EVENT_TRIGGERS

from .catalogue import MATVIEWS, PUBLICATIONS, SLEEPING_KEYS, TableTree

SHOWN = 8
#: A foreign key and its four triggers; a table with what it stores elsewhere.
LOCKS_OF_A_KEY, LOCKS_OF_A_TABLE = 5, 3
ROOM_FOR_LOCKS = """
SELECT current_setting('max_locks_per_transaction')::int
    * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int)
"""


def warnings_for(
    live: Session, trees: Sequence[TableTree], keys: Sequence[JsonObject], dependents: Sequence[TableTree]
) -> Iterator[str]:
    """Sentences for the plan.

    :param keys: the foreign keys from and to these tables.
    :param dependents: the tables that refer to them, directly or by way of others.
    """
    oids = [oid for tree in trees for oid in tree.oids]
    yield from _closure(trees, keys, dependents)
    yield from _locks(live, trees, keys)
    for view in live.rows(MATVIEWS, [oids]):
        what = "is refreshed" if view["owned"] else "is not ours and stays as it is: refresh it by hand"
        yield f"Materialized view {view['schema']}.{view['name']} {what}."
    names = [row["name"] for row in live.rows(PUBLICATIONS, [oids])]
    if names:
        yield f"Publications {_some(names)}: their subscribers get a TRUNCATE, and then every row again."
    names = [row["name"] for row in live.rows(EVENT_TRIGGERS)]
    if names:
        yield f"Event triggers {_some(names)} fire when foreign keys are taken off and put back."
    names = [f"{row['name']} of {row['relation']}" for row in live.rows(SLEEPING_KEYS, [oids, oids])]
    if names:
        yield f"Foreign keys {_some(names)} were disabled by a superuser; put back they are enforced."
    names = [
        f"{tree.key}.{column['name']}"
        for tree in trees
        for column in tree.columns
        if column["type"] in ("oid", "lo") or column["type"].endswith(".lo")
    ]
    if names:
        yield f"Large objects are not rolled back with tables; {_some(names)} may refer to some that are gone or newer."


def _locks(live: Session, trees: Sequence[TableTree], keys: Sequence[JsonObject]) -> Iterator[str]:
    """All are held at once. The server may have more room than it promises, so that this is no refusal."""
    tables = sum(LOCKS_OF_A_TABLE + int(part["indexes"]) for tree in trees for part in tree.parts)
    needed, room = tables + LOCKS_OF_A_KEY * len(keys), int(live.value(ROOM_FOR_LOCKS))
    if needed > room:
        yield (
            f"About {needed} locks are needed at once, and the server has room for about {room}: without a larger "
            "max_locks_per_transaction the switch may fail (out of shared memory), and change nothing."
        )


def _closure(trees: Sequence[TableTree], keys: Sequence[JsonObject], dependents: Sequence[TableTree]) -> Iterator[str]:
    known = {oid for tree in trees for oid in tree.oids}
    parents = [
        f"{key['parent_schema']}.{key['parent_name']}"
        for key in keys
        if key["child"] in known and key["parent"] not in known
    ]
    if dependents:
        names = [tree.key for tree in dependents]
        yield f"Not rolled back, but refers to these tables, directly or by way of others: {_some(names)}."
    if parents:
        yield f"Not rolled back, but referred to by these tables: {_some(sorted(set(parents)))}."


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:SHOWN])}{f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''}"
