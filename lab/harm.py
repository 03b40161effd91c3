# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's disaster, on hosts: the database damaged, commits that break, a wrong package, another machine's settings."""

from __future__ import annotations

import shlex

from deployment import psql
from layout import CLONE, OWNER, Lab, LabError
from looking import deployed
from reach import ssh

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


#: Everything that can be broken on its own: the database, and the projects that have a kind of damage.
PARTS = ("database", *_HARM)


def strike(lab: Lab, *parts: str) -> None:
    """Break the stack, or these parts of it, and restart its services so that it shows.

    :raises LabError: when there is no such part.
    """
    wanted = set(parts or PARTS)
    if unknown := wanted.difference(PARTS):
        raise LabError(f"{', '.join(sorted(unknown))} can't be broken; what can: {', '.join(PARTS)}.")
    if "database" in wanted:
        psql(lab, (CLONE / "demo" / "sql" / "disaster.sql").read_text(encoding="utf-8"))
    for host, project in deployed(lab):
        if project.key in wanted:
            words = f"cd {project.path} && {_HARM[project.key]}"
            ssh(lab, host, f"sudo -u {OWNER} sh -c {shlex.quote(words)}")
    for host in lab.applications:
        units = " ".join(lab.project(key).name for key in host.projects)
        ssh(lab, host, f"systemctl restart {units}", check=False)
