# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Whether a database is whole: all checks in order, the quick ones first, within a given time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import DatabaseError, Server

from .catalogue import broken_indexes, disabled_triggers, sequences_behind, unvalidated_constraints
from .compare import Captured, compare_definitions, compare_rows
from .pages import pages
from .rows import count_rows, orphans, violations
from .session import ERROR, CatalogueSession, ConnectionLost, Scope, choose_tables

#: In the order in which they are made.
CHECKS = ("indexes", "triggers", "sequences", "constraints", "orphans", "rows", "comparison", "pages")


@dataclass(frozen=True)
class CheckRequest:
    """What is asked for.

    :param name: the database.
    :param tables: only these; empty for all.
    :param checks: some of `CHECKS`.
    :param timeout_s: for everything together.
    :param captured: what to compare with, or None.
    :param bin_dir: where pg_dump is, if it is not found.
    """

    name: str
    tables: tuple[str, ...]
    checks: tuple[str, ...]
    timeout_s: float
    captured: Captured | None
    bin_dir: str | None


def inspect(server: Server, request: CheckRequest) -> JsonObject:
    """Run the checks. A database that can't be reached is a finding like any other.

    :return: ``healthy``, ``complete``, ``findings``, ``not_checked``, ``tables`` and ``ms``.
    :raises Refused: when psycopg2 is missing, or a table that is named does not exist.
    """
    began = time.monotonic()
    try:
        with server.connect(request.name) as session:
            catalogue = CatalogueSession(session, request.timeout_s - (time.monotonic() - began))
            _run_checks(catalogue, server, request)
    except DatabaseError as error:
        return _result([_unreachable(request, error.message)], _all_skipped(request, request.checks), {}, began)
    return _result(catalogue.findings, catalogue.not_checked, catalogue.tables, began)


def _run_checks(catalogue: CatalogueSession, server: Server, request: CheckRequest) -> None:
    captured_tables = request.captured.facts["tables"] if request.captured else {}
    scope = choose_tables(catalogue, request.tables, captured_tables)
    selected = [check for check in CHECKS if check in request.checks]
    for index, check in enumerate(selected):
        try:
            _run_check(check, catalogue, scope, server, request)
        except ConnectionLost as error:
            catalogue.findings.append(
                _unreachable(request, f"The connection was lost in the check {check}: {error.message}")
            )
            catalogue.not_checked += _all_skipped(request, selected[index:])
            return


def _run_check(check: str, catalogue: CatalogueSession, scope: Scope, server: Server, request: CheckRequest) -> None:
    functions: dict[str, tuple[Callable[[CatalogueSession, Scope], None], ...]] = {
        "indexes": (broken_indexes,),
        "triggers": (disabled_triggers,),
        "sequences": (sequences_behind,),
        "constraints": (unvalidated_constraints, violations),
        "orphans": (orphans,),
        "pages": (pages,),
    }
    comparing = request.captured is not None and "comparison" in request.checks
    for check_function in functions.get(check, ()):
        check_function(catalogue, scope)
    if check == "rows" and not comparing:
        count_rows(catalogue, scope)
    if check == "comparison" and request.captured is not None:
        if scope.everything:
            compare_definitions(catalogue, request.captured, server, request.bin_dir, request.name)
        compare_rows(catalogue, scope, request.captured, request.tables)


def _unreachable(request: CheckRequest, message: str) -> JsonObject:
    return {"check": "connection", "severity": ERROR, "object": f"database {request.name}", "detail": message}


def _all_skipped(request: CheckRequest, checks: tuple[str, ...] | list[str]) -> list[JsonObject]:
    reason = "there is no connection"
    return [{"check": check, "object": f"database {request.name}", "reason": reason} for check in checks]


def _result(findings: list[JsonObject], not_checked: list[JsonObject], tables: JsonObject, began: float) -> JsonObject:
    return {
        "healthy": not any(finding["severity"] == ERROR for finding in findings),
        "complete": not not_checked,
        "findings": findings,
        "not_checked": not_checked,
        "tables": dict(sorted(tables.items())),
        "ms": round((time.monotonic() - began) * 1000),
    }
