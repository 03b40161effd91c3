# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing the demo's projects, and their database, on the hosts: over SSH, as a non-root user with sudo."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

from layout import CLONE, DATABASE_HOST, OWNER, Host, Lab
from reach import ssh

# Of the demo: see layout.
from checkouts import values_for, write  # isort: skip
from place import CORE  # isort: skip

DATABASE = "blog"
_SQL = CLONE / "demo" / "sql"
_UNIT = Path(__file__).resolve().parent / "unit.service"
_ENVIRONMENT = (
    'cd {path} && sudo -u {owner} env UV_CACHE_DIR=/tmp/uv-{name} sh -c "'
    "/opt/lab/uv venv --quiet --seed --no-config --no-index --find-links /opt/lab/wheels --python /usr/bin/python3 .venv"
    " && /opt/lab/uv pip install --quiet --no-config --no-index --find-links /opt/lab/wheels --link-mode copy"
    ' --python .venv/bin/python -r requirements.txt"'
)


def write_checkouts(lab: Lab) -> None:
    """The projects with their histories, on this machine, to be copied to hosts."""
    top = _checkouts(lab)
    shutil.rmtree(top, ignore_errors=True)
    top.mkdir()
    for project in lab.projects:
        write(top / project.name, project, values_for(project, DATABASE_HOST, lab.core_url))


def deploy(lab: Lab, host: Host) -> None:
    """Everything that belongs on one host, not yet started."""
    if host.name == DATABASE_HOST:
        _deploy_database(lab, host)
    else:
        _deploy_projects(lab, host)


def start_services(lab: Lab, host: Host) -> None:
    """Enable and start the projects' units.

    :raises LabError: when one does not start.
    """
    units = " ".join(lab.project(key).name for key in host.projects)
    if units:
        ssh(lab, host, f"systemctl enable --quiet --now {units}")


def _checkouts(lab: Lab) -> Path:
    return lab.directory / "checkouts"


def _deploy_projects(lab: Lab, host: Host) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for key in host.projects:
            project = lab.project(key)
            archive.add(_checkouts(lab) / project.name, project.path.lstrip("/"), filter=_owned)
            workers = 2 if key == CORE else 1  # the stages ask core
            unit = _UNIT.read_text(encoding="utf-8").format(
                name=project.name, owner=OWNER, path=project.path, port=project.port, workers=workers
            )
            _add(archive, f"etc/systemd/system/{project.name}.service", unit, 0o644, "root")
        # The applications find their password where libpq looks for it, not in their settings.
        _add(archive, f"home/{OWNER}/.pgpass", f"{DATABASE_HOST}:5432:*:{OWNER}:{lab.password}\n", 0o600, OWNER)
    ssh(lab, host, "tar --extract --directory /", stdin=packed.getvalue())
    for key in host.projects:
        project = lab.project(key)
        ssh(lab, host, _ENVIRONMENT.format(path=project.path, owner=OWNER, name=project.name))
    ssh(lab, host, "rm -rf /tmp/uv-* && systemctl daemon-reload")


def _deploy_database(lab: Lab, host: Host) -> None:
    subnet = host.address.rpartition(".")[0] + ".0/24"
    settings = "listen_addresses = '*'\nmax_connections = 200\nmax_wal_size = 2GB\ntimezone = 'UTC'\n"
    ssh(
        lab,
        host,
        f"cat > /etc/postgresql/15/main/conf.d/lab.conf && systemctl enable --quiet --now postgresql@15-main postgresql"
        f" && echo 'host all {OWNER} {subnet} scram-sha-256' >> /etc/postgresql/15/main/pg_hba.conf"
        f" && systemctl reload postgresql@15-main",
        stdin=settings.encode(),
    )
    sql = f"CREATE ROLE {OWNER} LOGIN PASSWORD '{lab.password}';\n"
    sql += f"CREATE DATABASE {DATABASE} OWNER {OWNER} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8';\n"
    psql(lab, sql, user="postgres", database="postgres")
    for name in ("schema", "fill", "finish"):
        psql(lab, f"\\set posts {lab.posts}\n" + (_SQL / f"{name}.sql").read_text(encoding="utf-8"))


def psql(lab: Lab, sql: str, *, user: str = OWNER, database: str = DATABASE) -> str:
    """What psql prints on the database host for these statements, asked through its socket as this account.

    :raises LabError: when a statement fails.
    """
    words = f"cd / && sudo -u {user} psql -X -q -A -t -v ON_ERROR_STOP=1 -d {database} -f -"
    return ssh(lab, lab.host(DATABASE_HOST), words, stdin=sql.encode())


def _owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 65534  # not looked at where the name is known
    member.uname = member.gname = OWNER
    return member


def _add(archive: tarfile.TarFile, name: str, text: str, mode: int, owner: str) -> None:
    content = text.encode()
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    member.uname = member.gname = owner
    archive.addfile(member, io.BytesIO(content))
