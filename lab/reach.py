# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to the hosts: keys, and commands over SSH, as anybody would who administers them."""

from __future__ import annotations

import io
import shlex
import subprocess
import tarfile
import time
from pathlib import Path

from layout import LOGIN, Host, Lab, LabError


def make_keys(lab: Lab) -> None:
    """A key for us, one for each host, and the list of all hosts' keys."""
    lab.key.parent.mkdir(parents=True, mode=0o700)
    _keygen(lab.key, "lab")
    known = []
    for host in lab.hosts:
        _keygen(_host_key(lab, host), host.name)
        public = _host_key(lab, host).with_suffix(".pub").read_text(encoding="utf-8").split()
        known.append(f"{host.address},{host.name} {' '.join(public[:2])}\n")
    lab.known_hosts.write_text("".join(known), encoding="utf-8")


def identity(lab: Lab, host: Host) -> bytes:
    """What a host must have before it is first started, as a tar archive: its key, and ours."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        private = _host_key(lab, host)
        _add(archive, "etc/ssh/ssh_host_ed25519_key", private.read_bytes(), 0o600)
        _add(archive, "etc/ssh/ssh_host_ed25519_key.pub", private.with_suffix(".pub").read_bytes(), 0o644)
        ours = lab.key.with_suffix(".pub").read_bytes()
        # Root's, and readable: sshd does not mind, and nobody there can add another.
        _add(archive, "etc/ssh/authorized_keys", ours, 0o644)
        setting = b"AuthorizedKeysFile /etc/ssh/authorized_keys\n"
        _add(archive, "etc/ssh/sshd_config.d/keys.conf", setting, 0o644)
    return packed.getvalue()


def ssh(lab: Lab, host: Host, command: str, *, stdin: bytes | None = None, check: bool = True) -> str:
    """Run a shell command as root on a host, through the login user and sudo; what it prints.

    :raises LabError: (with check) when it fails.
    """
    done = attempt(lab, host, command, stdin=stdin)
    if check and done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[-2000:]
        raise LabError(f"{host.name}: {command[:200]} ended with {done.returncode}:\n{said}")
    return done.stdout.decode(errors="replace").strip()


def attempt(lab: Lab, host: Host, command: str, *, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """The same, whatever comes of it; 255 is SSH's own failure."""
    words = command_for(lab, host, f"sudo sh -c {shlex.quote(command)}")
    given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    return subprocess.run(words, capture_output=True, check=False, **given)  # type: ignore[call-overload,no-any-return]


def command_for(lab: Lab, host: Host, command: str) -> list[str]:
    """The ssh that runs a command on a host as the login user."""
    options = {
        "UserKnownHostsFile": str(lab.known_hosts),
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": "5",
        "LogLevel": "ERROR",
        "ServerAliveInterval": "5",
    }
    words = ["ssh", "-F", "none", "-i", str(lab.key), "-l", LOGIN]
    words += [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return [*words, host.address, command]


def wait_for(lab: Lab, host: Host, seconds: float = 90) -> None:
    """Wait until somebody can log in and systemd has come up.

    :raises LabError: when the time is over.
    """
    deadline = time.monotonic() + seconds
    # systemd's own word; "degraded" is up as well, with a unit that failed.
    command = f"timeout {seconds:.0f} systemctl is-system-running --wait"
    while True:
        done = attempt(lab, host, command)
        if done.stdout.strip() in (b"running", b"degraded"):
            return
        if time.monotonic() > deadline:
            raise LabError(f"{host.name} did not come up: {done.stdout.decode()}{done.stderr.decode()}")
        time.sleep(0.3)


def _host_key(lab: Lab, host: Host) -> Path:
    return lab.key.parent / host.name


def _keygen(path: Path, comment: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path], check=True)


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), mode, int(time.time())
    archive.addfile(member, io.BytesIO(content))
