# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab of lastgood.rollback: real hosts in containers, with systemd, SSH and PostgreSQL, on a private network.

lab.py up               build the image if need be, start the hosts, deploy the projects
lab.py down             end and remove all hosts; the image stays for the next time
lab.py clean            remove the image as well
lab.py try              whether hosts can be started on this machine: builds the image, starts one, removes it
lab.py status           the hosts, and how the services answer
lab.py break            let the demo's disaster happen to the projects
lab.py cut HOST         pull the host's network cable; join HOST plugs it in again
lab.py power-off HOST   take its power away; power-on HOST starts it again

LAB_HOSTS=2 make lab    two application hosts instead of five; LAB_POSTS and LAB_MIRROR: see docs/lab.md
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import ability
import deployment
import harm
import image
import machines
import reach
import snapshots
from containers import Podman
from layout import DATABASE_HOST, Host, Lab, LabError, all_projects, lab_directory, load, spread

_POSTS = 20_000
#: There once everything was deployed.
_COMPLETE = "complete"
_ON_A_HOST = {
    "cut": machines.cut,
    "join": machines.join,
    "power-off": machines.power_off,
    "power-on": machines.power_on,
}


def up(directory: Path) -> None:
    """Start the lab; nothing is done when it is up."""
    began = time.monotonic()
    ability.install()
    podman = Podman(directory)
    known = load()
    complete = known is not None and (directory / _COMPLETE).exists()
    count = int(os.environ.get("LAB_HOSTS") or (len(known.applications) if known and complete else 5))
    if known is not None:
        wanted = {host.name for host in known.hosts}
        if complete and podman.running() == wanted and len(known.applications) == count:
            print("The lab is up.")
            return
        down(directory)
    name, packages = image.ensure(podman), image.ensure_wheels(directory)
    lab = _new(podman, directory, count)
    machines.allow_watchers(directory, len(lab.hosts))
    deployment.write_checkouts(lab)
    machines.on_all(lab.hosts, lambda host: _bring_up(podman, lab, host, name, packages))
    machines.on_all(lab.applications, lambda host: deployment.start_services(lab, host))
    snapshots.wait_until_healthy(lab)
    (directory / _COMPLETE).touch()
    print(f"{len(lab.hosts)} hosts are up, after {time.monotonic() - began:.0f} s.")
    status(directory)


def try_it(directory: Path) -> None:
    """Start one host with nothing on it, and remove it again; nothing is done when a lab is up.

    :raises CannotHaveLab: when this machine can't have a lab.
    :raises LabError: when it could, and yet the lab does not work.
    """
    if load() is not None:
        return
    ability.check(directory)
    podman = Podman(directory)
    name, packages = image.ensure(podman), image.ensure_wheels(directory)
    try:
        lab = _new(podman, directory, 1)
        host = lab.host(DATABASE_HOST)
        machines.start(podman, lab, host, name, packages)
        reach.wait_for(lab, host)
    finally:
        down(directory)


def _new(podman: Podman, directory: Path, count: int) -> Lab:
    addresses = iter(machines.make_network(podman))
    hosts = [Host(DATABASE_HOST, next(addresses), ())]
    hosts += [Host(f"lab-app{number}", next(addresses), keys) for number, keys in enumerate(spread(count), 1)]
    posts = int(os.environ.get("LAB_POSTS") or _POSTS)
    lab = Lab(directory, tuple(hosts), all_projects(), posts, secrets.token_hex(16))
    # Before anything is started, so that `down` finds all of it after an interruption at any later moment.
    lab.write()
    reach.make_keys(lab)
    return lab


def _bring_up(podman: Podman, lab: Lab, host: Host, name: str, packages: Path) -> None:
    machines.start(podman, lab, host, name, packages)
    reach.wait_for(lab, host)
    deployment.deploy(lab, host)


def down(directory: Path) -> None:
    """Remove what was started, and what was written about it."""
    removed = machines.remove(Podman(directory))
    for name in ("ssh", "checkouts", "networks", "state"):
        shutil.rmtree(directory / name, ignore_errors=True)
    for name in (_COMPLETE, "facts.json", "inventory.json"):
        (directory / name).unlink(missing_ok=True)
    print("The lab is down." if removed else "There is no lab to end.")


def clean(directory: Path) -> None:
    """Remove everything of the lab."""
    if directory.exists():
        down(directory)
        shutil.rmtree(directory)


def status(_directory: Path) -> None:
    """Print a row for each project of each host."""
    for row in snapshots.rows(_there()):
        print("  {:<10} {:<16} {:<12} {:<10} {}".format(*row))


def break_it(_directory: Path) -> None:
    """Let the disaster happen."""
    harm.strike(_there())
    status(_directory)


def _there() -> Lab:
    lab = load()
    if lab is None:
        raise LabError("No lab is up: make lab starts one.")
    return lab


_COMMANDS = {"up": up, "down": down, "clean": clean, "try": try_it, "status": status, "break": break_it}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one step; the exit status of this program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=[*_COMMANDS, *_ON_A_HOST])
    parser.add_argument("host", nargs="?", help="for what happens to one host")
    given = parser.parse_args(arguments)
    try:
        if given.command in _ON_A_HOST:
            if given.host is None:
                parser.error(f"{given.command} needs the name of a host")
            _ON_A_HOST[given.command](Podman(lab_directory()), _there().host(given.host))
        else:
            _COMMANDS[given.command](lab_directory())
    except LabError as error:
        print(f"The lab failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
