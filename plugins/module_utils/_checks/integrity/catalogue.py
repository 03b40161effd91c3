# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) What PostgreSQL's catalogue itself says is not in order: constraints, indexes, triggers, sequences."""

from __future__ import annotations

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql import sequences

from .session import ERROR, WARNING, CatalogueSession, Scope

ALL = "all tables"

# A partition's copy of its parent's constraint says nothing new. Columns that came with PostgreSQL 18 are read as JSON.
UNVALIDATED_CONSTRAINTS = """
SELECT o.conrelid::bigint AS table, o.conname AS name, t.typname AS domain, o.contype::text AS kind,
       coalesce((to_jsonb(o) ->> 'conenforced')::bool, true) AS enforced
FROM pg_constraint o LEFT JOIN pg_type t ON t.oid = o.contypid
WHERE o.conparentid = 0 AND o.contype <> 't'
  AND (NOT o.convalidated OR NOT coalesce((to_jsonb(o) ->> 'conenforced')::bool, true))
ORDER BY 1, 2
"""

# One that is being built right now is not a broken one.
BROKEN_INDEXES = """
SELECT i.indrelid::bigint AS table, n.nspname || '.' || c.relname AS index, i.indisvalid AS valid, i.indisready AS ready,
       i.indislive AS live, i.indisunique AS unique
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT (i.indisvalid AND i.indisready AND i.indislive)
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
ORDER BY 2
"""

DISABLED_TRIGGERS = """
SELECT t.tgrelid::bigint AS table, o.conrelid::bigint AS constrained, t.tgname AS trigger, o.conname AS constraint,
       t.tgisinternal AS internal
FROM pg_trigger t LEFT JOIN pg_constraint o ON o.oid = t.tgconstraint
WHERE t.tgenabled = 'D' OR (t.tgenabled = 'R' AND t.tgisinternal)
ORDER BY 1, 3
"""

KINDS = {"c": "check constraint", "f": "foreign key", "n": "not-null constraint"}


def unvalidated_constraints(catalogue: CatalogueSession, scope: Scope) -> None:
    """Constraints that the server does not vouch for: NOT VALID, or NOT ENFORCED."""
    for row in catalogue.rows("constraints", ALL, UNVALIDATED_CONSTRAINTS):
        if row["table"] not in scope.tables and not (scope.everything and row["domain"]):
            continue
        what = scope.tables.get(row["table"]) or f"domain {row['domain']}"
        kind = KINDS.get(row["kind"], "constraint")
        state = "was added NOT VALID and never validated" if row["enforced"] else "is not enforced"
        catalogue.add_finding("constraints", WARNING, f"{what} {row['name']}", f"The {kind} {state}")


def broken_indexes(catalogue: CatalogueSession, scope: Scope) -> None:
    """Indexes that queries don't use, or that are not kept up to date; a failed CREATE INDEX CONCURRENTLY leaves them."""
    for row in catalogue.rows("indexes", ALL, BROKEN_INDEXES):
        if row["table"] in scope.tables or row["table"] in scope.toasts:
            states = {"valid": row["valid"], "ready": row["ready"], "live": row["live"]}
            detail = f"The index is not {' and not '.join(word for word, is_true in states.items() if not is_true)}"
            if row["unique"]:
                detail += ": the uniqueness that it stands for is not guaranteed"
            catalogue.add_finding("indexes", ERROR, row["index"], f"{detail}. REINDEX or drop it")


def disabled_triggers(catalogue: CatalogueSession, scope: Scope) -> None:
    """Triggers that do not fire; those of a foreign key once, as what they are: a key that is not enforced."""
    reported = set()
    for row in catalogue.rows("triggers", ALL, DISABLED_TRIGGERS):
        table = row["constrained"] if row["internal"] and row["constraint"] else row["table"]
        name = row["constraint"] if row["internal"] else row["trigger"]
        if table not in scope.tables or (table, name) in reported:
            continue
        reported.add((table, name))
        if row["internal"]:
            detail = "The constraint is not enforced: its triggers are disabled (ALTER TABLE … ENABLE TRIGGER ALL)"
            catalogue.add_finding("triggers", ERROR, f"{scope.tables[table]} {name}", detail)
        else:
            catalogue.add_finding("triggers", WARNING, f"{scope.tables[table]} {name}", "The trigger is disabled")


def sequences_behind(catalogue: CatalogueSession, scope: Scope) -> None:
    """Sequences whose next value is in use already, so that an INSERT will fail, or make a duplicate."""
    for row in catalogue.rows("sequences", ALL, sequences.SEQUENCES):
        if row["table"] in scope.tables:
            _check_sequence(catalogue, row)


def _check_sequence(catalogue: CatalogueSession, row: JsonObject) -> None:
    key = f"{row['schema']}.{row['name']}"
    # The rows first: whoever inserts meanwhile has moved the sequence before.
    used = catalogue.rows("sequences", key, sequences.highest_in_use(row))
    now = catalogue.rows("sequences", key, sequences.sequence_state(row))
    if not used or not now or used[0]["value"] is None:
        return
    value, upcoming = int(used[0]["value"]), sequences.next_value(row, now[0])
    if sequences.is_behind(row, upcoming, value):
        where = f"{row['table_schema']}.{row['table_name']}.{row['column']}"
        detail = f"The next value is {upcoming}, but {where} has {value} already"
        catalogue.add_finding("sequences", ERROR, key, detail, count=abs(value - upcoming) + 1)
