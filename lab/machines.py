# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting and stopping the hosts, and what can happen to one: its power goes, or its cable."""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from containers import NETWORK, Podman
from layout import Host, Lab, LabError
from reach import identity

#: Others than the defaults, which need a capability that may be missing.
_LIMITS = ("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=30000:30000")
_FIRST_ADDRESS = 10
_AT_ONCE = 4
#: What stands on a host's own disk, which can fill up without anybody else noticing: what a rollback touches.
ON_DISK = ("/srv", "/var/lib/lastgood", "/var/lib/postgresql")
#: Only what is used of it takes room on this machine.
_DISK_BYTES = 8 * 1024**3
#: What all of root's processes on this machine share, and how much of it a host's systemd and logind take.
_WATCHERS, _WATCHERS_PER_HOST, _WATCHERS_OF_OTHERS = Path("/proc/sys/fs/inotify/max_user_instances"), 5, 64


def make_network(podman: Podman) -> list[str]:
    """A private network that leads nowhere else; the addresses that hosts may have."""
    if podman("network", "ls", "--quiet", "--filter", f"name=^{NETWORK}$") == "":
        podman("network", "create", "--internal", "--disable-dns", NETWORK)
    subnet = podman.inspect("network", NETWORK)["subnets"][0]["subnet"]
    return [str(address) for address in list(ipaddress.ip_network(subnet).hosts())[_FIRST_ADDRESS - 1 :]]


def allow_watchers(directory: Path, count: int) -> None:
    """Let so many hosts watch their files, as long as they are there: 128 is what a system allows by itself.

    :raises LabError: when we may not.
    """
    allowed = int(_WATCHERS.read_text(encoding="ascii"))
    needed = count * _WATCHERS_PER_HOST + _WATCHERS_OF_OTHERS
    if allowed >= needed:
        return
    _allowed_before(directory).write_text(str(allowed), encoding="ascii")
    try:
        _WATCHERS.write_text(str(needed), encoding="ascii")
    except OSError as error:
        words = f"sysctl fs.inotify.max_user_instances={needed}"
        raise LabError(f"{count} hosts need more than this system allows: {words}: {error.strerror}") from error


def _allowed_before(directory: Path) -> Path:
    return directory / "watchers"


def start(podman: Podman, lab: Lab, host: Host, image: str, packages: Path) -> None:
    """Make one host and switch it on for the first time."""
    others = [f"--add-host={other.name}:{other.address}" for other in lab.hosts]
    words = ["create", "--name", host.name, "--hostname", host.name, "--network", NETWORK, "--ip", host.address]
    disk = _make_disk(lab, host)
    volumes = [f"--volume={packages}:/opt/lab:ro", *(f"--volume={disk / Path(path).name}:{path}" for path in ON_DISK)]
    podman(*words, "--systemd=always", *_LIMITS, *others, *volumes, image, "/sbin/init")
    _fill_disk(podman, host, disk)
    podman("cp", "-", f"{host.name}:/", stdin=identity(lab, host))
    power_on(podman, host)


def _make_disk(lab: Lab, host: Host) -> Path:
    """A file system of the host's own, in a file, mounted here; its directories are mounted into the host."""
    top = _disks(lab.directory) / host.name
    top.mkdir(parents=True)
    file = top.with_suffix(".ext4")
    with file.open("wb") as empty:
        empty.truncate(_DISK_BYTES)
    _run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", str(file))
    _run("mount", "-o", "loop", str(file), str(top))
    for path in ON_DISK:
        (top / Path(path).name).mkdir()
    return top


def _fill_disk(podman: Podman, host: Host, disk: Path) -> None:
    """What the image has in these directories would be hidden by the disk's."""
    image = Path(podman("mount", host.name))
    for path in ON_DISK:
        if (image / path.lstrip("/")).is_dir():
            _run("cp", "--archive", f"{image}{path}/.", str(disk / Path(path).name))
    podman("unmount", host.name)
    (disk / "lastgood").chmod(0o700)


def _disks(directory: Path) -> Path:
    return directory / "disks"


def power_off(podman: Podman, host: Host) -> None:
    """Take the power away: nothing on the host gets a chance to end."""
    podman("kill", "--signal", "KILL", host.name)
    podman("wait", host.name)


def power_on(podman: Podman, host: Host) -> None:
    """Start it again; memory, /run and /tmp are empty, everything else is as it was."""
    podman("start", host.name)
    # An internal network has no gateway, and its bridge lives as long as there are hosts: this is our own way in.
    network = podman.inspect("network", NETWORK)
    subnet = ipaddress.ip_network(network["subnets"][0]["subnet"])
    _ip("address", "replace", f"{next(subnet.hosts())}/{subnet.prefixlen}", "dev", network["network_interface"])


def cut(podman: Podman, host: Host) -> None:
    """Pull the cable: packets get lost without an answer, and both ends still believe in their links."""
    _ip("link", "set", _link(podman, host), "nomaster")


def join(podman: Podman, host: Host) -> None:
    """Plug it in again."""
    bridge = podman.inspect("network", NETWORK)["network_interface"]
    _ip("link", "set", _link(podman, host), "master", bridge)


def remove(podman: Podman) -> bool:
    """Remove all hosts and their network; false when there was nothing to remove."""
    names = podman.names()
    if names:
        podman("rm", "--force", "--time", "0", *names)
    networks = podman("network", "ls", "--quiet", "--filter", f"name=^{NETWORK}$")
    if networks:
        podman("network", "rm", NETWORK)
    podman.forget()
    disks = _disks(podman.directory)
    for disk in sorted(disks.glob("*/")):
        subprocess.run(["umount", "--quiet", disk], check=False, capture_output=True)
    shutil.rmtree(disks, ignore_errors=True)
    if (before := _allowed_before(podman.directory)).exists():
        _WATCHERS.write_text(before.read_text(encoding="ascii"), encoding="ascii")
        before.unlink()
    return bool(names or networks)


def on_all(hosts: Iterable[Host], work: Callable[[Host], object]) -> None:
    """The same for several hosts at once.

    :raises LabError: the first failure, when all have ended.
    """
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as workers:
        list(workers.map(work, hosts))


def _link(podman: Podman, host: Host) -> str:
    """The name of our end of the host's cable."""
    pid = podman.inspect("container", host.name)["State"]["Pid"]
    if not pid:
        raise LabError(f"{host.name} is off.")
    shown = _ip("-o", "link", "show", "eth0", before=["nsenter", "--target", str(pid), "--net"])
    other = re.search(r"eth0@if(\d+):", shown)
    for line in _ip("-o", "link").splitlines():
        number, name = line.split(": ")[:2]
        if other and number == other[1]:
            return name.partition("@")[0]
    raise LabError(f"The cable of {host.name} was not found: {shown}")


def _ip(*words: str, before: Iterable[str] = ()) -> str:
    return _run(*before, "ip", *words)


def _run(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LabError(f"{words[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise LabError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
