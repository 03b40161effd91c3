# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Which statements pg_dump writes for one database. A script with another one was not written by it alone.

What is refused here reaches beyond the database that is restored into (roles, other databases, files and programs of the
server), calls a function by hand, or would let the server read the script in another way than it was cut into statements.
It is the second line: the first is that a script runs with no more rights than its database's owner has.
"""

from __future__ import annotations

import re

#: Strings, or what has neither a string nor a parenthesis in it: no call within a call.
_ARGUMENTS = rb"\((?:'[^']*'|[^()'])*\)\s*;\s*$"
#: Of the whole server, or of another one.
_BEYOND = rb"(?:ROLE|GROUP|DATABASE|TABLESPACE|SYSTEM|OWNED|SUBSCRIPTION|PARAMETER|USER(?!\s+MAPPING\s))\b"
_ALLOWED = re.compile(
    rb"""\s*(?:
      SET\s+(?:default_table_access_method|default_tablespace|default_with_oids|row_security|escape_string_warning|check_function_bodies
        |client_min_messages|xmloption|search_path|(?:statement|lock|idle_in_transaction_session|transaction)_timeout
        |default_toast_compression)\s*(?:=|TO)\s*(?:'[^']*'|"[^"]*"|[\w",\s])*;\s*$
    | SET\s+standard_conforming_strings\s*(?:=|TO)\s*(?:on|off|'on'|'off')\s*;\s*$
    | SET\s+client_encoding\s*(?:=|TO)\s*'(?!SJIS|SHIFT|BIG5|GBK|UHC|GB18030|JOHAB|MSKANJI|WIN9[345]|Windows9)\w+'\s*;\s*$
    | SELECT\s+pg_catalog\.set_config\s*\(\s*'search_path'\s*,\s*'[^']*'\s*,\s*false\s*\)\s*;\s*$
    | SELECT\s+pg_catalog\.(?:setval|lo_create|lo_open|lo_close|lowrite)\s*%(arguments)b
    | SELECT\s+\*\s+FROM\s+pg_catalog\.pg_restore_(?:relation|attribute|extended)_stats\s*%(arguments)b
    | INSERT\s+INTO\s
    | (?:CREATE|ALTER|DROP)\s+(?:OR\s+REPLACE\s+)?(?!%(beyond)b)[A-Z]
    | (?:COMMENT|SECURITY\s+LABEL\s+FOR\s+\S+)\s+ON\s+(?!%(beyond)b)[A-Z]
    | (?:GRANT|REVOKE)\s+(?:GRANT\s+OPTION\s+FOR\s+)?[A-Z]+(?:\s*\([^)]*\))?(?:[,\s]+[A-Z]+(?:\s*\([^)]*\))?)*?
        \s+ON\s+(?!%(beyond)b)
    | REFRESH\s+MATERIALIZED\s+VIEW\s
    | RESET\s+SESSION\s+AUTHORIZATION\s*;\s*$
    )"""
    % {b"arguments": _ARGUMENTS, b"beyond": _BEYOND},
    re.VERBOSE | re.IGNORECASE,
)


def is_of_a_dump(statement: bytes) -> bool:
    """Whether pg_dump writes such a statement; ``COPY … FROM STDIN``, BEGIN and COMMIT aside, which are told by the cutter."""
    return _ALLOWED.match(statement) is not None
