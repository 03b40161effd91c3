# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Values that become another value by what a session is set to: a moment is another time of day in each zone.

Everything else of ours runs with fixed settings. This conversion alone has to run with those that the people's own sessions
have, as their migration would.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._base.types import JsonObject
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.server import Session

_TEXTS = ("text", "character varying", "character")
#: Types, without length and without ``[]``; only those that know a zone need one to become another of these.
_ZONED = ("timestamp with time zone", "time with time zone")
_TIMES = (*_ZONED, "timestamp without time zone", "time without time zone", "date")
#: What decides on a text of other types.
_WORDS = {"interval": ("IntervalStyle",), "bytea": ("bytea_output",), "money": ("lc_monetary",)}
# What the whole database has; else what the server has, which a session keeps beside what it was set to.
_OWN = """
SELECT s.name, coalesce((SELECT substr(c, length(s.name) + 2) FROM pg_db_role_setting r, unnest(r.setconfig) c
                         WHERE r.setrole = 0 AND r.setdatabase = d.oid AND lower(split_part(c, '=', 1)) = lower(s.name)),
                        s.reset_val) AS value
FROM pg_settings s, pg_database d
WHERE d.datname = current_database() AND lower(s.name) = ANY (SELECT lower(n) FROM unnest(%s::text[]) n) ORDER BY 1
"""
# A role's own settings in this database come before those that it has everywhere.
_OF_ROLES = """
SELECT DISTINCT ON (o.rolname, lower(split_part(c, '=', 1))) o.rolname AS role, lower(split_part(c, '=', 1)) AS name,
       substr(c, strpos(c, '=') + 1) AS value
FROM pg_db_role_setting r JOIN pg_roles o ON o.oid = r.setrole, unnest(r.setconfig) c, pg_database d
WHERE d.datname = current_database() AND r.setdatabase IN (0, d.oid) AND o.rolcanlogin
      AND has_database_privilege(o.oid, d.oid, 'CONNECT')
      AND lower(split_part(c, '=', 1)) = ANY (SELECT lower(n) FROM unnest(%s::text[]) n)
ORDER BY o.rolname, lower(split_part(c, '=', 1)), r.setdatabase DESC
"""


def depends_on(pair: JsonObject) -> tuple[str, ...]:
    """The settings that decide what one column's values become; none for most."""
    old, live = (_plain(pair[side]["base"]) for side in ("old", "live"))
    if pair["same"] or old == live:
        return ()
    if old in _TIMES and live in _TIMES:
        return ("TimeZone",) if old in _ZONED or live in _ZONED else ()
    kinds = {old, live} - {*_TEXTS}
    if len(kinds) != 1:
        return ()
    (kind,) = kinds
    return ("TimeZone", "DateStyle") if kind in _TIMES else _WORDS.get(kind, ())


def by_way_of_the_newer_type(pair: JsonObject) -> bool:
    """Whether a value has to be read as the newer type first: the older one does not see the zone in its text."""
    return bool(depends_on(pair)) and _plain(pair["live"]["base"]) not in _TEXTS


def plan_settings(
    session: Session, name: str, mapped: JsonObject, requested: Mapping[str, Any]
) -> tuple[JsonObject, list[str]]:
    """What the conversion runs with, and a sentence that says so; empty where nothing depends on it.

    :param session: in the live database.
    :param requested: what the operator says of it; it comes first.
    :raises Refused: when roles have other settings than the database, and the operator has not said which ones count.
    """
    columns, names = [], set()
    for move in mapped["moves"]:
        for pair in move["pairs"]:
            names |= set(depends_on(pair))
            if depends_on(pair):
                columns.append(f"{move['from']}.{pair['live']['name']}")
    if not columns:
        return {}, []
    given = {str(key).lower(): str(value) for key, value in requested.items()}
    own = {row["name"]: row["value"] for row in session.rows(_OWN, [sorted(names)])}
    differ = sorted(
        f"{row['role']} has {row['name']} = {row['value']}"
        for row in session.rows(_OF_ROLES, [sorted(names)])
        if row["name"] not in given
        and row["value"] != next(value for key, value in own.items() if key.lower() == row["name"])
    )
    words = ", ".join(columns[:5]) + (" …" if len(columns) > 5 else "")
    if differ:
        raise Refused(
            f"What the values of {words} become depends on a session's settings, and roles of database {name} have others than "
            f"the database ({', '.join(f'{key} = {value}' for key, value in own.items())}): {', '.join(differ)}. Say which ones "
            "count with conversion_settings, such as {TimeZone: Europe/Berlin} (rollback_conversion_settings)."
        )
    settings = {key: given.get(key.lower(), value) for key, value in own.items()}
    shown = ", ".join(f"{key} = {value}" for key, value in settings.items())
    whose = "as you said" if given else "the database's own"
    return settings, [f"The values of {words} are converted with {shown} ({whose})."]


def _plain(base: str) -> str:
    return base.replace("[]", "").partition("(")[0]
