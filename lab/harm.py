# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's disaster, on hosts: the database damaged, commits that break, a wrong package, another machine's settings."""

from __future__ import annotations

import shlex

from deployment import psql
from layout import CLONE, OWNER, Lab
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


def strike(lab: Lab) -> None:
    """Break the stack, and restart its services so that it shows."""
    psql(lab, (CLONE / "demo" / "sql" / "disaster.sql").read_text(encoding="utf-8"))
    for host, project in deployed(lab):
        if harm := _HARM.get(project.key):
            words = f"cd {project.path} && {harm}"
            ssh(lab, host, f"sudo -u {OWNER} sh -c {shlex.quote(words)}")
    for host in lab.applications:
        units = " ".join(lab.project(key).name for key in host.projects)
        ssh(lab, host, f"systemctl restart {units}", check=False)
