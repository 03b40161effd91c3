# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) How long writes will stand still, told from a sample of the live rows: they are copied into temporary tables with
the same indexes, which are gone at once. Prepare measures it with all of them.
"""

from __future__ import annotations

import json
import os
import time

from ansible_collections.lastgood.rollback.plugins.module_utils._components._own_code import runs_own_code
from ansible_collections.lastgood.rollback.plugins.module_utils._components._schema_rows import names, relation
from ansible_collections.lastgood.rollback.plugins.module_utils._errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._postgres import Server, Session, sql
from ansible_collections.lastgood.rollback.plugins.module_utils._tools.pg_copy import copy_in, stream_rows
from ansible_collections.lastgood.rollback.plugins.module_utils._types import JsonObject

#: Locks, definitions and their comparison, the switch; and what each table takes by itself.
FIXED_S, TABLE_S = 1.5, 0.015
SAMPLE_ROWS, MEASURE_S = 20_000, 5.0
#: Smaller tables are taken to be like the measured ones.
WORTH = 0.02
#: Where nothing could be measured: seconds for a megabyte with its indexes.
PER_MEGABYTE_S = 0.02
#: A table whose rows may not fit is laid out as text first.
STAGED = 2.5
#: A row's own head and its place in the page.
HEAD_BYTES = 28


def predict_ms(server: Server, database: str, session: Session, mapped: JsonObject, jobs: int) -> int:
    """Milliseconds from the first lock to the switch. Changes nothing."""
    moves = mapped["moves"]
    sizes = {move["from"]: _bytes(session, move["live"]) for move in moves}
    total, deadline = sum(sizes.values()), time.monotonic() + MEASURE_S
    spent: dict[str, float] = {}
    for move in sorted(moves, key=lambda move: -sizes[move["from"]]):
        if sizes[move["from"]] > WORTH * total and time.monotonic() < deadline:
            measured = _measure(server, database, session, move, sizes[move["from"]])
            if measured is not None:
                spent[move["from"]] = measured
    known = sum(sizes[name] for name in spent)
    rate = sum(spent.values()) / known if known else PER_MEGABYTE_S / 1e6
    each = [spent.get(move["from"], sizes[move["from"]] * rate) * (STAGED if move["staged"] else 1.0) for move in moves]
    # A copy keeps two processors busy, one that reads and one that writes.
    side_by_side = min(jobs, max(1, (os.cpu_count() or 2) // 2)) if server.is_local else min(jobs, 2)
    longest = max(each, default=0.0)
    return int((FIXED_S + TABLE_S * len(moves) + max(sum(each) / side_by_side, longest)) * 1000)


def _bytes(session: Session, table: JsonObject) -> int:
    """How large a table is now; what was known of it where somebody has locked it."""
    query = (
        "SELECT coalesce(sum(pg_relation_size(format('%%I.%%I', p.schema, p.name)::regclass)), 0)::bigint FROM (SELECT"
    )
    query += " leaf ->> 0 AS schema, leaf ->> 1 AS name FROM jsonb_array_elements(%s::jsonb) leaf) p"
    try:
        session.execute("SET lock_timeout = 1000")
        return int(session.value(query, [json.dumps(table["leaves"] or [])]))
    except LastGoodError:
        return int(table["bytes"])


def _measure(server: Server, database: str, live: Session, move: JsonObject, size: int) -> float | None:
    """Seconds for all rows of one table, from some of them; None when it can't be told."""
    table = move["live"]
    columns = [column["name"] for column in table["columns"] if not column["generated"]]
    some = sql.SQL("SELECT {} FROM {} LIMIT {}").format(names(columns), relation(table), sql.Literal(SAMPLE_ROWS))
    whole = sql.SQL("SELECT avg(pg_column_size(t.*))::float8 FROM (SELECT * FROM {} LIMIT 1000) t").format(
        relation(table)
    )
    scratch_name = sql.Identifier("pg_temp", "lastgood_sample")
    try:
        if runs_own_code(live, table["schema"], table["name"]):
            return None
        width = float(live.value(whole) or 0) + HEAD_BYTES
        with server.connect(database) as scratch:
            scratch.execute("BEGIN")
            like = sql.SQL("CREATE TEMP TABLE {} (LIKE {} INCLUDING ALL)")
            scratch.execute(like.format(scratch_name, sql.Identifier(table["schema"], table["name"])))
            begun = time.monotonic()
            out = sql.SQL("COPY ({}) TO STDOUT").format(some)
            rows = stream_rows(live, out, scratch, copy_in(scratch_name, columns), f"Sampling {move['from']}")
            spent = time.monotonic() - begun
    except LastGoodError:
        return None
    return spent / rows * size / width if rows else None
