# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of ``method: migrations`` share: a project with migrations of Alembic, and the database that it migrates."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.lastgood.rollback.plugins.module_utils._base.errors import LastGoodError
from ansible_collections.lastgood.rollback.plugins.module_utils._components.context import PointEntry
from ansible_collections.lastgood.rollback.plugins.module_utils._components.migrations.component import Migrations
from support.database_site import FIRST
from support.postgres_server import PostgresServer
from support.schema_site import ACCEPTED, SchemaSite

BASE, STARS, TAGS = "1f0a", "2b1c", "3d2e"
COMMAND = [sys.executable, "-m", "alembic", "downgrade", "{revision}"]
#: As Alembic writes it, less the comments: what DATABASE_URL or libpq's variables say.
ENV = """
import os

from alembic import context
from sqlalchemy import create_engine

engine = create_engine(os.environ.get("DATABASE_URL", "postgresql+psycopg2://keeper@"))
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
#: In it, where the database is.
ADDRESS = 'os.environ.get("DATABASE_URL", "postgresql+psycopg2://keeper@")'
INI = "[alembic]\nscript_location = migrations\npath_separator = os\n"
MIGRATION = """
import os
import subprocess
import time

import sqlalchemy as sa
from alembic import op

revision, down_revision = {revision!r}, {before!r}


def upgrade():
{upgrade}


def downgrade():
{downgrade}
"""
VERSIONS = {
    BASE: (None, "pass", "pass"),
    STARS: (
        BASE,
        """
op.add_column("post", sa.Column("stars", sa.Integer))
op.drop_column("post", "note")
op.alter_column("post", "slug", new_column_name="path")
op.drop_constraint("post_words_check", "post")
""",
        """
op.execute("UPDATE post SET words = 0 WHERE words < 0")
op.create_check_constraint("post_words_check", "post", "words >= 0")
op.alter_column("post", "path", new_column_name="slug")
op.add_column("post", sa.Column("note", sa.String(10)))
op.execute("COMMENT ON COLUMN post.note IS 'for the editor'")
op.drop_column("post", "stars")
""",
    ),
    TAGS: (
        STARS,
        """
op.create_table("label", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text))
op.execute("INSERT INTO label (name) SELECT DISTINCT name FROM tag")
op.execute("ALTER TABLE tag ADD heavy boolean")
""",
        """
op.execute("ALTER TABLE tag DROP heavy")
while os.path.exists("hold"):
    time.sleep(0.05)
op.drop_table("label")
""",
    ),
}


@dataclass
class MigrationsSite(SchemaSite):
    """A database whose migrations are those of a project beside it."""

    project: Path = field(default_factory=Path)

    def create(self, name: str = "blog", owner: str = "keeper") -> None:
        """The ugly schema of `SchemaSite`, as somebody's first migration, and the project."""
        super().create(name, owner)
        self.migrate("CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)")
        self.migrate("ALTER TABLE alembic_version ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)")
        self.migrate(f"INSERT INTO alembic_version VALUES ('{BASE}')")
        self.project = self.directory / "project"
        (self.project / "migrations" / "versions").mkdir(parents=True)
        self.write("alembic.ini", INI)
        self.write("migrations/env.py", ENV)
        for revision, (before, upgrade, downgrade) in VERSIONS.items():
            self.write_version(revision, before, upgrade, downgrade)

    def write(self, name: str, text: str) -> None:
        """One file of the project."""
        (self.project / name).write_text(text, encoding="utf-8")

    def write_version(self, revision: str, before: str | None, upgrade: str, downgrade: str) -> None:
        """One migration."""
        self.write(f"migrations/versions/{revision}.py", version(revision, before, upgrade, downgrade))

    def go_to_live_database(self, *more: str) -> None:
        """From now on the project does not listen to its environment: it knows where the live database is."""
        words = "&".join([f"host={self.server.sockets}", f"port={self.server.port}", *more])
        url = f"postgresql+psycopg2://keeper@/{self.name}?{words}"
        self.write("migrations/env.py", ENV.replace(ADDRESS, repr(url)))

    def upgrade(self, to: str = TAGS) -> None:
        """Deploy: what a developer would run."""
        where = {"PGHOST": str(self.server.sockets), "PGPORT": str(self.server.port), "PGDATABASE": self.name}
        subprocess.run(
            [sys.executable, "-m", "alembic", "upgrade", to],
            check=True,
            cwd=self.project,
            env={"PATH": os.defpath, **where},
        )

    @property
    def all_options(self) -> dict[str, Any]:
        """The module's options."""
        return {
            "migration_command": COMMAND,
            "migration_chdir": str(self.project),
            "migration_timeout": 60,
            **ACCEPTED,
            **super().all_options,
        }

    def component(self, transaction: str = FIRST, **secrets: Any) -> Migrations:
        """The component in a transaction."""
        return Migrations(self.make_context(transaction, **secrets))

    def head(self, database: str | None = None) -> str:
        """The revision of a database."""
        return self.query("SELECT version_num FROM alembic_version", database)

    def hold(self) -> None:
        """Let downgrades wait from now on, in the middle of their work."""
        self.write("hold", "")

    def let_go(self) -> None:
        """The inverse of `hold`."""
        (self.project / "hold").unlink()

    def commands(self) -> list[int]:
        """Processes that work in the project's directory."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/cwd"):
            with suppress(OSError):
                if entry.readlink() == self.project:
                    found.append(int(entry.parts[2]))
        return found

    def snapshot(self) -> dict[str, Any]:
        """All that may not change while it is prepared, or when it fails."""
        return {
            **self.content(),
            "oid": self.oid(),
            "properties": self.properties(),
            "databases": self.databases(),
            "commands": self.commands(),
        }

    def refused(self, point: PointEntry, said: str, **secrets: Any) -> str:
        """Prepare fails, the live database stays as it was, and an undo leaves nothing; the message."""
        before, plan = self.snapshot(), self.plan(point)
        component = self.component(**secrets)
        with pytest.raises(LastGoodError, match=said) as failure:
            component.prepare(plan)
        component.undo(plan)
        assert self.snapshot() == before
        return failure.value.message


MigratedProject = tuple[MigrationsSite, PointEntry]


@pytest.fixture
def migrations_site(postgres_server: PostgresServer, make_context: Any, tmp_path: Path) -> Iterator[MigrationsSite]:
    """A place for a database and its project; whatever the test leaves there is dropped."""
    site = MigrationsSite(postgres_server, make_context, tmp_path)
    site.make_roles()
    before = set(site.databases())
    yield site
    site.drop([name for name in site.databases() if name not in before])


@pytest.fixture
def migrated_project(migrations_site: MigrationsSite) -> MigratedProject:
    """A database that was migrated after the restore point."""
    migrations_site.create()
    point = migrations_site.capture()
    migrations_site.upgrade()
    return migrations_site, point


def version(revision: str, before: str | None, upgrade: str, downgrade: str) -> str:
    """A migration's file."""
    both = {
        name: "\n".join(f"    {line}" for line in text.strip().splitlines())
        for name, text in (("upgrade", upgrade), ("downgrade", downgrade))
    }
    return MIGRATION.format(revision=revision, before=before, **both)


def unordered(schema: str) -> list[str]:
    """The lines of a schema, with the columns of each table in any order."""
    return sorted(line.strip().rstrip(",") for line in schema.splitlines())
