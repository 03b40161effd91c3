# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every parameter that a database or a role can set, with values that nobody would expect, asked from the server itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from support.database_site import identifier, literal
from support.postgres_server import PostgresServer

#: What only a name can be: most of them exist in the database of the tests, or on its server.
TEXTS = {
    "DateStyle": ["German, DMY", "SQL, DMY", "Postgres, MDY"],
    "TimeZone": ["Asia/Kathmandu", "America/St_Johns"],
    "application_name": ["somebody else"],
    "backtrace_functions": ["errstart"],
    "client_encoding": ["LATIN1", "SQL_ASCII"],
    "createrole_self_grant": ["set, inherit"],
    "default_table_access_method": ["other_heap"],
    "default_tablespace": ["elsewhere"],
    "default_text_search_config": ["pg_catalog.german"],
    "dynamic_library_path": ["/nowhere"],
    "extension_destdir": ["/nowhere"],  # of Debian
    "local_preload_libraries": ["not_there"],
    "restrict_nonsystem_relation_kind": ["view, foreign-table"],
    "role": ["stranger"],
    "search_path": ["hostile, public, pg_catalog"],
    "session_preload_libraries": ["$libdir/auto_explain"],
    "temp_tablespaces": ["elsewhere"],
    "timezone_abbreviations": ["India"],
    "wal_consistency_checking": ["all"],
}
LOCALES = ("lc_messages", "lc_monetary", "lc_numeric", "lc_time")
#: `role` is not shown there.
SETTABLE = """
SELECT json_agg(s) FROM (SELECT name, setting, vartype, min_val, max_val, enumvals FROM pg_settings
    WHERE context IN ('user', 'superuser')
    UNION ALL SELECT 'role', 'none', 'string', NULL, NULL, NULL ORDER BY name) s
"""
Setting = tuple[str, str]


@dataclass(frozen=True)
class Hostility:
    """What the server can be told, and what it takes of that.

    :param values: parameter → the values that are tried.
    :param refused: what the server does not let a database or a role set.
    """

    values: dict[str, list[str]]
    refused: list[str]

    @classmethod
    def of(cls, server: PostgresServer) -> Hostility:
        """Ask the server."""
        wanted = {row["name"]: _values(row) for row in json.loads(server.psql("postgres", SETTABLE))}
        pairs = [(name, value) for name, values in wanted.items() for value in values]
        server.psql("postgres", "CREATE ROLE trying")
        taken = {name: [] for name in wanted}
        for (name, value), said in zip(pairs, _each(server, [_set("ROLE trying", *pair) for pair in pairs])):
            if said == "taken":
                taken[name].append(value)
        server.psql("postgres", "DROP ROLE trying")
        values = {name: values for name, values in taken.items() if values}
        return cls(values, sorted(wanted.keys() - values.keys()))

    def round(self, number: int) -> list[Setting]:
        """One value of each parameter."""
        return [(name, values[number % len(values)]) for name, values in self.values.items()]

    @property
    def rounds(self) -> int:
        """So many rounds try every value."""
        return max(map(len, self.values.values()))


def _values(row: dict[str, object]) -> list[str]:
    name, setting = str(row["name"]), str(row["setting"])
    if name in LOCALES:
        known = subprocess.run(["locale", "-a"], check=True, capture_output=True, text=True).stdout.split()
        found = [locale for locale in known if "." in locale or "_" in locale]
    elif row["vartype"] == "bool":
        found = ["off" if setting == "on" else "on"]
    elif row["vartype"] == "enum":
        found = [value for value in row["enumvals"] if value != setting]  # type: ignore[attr-defined]
    elif row["vartype"] == "string":
        found = TEXTS[name]  # a new parameter of a new server: say what would be hostile
    else:
        least, most = str(row["min_val"]), str(row["max_val"])
        # Zero mostly means "off": then the smallest that bites.
        found = [str(int(least) + 1) if least == setting and row["vartype"] == "integer" else least, most]
    return [value for value in found if value != setting]


def _set(place: str, name: str, value: str) -> str:
    """ALTER … SET; lists of names are not quoted as one."""
    words = value if name in ("search_path", "temp_tablespaces") else literal(value)
    return f"ALTER {place} SET {identifier(name)} TO {words}"


def _each(server: PostgresServer, statements: Sequence[str]) -> list[str]:
    """Run them one by one; whether each was taken."""
    tries = ";".join(
        f"BEGIN EXECUTE {literal(statement)}; said := said || ARRAY['taken'];"
        " EXCEPTION WHEN OTHERS THEN said := said || ARRAY[SQLERRM]; END"
        for statement in statements
    )
    server.psql(
        "postgres",
        "CREATE TABLE said (words text)",
        f"DO $do$ DECLARE said text[] := '{{}}'; BEGIN {tries}; INSERT INTO said SELECT unnest(said); END $do$",
    )
    found: list[str] = json.loads(server.psql("postgres", "SELECT json_agg(words) FROM said", "DROP TABLE said"))
    return found


def impose(server: PostgresServer, place: str, settings: Sequence[Setting]) -> None:
    """Give them to a place: ``DATABASE shop``, or ``ROLE boss``."""
    statements = "".join(f"EXECUTE {literal(_set(place, *setting))}; " for setting in settings)
    server.psql("postgres", f"DO $do$ BEGIN {statements} END $do$")


def lift(server: PostgresServer, place: str) -> None:
    """Take all of them away."""
    server.psql("postgres", f"ALTER {place} RESET ALL")


def culprits(attempt: Callable[[Sequence[Setting]], str], settings: Sequence[Setting]) -> Iterator[str]:
    """Halve a batch that makes a difference until what does it stands alone, or does it only together.

    :param attempt: tells the difference; empty for none.
    """
    said = attempt(settings)
    if not said:
        return
    if len(settings) > 1:
        half = len(settings) // 2
        found = [*culprits(attempt, settings[:half]), *culprits(attempt, settings[half:])]
        if found:
            yield from found
            return
    yield f"{', '.join('='.join(setting) for setting in settings)}: {said}"
