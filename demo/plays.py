# Copyright: (c) 2026, the lastgood.rollback authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the collection's playbooks on the demo's inventory, just as people would, and reading how it ended."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from console import say
from place import CLONE, Place
from programs import tool

INVENTORY = Path("inventory") / "demo"


def command(name: str, values: Mapping[str, Any]) -> list[str]:
    """The command line of a playbook; texts as ``key=value``, all else as JSON."""
    words = ["ansible-playbook", f"playbooks/{name}.yml", "-i", str(INVENTORY)]
    for key, value in values.items():
        words += ["-e", f"{key}={value}" if isinstance(value, str) else json.dumps({key: value})]
    return words


def play(place: Place, name: str, **values: Any) -> int:
    """Run a playbook and show what it says; its exit status.

    :param values: extra variables.
    """
    words = command(name, values)
    say(f"$ {' '.join(words)}\n")
    done = subprocess.run([tool(words[0]), *words[1:]], cwd=CLONE, env=_environment(place), check=False)
    say()
    return done.returncode


def outcomes(place: Place) -> dict[str, str]:
    """How the latest transaction ended on each host of it, read from the hosts' own records."""
    found: dict[str, dict[str, str]] = {}
    for file in sorted(place.directory.glob("state/*/transactions/*/outcome.json")):
        host, transaction = file.parts[-4], file.parts[-2]
        outcome = json.loads(file.read_text(encoding="utf-8"))["outcome"]
        found.setdefault(transaction, {})[host] = outcome
    # Ids begin with the time.
    return found[max(found)] if found else {}


def _environment(place: Place) -> dict[str, str]:
    tools = str(Path(tool("ansible-playbook")).parent)
    return {
        **os.environ,
        "PATH": os.pathsep.join([tools, os.environ.get("PATH", os.defpath)]),
        "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg"),
        # Otherwise it is in the home directory, and stays there.
        "ANSIBLE_HOME": str(place.directory / "ansible"),
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
        "LASTGOOD_DEMO_DIR": str(place.directory),
    }
