# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the demo as somebody, and looking at its stack by the tests' own means."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: What the demo needs of the tool environment.
NEEDED = ("ansible-core", "psycopg2-binary", "supervisor", "uv")


@dataclass(frozen=True)
class DemoSite:
    """A clone, the interpreter of its tool environment, who runs the demo there, and where the demo lives.

    :param account: another user than we are, or none.
    :param base: a directory for all of this, gone after the test.
    """

    clone: Path
    python: Path
    base: Path
    account: pwd.struct_passwd | None = None

    @property
    def directory(self) -> Path:
        """The demo's directory, apart from the one that a developer may have in use."""
        return self.base / "demo"

    @property
    def home(self) -> Path:
        """The home directory of whoever runs the demo: empty before, and to be empty afterwards."""
        return self.base / "home"

    @property
    def temporary(self) -> Path:
        """The same for temporary files."""
        return self.base / "tmp"

    @property
    def facts(self) -> dict[str, Any]:
        """What the demo tells the inventory."""
        facts: dict[str, Any] = json.loads((self.directory / "facts.json").read_text(encoding="utf-8"))
        return facts

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start the demo's program."""
        # Whoever runs the tests in the background has SIGINT ignored, and so would everything that they start.
        command = ["env", "--default-signal=INT", str(self.python), "demo/demo.py", *words]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
        env.update(LASTGOOD_DEMO_DIR=str(self.directory), HOME=str(self.home), TMPDIR=str(self.temporary))
        env.setdefault("UV_CACHE_DIR", str(ROOT / ".cache" / "uv"))
        identity: dict[str, Any] = {}
        if self.account is not None:
            env["UV_CACHE_DIR"] = str(self.base / "cache")
            env["PATH"] = "/usr/bin:/bin"
            identity = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        return subprocess.Popen(
            command, cwd=self.clone, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **identity
        )

    def run(self, *words: str) -> tuple[int, str]:
        """Run the demo's program to its end: status, and all that it said."""
        process = self.start(*words)
        said, _none = process.communicate()
        return process.returncode, said

    def get(self, project: str, path: str = "/api/health") -> int:
        """The HTTP status of a project's answer; 0 where there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.facts["projects"][project]["port"], timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def statuses(self) -> set[int]:
        """The HTTP statuses of all six health checks."""
        return {self.get(project) for project in self.facts["projects"]}

    def psql(self, sql: str, database: str = "blog", user: str = "blog") -> str:
        """What psql prints, asked as the owner of the demo."""
        program = str(Path(self.facts["postgres_bin"]) / "psql")
        words = ["-XAtqh", self.facts["socket_dir"], "-U", user, "-d", database, "-c", sql]
        return self.as_owner([program, *words])

    def supervisorctl(self, *words: str) -> str:
        """What supervisorctl prints; its status is not 0 as soon as one program does not run."""
        program = str(self.directory / "tools" / "bin" / "supervisorctl")
        return self.as_owner([program, "-c", self.facts["supervisor_conf"], *words], check=False)

    def git(self, project: str, *words: str) -> str:
        """What git prints in a checkout, asked as its owner."""
        return self.as_owner(["git", "-C", self.facts["projects"][project]["path"], *words])

    def freeze(self, project: str) -> dict[str, str]:
        """The versions that an environment's own interpreter finds."""
        code = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
        python = Path(self.facts["projects"][project]["path"]) / ".venv" / "bin" / "python"
        said = self.as_owner([str(python), "-c", code])
        return dict(word.split("==", 1) for word in said.split())

    def snapshot(self) -> dict[str, str]:
        """Digests of everything that a rollback has to put back, for comparison."""
        found = {}
        for table in ("alembic_version", "post", "post_development", "post_section"):
            found[table] = self.psql(
                f"SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY t::text)) FROM {table} t"
            )
        found["columns"] = self.psql(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'public' ORDER BY 1, 2"
        )
        for project, facts in self.facts["projects"].items():
            found[f"{project} head"] = self.git(project, "rev-parse", "HEAD")
            found[f"{project} changes"] = self.git(project, "diff", "HEAD")
            found[f"{project} packages"] = json.dumps(self.freeze(project), sort_keys=True)
            for name in (".env", "assistant_config.env"):
                found[f"{project} {name}"] = hashlib.sha256((Path(facts["path"]) / name).read_bytes()).hexdigest()
        return found

    def processes(self) -> list[str]:
        """Command lines of all processes that have something to do with this site."""
        listing = subprocess.run(["ps", "-ww", "-A", "-o", "args="], check=True, capture_output=True, text=True).stdout
        return [line for line in listing.splitlines() if str(self.directory) in line]

    def as_owner(self, command: list[str], *, check: bool = True) -> str:
        """What a program prints that the owner of the demo runs; it must succeed, with ``check``."""
        user = self.facts["user"]
        identity: dict[str, Any] = {}
        if user["uid"] != os.geteuid():
            identity = {"user": user["uid"], "group": user["gid"], "extra_groups": []}
        env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "GIT_CONFIG_GLOBAL": "/dev/null"}
        done = subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, **identity, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout.strip()


@contextmanager
def demo_site(account: pwd.struct_passwd | None = None) -> Iterator[DemoSite]:
    """A place for one demo, in reach of everybody; when the test is over, whatever is left of it is removed.

    :param account: run as this user, from a clone and a tool environment that it can read.
    """
    # Not below pytest's own directory: that one is closed to others.
    base = Path(tempfile.mkdtemp(prefix="lastgood-test-", dir="/var/tmp"))
    base.chmod(0o755)
    try:
        if account is None:
            site = DemoSite(ROOT, Path(sys.executable), base)
        else:
            site = DemoSite(_copy_of_the_clone(base), _tools_for(account, base), base, account)
        for path in (site.home, site.temporary):
            path.mkdir()
        if account is not None:
            for path in (base, site.home, site.temporary, site.clone, *site.clone.rglob("*")):
                os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
        try:
            yield site
        finally:
            site.run("down")
    finally:
        shutil.rmtree(base)


def _copy_of_the_clone(base: Path) -> Path:
    """What git knows, or would add, of this checkout as it is now; readable by all."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    clone = base / "clone"
    for name in filter(None, names):
        source, target = ROOT / name, clone / name
        if os.path.lexists(source):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    return clone


def _tools_for(account: pwd.struct_passwd, base: Path) -> Path:
    """An environment with the locked versions, on an interpreter that this user can run."""
    uv = Path(sys.executable).parent / "uv"
    probe = "import ssl, sys; sys.exit(sys.version_info < (3, 11))"
    identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    names = ["python3", *(f"python3.{minor}" for minor in range(14, 10, -1))]
    for candidate in filter(None, (shutil.which(name, path="/usr/local/bin:/usr/bin:/bin") for name in names)):
        if subprocess.run([candidate, "-c", probe], cwd="/", **identity, check=False).returncode == 0:
            break
    else:
        raise RuntimeError(f"No Python of at least 3.11 in /usr that {account.pw_name} can run: install python3.")
    tools = base / "tools"
    subprocess.run([uv, "venv", "--quiet", "--no-config", "--python", candidate, tools], check=True)
    locked = ["--constraint", ROOT / "requirements" / "development.txt"]
    install = [uv, "pip", "install", "--quiet", "--no-config", "--python", tools / "bin" / "python", *locked, *NEEDED]
    subprocess.run(install, check=True)
    return tools / "bin" / "python"
