# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's disaster, on hosts: the database damaged, commits that break, a wrong package, another machine's settings.

And damage of other kinds, which has to be asked for by name.
"""

from __future__ import annotations

import shlex

from deployment import psql
from layout import CLONE, OWNER, Lab, LabError
from reach import ssh
from snapshots import deployed

from disaster import UNCOMMITTED, UNTRACKED, WRONG_PACKAGE  # isort: skip

_COMMIT = "git -c user.name=Blog -c user.email=blog@example.invalid commit --quiet --all --message {message}"
_HARM = {
    "blog_core": 'sed -i \'s/^\\( *\\)"package": check_package,/&\\n\\1"cache": app.extensions["cache"].ping,/\' app.py'
    f" && {_COMMIT.format(message=shlex.quote('Report the cache in the health check'))}",
    "blog_structuring": "sed -i 's/^import json/&\\nimport outline_parser/' app.py"
    f" && {_COMMIT.format(message=shlex.quote('Read outlines with the new parser'))}",
    "blog_images": f"echo {shlex.quote(UNCOMMITTED)} >> app.py && echo {shlex.quote(UNTRACKED[1].strip())} > {UNTRACKED[0]}",
    "blog_writing": "env HOME=/tmp .venv/bin/python -m pip install --quiet --no-cache-dir --no-index"
    f" --find-links /opt/lab/wheels {shlex.quote(WRONG_PACKAGE)}",
    "blog_publishing": "sed -i 's/^DATABASE_NAME=.*/DATABASE_NAME=blog_staging/' .env",
}

# Somebody wrote a post while the rows of another table were damaged, or after a migration.
_WRITTEN = (
    "INSERT INTO post (title, slug, summary, status)"
    " SELECT 'Of today', format('of-today-%s', extract(epoch FROM now())), 'New.', 'draft';"
)
_ROWS = (
    f"BEGIN; {_WRITTEN} UPDATE post_section SET body = md5(body), heading = '' WHERE id % 3 = 0;"
    " DELETE FROM post_section WHERE id % 97 = 1; COMMIT;"
)
_MIGRATION = (
    "BEGIN; ALTER TABLE post_section DROP COLUMN position;"
    " ALTER TABLE post_section ADD COLUMN rank text NOT NULL DEFAULT 'unsorted';"
    f" UPDATE alembic_version SET version_num = '0007_section_ranks'; {_WRITTEN} COMMIT;"
)
_SQL = {"rows": _ROWS, "migration": _MIGRATION}
# What does not end when it is asked to.
_HELPER = 'subprocess.Popen(["sh", "-c", "trap \'\' TERM; sleep infinity"])'
_OTHER = {
    # A source cut in the middle, another file deleted, and somebody's notes beside them.
    "files": (
        "blog_images",
        f"echo {shlex.quote(UNTRACKED[1].strip())} > {UNTRACKED[0]} && sed -i '/^def load/,$d' config.py && rm README.md",
    ),
    # Another machine's settings, and everybody may read them.
    "settings": ("blog_publishing", f"{_HARM['blog_publishing']} && chmod 0644 .env"),
    "helper": (
        "blog_planning",
        f"printf '\\nimport subprocess\\n%s\\n' {shlex.quote(_HELPER)} >> app.py"
        f" && {_COMMIT.format(message=shlex.quote('Do the slow things beside'))}",
    ),
}

#: What the disaster breaks: the database, and the projects that have a kind of damage.
DISASTER = ("database", *_HARM)
#: Everything that can be broken on its own.
PARTS = (*DISASTER, *_SQL, *_OTHER)


def strike(lab: Lab, *parts: str) -> None:
    """Bring the disaster on the stack, or break these parts of it, and restart its services so that it shows.

    :raises LabError: when there is no such part.
    """
    wanted = set(parts or DISASTER)
    if unknown := wanted.difference(PARTS):
        raise LabError(f"{', '.join(sorted(unknown))} can't be broken; what can: {', '.join(PARTS)}.")
    if "database" in wanted:
        psql(lab, (CLONE / "demo" / "sql" / "disaster.sql").read_text(encoding="utf-8"))
    for part in wanted.intersection(_SQL):
        psql(lab, _SQL[part])
    harm = {key: words for key, words in _HARM.items() if key in wanted}
    harm.update(_OTHER[part] for part in wanted.intersection(_OTHER))
    for host, project in deployed(lab):
        if project.key in harm:
            words = f"cd {project.path} && {harm[project.key]}"
            ssh(lab, host, f"sudo -u {OWNER} sh -c {shlex.quote(words)}")
    for host in lab.applications:
        units = " ".join(lab.project(key).name for key in host.projects)
        ssh(lab, host, f"systemctl restart {units}", check=False)
