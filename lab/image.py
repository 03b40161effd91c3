# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of the hosts: a Debian root file system from packages, made once for each recipe."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from containers import Podman
from layout import CLONE, LabError

SUITE = "bookworm"
PACKAGES = (
    *("systemd", "systemd-sysv", "libpam-systemd", "dbus"),
    *("openssh-server", "sudo", "ca-certificates", "curl", "iproute2", "procps"),
    *("python3", "python3-venv", "python3-psycopg2", "git", "rsync", "postgresql-15"),
)
_NOT_NEEDED = ("doc", "info", "man", "locale", "bug", "lintian")
_SETUP = Path(__file__).resolve().parent / "setup_image.sh"
#: What the hosts' environments are made of. The oldest lines that Debian's interpreter needs besides the requirements.
_EXTRA = ("mistune==0.8.4", "pip", "setuptools", "wheel")
_PYTHON = "3.11"


def ensure(podman: Podman) -> str:
    """The image's name; it is built when this recipe was never built here.

    :raises LabError: when it can't be.
    """
    name = _name()
    if not is_there(podman):
        print(f"Building the image {name} from Debian's packages: once, a minute or two", flush=True)
        podman.import_from(_recipe(), name, podman.directory / "image.log")
    return f"localhost/{name}"


def is_there(podman: Podman) -> bool:
    """Whether it was built here before."""
    return podman("images", "--quiet", _name()) != ""


def _name() -> str:
    text = "\0".join(_recipe()) + _SETUP.read_text(encoding="utf-8")
    return f"lastgood-lab:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _recipe() -> list[str]:
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _NOT_NEEDED]
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}", *excluded]
    command += [f"--customize-hook=copy-in {_SETUP} /root", '--customize-hook=chroot "$1" /root/setup_image.sh']
    command += [SUITE, "-"]
    if mirror := os.environ.get("LAB_MIRROR"):
        command.append(mirror)
    return command


def ensure_wheels(directory: Path) -> Path:
    """What is mounted into every host as /opt/lab: uv, and the wheels of the projects; fetched when they changed.

    :raises LabError: when they can't be fetched.
    """
    requirements = CLONE / "demo" / "projects" / "shared" / "requirements.txt"
    text = requirements.read_text(encoding="utf-8") + " ".join(_EXTRA) + _PYTHON
    target = directory / f"packages-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if target.exists():
        return target
    staged = target.with_name(f"{target.name}.new")
    shutil.rmtree(staged, ignore_errors=True)
    wheels = staged / "wheels"
    wheels.mkdir(parents=True)
    base = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    base += ["--only-binary=:all:", f"--python-version={_PYTHON}", "--implementation=cp", "--dest", str(wheels)]
    base += [
        f"--platform={kind}_{os.uname().machine}" for kind in ("manylinux2014", "manylinux_2_17", "manylinux_2_28")
    ]
    for words in (["-r", str(requirements)], list(_EXTRA)):
        done = subprocess.run([*base, *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LabError(f"The projects' packages could not be fetched:\n{done.stderr.strip()}")
    shutil.copy2(Path(sys.executable).parent / "uv", staged / "uv")
    staged.rename(target)
    return target
