# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain SQL is cut where psql would cut it, and what psql would obey is refused."""

from __future__ import annotations

import io
import tracemalloc

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.sql_script import SqlScript

ONE_STATEMENT = [
    "SELECT 'a;b';",
    "SELECT 'it''s; ' || $$;$$ || $x$ $$ ; $y$ $x$;",
    'SELECT 1 AS "a;""b";',
    "SELECT E'\\'; --' -- a comment; with 'quotes\n, 2;",
    "SELECT 'backslash\\', ';';",
    "SELECT /* ; /* nested; */ ' */ 1;",
    "SELECT a$b$c FROM t$1 WHERE note = 'SOMEE';",
    "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b);",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql\nBEGIN ATOMIC\n SELECT CASE WHEN true THEN 1 END;\n SELECT 2;\nEND;",
    "CREATE FUNCTION g() RETURNS void LANGUAGE plpgsql AS $_$\nBEGIN\n  PERFORM 1;\n-- $$ \\! ;\nEND;\n$_$;",
    "INSERT INTO t VALUES ('first line\n\\! touch /tmp/x\n;last');",
    "CREATE TABLE begin_end (case_end int, \"begin\" int);",
]  # fmt: skip


@pytest.mark.parametrize("text", ONE_STATEMENT)
def test_a_statement_is_cut_only_at_its_end(text: str) -> None:
    script = f"-- heading;\n\n{text}\nSELECT 'next';\n"
    assert [one.text.strip().decode() for one in cut(script)] == [text, "SELECT 'next';"]


def cut(script: str | bytes) -> list[object]:
    raw = script.encode() if isinstance(script, str) else script
    return list(SqlScript(io.BytesIO(raw), "Script x").statements())


def test_strings_of_an_old_server_are_read_as_it_meant_them() -> None:
    script = "SET standard_conforming_strings = off;\nSELECT 'it\\'s; ', 1;\nSELECT 2;\n"
    assert len(cut(script)) == 3


def test_rows_are_handed_over_as_they_are() -> None:
    script = SqlScript(
        io.BytesIO(
            b'COPY public."from stdin; (x)" (a, "b )") FROM stdin;\n1\t\\N\n\\\\! touch x\n\\.x\n\\.\nSELECT 1;\n'
            b"COPY a.b FROM stdin;\n\\.\nSELECT 2;\n"
        ),
        "Script x",
    )
    found = []
    for statement in script.statements():
        found.append((statement.text.strip(), statement.rows.read() if statement.rows else None, statement.line))
    assert found == [
        (b'COPY public."from stdin; (x)" (a, "b )") FROM stdin;', b"1\t\\N\n\\\\! touch x\n\\.x\n", 1),
        (b"SELECT 1;", None, 6),
        (b"COPY a.b FROM stdin;", b"", 7),
        (b"SELECT 2;", None, 9),
    ]


def test_rows_that_nobody_reads_are_skipped() -> None:
    assert len(cut("COPY t FROM stdin;\n; SELECT 3;\n\\.\nSELECT 1;\n")) == 2


@pytest.mark.parametrize(
    "line",
    [
        "\\! touch /tmp/owned",
        "  \\! touch /tmp/owned",
        "\\copy t FROM PROGRAM 'touch /tmp/owned'",
        "SELECT 1 \\g |touch /tmp/owned",
        "SELECT 1; \\! touch /tmp/owned",
        "\\connect postgres",
        "\\restrict x; \\! touch /tmp/owned",
        "\\unrestrict x y",
        "\\.",
        "/* */ \\! touch /tmp/owned",
        "$$ $$ \\! touch",
    ],
)
def test_a_command_of_psql_is_refused_wherever_it_stands(line: str) -> None:
    with pytest.raises(Refused, match=r"command of psql.*\(line 2\)"):
        cut(f"SELECT 0;\n{line}\nSELECT 1;\n")


def test_what_keeps_psql_from_obeying_is_left_out() -> None:
    assert [one.text for one in cut("\\restrict aB3\nSELECT 1;\n\\unrestrict aB3\n")] == [b"SELECT 1;"]


@pytest.mark.parametrize(
    "text", ["SELECT 1", "SELECT '", "SELECT $a$ ;\n", "/* ", "COPY t FROM stdin;\n1\n", "SELECT (1;"]
)
def test_a_script_that_ends_within_something_was_cut_off(text: str) -> None:
    with pytest.raises(Refused, match="cut off"):
        cut(f"SELECT 0;\n{text}")


def test_text_between_copy_and_its_rows_is_refused() -> None:
    with pytest.raises(Refused, match="between COPY and its rows"):
        cut("COPY t FROM stdin; SELECT 1;\n1\n\\.\n")


def test_memory_does_not_grow_with_rows_or_with_a_long_line() -> None:
    raw = _Raw(10_000_000)
    tracemalloc.start()
    try:
        rows = SqlScript(io.BufferedReader(raw), "Script x").statements()
        (statement,) = (next(rows),)
        assert statement.rows is not None
        count = 0
        while piece := statement.rows.read():
            count += len(piece)
        assert count == 10_000_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


class _Raw(io.RawIOBase):
    """One COPY with this many bytes of rows: half of them in one line."""

    def __init__(self, count: int) -> None:
        head, tail = b"COPY t FROM stdin;\n", b"\n\\.\n"
        self.pieces = [head, *[b"y" * 50_000] * (count // 100_000), *[b"x" * 49 + b"\n"] * (count // 100)]
        self.pieces[-1] = b"x" * 49 + tail
        self.pieces.reverse()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        if not self.pieces:
            return 0
        piece = self.pieces.pop()
        if len(piece) > len(buffer):
            self.pieces.append(piece[len(buffer) :])
        count = min(len(piece), len(buffer))
        buffer[:count] = piece[:count]
        return count


def test_a_statement_that_does_not_fit_is_refused() -> None:
    with pytest.raises(Refused, match="too large"):
        cut(b"SELECT '" + b"x" * (33 * 1024**2) + b"';\n")
    with pytest.raises(Refused, match="too large"):
        cut(b"SELECT '" + (b"x" * 1024**2 + b"\n") * 33 + b"';\n")
