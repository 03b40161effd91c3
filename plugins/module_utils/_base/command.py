# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""(private) Running programs: argument lists only, as the owner of what they touch, with a clean environment and an end.

Any of them may be, or start, a program of somebody else, which may never end by itself, while a stack is locked. So each
has a time limit, and says so where somebody watches.

The same runner serves the modules and the self-contained undo, which has no Ansible to lean on; one code path is what
makes the undo trustworthy (see docs/decisions).
"""

from __future__ import annotations

import contextlib
import copy
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from .accounts import User
from .errors import CommandFailed
from .loaded import require_command, require_program
from .progress import duration, show_progress

#: Kept from our own environment; everything else of it stays out of the tools' sight.
KEPT_ENVIRONMENT = ("PATH", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
#: Seconds between looks at what a running program has done so far.
_EVERY_S = 1.0
#: Seconds that a program gets if its caller does not know better.
TIMEOUT_S = 600.0
#: The same for those whose work grows with the data: dumps, restores, the history of a repository.
BULK_TIMEOUT_S = 86_400.0
#: A program that ends sooner is not shown.
_SILENT_S = 3.0
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Completed:
    """How a program ended: exit status, and both streams as text (undecodable bytes are escaped)."""

    argv: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str


class CommandRunner:
    """Starts programs and waits for them.

    :param user: run as this account (needs root; ignored when we are that account or not root).
    :param env: added to the clean environment of every program, e.g. ``GIT_CONFIG_*``.
    :param timeout: seconds that a program gets if nothing else is said.
    """

    def __init__(
        self, user: User | None = None, env: Mapping[str, str] | None = None, timeout: float = TIMEOUT_S
    ) -> None:
        self.user = user
        self.env = dict(env or {})
        self.timeout = timeout

    def as_user(self, user: User | None) -> CommandRunner:
        """The same runner for another account."""
        return self._with(user=user)

    def with_env(self, env: Mapping[str, str]) -> CommandRunner:
        """The same runner with more environment."""
        return self._with(env={**self.env, **env})

    def limited(self, timeout: float) -> CommandRunner:
        """The same runner with another time limit."""
        return self._with(timeout=timeout)

    def _with(self, **changed: Any) -> CommandRunner:
        other = copy.copy(self)
        vars(other).update(changed)
        return other

    def run(
        self,
        argv: Sequence[str],
        attempt: str,
        *,
        check: bool = True,
        cwd: Path | str | None = None,
        timeout: float | None = None,
        stdin: IO[bytes] | bytes | None = None,
        stdout: IO[bytes] | None = None,
        pass_fds: Sequence[int] = (),
        meanwhile: Callable[[], None] | None = None,
        every: float = _EVERY_S,
    ) -> Completed:
        """Run one program to its end.

        :param argv: program and arguments; never a secret in it: other users can read it.
        :param attempt: what this is meant to do ("Resetting /srv/app"), for the message of a failure.
        :param check: raise when the status is not zero.
        :param timeout: seconds; the program's whole process group is ended after that. None for the runner's own limit: there
            is none without.
        :param stdin: bytes or an open file to read from; default is an empty input.
        :param stdout: an open file that takes the output (``Completed.stdout`` is empty then): for large outputs.
        :param pass_fds: descriptors that stay open in the program: how a directory that only we may reach is lent to it.
        :param meanwhile: called again and again while the program runs; it must be quick. What it raises ends the program's
            whole process group, and goes on.
        :param every: seconds between these calls.
        :raises CommandFailed: on a status other than zero (with check), a timeout, or a program that can't be started.
        """
        arguments = [os.fspath(word) for word in argv]
        process = self._start(
            arguments,
            attempt,
            cwd=cwd,
            stdin=subprocess.PIPE if isinstance(stdin, bytes) else (stdin or subprocess.DEVNULL),
            stdout=stdout if stdout is not None else subprocess.PIPE,
            pass_fds=pass_fds,
        )
        timeout = self.timeout if timeout is None else timeout
        meanwhile = meanwhile or _Waiting(attempt, timeout)
        try:
            out, err = _communicate(process, stdin if isinstance(stdin, bytes) else None, timeout, meanwhile, every)
        except subprocess.TimeoutExpired as error:
            _end_group(process)
            said = f"{_text(error.stderr)}\n{_no_end(timeout)}".strip()
            raise CommandFailed(attempt, arguments, -signal.SIGKILL, _text(error.output), said) from error
        except BaseException:
            _end_group(process)
            raise
        done = Completed(tuple(arguments), process.returncode, _text(out), _text(err))
        if check and done.rc != 0:
            raise CommandFailed(attempt, arguments, done.rc, done.stdout, done.stderr)
        return done

    def detach(self, argv: Sequence[str], attempt: str, *, cwd: Path | str, timeout: float) -> None:
        """Run a program that leaves another one in the background, and wait for the end of the first alone.

        What both print goes into a file that nobody waits for: a pipe would stay open as long as the second one lives.

        :param timeout: seconds; whatever has not left the program's group is ended after that.
        :raises Refused: before it starts, when somebody else could change what it loads.
        :raises CommandFailed: on a status other than zero, a timeout, or a program that can't be started.
        """
        arguments = [os.fspath(word) for word in argv]
        require_command(arguments, cwd, self.uid)
        with tempfile.TemporaryFile() as said:
            process = self._start(arguments, attempt, cwd=cwd, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            try:
                status = process.wait(timeout)
            except subprocess.TimeoutExpired as error:
                _end_group(process)
                message = f"{_no_end(timeout)}. It has to go into the background by itself"
                raise CommandFailed(attempt, arguments, -signal.SIGKILL, stderr=message) from error
            if status != 0:
                said.seek(0)
                raise CommandFailed(attempt, arguments, status, stderr=_text(said.read()))

    @contextlib.contextmanager
    def stream(
        self, argv: Sequence[str], attempt: str, stdin: IO[bytes], timeout: float = BULK_TIMEOUT_S
    ) -> Iterator[IO[bytes]]:
        """Run a filter, and read its output while it works; it is ended when the block is left before the output's end.

        :param stdin: an open file.
        :param timeout: seconds; what it has written by then is all that there is to read.
        :raises CommandFailed: when it can't be started, or all was read and it ended with another status than zero.
        """
        process = self._start(list(argv), attempt, stdin=stdin, stdout=subprocess.PIPE)
        output = cast("IO[bytes]", process.stdout)  # it is a pipe
        watchman = threading.Timer(timeout, _kill_group, [process])
        watchman.daemon = True
        watchman.start()
        try:
            yield output
            if not output.read(1):
                _rest, err = process.communicate()
                if process.returncode != 0:
                    said = "" if watchman.is_alive() else _no_end(timeout)
                    raise CommandFailed(attempt, list(argv), process.returncode, "", f"{_text(err)}\n{said}")
        finally:
            watchman.cancel()
            _end_group(process)

    @property
    def uid(self) -> int:
        """Whom programs run as."""
        return os.geteuid() if self.user is None or os.geteuid() != 0 else self.user.uid

    def run_named(
        self, argv: Sequence[str], attempt: str, *, cwd: Path | str, timeout: float, **watched: Any
    ) -> Completed:
        """Run a command that people named, such as a check, as whom all that it loads belongs to.

        :param watched: ``meanwhile`` and ``every`` of `run`.
        :raises Refused: before it starts, when somebody else could change what it loads.
        :raises CommandFailed: see `run`.
        """
        require_command([os.fspath(word) for word in argv], cwd, self.uid)
        return self.run(argv, attempt, cwd=cwd, timeout=timeout, **watched)

    def _start(self, arguments: list[str], attempt: str, **more: Any) -> subprocess.Popen[bytes]:
        require_program(arguments[0], more.get("cwd"), self.uid)
        try:
            return subprocess.Popen(
                arguments,
                env=self._environment(),
                start_new_session=True,
                **{"stderr": subprocess.PIPE, **more},
                **self._identity(),
            )
        except OSError as error:
            raise CommandFailed(attempt, arguments, 127, stderr=str(error)) from error

    def _environment(self) -> dict[str, str]:
        env = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        env.setdefault("PATH", DEFAULT_PATH)
        env["LC_ALL"] = "C.UTF-8"
        if self.user is not None:
            env.update(HOME=self.user.home, USER=self.user.name, LOGNAME=self.user.name)
        elif "HOME" in os.environ:
            env["HOME"] = os.environ["HOME"]
        env.update(self.env)
        return env

    def _identity(self) -> dict[str, Any]:
        if self.user is None or os.geteuid() != 0 or self.user.uid == 0:
            return {}
        return {"user": self.user.uid, "group": self.user.gid, "extra_groups": list(self.user.groups)}


class _Waiting:
    """Shows how long a program has been at work, and when it will be ended."""

    def __init__(self, attempt: str, timeout: float) -> None:
        self._attempt = attempt
        self._timeout = timeout
        self._began = time.monotonic()

    def __call__(self) -> None:
        seconds = time.monotonic() - self._began
        if seconds >= _SILENT_S:
            show_progress(f"{self._attempt}: for {duration(seconds)}, ended after {duration(self._timeout)}")


def _communicate(
    process: subprocess.Popen[bytes], data: bytes | None, timeout: float, meanwhile: Callable[[], None], every: float
) -> tuple[bytes, bytes]:
    """Wait for a program's end.

    :raises subprocess.TimeoutExpired: when it has not ended in time.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return process.communicate(data, timeout=min(every, max(deadline - time.monotonic(), 0.0)))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                raise
        data = None  # it has been taken over by the first call
        meanwhile()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    _kill_group(process)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _no_end(timeout: float) -> str:
    return f"no end after {timeout:.0f} s; it was stopped"


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", errors="backslashreplace")
