# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine must let us do before it can have a lab; whatever fails beyond that is the lab's own fault."""

from __future__ import annotations

import os
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import image
from containers import Podman
from layout import LabError

_DEBIAN = "http://deb.debian.org/debian"
_PATIENCE_S = 20.0
#: In the lab's directory, where images will be.
_OVERLAY = "mkdir lower upper work all && mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work lab all"
#: Each in namespaces of its own: what is mounted or added there is gone with the command.
_NEEDED = {
    "start processes in namespaces of their own": ["true"],
    "lay file systems over each other": ["sh", "-c", _OVERLAY],
    "connect hosts by a network bridge": ["ip", "link", "add", "lab-try", "type", "bridge"],
}
_NAMESPACES = ("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc")


class CannotHaveLab(LabError):
    """This machine can't have a lab; the message says what is missing."""


def install() -> None:
    """Install the programs that a lab needs, where they are missing.

    :raises CannotHaveLab: when they can't be.
    """
    words = [Path(__file__).resolve().parent / "install.sh"]
    done = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise CannotHaveLab(f"what it needs can't be installed: {done.stderr.strip()[-500:]}")


def check(directory: Path) -> None:
    """Find out whether hosts can be made here, without making one.

    :raises CannotHaveLab: when they can't.
    """
    if os.geteuid() != 0:
        raise CannotHaveLab("it starts hosts in containers, which needs root")
    install()
    directory.mkdir(parents=True, exist_ok=True)
    for what, words in _NEEDED.items():
        with tempfile.TemporaryDirectory(dir=directory) as place:
            _must(f"this system does not let us {what}", *_NAMESPACES, *words, cwd=place)
    _must("this system has no loop devices for the hosts' disks", "losetup", "--find", cwd="/")
    if not image.is_there(Podman(directory)):
        _check_mirror()


def _must(what: str, *words: str, cwd: str) -> None:
    try:
        done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CannotHaveLab(f"{what}: {words[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise CannotHaveLab(f"{what}: {done.stderr.strip()}")


def _check_mirror() -> None:
    mirror = os.environ.get("LAB_MIRROR") or _DEBIAN
    if not mirror.startswith(("http://", "https://")):
        return
    url = f"{mirror.rstrip('/')}/dists/{image.SUITE}/InRelease"
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE_S):
            pass
    except OSError as error:
        raise CannotHaveLab(
            f"Debian's packages are out of reach ({url}: {error}); LAB_MIRROR names another mirror"
        ) from error
