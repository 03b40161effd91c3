# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Rows from one session to another, streamed: nothing is held but what stands in a pipe."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError, VerificationFailed

from .session import COPY_BYTES, Session, sql


class _Feeder(threading.Thread):
    """Reads rows from one session into a pipe; what went wrong is kept for whoever reads the other end."""

    def __init__(self, source: Session, query: Any, handle: int, attempt: str) -> None:
        super().__init__(daemon=True)
        self.source, self.query, self.handle, self.attempt = source, query, handle, attempt
        self.rows = 0
        self.error: LastGoodError | OSError | None = None

    def run(self) -> None:
        """See `threading.Thread.run`."""
        try:
            with os.fdopen(self.handle, "wb", COPY_BYTES) as stream:
                self.rows = self.source.copy(self.query, stream, self.attempt)
        except (LastGoodError, OSError) as error:
            self.error = error


def stream_rows(source: Session, query: Any, target: Session, into: Any, attempt: str) -> int:
    """Copy the rows of a query into a table of another session; their number.

    :param query: ``COPY … TO STDOUT``.
    :param into: ``COPY … FROM STDIN``. What it wrote must not be kept when this raises: a source that fails looks like
        the end of its rows.
    :raises DatabaseError: when one of the two fails.
    :raises VerificationFailed: when not as many rows arrived as were sent.
    """
    reading, writing = os.pipe()
    feeder = _Feeder(source, query, writing, attempt)
    feeder.start()
    try:
        with os.fdopen(reading, "rb", COPY_BYTES) as stream:
            rows = target.copy(into, stream, attempt)
    finally:
        feeder.join()
    if feeder.error is not None:
        raise feeder.error
    if rows != feeder.rows:
        raise VerificationFailed(f"{attempt}: {rows} rows arrived of {feeder.rows}.")
    return rows


def copy_out(source: Any, columns: Sequence[str]) -> Any:
    """``COPY … TO STDOUT`` of these columns."""
    return sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(column_list(columns), source)


def copy_in(table: Any, columns: Sequence[str]) -> Any:
    """``COPY … FROM STDIN`` of these columns: explicit ones, because their order may differ."""
    named = sql.SQL("({})").format(column_list(columns)) if columns else sql.SQL("")
    return sql.SQL("COPY {} {} FROM STDIN").format(table, named)


def column_list(names: Sequence[str]) -> Any:
    """Names in SQL, with commas between."""
    return sql.SQL(", ").join([sql.Identifier(name) for name in names])
