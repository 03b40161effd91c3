# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulp, an application that nobody here wrote, from PyPI, deployed as its users do: the API on one host, workers on another.

Its release is what a commit of the deployment's repository says; an upgrade is that commit, pip, and Pulp's own migrations.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from support.play import kill_all
from support.postgres_server import PostgresServer, as_account, free_port

ROOT = Path(__file__).resolve().parents[2]
OLDER, NEWER = "3.85.34", "3.105.25"
CHECKOUTS = ("web", "worker")
HOSTS = {"db1": "pulp_database", "web1": "pulp_web", "worker1": "pulp_worker"}
#: Rows by which Pulp's processes say that they are alive: they change by themselves.
HEARTBEATS = {"core_worker", "core_apiappstatus", "core_contentappstatus", "core_appstatus"}
WANTED = {"rollback_point": "last_good", "rollback_components": "all"}
ADMIN = base64.b64encode(b"admin:a good password").decode()
PATIENCE_S = 120.0

#: What an operator keeps in git. `here` is the checkout.
_SETTINGS = """\
import os
from pathlib import Path

here = Path(__file__).resolve().parent
# Its tests are given all of it by the environment, and find no such file.
for line in (here / ".env").read_text().splitlines() if (here / ".env").exists() else ():
    os.environ.setdefault(*line.split("=", 1))

SECRET_KEY = os.environ["SECRET_KEY"]
CONTENT_ORIGIN = os.environ["CONTENT_ORIGIN"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["DATABASE_NAME"],
        "USER": "pulp",
        "HOST": os.environ["DATABASE_HOST"],
        "PORT": os.environ["DATABASE_PORT"],
    }
}
DB_ENCRYPTION_KEY = os.environ["ENCRYPTION_KEY"]
DEPLOY_ROOT = os.environ["STORAGE"]
MEDIA_ROOT = DEPLOY_ROOT + "/media"
STATIC_ROOT = DEPLOY_ROOT + "/static"
WORKING_DIRECTORY = FILE_UPLOAD_TEMP_DIR = DEPLOY_ROOT + "/tmp"
CACHE_ENABLED = False
REDIS_URL = None
DOMAIN_ENABLED = True
ALLOWED_EXPORT_PATHS = [DEPLOY_ROOT]
ANALYTICS = False
del os, Path, here
"""
_MANAGE = """\
import os
import sys
from pathlib import Path

os.environ.setdefault("PULP_SETTINGS", str(Path(__file__).resolve().parent / "settings.py"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pulpcore.app.settings")

from django.core.management import execute_from_command_line

execute_from_command_line(sys.argv)
"""
_SUPERVISOR = """\
[unix_http_server]
file = {base}/supervisor.sock
[supervisord]
directory = {base}
logfile = {base}/supervisord.log
childlogdir = {base}
pidfile = {base}/supervisord.pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://{base}/supervisor.sock
"""
_PROGRAM = """
[program:{name}]
command = {base}/{checkout}/.venv/bin/{command}
directory = {base}/{checkout}
environment = PULP_SETTINGS="{base}/{checkout}/settings.py"
autostart = true
autorestart = true
startretries = 1
stopasgroup = true
killasgroup = true
redirect_stderr = true
stdout_logfile = {base}/{name}.log
"""

Snapshot = dict[str, str]
_numbers = itertools.count(1)


class Pulp:
    """The running application, captured as good in its older release.

    :param server: a PostgreSQL of its own.
    :param base: an empty directory for all of it; whoever runs Pulp can enter it.
    :param account: who runs Pulp and owns its checkouts.
    """

    def __init__(self, server: PostgresServer, base: Path, account: str) -> None:
        self.server, self.base, self.account = server, base, account
        self.api_port, self.content_port = free_port(), free_port()
        self.logs = base / "logs"
        self.good: Snapshot = {}

    # -- deploying -----------------------------------------------------------------------------------------------

    def deploy(self) -> None:
        """Install the older release, fill it through its own API, and capture it."""
        self.server.psql("postgres", "CREATE ROLE pulp LOGIN CREATEDB", "CREATE DATABASE pulp OWNER pulp")
        for name in ("storage", "storage/media", "storage/static", "storage/tmp"):
            self._own_directory(self.base / name)
        key = base64.urlsafe_b64encode(os.urandom(32)).decode()
        for checkout in CHECKOUTS:
            self._check_out(checkout, key)
            self.uv("venv", "--quiet", "--seed", "--python", self.python, str(self.base / checkout / ".venv"))
            self.install(checkout)
        self.manage("migrate", "--no-input")
        self.manage("reset-admin-password", "--password", "a good password")
        self._supervise()
        self.fill()
        self.settle()
        done = self.play("capture")
        assert done.returncode == 0, done.stdout + done.stderr
        self.good = self.snapshot()

    def _own_directory(self, path: Path) -> None:
        path.mkdir()
        if os.geteuid() == 0:
            shutil.chown(path, self.account, self.account)

    def _check_out(self, checkout: str, key: str) -> None:
        path = self.base / checkout
        self._own_directory(path)
        self.write(checkout, "settings.py", _SETTINGS)
        self.write(checkout, "manage.py", _MANAGE)
        self.write(checkout, "requirements.txt", f"pulpcore=={OLDER}\n")
        self.write(checkout, ".gitignore", ".env\n.venv\n*.key\n__pycache__/\n")
        self.write(checkout, "database_fields.symmetric.key", key)
        self.write(checkout, ".env", "".join(f"{name}={value}\n" for name, value in self._values(checkout).items()))
        self.git(checkout, "init", "--quiet", "--initial-branch=main", "--template=")
        self.commit(checkout, f"Deploy Pulp {OLDER}")

    def _values(self, checkout: str) -> dict[str, str]:
        """What the settings take from the environment."""
        return {
            "SECRET_KEY": "x" * 50,
            "CONTENT_ORIGIN": f"http://127.0.0.1:{self.content_port}",
            "DATABASE_NAME": "pulp",
            "DATABASE_HOST": str(self.server.sockets),
            "DATABASE_PORT": str(self.server.port),
            "ENCRYPTION_KEY": str(self.base / checkout / "database_fields.symmetric.key"),
            "STORAGE": str(self.base / "storage"),
        }

    def _supervise(self) -> None:
        self.uv("venv", "--quiet", "--python", self.python, str(self.base / "tools"))
        supervisor = f"supervisor=={importlib.metadata.version('supervisor')}"
        self.uv("pip", "install", "--quiet", "--python", str(self.base / "tools" / "bin" / "python"), supervisor)
        api = f"pulpcore-api --bind 127.0.0.1:{self.api_port} --workers 1"
        content = f"pulpcore-content --bind 127.0.0.1:{self.content_port} --workers 1"
        programs = (
            ("pulp-api", "web", api),
            ("pulp-content", "web", content),
            ("pulp-worker", "worker", "pulpcore-worker"),
        )
        text = _SUPERVISOR + "".join(
            _PROGRAM.format(base="{base}", name=name, checkout=checkout, command=command)
            for name, checkout, command in programs
        )
        self.supervisor_conf.write_text(text.format(base=self.base), encoding="utf-8")
        self.run(str(self.base / "tools" / "bin" / "supervisord"), "-c", str(self.supervisor_conf))
        self.settle()

    def fill(self) -> None:
        """Repositories, files that the worker adds to them, and who publishes them."""
        for number in range(6):
            made = self.ask("POST", "repositories/file/file/", {"name": f"archive-{number}", "autopublish": True})
            self.ask(
                "POST",
                "remotes/file/file/",
                {"name": f"mirror-{number}", "url": f"http://127.0.0.1:9/{number}/PULP_MANIFEST"},
            )
            labels = {"name": f"public-{number}", "base_path": f"public/{number}", "repository": made["pulp_href"]}
            self.ask("POST", "distributions/file/file/", labels)
        for number in range(3):
            self.upload(f"file-{number}.txt", f"content {number}\n".encode() * 50, "archive-0")

    @property
    def python(self) -> str:
        """An interpreter that whoever runs Pulp can start; ours may be in root's home."""
        candidates = (f"{sys.base_prefix}/bin/python3", "/usr/bin/python3")
        return next(path for path in candidates if self._can_run(path))

    def _can_run(self, program: str) -> bool:
        command = ["test", "-x", program]
        return subprocess.run(command, check=False, **as_account(self.account)).returncode == 0

    @property
    def supervisor_conf(self) -> Path:
        """What supervisord runs."""
        return self.base / "supervisord.conf"

    # -- a bad day -----------------------------------------------------------------------------------------------

    @property
    def release(self) -> str:
        """Of the schema: what its newest migration belongs to."""
        newer = self.psql("SELECT count(*) FROM information_schema.tables WHERE table_name = 'core_openpgpkeyring'")
        gone = self.psql("SELECT count(*) FROM information_schema.tables WHERE table_name = 'core_worker'")
        return NEWER if (newer, gone) == ("1", "0") else OLDER

    def upgrade(self) -> None:
        """To the newer release, by its own migrations, and people go on working with it; nothing where it is there already."""
        if self.release == NEWER:
            return
        for checkout in CHECKOUTS:
            self.write(checkout, "requirements.txt", f"pulpcore=={NEWER}\n")
            self.commit(checkout, f"Deploy Pulp {NEWER}")
            self.install(checkout)
        self.supervisorctl("stop", "all")
        # The newer release's migrations refuse while processes of the older one seem to be alive, and these were ended.
        self.psql(*(f"UPDATE {table} SET last_heartbeat = '2000-01-01'" for table in sorted(HEARTBEATS)))
        self.manage("migrate", "--no-input")
        self.supervisorctl("start", "all")
        self.settle()
        self.work()

    def work(self) -> None:
        """What only the newer release can hold: two exporters of one name, in two domains."""
        # Into a repository of its own: of the others a test before may have left the damaged rows.
        since = f"since-the-upgrade-{next(_numbers)}"
        self.ensure("repositories/file/file/", {"name": since})
        self.upload(f"{since}.txt", b"written since\n", since)
        storage = {"location": str(self.base / "storage" / "media")}
        self.ensure("domains/", {
            "name": "second", "storage_class": "pulpcore.app.models.storage.FileSystem", "storage_settings": storage,
        })  # fmt: skip
        for domain in ("default", "second"):
            repository = self.ensure("repositories/file/file/", {"name": "exported"}, domain)["pulp_href"]
            vault = {"name": "to-the-vault", "repositories": [repository], "path": str(self.base / "storage" / "vault")}
            self.ensure("exporters/core/pulp/", vault, domain)

    def damage(self) -> None:
        """Break one thing of each kind, in the newer release."""
        self.upgrade()
        self.psql(
            "UPDATE core_remote SET url = 'http://wrong.invalid/'",
            "DELETE FROM core_repositorycontent",
        )
        for checkout in CHECKOUTS:
            self.write(
                checkout,
                ".env",
                self.read(checkout, ".env").replace("DATABASE_NAME=pulp\n", "DATABASE_NAME=elsewhere\n"),
            )
            self.write(
                checkout, "settings.py", self.read(checkout, "settings.py") + "raise SystemExit('half edited')\n"
            )
        # From now on supervisor starts them again and again, and each ends by itself.
        self.supervisorctl("restart", "all")

    # -- looking -------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """All that can be rolled back, by psql, git and pip's own metadata."""
        found: Snapshot = {}
        for checkout in CHECKOUTS:
            found[f"{checkout} commit"] = self.git(checkout, "rev-parse", "HEAD")
            found[f"{checkout} local changes"] = self.git(checkout, "diff", "HEAD")
            for name in (".env", "database_fields.symmetric.key"):
                found[f"{checkout} {name}"] = self.read(checkout, name)
            code = "import importlib.metadata as m; print(*sorted(f'{d.name}=={d.version}' for d in m.distributions()))"
            found[f"{checkout} packages"] = self.run(str(self.base / checkout / ".venv" / "bin" / "python"), "-c", code)
        for name, digest in self.rows().items():
            found[f"table {name}"] = digest
        found["schema"] = hashlib.sha256(self.schema().encode()).hexdigest()
        return found

    def schema(self) -> str:
        """What ``pg_dump`` writes of the schema, without what is random in it."""
        where = ["-h", str(self.server.sockets), "-p", str(self.server.port), "-U", "pulp"]
        lines = self.server.run("pg_dump", *where, "-s", "--exclude-schema=lastgood_kept_*", "pulp").stdout.splitlines()
        return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict", "--")))

    def tables(self) -> list[str]:
        """The tables that change by people's work only."""
        names = self.psql("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").splitlines()
        return [name for name in names if name not in HEARTBEATS]

    def rows(self) -> dict[str, str]:
        """A digest of each table's rows."""
        query = (
            "SELECT md5(coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '')) || ' ' || count(*) FROM public.{} t"
        )
        return {name: self.psql(query.format(name)) for name in self.tables()}

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return int(self.psql(f"SELECT count(*) FROM {table}"))

    def status(self) -> int:
        """The HTTP status of Pulp's own health check; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.api_port}/pulp/api/v3/status/", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def programs(self) -> dict[str, str]:
        """What supervisor says of each service."""
        words = [line.split() for line in self.supervisorctl("status").splitlines()]
        return {line[0]: line[1] for line in words if len(line) > 1}

    def settle(self) -> None:
        """Wait until each service runs, and the API answers."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            states = set(self.programs().values())
            if states == {"RUNNING"} and self.status() == 200:
                return
            time.sleep(0.3)
        raise AssertionError(f"Pulp did not settle: {self.programs()}, HTTP {self.status()}")

    # -- talking to Pulp -----------------------------------------------------------------------------------------

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, domain: str = "default"
    ) -> dict[str, Any]:
        """Call its API as the administrator, and wait for the task that this may begin."""
        data = json.dumps(body).encode() if body is not None else None
        return self._send(method, f"/pulp/{domain}/api/v3/{path}", data, "application/json")

    def ensure(self, path: str, body: Mapping[str, Any], domain: str = "default") -> dict[str, Any]:
        """Make something, unless there is one of its name."""
        found: list[dict[str, Any]] = self.ask("GET", f"{path}?name={body['name']}", domain=domain)["results"]
        return found[0] if found else self.ask("POST", path, body, domain)

    def upload(self, name: str, content: bytes, repository: str) -> None:
        """Upload a file into a repository: the worker on the other host does it."""
        found = self.ask("GET", f"repositories/file/file/?name={repository}")["results"][0]
        parts = {"relative_path": name.encode(), "repository": found["pulp_href"].encode()}
        boundary = "a-boundary-that-is-in-no-file"
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value.decode()}\r\n'
            for key, value in parts.items()
        )
        head += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        self._send(
            "POST", "/pulp/default/api/v3/content/file/files/", body, f"multipart/form-data; boundary={boundary}"
        )

    def _send(self, method: str, path: str, data: bytes | None, kind: str) -> dict[str, Any]:
        headers = {"Authorization": f"Basic {ADMIN}", "Content-Type": kind}
        request = urllib.request.Request(f"http://127.0.0.1:{self.api_port}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error
        if "task" in found:
            self._wait_for(found["task"])
        return found

    def _wait_for(self, task: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            found = self._send("GET", task, None, "application/json")
            if found["state"] not in ("waiting", "running"):
                assert found["state"] == "completed", found
                return
            # A worker that is only starting misses the call to it, and would wait for the next one.
            self.psql("SELECT pg_notify('pulp_worker_wakeup', 'unblock')")
            time.sleep(0.3)
        raise AssertionError(f"{task} did not end")

    # -- the collection ------------------------------------------------------------------------------------------

    def variables(self) -> dict[str, Any]:
        """The catalogue, as somebody would write it for Pulp."""
        supervised = {"manager": "supervisor", "config": str(self.supervisor_conf), "timeout": 90, "soak": 3}
        status = f"http://127.0.0.1:{self.api_port}/pulp/api/v3/status/"
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "rollback_stack": "pulp",
            "rollback_state_dir": f"{self.base}/state/{{{{ inventory_hostname }}}}",
            "report_dest": str(self.logs),
            "notify_schedule": False,  # no unit of systemd is left on whatever machine the tests run on
            "rollback_databases": {
                "pulp": {
                    "host": "db1",
                    "login_unix_socket": str(self.server.sockets),
                    "login_port": self.server.port,
                    "login_user": "pulp",
                    "jobs": 2,
                    "bin_dir": str(self.server.programs),
                }
            },
            "rollback_projects": {
                "web": {
                    **self._project("web"),
                    "services": [
                        {"name": "pulp-api", **supervised, "ready": {"http": status}},
                        {"name": "pulp-content", **supervised, "ready": {"tcp": f"127.0.0.1:{self.content_port}"}},
                    ],
                },
                "worker": {
                    **self._project("worker"),
                    "requires": ["web"],
                    "services": [{"name": "pulp-worker", **supervised}],
                },
            },
        }

    def _project(self, checkout: str) -> dict[str, Any]:
        path = self.base / checkout
        return {
            "group": f"pulp_{checkout}",
            "path": str(path),
            "packages": str(path / ".venv"),
            "files": [".env", "database_fields.symmetric.key"],
            "checks": {
                "compile": ["settings.py", "manage.py"],
                "imports": ["pulpcore", "django"],
                "commands": [["python", "manage.py", "check"], ["python", "manage.py", "migrate", "--check"]],
            },
            "test_environment": {**self._values(checkout), "DATABASE_NAME": "{{ rollback_side_database }}"},
        }

    def start(self, playbook: str, *words: str, **values: Any) -> subprocess.Popen[str]:
        """Start a playbook; ``values`` are its extra variables."""
        inventory = self.base / "inventory.yml"
        groups = {group: {"hosts": {host: None}} for host, group in HOSTS.items()}
        inventory.write_text(yaml.safe_dump({"all": {"vars": self.variables(), "children": groups}}))
        extra = self.base / f"extra-{next(_numbers)}.json"
        extra.write_text(json.dumps(values))
        command = [
            "ansible-playbook",
            "-i",
            str(inventory),
            str(ROOT / "playbooks" / f"{playbook}.yml"),
            "-e",
            f"@{extra}",
        ]
        environment = {**os.environ, "ANSIBLE_HOME": str(self.base / "ansible"), "LASTGOOD_TEST_CALLS": str(extra)}
        return subprocess.Popen(
            [*command, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.base,
            env=environment,
        )

    def play(self, playbook: str, *words: str, **values: Any) -> subprocess.CompletedProcess[str]:
        """Run a playbook to its end."""
        process = self.start(playbook, *words, **values)
        said, complaints = process.communicate()
        print(said, complaints)  # shown where a test fails
        return subprocess.CompletedProcess(process.args, process.returncode, said, complaints)

    def kill(self, process: subprocess.Popen[str]) -> None:
        """``kill -9`` of a playbook, with all that it has started."""
        words: Any = process.args
        kill_all(process, Path(words[words.index("-e") + 1].removeprefix("@")))
        process.communicate()

    def newest_transaction(self) -> str:
        """The id of the last transaction that began."""
        return max(path.name for path in self.base.glob("state/*/transactions/2*"))

    def until_journalled(self, host: str, event: str) -> Path:
        """Wait for an event in the open transaction of a host; its directory."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for path in (self.base / "state" / host / "transactions").glob("2*/journal.jsonl"):
                if not (path.parent / "outcome.json").exists() and f'"event": "{event}"' in path.read_text():
                    return path.parent
            time.sleep(0.01)
        raise AssertionError(f"{host} never journalled {event}")

    # -- programs ------------------------------------------------------------------------------------------------

    def run(self, *words: str, check: bool = True) -> str:
        """What a program prints, run as whoever runs Pulp."""
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.base / "storage"), "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_AUTHOR_NAME": "Deployer",
            "GIT_AUTHOR_EMAIL": "deployer@example.invalid", "GIT_COMMITTER_NAME": "Deployer",
            "GIT_COMMITTER_EMAIL": "deployer@example.invalid",
        }  # fmt: skip
        done = subprocess.run(
            list(words),
            cwd=self.base,
            env=environment,
            text=True,
            capture_output=True,
            check=False,
            **as_account(self.account),
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{words}: {done.stdout}{done.stderr}")
        return done.stdout.rstrip("\n")

    def uv(self, *words: str) -> None:
        """Make an environment, or install into one."""
        environment = {**os.environ, "UV_CACHE_DIR": str(ROOT / ".cache" / "uv"), "UV_PYTHON_DOWNLOADS": "never"}
        subprocess.run(["uv", *words], env={**environment, "UV_LINK_MODE": "copy"}, check=True)

    def install(self, checkout: str) -> None:
        """Install what the checkout asks for, and leave it to its owner."""
        path = self.base / checkout
        python = str(path / ".venv" / "bin" / "python")
        self.uv("pip", "install", "--quiet", "--python", python, "-r", str(path / "requirements.txt"))
        if os.geteuid() == 0:
            subprocess.run(["chown", "-hR", f"{self.account}:", str((path / ".venv").resolve())], check=True)
            subprocess.run(["chown", "-h", f"{self.account}:", str(path / ".venv")], check=True)

    def manage(self, *words: str) -> str:
        """Run Pulp's own management commands."""
        return self.run(
            str(self.base / "web" / ".venv" / "bin" / "python"), str(self.base / "web" / "manage.py"), *words
        )

    def supervisorctl(self, *words: str) -> str:
        """What supervisorctl prints; its status is not 0 as soon as one program does not run."""
        program = str(self.base / "tools" / "bin" / "supervisorctl")
        return self.run(program, "-c", str(self.supervisor_conf), *words, check=False)

    def git(self, checkout: str, *words: str) -> str:
        """What git prints in a checkout."""
        return self.run("git", "-C", str(self.base / checkout), *words)

    def commit(self, checkout: str, message: str) -> None:
        """Commit everything that is not ignored."""
        self.git(checkout, "add", "--all")
        self.git(checkout, "commit", "--quiet", "--message", message)

    def read(self, checkout: str, name: str) -> str:
        """A file of a checkout."""
        return (self.base / checkout / name).read_text(encoding="utf-8")

    def write(self, checkout: str, name: str, text: str) -> None:
        """Write a file of a checkout as its owner would."""
        path = self.base / checkout / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600 if name in (".env", "database_fields.symmetric.key") else 0o644)
        if os.geteuid() == 0:
            shutil.chown(path, self.account, self.account)

    def psql(self, *commands: str) -> str:
        """What psql prints, asked as the database's owner."""
        return self.server.psql("pulp", *commands, user="pulp")

    def stop(self) -> None:
        """End supervisord with all its programs."""
        pid_file = self.base / "supervisord.pid"
        if pid_file.exists():
            self.supervisorctl("shutdown")
            deadline = time.monotonic() + PATIENCE_S
            while pid_file.exists() and time.monotonic() < deadline:
                time.sleep(0.1)
