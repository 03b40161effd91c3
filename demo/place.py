# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the demo lives: its directory, its facts for the inventory, and its six projects."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from commands import DemoError, User, run

CLONE = Path(__file__).resolve().parent.parent
LINK = CLONE / ".demo"
MADE_BY = "the demo of lastgood.rollback"
CORE = "blog_core"
STAGES = ("planning", "writing", "structuring", "images", "publishing")
#: The host of the inventory that each project lives on.
HOSTS = {CORE: "demo_core", **{f"blog_{stage}": "demo_stages" for stage in STAGES}}


@dataclass(frozen=True)
class Project:
    """One deployed checkout: ``key`` names it in the catalogue, ``name`` everywhere else."""

    key: str
    name: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Place:
    """All that must be known of a running demo; written to facts.json before the first process is started."""

    directory: Path
    socket_dir: Path
    user: User
    python: str
    postgres_bin: str
    posts: int
    projects: tuple[Project, ...]
    made_by: str = field(default=MADE_BY)

    @property
    def data(self) -> Path:
        """PostgreSQL's files."""
        return self.directory / "postgres"

    @property
    def run_dir(self) -> Path:
        """Files of process ids, supervisor's configuration, and a home directory for programs that want one."""
        return self.directory / "run"

    @property
    def logs(self) -> Path:
        """Logs of PostgreSQL, supervisor and the applications."""
        return self.directory / "log"

    @property
    def tools(self) -> Path:
        """The environment that supervisor runs in."""
        return self.directory / "tools"

    @property
    def supervisor_conf(self) -> Path:
        """What supervisord and supervisorctl read."""
        return self.run_dir / "supervisord.conf"

    @property
    def facts(self) -> Path:
        """What the inventory reads."""
        return self.directory / "facts.json"

    def project(self, key: str) -> Project:
        """The project of this key."""
        return next(project for project in self.projects if project.key == key)

    def write_facts(self) -> None:
        """Tell the inventory, and a later call of the demo, all about this place."""
        facts = asdict(self)
        facts["projects"] = {project.key: {**asdict(project), "url": project.url} for project in self.projects}
        facts["supervisor_conf"] = self.supervisor_conf
        self.facts.write_text(json.dumps(facts, indent=2, default=str) + "\n", encoding="utf-8")

    def give(self, *paths: Path) -> None:
        """Make the demo's user the owner of these files and directories, and of all in them."""
        if self.user.uid == os.geteuid():
            return
        for top in paths:
            os.chown(top, self.user.uid, self.user.gid, follow_symlinks=False)
            for parent, directories, files in os.walk(top):
                for name in (*directories, *files):
                    os.chown(Path(parent) / name, self.user.uid, self.user.gid, follow_symlinks=False)


def wanted_directory() -> Path:
    """Where the demo is, or would be: LASTGOOD_DEMO_DIR, else .demo in the clone (which may be a link)."""
    return Path(os.environ.get("LASTGOOD_DEMO_DIR") or LINK).absolute()


def load() -> Place | None:
    """The demo that is there; nothing when there is none.

    :raises DemoError: when the directory is there and was not made by the demo.
    """
    directory = wanted_directory()
    if not directory.exists():
        if directory.is_symlink():
            directory.unlink()
        return None
    if not any(directory.iterdir()):
        directory.rmdir()
        return None
    try:
        facts = json.loads((directory / "facts.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DemoError(f"{directory} is there, but no demo made it (facts.json: {error}). Move it away.") from error
    if facts.get("made_by") != MADE_BY:
        raise DemoError(f"{directory} is there, but no demo made it. Move it away.")
    projects = tuple(Project(key, one["name"], one["port"], one["path"]) for key, one in facts["projects"].items())
    return Place(
        directory=Path(facts["directory"]),
        socket_dir=Path(facts["socket_dir"]),
        user=User(**facts["user"]),
        python=facts["python"],
        postgres_bin=facts["postgres_bin"],
        posts=facts["posts"],
        projects=projects,
    )


def make_directory(user: User) -> Path:
    """A new directory that the demo's user can reach; outside of the clone, behind a link, where the clone can't be.

    :raises DemoError: when LASTGOOD_DEMO_DIR is out of this user's reach.
    """
    wanted = wanted_directory()
    if reaches(user, wanted.parent):
        wanted.mkdir(mode=0o755)
        wanted.chmod(0o755)
        return wanted.resolve()
    if wanted != LINK:
        raise DemoError(f"User {user.name} can't reach {wanted.parent}: name another LASTGOOD_DEMO_DIR.")
    elsewhere = Path(tempfile.mkdtemp(prefix="lastgood-demo-", dir="/var/tmp"))
    elsewhere.chmod(0o755)
    LINK.symlink_to(elsewhere)
    return elsewhere


def make_socket_directory(user: User) -> Path:
    """A directory for sockets, for this user alone. Under /tmp: the path of a socket has at most 107 bytes."""
    directory = Path(tempfile.mkdtemp(prefix="lastgood-demo-", dir="/tmp"))
    if user.uid != os.geteuid():
        os.chown(directory, user.uid, user.gid)
    return directory


def remove(place: Place) -> None:
    """Remove every file of the demo."""
    shutil.rmtree(place.socket_dir, ignore_errors=True)
    shutil.rmtree(place.directory)
    if LINK.is_symlink():
        LINK.unlink()


def reaches(user: User, directory: Path) -> bool:
    """Whether this user can enter the directory."""
    return run(["/bin/sh", "-c", 'cd "$1"', "sh", directory], user=user, check=False).returncode == 0


def lay_out(directory: Path) -> tuple[Project, ...]:
    """The six projects, each with a free port."""
    names = {CORE: "blog-core", **{f"blog_{stage}": f"blog-{stage}" for stage in STAGES}}
    ports = free_ports(len(names))
    return tuple(
        Project(key, name, port, str(directory / "projects" / name)) for (key, name), port in zip(names.items(), ports)
    )


def free_ports(count: int) -> list[int]:
    """Ports on the loopback interface that nobody listens on.

    Below the range that systems take outgoing ports from: a client that polls a stopped service in that range can, by
    chance, be given the very port that it calls, and is then connected to itself.
    """
    found: list[int] = []
    candidates = random.sample(range(15000, 30000), 500)
    for port in candidates:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise DemoError(f"Of {len(candidates)} ports of 127.0.0.1, fewer than {count} are free.")
