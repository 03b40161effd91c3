# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Statements that pg_dump writes are let through; those that reach beyond the database that is restored are not."""

from __future__ import annotations

import io

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import Refused
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.plain_script import dump_statements
from ansible_collections.lastgood.rollback.plugins.module_utils._postgresql.sql_script import SqlScript

#: As pg_dump of PostgreSQL 9.6 to 18 writes them.
OF_A_DUMP = [
    "SET statement_timeout = 0;",
    "SET client_encoding = 'UTF8';",
    "SET standard_conforming_strings = off;",
    "SET search_path = public, pg_catalog;",
    "SET search_path = \"$user\", public;",
    "SET escape_string_warning = off;",
    "SET default_tablespace = '';",
    "SET default_table_access_method = heap;",
    "SELECT pg_catalog.set_config('search_path', '', false);",
    "SELECT pg_catalog.setval('public.\"odd (name''s)\"', 42, true);",
    "SELECT pg_catalog.lo_create('16404');",
    "SELECT pg_catalog.lowrite(0, '\\x6c61726765');",
    "SELECT * FROM pg_catalog.pg_restore_relation_stats(\n\t'version', '180000'::integer,\n\t'relname', 'a');",
    "CREATE TABLE public.post (id integer NOT NULL);",
    "CREATE UNLOGGED TABLE public.role (a int);",
    "CREATE OR REPLACE VIEW public.v AS SELECT 1;",
    "CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA public;",
    "CREATE USER MAPPING FOR postgres SERVER s;",
    "CREATE FUNCTION public.database_size() RETURNS int LANGUAGE sql AS $$ ALTER ROLE x SUPERUSER; $$;",
    "ALTER TABLE public.post OWNER TO blog;",
    "ALTER TABLE ONLY public.post ALTER COLUMN id SET DEFAULT nextval('public.s'::regclass);",
    "ALTER USER MAPPING FOR postgres SERVER s OPTIONS (user 'x');",
    "ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA public GRANT SELECT ON TABLES TO b;",
    "DROP INDEX IF EXISTS public.i;",
    "COMMENT ON TABLE public.post IS 'DATABASE';",
    "COMMENT ON EXTENSION hstore IS '';",
    "SECURITY LABEL FOR dummy ON TABLE public.post IS 'x';",
    "GRANT SELECT,INSERT ON TABLE public.post TO reader WITH GRANT OPTION;",
    "GRANT SELECT(id),UPDATE(id) ON TABLE public.post TO reader;",
    "GRANT ALL ON SCHEMA public TO PUBLIC;",
    "REVOKE GRANT OPTION FOR ALL ON TABLE public.post FROM a;",
    "REFRESH MATERIALIZED VIEW public.counts;",
    "INSERT INTO public.post VALUES (1, 'COPY x FROM PROGRAM');",
    "COPY public.post (id) FROM stdin;\n1\n\\.",
    "BEGIN;",
    "COMMIT;",
]  # fmt: skip
BEYOND = [
    "CREATE ROLE owned SUPERUSER;",
    "create  user owned superuser;",
    "CREATE/**/ROLE owned SUPERUSER;",
    "/* a dump */ CREATE ROLE owned;",
    "ALTER ROLE blog SUPERUSER;",
    "ALTER USER blog SUPERUSER;",
    "ALTER GROUP blog ADD USER me;",
    "GRANT pg_execute_server_program TO blog;",
    "GRANT postgres TO blog;",
    'GRANT "x ON y" TO blog;',
    "GRANT CONNECT ON DATABASE blog TO PUBLIC;",
    "GRANT SET ON PARAMETER log_statement TO blog;",
    "COPY public.post FROM PROGRAM 'touch /tmp/owned';",
    "COPY public.post FROM '/etc/passwd';",
    "COPY (SELECT 1) TO PROGRAM 'touch /tmp/owned';",
    "ALTER DATABASE blog RENAME TO gone;",
    "ALTER\n DATABASE blog RENAME TO gone;",
    "DROP DATABASE blog;",
    "CREATE DATABASE other;",
    "COMMENT ON DATABASE blog IS '{}';",
    "SECURITY LABEL ON DATABASE blog IS 'x';",
    "ALTER SYSTEM SET archive_command = 'touch /tmp/owned';",
    "DROP OWNED BY blog;",
    "REASSIGN OWNED BY postgres TO blog;",
    "DO $$ BEGIN EXECUTE 'CREATE ROLE owned SUPERUSER'; END $$;",
    "CALL public.evil();",
    "SELECT public.evil();",
    "SELECT pg_catalog.setval('s', public.evil());",
    "SELECT pg_catalog.set_config('role', 'postgres', false);",
    "SELECT pg_catalog.lo_export(1, '/tmp/x');",
    "SELECT pg_catalog.pg_read_file('/etc/passwd');",
    "WITH x AS (SELECT public.evil()) SELECT 1;",
    "UPDATE pg_catalog.pg_authid SET rolsuper = true;",
    "SET ROLE postgres;",
    "SET SESSION AUTHORIZATION postgres;",
    "SET session_replication_role = replica;",
    "SET standard_conforming_strings = false;",
    "SET standard_conforming_strings TO DEFAULT;",
    "SET client_encoding = 'SJIS';",
    "LOAD 'plugin';",
    "END;",
    "ROLLBACK;",
    "PREPARE TRANSACTION 'x';",
    "CREATE SUBSCRIPTION s CONNECTION 'host=x' PUBLICATION p;",
    "CREATE TABLESPACE t LOCATION '/tmp';",
]  # fmt: skip


def read(text: str) -> int:
    return len(list(dump_statements(SqlScript(io.BytesIO(f"{text}\n".encode()), "Script x"))))


@pytest.mark.parametrize("text", OF_A_DUMP)
def test_what_pg_dump_writes_is_let_through(text: str) -> None:
    assert read(text) == 1


@pytest.mark.parametrize("text", BEYOND)
def test_what_reaches_beyond_the_database_is_refused(text: str) -> None:
    with pytest.raises(Refused, match=r"does not write for one database.*line 1\)"):
        read(text)


def test_strings_are_cut_as_the_server_reads_them_when_that_changes_back() -> None:
    smuggled = "INSERT INTO t VALUES ('\\');CREATE ROLE owned SUPERUSER; --');"
    with pytest.raises(Refused, match="CREATE ROLE"):
        read(f"SET standard_conforming_strings = off;\nSET standard_conforming_strings = on;\n{smuggled}")
