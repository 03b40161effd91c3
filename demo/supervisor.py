# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's process manager: a real supervisord, with one program a project."""

from __future__ import annotations

import importlib.metadata
import shlex
import time
from pathlib import Path

from commands import DemoError, environment, run
from packages import install, new_environment
from place import CORE, Place, Project
from processes import end_process, pid_in

_CONFIGURATION = """\
; Written by the demo.
[unix_http_server]
file = {sockets}/supervisor.sock
chmod = 0700

[supervisord]
directory = {run}
logfile = {logs}/supervisord.log
childlogdir = {logs}
pidfile = {pid_file}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://{sockets}/supervisor.sock
"""

_PROGRAM = """
[program:{name}]
command = {command}
directory = {path}
autostart = true
autorestart = true
startsecs = 1
startretries = 1
stopwaitsecs = 10
stopasgroup = true
killasgroup = true
redirect_stderr = true
stdout_logfile = {logs}/{name}.log
stdout_logfile_maxbytes = 5MB
stdout_logfile_backups = 1
"""


def install_supervisor(place: Place) -> None:
    """Give supervisor an environment of its own: the tool environment may be out of reach for the demo's user."""
    new_environment(place, place.tools)
    install(place, place.tools, f"supervisor=={importlib.metadata.version('supervisor')}")


def start(place: Place) -> None:
    """Write the configuration and start supervisord, and with it the six programs."""
    text = _CONFIGURATION.format(
        sockets=_plain(place.socket_dir),
        run=_plain(place.run_dir),
        logs=_plain(place.logs),
        pid_file=_plain(_own_pid_file(place)),
    )
    text += "".join(_program(place, project) for project in place.projects)
    place.supervisor_conf.write_text(text, encoding="utf-8")
    program = place.tools / "bin" / "supervisord"
    run([program, "-c", place.supervisor_conf], user=place.user, env=environment(place.run_dir), cwd=place.run_dir)


def processes(place: Place) -> set[int]:
    """supervisord's process, and the applications' main processes."""
    files = {_pid_file(place, project): project.path for project in place.projects}
    files[_own_pid_file(place)] = str(place.supervisor_conf)
    return {pid for file, mark in files.items() if (pid := pid_in(file, mark))}


def stop(place: Place) -> None:
    """End supervisord with all its programs; then what it may have left behind, if it was killed before."""
    if pid := pid_in(_own_pid_file(place), str(place.supervisor_conf)):
        # All at once; supervisord by itself ends them one after the other.
        control(place, "stop", "all", check=False)
        end_process(pid, "supervisord", seconds=40)
    for pid in processes(place):
        end_process(pid, "An application")


def control(place: Place, *words: str, check: bool = True) -> str:
    """What supervisorctl prints.

    :raises DemoError: (with check) when it ends with another status than 0.
    """
    command: list[str | Path] = [place.tools / "bin" / "supervisorctl", "-c", place.supervisor_conf, *words]
    return run(command, user=place.user, env=environment(place.run_dir), check=check).stdout


def states(place: Place) -> dict[str, str]:
    """The state (RUNNING, FATAL, …) of each program; empty when supervisord does not answer."""
    known = {project.name for project in place.projects}
    words = [line.split() for line in control(place, "status", check=False).splitlines()]
    return {line[0]: line[1] for line in words if len(line) > 1 and line[0] in known}


def restart(place: Place) -> None:
    """Restart everything and wait until it has settled; some programs may have failed for good.

    :raises DemoError: see `settled`.
    """
    control(place, "restart", "all", check=False)
    # A program may run for a moment before it fails.
    settled(place, quiet=2)


def settled(place: Place, quiet: float = 0, seconds: float = 60) -> dict[str, str]:
    """The states of the programs once none is on its way any more.

    :param quiet: for how many seconds that must stay so.
    :raises DemoError: when some still are after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    quiet_since = time.monotonic()
    while True:
        found = states(place)
        if not set(found.values()) <= {"RUNNING", "FATAL"}:
            quiet_since = time.monotonic() + 0.2
        if time.monotonic() >= quiet_since + quiet:
            return found
        if time.monotonic() > deadline:
            raise DemoError(f"Services did not settle: {found}")
        time.sleep(0.2)


def _program(place: Place, project: Project) -> str:
    gunicorn = Path(project.path) / ".venv" / "bin" / "gunicorn"
    workers = "2" if project.key == CORE else "1"  # the stages ask core
    words = [str(gunicorn), "--bind", f"127.0.0.1:{project.port}", "--workers", workers]
    words += ["--preload", "--graceful-timeout", "3", "--pid", str(_pid_file(place, project)), "run:app"]
    return _PROGRAM.format(
        name=project.name, command=_plain(shlex.join(words)), path=_plain(project.path), logs=_plain(place.logs)
    )


def _own_pid_file(place: Place) -> Path:
    return place.run_dir / "supervisord.pid"


def _pid_file(place: Place, project: Project) -> Path:
    return place.run_dir / f"{project.name}.pid"


def _plain(value: Path | str) -> str:
    # Supervisor expands %(name)s in its configuration.
    return str(value).replace("%", "%%")
