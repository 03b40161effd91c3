#!/usr/bin/python
# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a PostgreSQL database back to a restore point, or to a named archive."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_restore
short_description: Take a PostgreSQL database back to a restore point or a dump
version_added: 0.1.0
description:
  - Restores into a new database beside the live one, compares its rows, schema and properties with what was captured, and
    then lets the two change their names in one transaction of the server. Clients are cut off for about a tenth of a
    second, whatever the size of the database.
  - The database as it was is kept under another name. Undoing brings it back as fast as it went.
  - Owner, grants, settings, connection limit, comment and tablespace are the live database's, encoding and collation those
    of the restore point. Differences are reported as warnings.
  - A live database that is missing or can't be read does not stop the rollback. What there is of it is kept.
  - Sessions of the live database are ended by the switch. Connections through a pooler come back when the pooler tries
    again.
options:
  name:
    description: The database. It can't be O(login_db) or a template.
    type: str
    required: true
  scope:
    description:
      - How much of it is taken back.
      - V(database) is everything.
      - V(tables) are the rows of O(tables), exchanged in one transaction of the server. Views, foreign keys, triggers, policies,
        grants, comments, publications and all other tables stay as they are. It stands still for as long as the rows,
        indexes and foreign keys of these tables take. The rows as they were are kept in a database of their own.
      - V(schema) is the schema; the rows stay. The database is built anew beside the live one with the schema of
        O(restore_point) and the present rows, and then the two change their names. From the first lock to that moment nobody
        writes, for as long as copying all rows and making all indexes takes; readers go on. What the older schema has no
        place for is listed and kept as text in a schema C(lastgood_kept_…) beside the data.
    type: str
    choices: [database, tables, schema]
    default: database
  tables:
    description:
      - For O(scope=tables), the tables. Each is C(schema.name), or a name that only one table has; as it is written, without
        quotes.
      - A partitioned table stands for all its partitions; a single partition may be named as well.
      - Their columns must be as at the restore point. Sequences are never moved backwards. Large objects are not touched.
    type: list
    elements: str
    default: []
  orphans:
    description:
      - For O(scope=tables), what becomes of rows that refer to nothing afterwards, in these tables or in others.
      - V(fail) refuses, with a list.
      - V(keep_aside) moves them into tables of their own in the schema C(lastgood_orphans) of the database that keeps the rows as
        they were. An undo brings them back.
    type: str
    choices: [fail, keep_aside]
    default: fail
  lock_timeout:
    description: For O(scope=tables), for how many seconds the exchange may wait for those who use the tables.
    type: int
    default: 10
  renames:
    description:
      - For O(scope=schema), what was renamed since the restore point. Keys are names then, C(schema.table) or
        C(schema.table.column), without the schema where it is C(public). Values are the names now.
      - A rename can't be told from a column that was dropped and another that was added. Without this map the older column
        comes back with what it held at the restore point, and the newer one is kept beside the data.
    type: dict
    default: {}
  method:
    description:
      - For O(scope=schema), how the schema is taken back.
      - V(rebuild) makes the schema of the restore point anew and moves the rows into it.
      - V(migrations) copies the database beside the live one, with its rows, runs the project's own downgrade command on the
        copy, compares the schema that this leaves with that of O(restore_point), and then lets the two change their names. What
        becomes of the rows is what the downgrade makes of them. The revision is read from the tables of known migration tools,
        or of O(migration_tables). It comes before code and packages go back, since the command needs those of now.
      - The command never runs on the live database. While it is tried, the live tables can be read and written, but neither
        altered nor dropped, and the live revision can't be changed. A command that goes there all the same is ended.
      - Columns may have come back in another order than at the restore point. Any other difference fails.
    type: str
    choices: [rebuild, migrations]
    default: rebuild
  migration_command:
    description:
      - For O(method=migrations), the program and its arguments. It is not run by a shell.
      - C({revision}) stands for the restore point's revision, C({database}), C({host}) and C({port}) for those of the copy. A
        program with a slash in its name is looked for in O(migration_chdir).
      - It must end with 0. Never write a password into it; others can read it.
    type: list
    elements: str
    default: []
  migration_chdir:
    description: For O(method=migrations), the directory to run O(migration_command) in, such as the project's checkout.
    type: path
  migration_user:
    description: For O(method=migrations), the user to run it as. By default the owner of O(migration_chdir).
    type: str
  migration_environment:
    description:
      - For O(method=migrations), environment variables for the command, with the same words in braces. That is how it finds the
        copy, together with E(PGHOST), E(PGPORT) and E(PGDATABASE), which are always set.
      - They may hold passwords. They are in no journal and no result. The password of O(login_password) is not passed on.
    type: dict
    default: {}
  migration_timeout:
    description: For O(method=migrations), for how many seconds the command may run. Then it is ended with all that it started.
    type: int
    default: 600
  nulls:
    description:
      - For O(scope=schema), what becomes of a NULL in a column that takes none at the restore point.
      - V(set_aside) puts its row aside, which O(accept) has to allow.
      - V(default) gives it the older column's default, where that has one, and keeps beside the data which rows these were.
    type: str
    choices: [set_aside, default]
    default: set_aside
  conversion_settings:
    description:
      - For O(scope=schema), with which settings of the server values are converted where these decide what they become. So does
        C(TimeZone) where C(timestamp with time zone) becomes C(timestamp).
      - By default those of the database, as C(ALTER DATABASE … SET) or the server's configuration has them. Where roles that
        can connect have others, the module refuses until this says which ones count.
    type: dict
    default: {}
  max_rows_set_aside:
    description:
      - For O(scope=schema), how many rows at most may leave their tables because they don't fit the older schema. It is needed
        with V(rows_set_aside) in O(accept). With O(method=migrations) these are the rows that the downgrade takes away.
      - Preparing counts them, and so does the switch, since people go on writing. With more than that it changes nothing.
    type: int
  migration_tables:
    description:
      - Tables that say which schema there is, and the column of each that tells how far it is, besides
        those that the restore point was captured with. With O(scope=schema) they get the rows of the restore point.
      - Those of Alembic, Django, Flyway, Rails, golang-migrate, Sqitch, Liquibase and yoyo are known.
    type: dict
    default: {}
  restore_point:
    description:
      - Name of the restore point. V(last_good) is the newest good one that contains the database.
      - Exactly one of O(restore_point) and O(source) is needed.
    type: str
  source:
    description:
      - Dump on the host, made by C(pg_dump) in the custom, directory or tar format, or as plain SQL, which may be packed by
        C(gzip), or by C(zstd) where that program is.
      - Plain SQL is sent to the server without C(psql), so that commands of C(psql) in it can't run; with any, as
        C(pg_dump --create) writes them, it is refused. Its first error ends the restore. So it is with statements that
        C(pg_dump) does not write for one database, such as C(CREATE ROLE) and C(COPY … FROM PROGRAM).
      - It is restored where it lies if only its owner, root and the PostgreSQL user could have written to it, and
        C(pg_restore) can read it. Otherwise a copy is restored, which needs room below O(state_dir).
    type: path
  checksum:
    description:
      - SHA-256 of O(source), as V(sha256:0123…). It is compared before any tool opens the archive.
      - For a directory, that of the lines that C(sha256sum *) prints in it, in the order of the file names' bytes.
    type: str
  allow_unverified:
    description:
      - Restore O(source) without a checksum. A damaged archive can restore other content without any error, and a crafted
        one can run code.
    type: bool
    default: false
  jobs:
    description: How many connections restore at the same time.
    type: int
    default: 4
  keep_previous:
    description:
      - How many databases that earlier rollbacks put aside for this name are kept, the one of this rollback included.
        Rejected ones are counted by themselves.
      - One that has a replication slot, a subscription or a session is never dropped. Neither is the one of this rollback, nor
        any that the records of this host do not know, nor any from before the server was restored or promoted.
    type: int
    default: 1
  accept:
    description:
      - What the switch may hurt. Without the word the module refuses when it finds it.
      - V(slots) are logical replication slots of the database, whose subscribers fail afterwards.
      - V(subscriptions) stay with the database as it was.
      - V(standbys) are replicas, on which open sessions go on reading the database as it was.
      - V(workers) are background workers of extensions that are connected to the database, such as those of a scheduler.
      - V(rows_set_aside) are rows that don't fit the older schema. See O(max_rows_set_aside).
      - V(other_database) is a O(source) that holds none of the tables that the database has now.
      - V(owner_code) is code of the database's owners that would run with the rights of O(login_user). Functions that checks,
        domains, generated columns and keys of partitions call run when rows come in, and plain SQL is code altogether. With
        O(scope=database) such rows, and plain SQL, come in by a session that logs in as their owner, where the host can get
        one. Where it can't, and with other scopes, the module refuses without this word. Built-in functions are no such code.
      - V(no_undo) is a rollback that can't be undone as a whole once it has finished. Only the playbooks ask for it; a task of
        this module names what it does, and is never asked.
    type: list
    elements: str
    choices: [slots, subscriptions, standbys, workers, other_database, rows_set_aside, owner_code, no_undo]
    default: []
  compare_timeout:
    description:
      - For how many seconds the live tables may be counted and compared with the restore point while planning, the small
        ones first. What is left out is said in RV(discards).
      - Without a complete comparison the database counts as changed.
    type: int
    default: 30
extends_documentation_fragment:
  - lastgood.rollback.attributes
  - lastgood.rollback.transaction
  - lastgood.rollback.postgres
attributes:
  idempotent:
    support: partial
    details: With O(restore_point) nothing changes when rows and schema are as captured. A O(source) is always restored.
seealso:
  - module: lastgood.rollback.restore_point
  - module: lastgood.rollback.transaction
"""

EXAMPLES = r"""
- name: Show what going back would discard
  lastgood.rollback.pg_restore:
    name: blog
    restore_point: last_good
  check_mode: true
  diff: true

- name: Take the database back to the last good restore point
  lastgood.rollback.pg_restore:
    name: blog
    restore_point: last_good

- name: Take the database back to a named archive
  lastgood.rollback.pg_restore:
    name: blog
    source: /var/backups/blog.dump
    checksum: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    keep_previous: 2

- name: Take two tables back, and move what would refer to vanished rows into a table of its own
  lastgood.rollback.pg_restore:
    name: blog
    scope: tables
    tables: [public.post, public.post_section]
    orphans: keep_aside
    restore_point: last_good

- name: Take the schema back, keep the rows, and say what was renamed since
  lastgood.rollback.pg_restore:
    name: blog
    scope: schema
    restore_point: last_good
    renames:
      public.post: article
      public.post.title: headline

- name: Take the schema back though some rows don't fit it, after a look at which
  lastgood.rollback.pg_restore:
    name: blog
    scope: schema
    restore_point: last_good
    nulls: default
    accept: [rows_set_aside]
    max_rows_set_aside: 4

- name: Take the schema back by the project's own migrations
  lastgood.rollback.pg_restore:
    name: blog
    scope: schema
    method: migrations
    restore_point: last_good
    migration_command: [.venv/bin/flask, db, downgrade, "{revision}"]
    migration_chdir: /srv/blog-core
    migration_environment:
      DATABASE_URL: "postgresql+psycopg2://blog:{{ blog_password }}@/{database}?host={host}&port={port}"

- name: Only restore beside the live database, as part of a larger rollback
  lastgood.rollback.pg_restore:
    name: blog
    login_host: db1.example.org
    login_user: blog_admin
    login_password: "{{ blog_admin_password }}"
    ssl_mode: verify-full
    restore_point: before-migration
    transaction: 20261123T143000Z-blog-7f3a
"""

RETURN = r"""
name:
  description: The database.
  returned: always
  type: str
  sample: blog
previous_database:
  description:
    - The name under which the database as it was is (or would be) kept. None when there was none.
    - With O(scope=tables), of the database that keeps the rows as they were, in the schema C(lastgood_previous).
  returned: always
  type: str
  sample: blog_lastgood_1b0c5c12_previous
incoming_database:
  description: The name of the side database before the switch. None when nothing changes, or with O(scope=tables).
  returned: always
  type: str
  sample: blog_lastgood_1b0c5c12_incoming
verification:
  description:
    - What was compared in the side database. Empty in check mode and when nothing changes.
    - C(content) and C(schema) are C(equal), or C(unknown) for an archive that nothing is known of. C(schema) is C(different)
      where only the text of a definition differs, as listed in C(schema_differences).
    - With O(scope=tables), C(orphans) lists what would refer to nothing and is moved aside.
    - With O(method=migrations), C(migration) is the revision that the command went back to, C(table_rows) has the number of
      rows of each table C(before) and C(after) it, and C(command_ms) is how long it took. C(schema_differences) lists tables
      whose columns came back in another order.
  returned: always
  type: dict
  sample: {"content": "equal", "schema": "equal", "schema_differences": [], "tables": 12, "rows": 104233, "sequences": 7,
           "extensions": ["plpgsql"], "large_objects": 0, "check_ms": 412}
not_restored:
  description: Settings and grants that the role is not allowed to set.
  returned: always
  type: list
  elements: str
  sample: []
discards:
  description:
    - Under C(rows), each table whose content is not the restore point's, with the number of rows now and then.
    - Under C(not_compared), tables that were not looked at in time, and C(large objects) where those were not.
    - Under C(sequences), those that do not stand where they stood at the capture, with their values C(now) and C(then); null
      before the first use. With O(scope=database), and only where there are any.
    - Under C(large_objects), how many there are C(now) and were C(then), where their number, content, owners, grants or comments
      differ. With O(scope=database).
    - Under C(sequences_behind), those whose next value is in use in one of the tables, where the rows are as they were. With
      O(scope=tables).
    - Under C(migration), where the migration tools stood C(then) and stand C(now), where they differ.
    - With O(scope=schema), C(may_not_fit) has each table with C(rows) that may have to leave it (at most, none where they were
      not counted in time) C(of) how many, and C(why).
    - With O(scope=schema), C(kept_tables), C(kept_columns) and C(changed_types) without a place in the older schema,
      C(returning_tables) and C(returning_columns) whose content only the restore point has, C(unknown_columns) that come back
      empty for lack of a primary key, and C(returning_grants) that were revoked since.
    - With O(method=migrations), C(downgraded_tables), C(downgraded_columns) and C(downgraded_types) that the restore point does
      not know, and C(remade_tables) and C(remade_columns) that only the restore point has.
  returned: always
  type: dict
  sample: {"rows": {"public.post": {"now": 104, "then": 100, "differs": true}}, "not_compared": []}
unfit:
  description:
    - With O(scope=schema), what had no place when it was tried, by table, as numbers of rows and with reasons. C(rows) are
      whole rows, C(orphans) rows without a parent, C(columns) what added columns hold, C(values) what was not the same any more
      in the older type, C(table) a whole table.
    - What the switch itself kept stands in RV(kept).
  returned: when O(scope=schema)
  type: dict
  sample: {"public.post": {"rows": {"rows": 1}, "reasons": ["invalid input value for enum public.mood: odd"]}}
set_aside:
  description: With O(scope=schema), how many C(rows) C(of) all had no place when it was tried, and of which C(tables).
  returned: when O(scope=schema)
  type: dict
  sample: {"rows": 4, "of": 1204, "tables": {"public.post": 4}}
can_go_back:
  description: Whether M(lastgood.rollback.transaction) can undo this as a whole once it has finished.
  returned: always
  type: bool
  sample: true
kept_instead:
  description: What stays of what is replaced where it can't, in words; empty where it can.
  returned: always
  type: str
  sample: ""
kept:
  description:
    - Databases that stand aside, by what they are; with O(scope=tables) with the schema that holds the rows.
    - After an undo with O(scope=tables) also the materialized views that could not be refreshed, with the reason.
  returned: always
  type: dict
  sample: {"database blog as it was": "blog_lastgood_1b0c5c12_previous"}
downtime_ms:
  description: Milliseconds that the switch took, when the module was a transaction of its own.
  returned: always
  type: int
  sample: 48
transaction:
  description: Id of the transaction.
  returned: always
  type: str
  sample: 20261123T143000Z-database-7f3a
outcome:
  description: How it ended, when the module was a transaction of its own.
  returned: always
  type: str
  sample: rolled_back
"""

from ansible_collections.lastgood.rollback.plugins.module_utils._components.database.options import PG_RESTORE_OPTIONS
from ansible_collections.lastgood.rollback.plugins.module_utils._components.registry import component_class
from ansible_collections.lastgood.rollback.plugins.module_utils._runners.component import run_component


def main() -> None:
    """Entry point."""
    run_component(component_class, PG_RESTORE_OPTIONS)


if __name__ == "__main__":
    main()
