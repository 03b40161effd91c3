# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""podman, with a storage and a network of its own: nothing of other containers on this machine is seen or touched."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from layout import LabError

#: The name of the network; it belongs to our storage, so that it can't meet another.
NETWORK = "lab"

_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{top}/storage"
runroot = "{run}"
"""

# Files instead of shared memory for locks, and no common temporary directory: both would be shared with other podmans.
_CONTAINERS = """\
[containers]
log_driver = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
runtime = "runc"
tmp_dir = "{run}/libpod"
[network]
network_backend = "netavark"
network_config_dir = "{top}/networks"
"""


class Podman:
    """podman for one lab.

    :param directory: the lab's directory.
    :raises LabError: when we are not root.
    """

    def __init__(self, directory: Path) -> None:
        if os.geteuid() != 0:
            raise LabError("The lab starts whole systems in containers and needs root: sudo make lab")
        self.directory = directory
        # Sockets have short paths; and what describes running containers must be gone after a reboot.
        self._run_root = Path("/run") / f"lastgood-lab-{hashlib.sha256(str(directory).encode()).hexdigest()[:8]}"
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in {"storage": _STORAGE, "containers": _CONTAINERS}.items():
            (directory / f"{name}.conf").write_text(text.format(top=directory, run=self._run_root), encoding="utf-8")
        self._environment = {
            **os.environ,
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
        }

    def __call__(self, *words: str | Path, check: bool = True, stdin: bytes | None = None) -> str:
        """What podman prints.

        :raises LabError: (with check) when it fails.
        """
        command = ["podman", "--runtime", "runc", *(str(word) for word in words)]
        done = subprocess.run(
            command,
            env=self._environment,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise LabError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr.decode().strip()}")
        return done.stdout.decode().strip()

    def import_from(self, command: Sequence[str], name: str, log: Path) -> None:
        """Make an image of the root file system that a program writes to its standard output as a tar archive.

        :raises LabError: when either fails.
        """
        words = ["podman", "import", "--quiet", "-", name]
        with log.open("wb") as said, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as source:
            done = subprocess.run(
                words, env=self._environment, stdin=source.stdout, stdout=said, stderr=said, check=False
            )
            assert source.stdout is not None
            source.stdout.close()
        if source.returncode != 0 or done.returncode != 0:
            self("rmi", "--force", name, check=False)
            raise LabError(f"The image could not be built; what was said is in {log}.")

    def names(self) -> set[str]:
        """All containers of this lab, running or not."""
        return set(self("ps", "--all", "--format", "{{.Names}}").split())

    def running(self) -> set[str]:
        """Those that run."""
        return set(self("ps", "--format", "{{.Names}}").split())

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        """What podman knows of a container or a network."""
        found: list[dict[str, Any]] = json.loads(self(kind, "inspect", name))
        return found[0]

    def forget(self) -> None:
        """Unmount and remove what describes running containers; images stay."""
        storage = self.directory / "storage" / "overlay"
        subprocess.run(["umount", "--quiet", storage], check=False, capture_output=True)
        shutil.rmtree(self._run_root, ignore_errors=True)
